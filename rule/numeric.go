package rule

import (
	"encoding/binary"
	"math"
	"strconv"
)

// A number is a JSON number. It is exact if its decimal can be recovered from
// the double; only then is it compared by value, and otherwise by its text.
type number struct {
	key   uint64 // orders exact numbers
	exact bool
}

// keyOf maps doubles to integers of the same order; both zeros are one.
func keyOf(f float64) uint64 {
	if f == 0 {
		f = 0
	}
	b := math.Float64bits(f)
	if b>>63 != 0 {
		return ^b
	}
	return b | 1<<63
}

// appendName appends the name of an exact number in an index.
func (n number) appendName(dst []byte) []byte { return binary.BigEndian.AppendUint64(dst, n.key) }

// smallestNormal is where doubles begin to have fewer digits.
const smallestNormal = 0x1p-1022

// parseNumber reads a JSON number, which must be valid.
func parseNumber[T string | []byte](text T) number {
	d, ok := parseDecimal(text)
	if !ok || d.digits > 17 {
		return number{}
	}
	if d.digits == 0 {
		return number{keyOf(0), true}
	}
	f, fast := d.double()
	if !fast {
		var err error
		if f, err = strconv.ParseFloat(string(text), 64); err != nil || math.IsInf(f, 0) {
			return number{}
		}
	}
	if d.digits > 15 || math.Abs(f) < smallestNormal {
		var b [32]byte
		short, _ := parseDecimal(strconv.AppendFloat(b[:0], f, 'e', -1, 64))
		if short != d {
			return number{}
		}
	}
	return number{keyOf(f), true}
}

// A decimal is a number's one decimal form: mantissa times a power of ten, the
// mantissa without zeros at its end.
type decimal struct {
	negative bool
	mantissa uint64
	digits   int // of the mantissa; beyond 18 the mantissa is cut off
	exponent int
}

// maxExponent is beyond what any double has, and far from overflow.
const maxExponent = 1 << 30

// parseDecimal is false for exponents that are out of all bounds.
func parseDecimal[T string | []byte](text T) (d decimal, ok bool) {
	i, zeros, fraction := 0, 0, false
	if len(text) > 0 && text[0] == '-' {
		d.negative = true
		i++
	}
mantissa:
	for ; i < len(text); i++ {
		switch c := text[i]; {
		case c == '.':
			fraction = true
			continue
		case c == '0':
			if d.digits > 0 {
				zeros++
			}
		case c > '0' && c <= '9':
			for ; zeros > 0; zeros-- {
				d.digit(0)
			}
			d.digit(uint64(c - '0'))
		default:
			break mantissa
		}
		if fraction {
			d.exponent--
		}
	}
	d.exponent += zeros
	if i < len(text) { // e or E
		i++
		negative := false
		if i < len(text) && (text[i] == '+' || text[i] == '-') {
			negative = text[i] == '-'
			i++
		}
		e := 0
		for ; i < len(text); i++ {
			if e = e*10 + int(text[i]-'0'); e > maxExponent {
				return d, d.digits == 0
			}
		}
		if negative {
			e = -e
		}
		d.exponent += e
	}
	return d, true
}

func (d *decimal) digit(n uint64) {
	if d.digits < 18 {
		d.mantissa = d.mantissa*10 + n
	}
	d.digits++
}

var powers = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// double converts the decimals for which one rounding is enough, because both
// mantissa and power are doubles themselves.
func (d decimal) double() (f float64, ok bool) {
	if d.mantissa >= 1<<53 || d.digits > 17 || d.exponent < -22 || d.exponent > 22 {
		return 0, false
	}
	if f = float64(d.mantissa); d.negative {
		f = -f
	}
	if d.exponent < 0 {
		return f / powers[-d.exponent], true
	}
	return f * powers[d.exponent], true
}

// numberMatcher is a plain number of a pattern.
func numberMatcher(n number, text string) matcher {
	if n.exact {
		return matcher{
			hint: hint{kind: someNumber, text: string(n.appendName(nil)), span: span{n.key, n.key}}, sure: true,
			test: func(v *scalar) bool { return v.kind == '0' && v.number() == n },
		}
	}
	return matcher{
		hint: hint{kind: someInexact, text: text}, sure: true,
		test: func(v *scalar) bool { return v.kind == '0' && !v.number().exact && string(v.text) == text },
	}
}

func compileNumeric(n *node) (matcher, error) {
	s, err := parseSpan(n)
	if err != nil {
		return matcher{}, err
	}
	return matcher{
		hint: hint{kind: inRange, span: s}, sure: true,
		test: func(v *scalar) bool { return v.kind == '0' && s.contains(v.number()) },
	}, nil
}

var comparators = map[string]string{"=": "equals", "<": "<", "<=": "<=", ">": ">", ">=": ">="}

func parseSpan(n *node) (span, error) {
	s := span{keyOf(math.Inf(-1)), keyOf(math.Inf(1))}
	if n.kind != '[' {
		return s, invalid("Value of numeric must be an array.")
	}
	if len(n.items) == 0 {
		return s, invalid("Invalid member in numeric match: ]")
	}
	if n.items[0].kind != '"' {
		return s, invalid("Invalid member in numeric match: %s", n.items[0].String())
	}
	first := n.items[0].text
	name, ok := comparators[first]
	if !ok {
		return s, invalid("Unrecognized numeric range operator: %s", first)
	}
	key, err := operand(n.items[1:], name)
	if err != nil {
		return s, err
	}
	rest := n.items[2:]
	if first == "=" {
		s = span{key, key}
	} else {
		s.bound(first, key)
	}
	if (first == ">" || first == ">=") && len(rest) > 0 {
		second := rest[0]
		if second.kind != '"' {
			return s, invalid("Bad value in numeric range: %s", second.String())
		}
		if second.text != "<" && second.text != "<=" {
			return s, invalid("Bad numeric range operator: %s", second.text)
		}
		top, err := operand(rest[1:], second.text)
		if err != nil {
			return s, err
		}
		if key >= top {
			return s, invalid("Bottom must be less than top")
		}
		s.bound(second.text, top)
		rest = rest[2:]
	}
	if len(rest) > 0 {
		return s, invalid("Too many elements in numeric expression")
	}
	return s, nil
}

// bound moves one end of a span.
func (s *span) bound(comparator string, key uint64) {
	switch comparator {
	case "<":
		s.high = key - 1
	case "<=":
		s.high = key
	case ">":
		s.low = key + 1
	case ">=":
		s.low = key
	}
}

// operand reads the number behind a comparator.
func operand(items []*node, comparator string) (uint64, error) {
	if len(items) == 0 || items[0].kind != '0' {
		return 0, invalid("Value of %s must be numeric", comparator)
	}
	n := parseNumber(items[0].text)
	if !n.exact {
		return 0, invalid("Cannot compare number : %s", items[0].text)
	}
	return n.key, nil
}
