package schedule

import (
	"fmt"
	"time"
)

// latest is how long after its creation a rate can be due, since that is what a
// time.Duration can tell: about 290 years.
const latest = time.Duration(1<<63 - 1)

var units = map[string]time.Duration{"minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}

// parseRate reads what is between the parentheses of rate(5 minutes). The unit is in
// the singular for 1, and only for 1.
func parseRate(text string) (time.Duration, error) {
	parts := fields(text)
	if len(parts) != 2 {
		return 0, invalid("a rate is a number and a unit")
	}
	n, ok := digits(parts[0], 9)
	if !ok || n < 1 {
		return 0, invalid("a rate begins with a number from 1 to 999999999")
	}
	for name, unit := range units {
		if n != 1 {
			name += "s"
		}
		if parts[1] != name {
			continue
		}
		if time.Duration(n) > latest/unit {
			return 0, invalid("a rate has a period of at most 290 years")
		}
		return time.Duration(n) * unit, nil
	}
	return 0, invalid(fmt.Sprintf("a rate of %d has one of the units minute, hour and day, in the plural unless it is 1", n))
}
