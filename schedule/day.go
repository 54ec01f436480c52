package schedule

import (
	"strings"
	"time"
)

// days are those of a month that a cron expression names, by their numbers or by the
// days of the week, never both.
type days struct {
	byWeek bool

	numbers     uint64 // 1-31
	nearest     uint64 // 15W: the weekday that is nearest to the 15th
	last        bool   // L
	lastWeekday bool   // LW

	week      uint64 // 1-7, Sunday is 1
	lastOf    uint64 // 6L: the last Friday
	nth, nthN int    // 6#3: the third Friday; 0: none
}

// parseDays reads the fields day of month and day of week. Exactly one of them is ?.
func parseDays(ofMonth, ofWeek string) (d days, err error) {
	if (ofMonth == "?") == (ofWeek == "?") {
		return d, invalid("either the day of month or the day of week is ?, and not both")
	}
	d.byWeek = ofMonth == "?"
	if d.byWeek {
		return d, dayOfWeek.list(ofWeek, func(part string) (bool, error) { return d.specialOfWeek(part, part == ofWeek) }, func(n int) { d.week |= 1 << n })
	}
	return d, dayOfMonth.list(ofMonth, d.specialOfMonth, func(n int) { d.numbers |= 1 << n })
}

// specialOfMonth takes L, LW and 15W.
func (d *days) specialOfMonth(part string) (bool, error) {
	switch part {
	case "L":
		d.last = true
		return true, nil
	case "LW":
		d.lastWeekday = true
		return true, nil
	}
	text, ok := strings.CutSuffix(part, "W")
	if !ok {
		return false, nil
	}
	n, ok := dayOfMonth.number(text)
	if !ok {
		return true, dayOfMonth.wrong(part)
	}
	d.nearest |= 1 << n
	return true, nil
}

// specialOfWeek takes L, 6L and 6#3; the last stands alone.
func (d *days) specialOfWeek(part string, alone bool) (bool, error) {
	if part == "L" {
		d.week |= 1 << 7
		return true, nil
	}
	if text, ok := strings.CutSuffix(part, "L"); ok {
		n, ok := dayOfWeek.number(text)
		if !ok {
			return true, dayOfWeek.wrong(part)
		}
		d.lastOf |= 1 << n
		return true, nil
	}
	day, nth, ok := strings.Cut(part, "#")
	if !ok {
		return false, nil
	}
	n, isDay := dayOfWeek.number(day)
	k, isNth := digits(nth, 1)
	if !isDay || !isNth || k < 1 || k > 5 || !alone {
		return true, dayOfWeek.wrong(part)
	}
	d.nth, d.nthN = n, k
	return true, nil
}

// in returns the days of a month, a bit for each of 1-31.
func (d *days) in(y int, m time.Month) uint64 {
	length := time.Date(y, m+1, 0, 0, 0, 0, 0, time.UTC).Day()
	first := int(time.Date(y, m, 1, 0, 0, 0, 0, time.UTC).Weekday()) // Sunday is 0
	var out uint64
	for n := 1; n <= length; n++ {
		weekday := (first+n-1)%7 + 1
		switch {
		case !d.byWeek:
			if d.numbers&(1<<n) != 0 || d.last && n == length {
				out |= 1 << n
			}
			if d.nearest&(1<<n) != 0 {
				out |= 1 << nearest(n, weekday, length)
			}
			if d.lastWeekday && n == length {
				out |= 1 << nearest(n, weekday, length)
			}
		case d.week&(1<<weekday) != 0,
			d.lastOf&(1<<weekday) != 0 && n+7 > length,
			d.nth == weekday && (n-1)/7+1 == d.nthN:
			out |= 1 << n
		}
	}
	return out
}

// nearest returns the weekday, Monday to Friday, that is nearest to the nth of a month
// of so many days, and in the same month.
func nearest(n, weekday, length int) int {
	switch {
	case weekday == 7 && n == 1:
		return n + 2
	case weekday == 7:
		return n - 1
	case weekday == 1 && n == length:
		return n - 2
	case weekday == 1:
		return n + 1
	}
	return n
}
