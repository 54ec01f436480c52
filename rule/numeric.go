package rule

import (
	"math"
	"strconv"
	"strings"
)

// A number is a JSON number. It is exact if the decimal can be recovered from
// the double; only then is it compared by value, and otherwise by its text.
type number struct {
	text  string
	value float64
	exact bool
}

func parseNumber(text string) number {
	n := number{text: text}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) {
		return n
	}
	if f == 0 {
		f = 0 // no negative zero
	}
	n.value = f
	n.exact = digits(text) <= 15 && f != 0 && math.Abs(f) > 1e-300 || decimal(text) == decimal(strconv.FormatFloat(f, 'e', -1, 64))
	return n
}

// digits counts the digits of a number's mantissa.
func digits(text string) (n int) {
	for _, c := range text {
		switch {
		case c >= '0' && c <= '9':
			n++
		case c == 'e' || c == 'E':
			return n
		}
	}
	return n
}

// decimal is the one spelling of a decimal number: its significant digits and
// the power of ten of the last one.
func decimal(text string) string {
	negative := strings.HasPrefix(text, "-")
	mantissa, exponent := strings.TrimPrefix(text, "-"), 0
	if i := strings.IndexAny(mantissa, "eE"); i >= 0 {
		e, err := strconv.Atoi(mantissa[i+1:])
		if err != nil {
			return "?" + text
		}
		mantissa, exponent = mantissa[:i], e
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	all := strings.TrimLeft(whole+fraction, "0")
	exponent -= len(fraction)
	short := strings.TrimRight(all, "0")
	if short == "" {
		return "0"
	}
	exponent += len(all) - len(short)
	if negative {
		short = "-" + short
	}
	return short + "e" + strconv.Itoa(exponent)
}

func (n number) equal(o number) bool {
	if n.exact && o.exact {
		return n.value == o.value
	}
	return n.text == o.text
}

// A span is a range of numbers.
type span struct {
	low, high     float64
	lowIn, highIn bool // the bound belongs to the range
}

func (s span) contains(n number) bool {
	if !n.exact {
		return false
	}
	return (n.value > s.low || s.lowIn && n.value == s.low) && (n.value < s.high || s.highIn && n.value == s.high)
}

func compileNumeric(n *node) (matcher, error) {
	if n.kind != '[' {
		return matcher{}, invalid("Value of numeric must be an array.")
	}
	m := matcher{kind: isNumeric, span: span{low: math.Inf(-1), high: math.Inf(1), lowIn: true, highIn: true}}
	if len(n.items) == 0 {
		return m, invalid("Invalid member in numeric match: ]")
	}
	if n.items[0].kind != '"' {
		return m, invalid("Invalid member in numeric match: %s", n.items[0].String())
	}
	first := n.items[0].text
	name, ok := map[string]string{"=": "equals", "<": "<", "<=": "<=", ">": ">", ">=": ">="}[first]
	if !ok {
		return m, invalid("Unrecognized numeric range operator: %s", first)
	}
	f, err := operand(n.items[1:], name)
	if err != nil {
		return m, err
	}
	rest := n.items[2:]
	switch first {
	case "=":
		m.span = span{f, f, true, true}
	case "<", "<=":
		m.span.high, m.span.highIn = f, first == "<="
	default:
		m.span.low, m.span.lowIn = f, first == ">="
		if len(rest) == 0 {
			return m, nil
		}
		second := rest[0]
		if second.kind != '"' {
			return m, invalid("Bad value in numeric range: %s", second.String())
		}
		if second.text != "<" && second.text != "<=" {
			return m, invalid("Bad numeric range operator: %s", second.text)
		}
		if m.span.high, err = operand(rest[1:], second.text); err != nil {
			return m, err
		}
		m.span.highIn = second.text == "<="
		if m.span.low >= m.span.high {
			return m, invalid("Bottom must be less than top")
		}
		rest = rest[2:]
	}
	if len(rest) > 0 {
		return m, invalid("Too many elements in numeric expression")
	}
	return m, nil
}

// operand reads the number behind a comparator.
func operand(items []*node, comparator string) (float64, error) {
	if len(items) == 0 || items[0].kind != '0' {
		return 0, invalid("Value of %s must be numeric", comparator)
	}
	n := parseNumber(items[0].text)
	if !n.exact {
		return 0, invalid("Cannot compare number : %s", n.text)
	}
	return n.value, nil
}
