package schedule

import (
	"errors"
	"testing"
	"time"
)

// valid and wrong are expressions that EventBridge takes and refuses, as recorded, and
// what follows from the tables of event-bus.md 9.
var (
	valid = []string{
		"rate(1 minute)", "rate(5 minutes)", "rate(1 hour)", "rate(12 hours)", "rate(1 day)", "rate(30 days)",
		"cron(0/5 8-17 ? * MON-FRI *)", "cron(5,35 14 * * ? *)", "cron(15 10 ? * 6L 2002-2005)",
		"cron(0 2 ? * SAT#3 *)", "cron(* * ? * SAT#3 *)",
		"cron(0 10 * * ? *)", "cron(0 18 ? * MON-FRI *)", "cron(0 8 1 * ? *)", "cron(0/15 * * * ? *)", "cron(0/30 20-2 ? * MON-FRI *)",
		"cron(0 9 L * ? *)", "cron(30 7 1W * ? 2030)", "cron(0 4 ? JAN,JUL TUE#2 2025-2035)", "cron(0-30/10 22-2 * * ? *)",
		"cron(1,2,3 0 LW * ? *)", "cron(*/7 0 * 1/3 ? *)", "cron(0 0 ? NOV-FEB L *)", "cron(0 0 15W,L 2 ? 1970)", "cron(59 23 31 12 ? 2199)",
		"cron(0 0 30 2 ? *)",
	}
	wrong = []string{
		"", "rate", "rate()", "rate(", "rate(5 minutes) ", "rate(2 minute)", "rate(1 minutes)", "rate(1 hours)", "rate(0 days)", "rate(-1 days)",
		"rate(5 weeks)", "rate(five minutes)", "rate(1.5 hours)", "rate(5minutes)", "rate(5 minutes minutes)", "Rate(5 minutes)", "RATE(5 minutes)",
		"rate(9999999999 minutes)", "rate(999999 days)", "rate(5 Minutes)", "rate(0 minute)", "rate(+5 minutes)",
		"cron(INVALID)", "cron(0 dummy ? * MON-FRI *)", "cron(7 20 * * NOT *)", "cron(71 8 1 * ? *)", "cron(0 1 * * * *)",
		"cron(0 12 * * *)", "cron(0 12 * * ? * *)", "cron(0 12 ? * ? *)", "cron(60 12 * * ? *)", "cron(0 24 * * ? *)", "cron(0 12 32 * ? *)",
		"cron(0 12 0 * ? *)", "cron(0 12 ? * 8 *)", "cron(0 12 ? * 0 *)", "cron(0 12 * 13 ? *)", "cron(0 12 * 0 ? *)", "cron(0 12 * * ? 1969)",
		"cron(0 12 * * ? 2200)", "cron(0 12 ? * mon *)", "cron(0 12 * jan ? *)", "Cron(0 12 * * ? *)", "cron(0, 12 * * ? *)", "cron(0/0 12 * * ? *)",
		"cron(0/61 12 * * ? *)", "cron(/5 12 * * ? *)", "cron(0 ? * * ? *)", "cron(0 12 ? * 3#1,6#3 *)", "cron(0 12 ? * 3#6 *)", "cron(0 12 ? * 3#0 *)",
		"cron(0 12 W * ? *)", "cron(0 12 32W * ? *)", "cron(0 12 L-3 * ? *)", "cron(0 12 ? * 15W *)", "cron(L 12 * * ? *)", "cron(0 12 20-10 * ? *)",
		"cron(0 12 * * ? 2030-2020)", "cron(1-2-3 12 * * ? *)", "cron(1/2/3 12 * * ? *)", "every day", "at(2024-01-01T00:00:00)",
	}
)

