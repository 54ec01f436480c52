package schedule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// names reports whether a valid cron expression names a minute: the plain reading of
// the tables of event-bus.md 9, one question at a time, with nothing of the package.
func names(text string, at time.Time) bool {
	f := strings.Fields(strings.TrimSuffix(strings.TrimPrefix(text, "cron("), ")"))
	months := strings.Fields("- JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC")
	week := strings.Fields("- SUN MON TUE WED THU FRI SAT")
	return inList(f[0], at.Minute(), 0, 59, nil) && inList(f[1], at.Hour(), 0, 23, nil) && inList(f[3], int(at.Month()), 1, 12, months) &&
		inList(f[5], at.Year(), 1970, 2199, nil) && (f[2] == "?" || inMonth(f[2], at)) && (f[4] == "?" || inWeek(f[4], week, at))
}

func inMonth(list string, at time.Time) bool {
	for part := range strings.SplitSeq(list, ",") {
		switch {
		case part == "L":
			if at.AddDate(0, 0, 1).Day() == 1 {
				return true
			}
		case strings.HasSuffix(part, "W"):
			// The wanted day is looked for, and then its weekday neighbours in the same month.
			var wanted time.Time
			for d := time.Date(at.Year(), at.Month(), 1, 0, 0, 0, 0, time.UTC); d.Month() == at.Month(); d = d.AddDate(0, 0, 1) {
				if part == "LW" || strconv.Itoa(d.Day())+"W" == part || "0"+strconv.Itoa(d.Day())+"W" == part {
					wanted = d
				}
			}
			if wanted.IsZero() {
				continue
			}
			for _, by := range []int{0, -1, 1, -2, 2} {
				d := wanted.AddDate(0, 0, by)
				if d.Month() == at.Month() && d.Weekday() != time.Saturday && d.Weekday() != time.Sunday {
					if d.Day() == at.Day() {
						return true
					}
					break
				}
			}
		case inList(part, at.Day(), 1, 31, nil):
			return true
		}
	}
	return false
}

func inWeek(list string, week []string, at time.Time) bool {
	today := int(at.Weekday()) + 1
	value := func(s string) int {
		if i := slices.Index(week, s); i > 0 {
			return i
		}
		n, _ := strconv.Atoi(s)
		return n
	}
	for part := range strings.SplitSeq(list, ",") {
		day, nth, isNth := strings.Cut(part, "#")
		switch {
		case part == "L":
			if today == 7 {
				return true
			}
		case isNth:
			n, _ := strconv.Atoi(nth)
			if today == value(day) && at.AddDate(0, 0, -7*(n-1)).Month() == at.Month() && at.AddDate(0, 0, -7*n).Month() != at.Month() {
				return true
			}
		case strings.HasSuffix(part, "L"):
			if today == value(strings.TrimSuffix(part, "L")) && at.AddDate(0, 0, 7).Month() != at.Month() {
				return true
			}
		case inList(part, today, 1, 7, week):
			return true
		}
	}
	return false
}

func inList(list string, n, least, most int, words []string) bool {
	value := func(s string) int {
		if i := slices.Index(words, s); i > 0 {
			return i
		}
		v, err := strconv.Atoi(s)
		if err != nil {
			panic(s)
		}
		return v
	}
	for part := range strings.SplitSeq(list, ",") {
		span, by, stepped := strings.Cut(part, "/")
		from, to, ranged := strings.Cut(span, "-")
		first, last, step := least, most, 1
		if stepped {
			step = value(by)
		}
		if span != "*" {
			first = value(from)
			if ranged {
				last = value(to)
			} else if !stepped {
				last = first
			}
		}
		for v, k := first, 0; ; k++ {
			if v == n && k%step == 0 {
				return true
			}
			if v == last {
				break
			}
			if v++; v > most {
				v = least
			}
		}
	}
	return false
}

// TestNextIsTheMinuteThatASlowReadingFinds goes over ten years day by day, and over every
// fortieth of the days that have any minute by minute.
func TestNextIsTheMinuteThatASlowReadingFinds(t *testing.T) {
	begin, end := time.Date(2019, 11, 20, 0, 0, 0, 0, time.UTC), time.Date(2029, 11, 20, 0, 0, 0, 0, time.UTC)
	for _, text := range append([]string{
		"cron(7 0 1W,15W,L,29 * ? *)", "cron(50-10/7 3 ? * FRI-MON 2024)", "cron(0 0 ? 2/3 2L,4L *)", "cron(13 13 31W,30 * ? 2023-2025/2)", "cron(*/59 */23 ? * 1#5 *)",
	}, valid...) {
		if !strings.HasPrefix(text, "cron") {
			continue
		}
		e, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if problem := compare(e, text, begin, end); problem != "" {
			t.Errorf("%s: %s", text, problem)
		}
	}
}

// compare says where Next does not go from each minute that names finds to the next.
func compare(e *Expression, text string, begin, end time.Time) string {
	next, ok := e.Next(begin, begin)
	for day, some := begin, 0; day.Before(end); day = day.AddDate(0, 0, 1) {
		tomorrow := day.AddDate(0, 0, 1)
		switch {
		case !someMinute(text, day):
			if ok && next.Before(tomorrow) {
				return fmt.Sprintf("got %s, and that day has none", next)
			}
			continue
		case some%40 > 0:
			if !ok || next.Before(day) || !next.Before(tomorrow) || !names(text, next) {
				return fmt.Sprintf("got %s %v, want one on %s", next, ok, day)
			}
			next, ok = e.Next(begin, tomorrow.Add(-time.Minute))
		default:
			for at := day; at.Before(tomorrow); at = at.Add(time.Minute) {
				if at == begin || !names(text, at) {
					continue
				}
				if !ok || next != at {
					return fmt.Sprintf("got %s %v, want %s", next, ok, at)
				}
				next, ok = e.Next(begin, at)
			}
		}
		some++
	}
	if ok && next.Before(end) {
		return fmt.Sprintf("got %s, want none before %s", next, end)
	}
	return ""
}

// someMinute says whether the fields of the day, the month and the year name a day, so
// that the minutes of all others need not be asked.
func someMinute(text string, day time.Time) bool {
	f := strings.Fields(strings.TrimSuffix(strings.TrimPrefix(text, "cron("), ")"))
	f[0], f[1] = "*", "*"
	return names("cron("+strings.Join(f, " ")+")", day)
}

func FuzzParse(f *testing.F) {
	for _, text := range append(append([]string{}, valid...), wrong...) {
		f.Add(text, int64(1_700_000_000))
	}
	f.Fuzz(func(t *testing.T, text string, seconds int64) {
		e, err := Parse(text)
		if err != nil {
			return
		}
		after := time.Unix(seconds%(1<<34), 0).UTC()
		if e.Every() > 0 {
			if next, ok := e.Next(after, after.Add(e.Every())); ok && next != after.Add(2*e.Every()) {
				t.Fatalf("%q behind %s: got %s", text, after.Add(e.Every()), next)
			}
			return
		}
		next, ok := e.Next(after, after)
		if ok && (!names(text, next) || !next.After(after) || next.Second() != 0) {
			t.Fatalf("%q behind %s: got %s, which it does not name", text, after, next)
		}
		for at, n := after.Truncate(time.Minute).Add(time.Minute), 0; n < 3000 && at.Year() >= firstYear && at.Year() <= lastYear; n++ {
			if ok && !at.Before(next) {
				break
			}
			if names(text, at) {
				t.Fatalf("%q behind %s: got %s %v, want %s", text, after, next, ok, at)
			}
			at = at.Add(time.Minute)
		}
	})
}
