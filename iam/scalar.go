package iam

import (
	"math/big"
	"strconv"
	"strings"
	"time"
)

// longestNumber bounds the digits of a number.
const longestNumber = 64

// A number is a decimal number, exact.
type number struct {
	whole int64
	rat   *big.Rat // where it is not whole, or too large
}

// parseNumber reads digits with a sign and a fraction, both optional.
func parseNumber(s string) (number, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return number{whole: n}, true
	}
	digits := strings.TrimLeft(s, "+-")
	if len(s)-len(digits) > 1 || len(s) > longestNumber {
		return number{}, false
	}
	before, after, point := strings.Cut(digits, ".")
	if strings.Trim(before+after, "0123456789") != "" || before == "" || point && after == "" {
		return number{}, false
	}
	r, ok := new(big.Rat).SetString(s)
	return number{rat: r}, ok
}

func (n number) compare(m number) int {
	if n.rat == nil && m.rat == nil {
		switch {
		case n.whole < m.whole:
			return -1
		case n.whole > m.whole:
			return 1
		}
		return 0
	}
	return n.exact().Cmp(m.exact())
}

func (n number) exact() *big.Rat {
	if n.rat != nil {
		return n.rat
	}
	return new(big.Rat).SetInt64(n.whole)
}

func compareNumbers(is relation) func(string) (test, string) {
	return func(value string) (test, string) {
		want, ok := parseNumber(value)
		if !ok {
			return nil, "want a decimal number"
		}
		return func(v string, _ *query) bool {
			got, ok := parseNumber(v)
			return ok && is(got.compare(want))
		}, ""
	}
}

// dateForms are the forms of W3C's dates and times. Those without a zone are UTC.
var dateForms = []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02", "2006-01", "2006-01-02T15:04:05"}

// parseDate reads one of these forms, or the seconds since 1970.
func parseDate(s string) (time.Time, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		// Beyond that, time.Time's own seconds overflow.
		return time.Unix(n, 0), n > -1<<55 && n < 1<<55
	}
	for _, form := range dateForms {
		if t, err := time.Parse(form, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func compareDates(is relation) func(string) (test, string) {
	return func(value string) (test, string) {
		want, ok := parseDate(value)
		if !ok {
			return nil, "want a time such as 2026-01-31T12:00:00Z, or seconds since 1970"
		}
		return func(v string, _ *query) bool {
			got, ok := parseDate(v)
			return ok && is(got.Compare(want))
		}, ""
	}
}
