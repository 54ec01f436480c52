// Package schedule reads schedule expressions of EventBridge rules (event-bus.md 9),
// rate(5 minutes) and cron(0 12 * * ? *), and says when they are due. It is pure: who
// fires, and that it happens once, is the business of package tick. rate.go and cron.go
// read the two forms; day.go says which days of a month a cron expression means.
package schedule

import (
	"errors"
	"strings"
	"time"
)

// longest bounds an expression, in bytes.
const longest = 256

// ErrInvalid says that a text is no schedule expression.
var ErrInvalid = errors.New("not a schedule expression")

// An Expression says when something is due. It never changes, and may be shared.
type Expression struct {
	every time.Duration // of rate; 0: cron
	cron  cron
}

// Parse reads an expression. The error wraps ErrInvalid and says what is wrong with it.
// That an expression is never due any more is no error.
func Parse(text string) (*Expression, error) {
	if len(text) > longest {
		return nil, invalid("longer than 256 characters")
	}
	inner, ok := strings.CutSuffix(text, ")")
	if !ok {
		return nil, invalid("it has the form rate(...) or cron(...)")
	}
	if inner, ok := strings.CutPrefix(inner, "rate("); ok {
		every, err := parseRate(inner)
		if err != nil {
			return nil, err
		}
		return &Expression{every: every}, nil
	}
	if inner, ok := strings.CutPrefix(inner, "cron("); ok {
		c, err := parseCron(inner)
		if err != nil {
			return nil, err
		}
		return &Expression{cron: c}, nil
	}
	return nil, invalid("it has the form rate(...) or cron(...)")
}

// Next returns the first time behind after at which something is due that has been
// scheduled since created; the time is in UTC. A rate is due one period after created
// and then every period, a cron expression at the beginning of each minute that it
// names, behind created as well. False: never.
func (e *Expression) Next(created, after time.Time) (time.Time, bool) {
	if after.Before(created) {
		after = created
	}
	if e.every == 0 {
		return e.cron.next(after.UTC())
	}
	created = created.UTC()
	periods := after.Sub(created)/e.every + 1
	if periods > latest/e.every {
		return time.Time{}, false
	}
	return created.Add(periods * e.every), true
}

// Every returns the period of a rate; 0: it is a cron expression.
func (e *Expression) Every() time.Duration { return e.every }

func invalid(why string) error { return &invalidError{why} }

type invalidError struct{ why string }

func (e *invalidError) Error() string { return "not a schedule expression: " + e.why }
func (e *invalidError) Unwrap() error { return ErrInvalid }

// fields returns the parts of a text between blanks.
func fields(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\t' })
}

// digits reads a number of at most most digits and nothing else.
func digits(text string, most int) (int, bool) {
	if text == "" || len(text) > most {
		return 0, false
	}
	n := 0
	for i := range len(text) {
		c := text[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}
