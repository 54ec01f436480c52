package rule

import (
	"encoding/binary"
	"math"
	"math/bits"
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

// appendKey appends the name of an exact number in an index.
func appendKey(dst []byte, key uint64) []byte { return binary.BigEndian.AppendUint64(dst, key) }

// doubleOf is the double of a key.
func doubleOf(key uint64) float64 {
	if key>>63 != 0 {
		return math.Float64frombits(key &^ (1 << 63))
	}
	return math.Float64frombits(^key)
}

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
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsInf(f, 0) {
		return number{}
	}
	if (d.digits > 15 || math.Abs(f) < smallestNormal) && shortest(f) != d.mantissa {
		return number{}
	}
	return number{keyOf(f), true}
}

// shortest is the mantissa of the shortest decimal that is read as f. No other
// decimal of so few digits, near f, has the same mantissa.
func shortest(f float64) (mantissa uint64) {
	var b [32]byte
	for _, c := range strconv.AppendFloat(b[:0], math.Abs(f), 'e', -1, 64) {
		if c == 'e' {
			break
		}
		if c != '.' {
			mantissa = mantissa*10 + uint64(c-'0')
		}
	}
	return mantissa
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

// A figure is a number of an event. Most are found to be outside of what a
// pattern asks for before it matters whether they are exact. It is small because
// an event may have millions.
type figure struct {
	word     uint64 // the mantissa, trailing zeros and all; the key, once known
	exponent int8   // of ten
	negative bool
	known    known
}

// known is how much is known of a figure.
type known byte

const (
	digitsOnly known = iota
	keyOnly
	isExact
	isInexact
)

func figureOf(n number) figure {
	if n.exact {
		return figure{word: n.key, known: isExact}
	}
	return figure{known: isInexact}
}

// settle finds the key of a number, whose text is given.
func (f *figure) settle(text []byte) {
	d := decimal{negative: f.negative, mantissa: f.word, exponent: int(f.exponent)}
	d.strip()
	v, ok := d.double()
	switch {
	case d.mantissa >= 1e17:
		*f = figure{known: isInexact}
	case !ok:
		*f = figureOf(parseNumber(text))
	case d.mantissa < 1e15:
		f.word, f.known = keyOf(v), isExact
	default:
		f.word, f.known = keyOf(v), keyOnly
	}
}

// prove finds out whether a figure is exact.
func (f *figure) prove(text []byte) {
	d, _, _ := readDecimal(text, 0)
	d.strip()
	if f.known = isInexact; shortest(doubleOf(f.word)) == d.mantissa {
		f.known = isExact
	}
}

// strip takes zeros off the end of the mantissa.
func (d *decimal) strip() {
	for d.mantissa != 0 && d.mantissa%10 == 0 {
		d.mantissa /= 10
		d.exponent++
	}
}

// readDecimal reads the number that begins at b[i] if it is of the usual kind, at
// most 19 digits and no exponent. It does not count the digits, and leaves zeros at
// the end of the mantissa.
func readDecimal(b []byte, i int) (d decimal, end int, ok bool) {
	if b[i] == '-' {
		d.negative = true
		i++
	}
	start := i
	for ; i < len(b) && b[i]-'0' <= 9; i++ {
		d.mantissa = d.mantissa*10 + uint64(b[i]-'0')
	}
	count := i - start
	if count == 0 || count > 1 && b[start] == '0' {
		return d, i, false
	}
	if i < len(b) && b[i] == '.' {
		i++
		start = i
		for ; i+8 <= len(b); i += 8 {
			n, ok := eightDigits(binary.LittleEndian.Uint64(b[i:]))
			if !ok {
				break
			}
			d.mantissa = d.mantissa*1e8 + n
		}
		for ; i < len(b) && b[i]-'0' <= 9; i++ {
			d.mantissa = d.mantissa*10 + uint64(b[i]-'0')
		}
		if d.exponent = start - i; d.exponent == 0 {
			return d, i, false
		}
		count -= d.exponent
	}
	return d, i, count <= 19 && (i == len(b) || b[i] != 'e' && b[i] != 'E')
}

// eightDigits is the number that eight bytes of text are, if all are digits.
func eightDigits(w uint64) (n uint64, ok bool) {
	if (w+ones*(0x7f-'9')|(w-ones*'0'))&highs != 0 {
		return 0, false
	}
	w -= ones * '0'
	w = w*10 + w>>8 // each second byte: two digits
	return (w&0xff_000000ff*(100+1_000_000<<32) + w>>16&0xff_000000ff*(1+10_000<<32)) >> 32, true
}

var powers = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// double converts a decimal exactly as strconv does, if that takes few sums.
func (d decimal) double() (f float64, ok bool) {
	switch {
	case d.mantissa < 1<<53 && d.exponent >= -22 && d.exponent <= 22:
		// Both are doubles themselves, so that one rounding is enough.
		if f = float64(d.mantissa); d.exponent < 0 {
			f /= powers[-d.exponent]
		} else {
			f *= powers[d.exponent]
		}
	case d.exponent >= -19 && d.exponent < 0:
		f = quotient(d.mantissa, tens[-d.exponent])
	default:
		return 0, false
	}
	if d.negative {
		f = -f
	}
	return f, true
}

// quotient is a/b, rounded to even; neither is 0.
func quotient(a, b uint64) float64 {
	up, down := bits.LeadingZeros64(a), bits.LeadingZeros64(b)
	a, b = a<<up, b<<down
	q, rest := bits.Div64(a>>1, a<<63, b) // at least 1<<62
	over := 11 - bits.LeadingZeros64(q)   // bits too many
	m := q >> over
	lost, half := q&(1<<over-1), uint64(1)<<(over-1)
	if lost > half || lost == half && (rest != 0 || m&1 == 1) {
		m++
	}
	return float64(m) * math.Float64frombits(uint64(1023+over+down-up-63)<<52)
}

// tens are the powers of ten that are words.
var tens = [...]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19}
