package iam

import (
	"math/big"
	"strconv"
	"strings"
	"time"
)

// longestNumber bounds the characters of a number, and longestExponent the digits of its
// exponent: who computes exactly needs memory for all of them.
const longestNumber, longestExponent = 64, 3

// A number is a decimal number, exact.
type number struct {
	whole int64
	rat   *big.Rat // where it is not whole, or too large
}

// parseNumber reads a decimal number: digits with, all optional, a sign, a fraction and an
// exponent, as JSON has it. Claims of tokens come so.
func parseNumber(s string) (number, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return number{whole: n}, true
	}
	unsigned := strings.TrimLeft(s, "+-")
	if len(s)-len(unsigned) > 1 || len(s) > longestNumber {
		return number{}, false
	}
	mantissa, exponent, scaled := strings.Cut(strings.ToLower(unsigned), "e")
	before, after, point := strings.Cut(mantissa, ".")
	if !digits(before+after) || point && after == "" || scaled && !isExponent(exponent) {
		return number{}, false
	}
	r, ok := new(big.Rat).SetString(s)
	return number{rat: r}, ok
}

// digits says whether a text is digits and nothing else, at least one.
func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func isExponent(s string) bool {
	if s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	return digits(s) && len(s) <= longestExponent
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
