package transform

import (
	"bytes"
	"encoding/base64"
	"unicode/utf8"

	"github.com/klamm-gateway/klamm/scan"
)

// appendCompact appends a valid JSON value without the white space between its
// tokens. Everything else stays as it is.
func appendCompact(dst, v []byte) []byte {
	if !hasSpace(v) {
		return append(dst, v...)
	}
	start := 0
	for i := 0; i < len(v); {
		switch v[i] {
		case '"':
			i, _, _ = scan.String(v, i)
		case ' ', '\t', '\n', '\r':
			dst = append(dst, v[start:i]...)
			i = scan.Space(v, i)
			start = i
		default:
			i++
		}
	}
	return append(dst, v[start:]...)
}

// hasSpace says whether there may be white space between the tokens of a valid
// JSON value. It looks at white space alone, which is much faster than to tell
// strings from the rest: tabs and line ends never stand in strings, and of two
// neighbouring tokens one is always a bracket, a comma or a colon.
func hasSpace(v []byte) bool {
	if bytes.IndexByte(v, '\n') >= 0 || bytes.IndexByte(v, '\t') >= 0 || bytes.IndexByte(v, '\r') >= 0 {
		return true
	}
	for i := 1; ; i++ {
		if i >= len(v)-1 {
			return false
		}
		n := bytes.IndexByte(v[i:len(v)-1], ' ')
		if n < 0 {
			return false
		}
		if i += n; isStructure[v[i-1]] || isStructure[v[i+1]] {
			return true
		}
	}
}

var isStructure = [256]bool{'{': true, '}': true, '[': true, ']': true, ',': true, ':': true}

// appendBare appends a valid JSON value compact and without any double quotes, which
// is what becomes of objects and arrays inside a string (event-bus.md 5.1).
func appendBare(dst, v []byte) []byte {
	for i := 0; i < len(v); {
		switch v[i] {
		case '"':
			end, escaped, _ := scan.String(v, i)
			text := v[i+1 : end-1]
			for escaped {
				quote := bytes.IndexByte(text, '"')
				if quote < 0 {
					break
				}
				dst = append(dst, text[:quote]...)
				text = text[quote+1:]
			}
			dst = append(dst, text...)
			i = end
		case ' ', '\t', '\n', '\r':
			i++
		default:
			dst = append(dst, v[i])
			i++
		}
	}
	return dst
}

// isName says whether the text between the quotes of a JSON string stands for
// a name.
func isName(text []byte, escaped bool, name string) bool {
	if escaped {
		text = scan.AppendUnescaped(nil, text)
	}
	return string(text) == name
}

// appendHits appends what steps lead to from the value that begins at b[i],
// compact, each with a comma before it unless dst ends in the bracket of the
// array that is being made, and returns where the value ends, or false if it is
// not valid. Hits beyond most bytes are dropped, but one too many is kept to show
// it.
func appendHits(dst, b []byte, i int, steps []step, most int) (out []byte, end int, ok bool) {
	if i >= len(b) {
		return dst, i, false
	}
	var compact bool
	if len(steps) == 0 {
		if end, compact, ok = skip(b, i, nil); ok {
			dst = appendHit(dst, b[i:end], compact, most)
		}
		return dst, end, ok
	}
	s, mark := steps[0], len(dst)
	switch {
	case s.kind == member && b[i] == '{' && len(steps) == 1:
		seek := sought{name: s.name}
		if end, compact, ok = skip(b, i, &seek); ok && seek.end > 0 {
			dst = appendHit(dst, b[seek.start:seek.end], compact, most)
		}
	case s.kind == member && b[i] == '{':
		end, ok = scan.Members(b, i, func(name []byte, escaped bool, at int) (end int, ok bool) {
			if !isName(name, escaped, s.name) {
				end, _, ok = skip(b, at, nil)
				return end, ok
			}
			dst, end, ok = appendHits(dst[:mark], b, at, steps[1:], most) // the last one counts
			return end, ok
		})
	case s.kind != member && b[i] == '[':
		end, ok = scan.Elements(b, i, func(index, at int) (end int, ok bool) {
			if s.kind == element && index != s.index {
				end, _, ok = skip(b, at, nil)
				return end, ok
			}
			dst, end, ok = appendHits(dst, b, at, steps[1:], most)
			return end, ok
		})
	default:
		end, _, ok = skip(b, i, nil)
	}
	return dst, end, ok
}

// appendHit appends one hit to an array that is being made.
func appendHit(dst, v []byte, compact bool, most int) []byte {
	if len(dst) > most {
		return dst
	}
	if dst[len(dst)-1] != '[' {
		dst = append(dst, ',')
	}
	if compact {
		return append(dst, v...)
	}
	return appendCompact(dst, v)
}

// decodeJSON decodes the base64 in a JSON string into a buffer and says whether
// the bytes may be a JSON object or array: only those count as JSON in records
// (event-patterns.md 11). The caller still has to check the syntax.
func decodeJSON(buffer *[]byte, text []byte) (data []byte, ok bool) {
	b := (*buffer)[:0]
	inside := text[1 : len(text)-1]
	var err error
	if bytes.IndexByte(inside, '\\') >= 0 {
		inside = scan.AppendUnescaped(nil, inside)
	}
	b, err = base64.StdEncoding.AppendDecode(b, inside)
	*buffer = b
	if err != nil || !utf8.Valid(b) {
		return nil, false
	}
	i := scan.Space(b, 0)
	return b, i < len(b) && (b[i] == '{' || b[i] == '[')
}

// appendDecoded appends a record, which is valid JSON, with its key and value decoded, as far as they
// are JSON.
func (w *walk) appendDecoded(dst, doc []byte) []byte {
	if len(doc) == 0 || doc[0] != '{' {
		return append(dst, doc...)
	}
	dst = append(dst, '{')
	scan.Members(doc, 0, func(name []byte, escaped bool, at int) (int, bool) {
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), name...), '"', ':')
		end, ok := scan.Value(doc, at)
		value := doc[at:end]
		if value[0] == '"' && (isName(name, escaped, "key") || isName(name, escaped, "value")) {
			// The spans of paths may lie in the other buffers.
			if data, ok := decodeJSON(&w.unread, value); ok && scan.Valid(data) {
				value = data
			}
		}
		dst = append(dst, value...)
		return end, ok
	})
	return append(dst, '}')
}