func TestWhatIsAnExpression(t *testing.T) {
	for _, text := range valid {
		if _, err := Parse(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range wrong {
		if e, err := Parse(text); !errors.Is(err, ErrInvalid) || e != nil {
			t.Errorf("%s: got %v, want ErrInvalid", text, err)
		}
	}
}

func TestWhenIsTheNext(t *testing.T) {
	const created = "2024-02-28T10:17:30Z"
	tests := []struct {
		text, after string
		want        []string
	}{
		{"rate(1 minute)", "2024-01-01T00:00:00Z", []string{"2024-02-28T10:18:30Z", "2024-02-28T10:19:30Z"}},
		{"rate(5 minutes)", "2024-02-28T10:22:30Z", []string{"2024-02-28T10:27:30Z"}},
		{"rate(5 minutes)", "2024-02-28T10:22:29Z", []string{"2024-02-28T10:22:30Z"}},
		{"rate(2 days)", created, []string{"2024-03-01T10:17:30Z", "2024-03-03T10:17:30Z"}},
		{"rate(106751 days)", created, []string{"2316-06-08T10:17:30Z", ""}},
		{"cron(0/5 8-17 ? * MON-FRI *)", "2024-03-01T17:54:00Z", []string{"2024-03-01T17:55:00Z", "2024-03-04T08:00:00Z", "2024-03-04T08:05:00Z"}},
		{"cron(5,35 14 * * ? *)", "2024-02-29T14:05:00Z", []string{"2024-02-29T14:35:00Z", "2024-03-01T14:05:00Z"}},
		{"cron(15 10 ? * 6L 2002-2005)", created, []string{""}},
		{"cron(15 10 ? * 6L *)", created, []string{"2024-03-29T10:15:00Z", "2024-04-26T10:15:00Z"}},
		{"cron(0 2 ? * SAT#3 *)", created, []string{"2024-03-16T02:00:00Z", "2024-04-20T02:00:00Z"}},
		{"cron(0 0 ? * 5#5 *)", created, []string{"2024-02-29T00:00:00Z", "2024-05-30T00:00:00Z"}},
		{"cron(0 0 L * ? *)", created, []string{"2024-02-29T00:00:00Z", "2024-03-31T00:00:00Z", "2024-04-30T00:00:00Z"}},
		{"cron(0 0 3W * ? *)", created, []string{"2024-03-04T00:00:00Z", "2024-04-03T00:00:00Z", "2024-05-03T00:00:00Z", "2024-06-03T00:00:00Z", "2024-07-03T00:00:00Z", "2024-08-02T00:00:00Z"}},
		{"cron(0 0 1W 6 ? *)", created, []string{"2024-06-03T00:00:00Z", "2025-06-02T00:00:00Z"}},
		{"cron(0 0 31W * ? *)", created, []string{"2024-03-29T00:00:00Z", "2024-05-31T00:00:00Z"}},
		{"cron(0 0 LW * ? *)", created, []string{"2024-02-29T00:00:00Z", "2024-03-29T00:00:00Z", "2024-04-30T00:00:00Z"}},
		{"cron(0 0 29 2 ? *)", created, []string{"2024-02-29T00:00:00Z", "2028-02-29T00:00:00Z"}},
		{"cron(0 0 30 2 ? *)", created, []string{""}},
		{"cron(30 22-1/2 ? * L *)", created, []string{"2024-03-02T00:30:00Z", "2024-03-02T22:30:00Z", "2024-03-09T00:30:00Z"}},
		{"cron(0 0 1 NOV-FEB ? *)", created, []string{"2024-11-01T00:00:00Z", "2024-12-01T00:00:00Z", "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z", "2025-11-01T00:00:00Z"}},
		{"cron(58/1 * * * ? *)", "2024-12-31T23:58:59.5Z", []string{"2024-12-31T23:59:00Z", "2025-01-01T00:58:00Z"}},
		{"cron(59 23 31 12 ? 2199)", created, []string{"2199-12-31T23:59:00Z", ""}},
	}
	for _, tt := range tests {
		e, err := Parse(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		after := moment(tt.after)
		for i, want := range tt.want {
			got, ok := e.Next(moment(created), after)
			if !ok && want == "" {
				break
			}
			if !ok || got.Format(time.RFC3339) != want {
				t.Errorf("%s behind %s, number %d: got %s %v, want %s", tt.text, tt.after, i+1, got, ok, want)
				break
			}
			after = got
		}
	}
}

func moment(text string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return at
}
