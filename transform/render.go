package transform

import (
	"bytes"
	"time"

	"github.com/klamm-gateway/klamm/scan"
)

// isoTime is how the variables tell a time.
const isoTime = "2006-01-02T15:04:05.000Z"

// A result is being written: a template's parts, one after the other.
type result struct {
	out  []byte
	base int // where it begins in out
	// doubtful names the first placeholder that brought characters into a quoted
	// string which may end it or be an escape there.
	doubtful string
}

func (t *Transform) render(w *walk, dst, document []byte, now time.Time) ([]byte, error) {
	isJSON := true
	if t.slots > 1 || t.root.wanted {
		isJSON = w.document(document, t.root)
		switch {
		case w.size > MaxResult:
			return dst, ErrTooLarge
		case !isJSON && !t.text:
			return dst, ErrDocument
		case !isJSON:
			clear(w.spans)
			w.spans[t.root.slot] = span{scan.AppendString(nil, string(document)), true}
		}
	}
	r := result{out: dst, base: len(dst)}
	for i := range t.parts {
		p := &t.parts[i]
		var err error
		switch p.act {
		case putLiteral:
			r.out = append(r.out, p.text...)
		case putPath, putEvent:
			err = r.value(t, p, t.lookup(w, p), `""`)
		case putInput:
			err = r.value(t, p, t.lookup(w, p), `null`)
		case putEventJSON:
			var v span
			if isJSON && !p.quoted {
				v = t.lookup(w, p)
			}
			err = r.value(t, p, v, `""`)
		case putTime:
			r.time(now, p.quoted)
		case putBusEvent:
			err = r.busEvent(w, p)
		}
		if err != nil {
			return dst, err
		}
		if len(r.out)-r.base > MaxResult {
			return dst, ErrTooLarge
		}
	}
	if t.json && r.doubtful != "" && !scan.Valid(r.out[r.base:]) {
		return dst, &InvalidJSONError{"the value of " + r.doubtful + " has quotes, backslashes or control characters that break the string around it; put the placeholder outside quotes"}
	}
	return r.out, nil
}

// lookup returns the value that a part puts.
func (t *Transform) lookup(w *walk, p *part) span {
	if p.spread > 0 {
		return w.spans[p.at.spread[p.spread-1].slot]
	}
	v := w.spans[p.at.slot]
	if v.text != nil && t.encoded && p.at == t.root && p.act != putEvent {
		w.made = w.appendDecoded(w.made[:0], v.text)
		return span{text: w.made}
	}
	return v
}

// value writes a JSON value where a placeholder stands, or what stands for a
// missing one (event-bus.md 5.1).
func (r *result) value(t *Transform, p *part, found span, missing string) error {
	v := found.text
	if len(r.out)-r.base+len(v) > MaxResult {
		return ErrTooLarge
	}
	composite := len(v) > 0 && (v[0] == '{' || v[0] == '[')
	switch {
	case p.quoted && v == nil:
	case p.quoted && composite:
		if t.json && t.strict {
			return &InvalidJSONError{"the value of " + p.name + " is an object or array and stands inside quotes; put the placeholder outside"}
		}
		if r.doubtful == "" && bytes.IndexByte(v, '\\') >= 0 {
			r.doubtful = p.name
		}
		r.out = appendBare(r.out, v)
	case p.quoted && v[0] == '"':
		v = v[1 : len(v)-1]
		if bytes.IndexByte(v, '\\') < 0 {
			r.out = append(r.out, v...)
			break
		}
		if r.doubtful == "" {
			r.doubtful = p.name
		}
		r.out = scan.AppendUnescaped(r.out, v)
	case v == nil:
		r.out = append(r.out, missing...)
	case p.alone == asText && composite:
		r.out = append(appendBare(append(r.out, '"'), v), '"')
	case composite && !found.compact && p.alone != verbatim:
		r.out = appendCompact(r.out, v)
	default:
		r.out = append(r.out, v...)
	}
	return nil
}

func (r *result) time(now time.Time, quoted bool) {
	if quoted {
		r.out = now.UTC().AppendFormat(r.out, isoTime)
		return
	}
	r.out = append(now.UTC().AppendFormat(append(r.out, '"'), isoTime), '"')
}

// busEvent writes an event without its detail.
func (r *result) busEvent(w *walk, p *part) error {
	r.out = append(r.out, '{')
	for i, f := range busEvent {
		v := w.spans[p.fields[i].slot]
		if v.text == nil {
			continue
		}
		if len(r.out)-r.base+len(v.text) > MaxResult {
			return ErrTooLarge
		}
		if r.out[len(r.out)-1] != '{' {
			r.out = append(r.out, ',')
		}
		r.out = appendCompact(append(append(append(r.out, '"'), f.name...), '"', ':'), v.text)
	}
	r.out = append(r.out, '}')
	return nil
}
