package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"sync"
	"unicode/utf8"
)

// tapes are those that nobody uses at the moment.
var tapes = sync.Pool{New: func() any { return new(tape) }}

// mostTokens is how large a tape may be to be used again.
const mostTokens = 10_000

// decode reads a JSON value as encoding/json does, with numbers as json.Number, and
// bounds what would be costly to look at.
func decode(text []byte) (any, error) {
	t := tapes.Get().(*tape)
	defer t.free()
	return t.decode(text, t.parse(text))
}

// decode is decode of a text that the tape has parsed, or has not been able to.
func (t *tape) decode(text []byte, parsed bool) (any, error) {
	if !parsed {
		return decodeSlowly(text) // which says what is wrong
	}
	v, _, err := t.value(0, 0)
	return v, err
}

// free lets others use a tape.
func (t *tape) free() {
	if t.text = nil; cap(t.tokens) <= mostTokens && cap(t.open) <= mostTokens {
		tapes.Put(t)
	}
}

// value returns what begins with a token, and the token behind it.
func (t *tape) value(i, depth int) (any, int, error) {
	switch k := t.tokens[i]; k.kind {
	case '{', '[':
		if depth++; depth > maxDepth {
			return nil, 0, errTooDeep
		}
		if k.kind == '{' {
			return t.object(i, depth)
		}
		return t.array(i, depth)
	case '"':
		return t.unquoted(i), k.next, nil
	case 't', 'f':
		return k.kind == 't', k.next, nil
	case 'n':
		return nil, k.next, nil
	default:
		n := t.raw(i)
		return json.Number(n), k.next, boundedNumber(bytes.TrimPrefix(n, minus))
	}
}

var minus = []byte{'-'}

func (t *tape) object(i, depth int) (any, int, error) {
	end := t.tokens[i].next
	members := make(map[string]any, t.size(i))
	for at := i + 1; at < end; {
		name := t.unquoted(at)
		v, next, err := t.value(at+1, depth)
		if err != nil {
			return nil, 0, err
		}
		members[name], at = v, next
	}
	return members, end, nil
}

func (t *tape) array(i, depth int) (any, int, error) {
	end := t.tokens[i].next
	items := make([]any, 0, t.size(i))
	for at := i + 1; at < end; {
		v, next, err := t.value(at, depth)
		if err != nil {
			return nil, 0, err
		}
		items, at = append(items, v), next
	}
	return items, end, nil
}

// unquoted returns what a string token stands for, with U+FFFD for bytes that are not UTF-8.
func (t *tape) unquoted(i int) string {
	k := t.tokens[i]
	if raw := t.text[k.start:k.end]; !k.escaped && utf8.Valid(raw) {
		return string(raw)
	}
	var s string
	if json.Unmarshal(t.text[k.start-1:k.end+1], &s) != nil {
		return "" // it cannot be: the text is JSON
	}
	return s
}

// decodeSlowly is decode by encoding/json.
func decodeSlowly(text []byte) (any, error) {
	if err := bounded(text); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, notJSON(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the value is not JSON: something follows it")
	}
	return v, nil
}

// notJSON says where a text stops being JSON, without repeating it.
func notJSON(err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("the value is not JSON: error at byte %d", syntax.Offset)
	case errors.Is(err, io.EOF):
		return errors.New("the value is empty, which is not JSON")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the value is not JSON: it ends too early")
	}
	return errors.New("the value is not JSON")
}

// number finds the numbers of a JSON text, and what merely looks like one.
var number = regexp.MustCompile(`[0-9][0-9.]*(?:[eE][+-]?[0-9]+)?`)

// bounded refuses what is nested too deep, and numbers that would take a
// machine's memory to write out: 1e999999999.
func bounded(text []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return errTooDeep
			}
		case c == '}' || c == ']':
			depth--
		case c >= '0' && c <= '9':
			n := number.Find(text[i:])
			if err := boundedNumber(n); err != nil {
				return err
			}
			i += len(n) - 1
		}
	}
	return nil
}

var (
	errTooDeep = fmt.Errorf("the value is nested deeper than %d levels", maxDepth)
	errTooLong = errors.New("a number in the value has too many digits")
)

// boundedNumber is bounded for one number without a sign.
func boundedNumber(n []byte) error {
	mantissa, exponent := n, []byte(nil)
	if at := bytes.IndexAny(n, "eE"); at >= 0 {
		mantissa, exponent = n[:at], n[at+1:]
	}
	if len(mantissa) > maxDigits {
		return errTooLong
	}
	if len(exponent) > 0 {
		if e, err := strconv.Atoi(string(exponent)); err != nil || e > maxExponent || e < -maxExponent {
			return errTooLong
		}
	}
	return nil
}
