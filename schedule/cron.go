package schedule

import (
	"fmt"
	"strings"
	"time"
)

// The years that cron expressions can name.
const (
	firstYear = 1970
	lastYear  = 2199
)

// A cron is a parsed cron expression. The sets have a bit for each number.
type cron struct {
	minutes uint64 // 0-59
	hours   uint64 // 0-23
	months  uint64 // 1-12
	years   [(lastYear-firstYear)/64 + 1]uint64
	days    days
}

// A field is one of the six of a cron expression.
type field struct {
	name        string
	least, most int
	names       []string // of the numbers from least on
	wraps       bool     // ranges may end below where they begin: 22-2
}

var (
	minute     = field{name: "minutes", most: 59, wraps: true}
	hour       = field{name: "hours", most: 23, wraps: true}
	dayOfMonth = field{name: "day of month", least: 1, most: 31}
	month      = field{name: "month", least: 1, most: 12, wraps: true, names: strings.Fields("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC")}
	dayOfWeek  = field{name: "day of week", least: 1, most: 7, wraps: true, names: strings.Fields("SUN MON TUE WED THU FRI SAT")}
	year       = field{name: "year", least: firstYear, most: lastYear}
)

// parseCron reads what is between the parentheses of cron(0 12 * * ? *).
func parseCron(text string) (c cron, err error) {
	parts := fields(text)
	if len(parts) != 6 {
		return c, invalid("cron has six fields: minutes, hours, day of month, month, day of week, year")
	}
	for _, f := range []struct {
		field *field
		text  string
		into  *uint64
	}{{&minute, parts[0], &c.minutes}, {&hour, parts[1], &c.hours}, {&month, parts[3], &c.months}} {
		if err := f.field.list(f.text, nil, func(n int) { *f.into |= 1 << n }); err != nil {
			return c, err
		}
	}
	if err := year.list(parts[5], nil, func(n int) { c.years[(n-firstYear)/64] |= 1 << ((n - firstYear) % 64) }); err != nil {
		return c, err
	}
	c.days, err = parseDays(parts[2], parts[4])
	return c, err
}

// list reads a field, parts with commas between them, and calls add with each number
// that it means. What special takes is no number, and not read any further.
func (f *field) list(text string, special func(part string) (bool, error), add func(n int)) error {
	for part := range strings.SplitSeq(text, ",") {
		if special != nil {
			taken, err := special(part)
			if err != nil {
				return err
			}
			if taken {
				continue
			}
		}
		if err := f.part(part, add); err != nil {
			return err
		}
	}
	return nil
}

// part reads one of *, a, a-b, and each of them with /step behind; a/step goes on to the
// end of the field.
func (f *field) part(text string, add func(n int)) error {
	values, step, stepped := strings.Cut(text, "/")
	by := 1
	if stepped {
		n, ok := digits(step, 4)
		if !ok || n < 1 || n > f.most-f.least+1 {
			return f.wrong(text)
		}
		by = n
	}
	first, last := f.least, f.most
	if values != "*" {
		from, to, ranged := strings.Cut(values, "-")
		var ok bool
		if first, ok = f.number(from); !ok {
			return f.wrong(text)
		}
		switch {
		case ranged:
			if last, ok = f.number(to); !ok || last < first && !f.wraps {
				return f.wrong(text)
			}
		case !stepped:
			last = first
		}
	}
	size := f.most - f.least + 1
	if last < first {
		last += size
	}
	for n := first; n <= last; n += by {
		add(f.least + (n-f.least)%size)
	}
	return nil
}

// number reads one number, or the name that stands for it.
func (f *field) number(text string) (int, bool) {
	for i, name := range f.names {
		if text == name {
			return f.least + i, true
		}
	}
	n, ok := digits(text, 4)
	return n, ok && n >= f.least && n <= f.most
}

func (f *field) wrong(text string) error {
	return invalid(fmt.Sprintf("%q in the field %s", text, f.name))
}

// next returns the first minute behind after that the expression names. It goes over
// the months that are left, at most 2,760.
func (c *cron) next(after time.Time) (time.Time, bool) {
	if after.Year() < firstYear {
		after = time.Date(firstYear, 1, 1, 0, 0, 0, -1, time.UTC)
	}
	from := after.Truncate(time.Minute).Add(time.Minute)
	for y, m := from.Year(), from.Month(); y <= lastYear; y, m = step(y, m) {
		if !c.inYear(y) || c.months&(1<<m) == 0 {
			continue
		}
		days := c.days.in(y, m)
		for d := 1; d <= 31; d++ {
			if days&(1<<d) == 0 {
				continue
			}
			day := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
			if at, ok := c.within(day, from); ok {
				return at, true
			}
		}
	}
	return time.Time{}, false
}

// step returns the month behind one.
func step(y int, m time.Month) (int, time.Month) {
	if m == time.December {
		return y + 1, time.January
	}
	return y, m + 1
}

func (c *cron) inYear(y int) bool {
	n := y - firstYear
	return c.years[n/64]&(1<<(n%64)) != 0
}

// within returns the first minute of a day, not before from, that the expression names.
func (c *cron) within(day, from time.Time) (time.Time, bool) {
	if !day.Add(24 * time.Hour).After(from) {
		return time.Time{}, false
	}
	for h := range 24 {
		if c.hours&(1<<h) == 0 {
			continue
		}
		for m := range 60 {
			at := day.Add(time.Duration(h)*time.Hour + time.Duration(m)*time.Minute)
			if c.minutes&(1<<m) != 0 && !at.Before(from) {
				return at, true
			}
		}
	}
	return time.Time{}, false
}
