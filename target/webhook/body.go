package webhook

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"slices"

	"golang.org/x/net/http/httpguts"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/scan"
	"github.com/klamm-gateway/klamm/transform"
)

// media are the escapings, each with the media type of its texts.
var media = map[string]string{
	"json": "application/json",
	"form": "application/x-www-form-urlencoded",
	"xml":  "application/xml",
	"none": "text/plain; charset=utf-8",
}

// plan prepares the text of a body.
func (b *Body) plan(p *plan, report func(path, problem string)) {
	p.escape, p.contentType = b.Escape, b.ContentType
	if p.escape == "" {
		p.escape = "json"
	}
	if media[p.escape] == "" {
		report("escape", "want json, form, xml or none")
	}
	if p.contentType == "" {
		p.contentType = media[p.escape]
	}
	if !httpguts.ValidHeaderFieldValue(p.contentType) || len(p.contentType) > maxValue {
		report("content_type", "not a valid HTTP header")
	}
	t, err := p.compile(b.Template)
	switch {
	case b.Template == "":
		report("template", "want a text")
	case len(b.Template) > maxBody:
		report("template", fmt.Sprintf("has more than %d bytes", maxBody))
	case err != nil:
		report("template", err.Error())
	case p.escape == "json" && !t.quote():
		report("template", "is not JSON around its placeholders; for another text say how to escape: form, xml or none")
	}
	p.body = &t
}

// quote finds out which placeholders stand within strings, and says whether the
// text is JSON whatever they stand for.
func (t text) quote() bool {
	quoted := false
	var sample []byte
	for i := range t {
		if t[i].path >= 0 {
			// In a string this is a character that no escape can end with.
			stand := "x"
			if t[i].quoted = quoted; !quoted {
				stand = "null"
			}
			sample = append(sample, stand...)
			continue
		}
		literal := t[i].literal
		sample = append(sample, literal...)
		for j := 0; j < len(literal); j++ {
			switch {
			case literal[j] == '"':
				quoted = !quoted
			case quoted && literal[j] == '\\':
				j++
			}
		}
	}
	return scan.Valid(sample)
}

// render makes the body that a text stands for.
func (p *plan) render(values [][]byte) ([]byte, error) {
	var b, scratch []byte
	for _, one := range *p.body {
		if one.path < 0 {
			b = append(b, one.literal...)
			continue
		}
		value := values[one.path]
		if p.escape == "json" && !one.quoted {
			if value == nil {
				value = []byte("null")
			}
			b = append(b, value...)
		} else {
			scratch = transform.AppendText(scratch[:0], value)
			b = p.appendText(b, scratch)
		}
		if len(b) > transform.MaxResult {
			return nil, refusal("the body would have more than %d MiB", transform.MaxResult>>20)
		}
	}
	return b, nil
}

// appendText appends a value as the escaping says.
func (p *plan) appendText(dst, s []byte) []byte {
	switch p.escape {
	case "json":
		quoted := scan.AppendString(nil, string(s))
		return append(dst, quoted[1:len(quoted)-1]...)
	case "form":
		return appendEscaped(dst, s)
	case "xml":
		b := bytes.NewBuffer(dst)
		_ = xml.EscapeText(b, s) // a Buffer takes everything
		return b.Bytes()
	default:
		return append(dst, s...)
	}
}

// join appends the payloads of the events of a batch.
func (w *webhook) join(b []byte, events []*event.Event) []byte {
	size := 2
	for _, e := range events {
		size += len(e.Payload()) + 8
	}
	b = slices.Grow(b, size)
	if w.format == "ndjson" {
		for _, e := range events {
			b = append(appendLine(b, e), '\n')
		}
		return b
	}
	b = append(b, '[')
	for i, e := range events {
		if i > 0 {
			b = append(b, ',')
		}
		b = e.AppendJSON(b)
	}
	return append(b, ']')
}

// appendLine appends a payload as one line: JSON that spans several lines is
// compacted.
func appendLine(b []byte, e *event.Event) []byte {
	start := len(b)
	b = e.AppendJSON(b)
	if bytes.IndexByte(b[start:], '\n') < 0 && bytes.IndexByte(b[start:], '\r') < 0 {
		return b
	}
	var line bytes.Buffer
	if err := json.Compact(&line, b[start:]); err != nil {
		return b
	}
	return append(b[:start], line.Bytes()...)
}

// A member is a member that the connection adds to bodies.
type member struct{ name, value string } // value is JSON

// withMembers adds members to a body that is a JSON object, in the place of those
// with the same names (event-bus.md 6). Any other body stays as it is.
func withMembers(body []byte, members []member) []byte {
	i := scan.Space(body, 0)
	if len(members) == 0 || i >= len(body) || body[i] != '{' || !scan.Valid(body) {
		return body
	}
	out := append(make([]byte, 0, len(body)+256), '{')
	for i = scan.Space(body, i+1); body[i] != '}'; {
		start := i
		end, escaped, _ := scan.String(body, i)
		name := string(body[start+1 : end-1])
		if escaped {
			_ = json.Unmarshal(body[start:end], &name) // it is valid, as all of the body
		}
		i = scan.Space(body, scan.Space(body, end)+1)
		i, _ = scan.Value(body, i)
		if !slices.ContainsFunc(members, func(m member) bool { return m.name == name }) {
			out = append(append(out, body[start:i]...), ',')
		}
		if i = scan.Space(body, i); body[i] == ',' {
			i = scan.Space(body, i+1)
		}
	}
	for _, m := range members {
		out = append(append(append(scan.AppendString(out, m.name), ':'), m.value...), ',')
	}
	out[len(out)-1] = '}'
	return out
}
