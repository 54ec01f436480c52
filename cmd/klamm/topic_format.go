package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A recordDoc is a record as a stateless read shows it (interface.md 3).
type recordDoc struct {
	Topic     string          `json:"topic"`
	Partition int32           `json:"partition"`
	Offset    int64           `json:"offset"`
	Timestamp int64           `json:"timestamp"` // milliseconds
	Key       json.RawMessage `json:"key"`
	Value     json.RawMessage `json:"value"`
	Headers   []headerDoc     `json:"headers"`
}

type headerDoc struct {
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"`
}

// bytesOf returns the bytes of a key or value: those of JSON as they stand, of a text
// the text itself, of {"base64"} what it stands for; nil is null. With raw they came as
// base64.
func bytesOf(data json.RawMessage, raw bool) []byte {
	data = bytes.TrimSpace(data)
	var text string
	switch {
	case len(data) == 0 || string(data) == "null":
		return nil
	case data[0] == '"' && json.Unmarshal(data, &text) == nil:
		if !raw {
			return []byte(text)
		}
		if b, err := base64.StdEncoding.DecodeString(text); err == nil {
			return b
		}
	case data[0] == '{':
		var only map[string]json.RawMessage
		if json.Unmarshal(data, &only) == nil && len(only) == 1 && json.Unmarshal(only["base64"], &text) == nil {
			if b, err := base64.StdEncoding.DecodeString(text); err == nil {
				return b
			}
		}
	}
	return data
}

// A format prints records: a list of texts and of tokens, as kcat's -f has them.
type format struct {
	parts []formatPart
	raw   bool // keys and values came as base64
}

// A formatPart is a token or, if that is 0, a text.
type formatPart struct {
	token byte
	text  string
}

const formatTokens = "%t topic, %p partition, %o offset, %k key, %s or %v value, %K and %S their lengths (-1: null), %T time in ms, %h headers, %% a percent sign"

// parseFormat reads a format. Beside the tokens it has \n, \t, \r, \0, \\ and \xHH.
func parseFormat(text string) (f format, err error) {
	if text, err = unescape(text); err != nil {
		return f, err
	}
	for {
		before, rest, found := strings.Cut(text, "%")
		if before != "" {
			f.parts = append(f.parts, formatPart{text: before})
		}
		switch {
		case !found:
			return f, nil
		case rest == "" || !strings.Contains("tpoksvKSTh%", rest[:1]):
			return f, fmt.Errorf("%%%s is no token: there are %s", firstRune(rest), formatTokens)
		case rest[0] == '%':
			f.parts = append(f.parts, formatPart{text: "%"})
		default:
			f.parts = append(f.parts, formatPart{token: rest[0]})
		}
		text = rest[1:]
	}
}

func firstRune(text string) string {
	_, n := utf8.DecodeRuneInString(text)
	return printable(text[:n])
}

// has says whether a format has one of these tokens.
func (f format) has(tokens string) bool {
	for _, p := range f.parts {
		if p.token != 0 && strings.IndexByte(tokens, p.token) >= 0 {
			return true
		}
	}
	return false
}

// append prints a record.
func (f format) append(b []byte, r recordDoc) []byte {
	for _, p := range f.parts {
		switch p.token {
		case 0:
			b = append(b, p.text...)
		case 't':
			b = append(b, r.Topic...)
		case 'p':
			b = strconv.AppendInt(b, int64(r.Partition), 10)
		case 'o':
			b = strconv.AppendInt(b, r.Offset, 10)
		case 'T':
			b = strconv.AppendInt(b, r.Timestamp, 10)
		case 'k':
			b = append(b, bytesOf(r.Key, f.raw)...)
		case 's', 'v':
			b = append(b, bytesOf(r.Value, f.raw)...)
		case 'K':
			b = appendLength(b, bytesOf(r.Key, f.raw))
		case 'S':
			b = appendLength(b, bytesOf(r.Value, f.raw))
		case 'h':
			for i, h := range r.Headers {
				if i > 0 {
					b = append(b, ',')
				}
				b = append(append(b, h.Name...), '=')
				b = append(b, bytesOf(h.Value, false)...)
			}
		}
	}
	return b
}

// appendLength appends how many bytes there are; -1 stands for null.
func appendLength(b, data []byte) []byte {
	if data == nil {
		return append(b, "-1"...)
	}
	return strconv.AppendInt(b, int64(len(data)), 10)
}

// unescape resolves \n, \t, \r, \0, \\ and \xHH.
func unescape(text string) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, `\`)
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		if rest == "" {
			return "", fmt.Errorf(`%q ends with a \`, printable(text))
		}
		text = rest[1:]
		switch rest[0] {
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case '0':
			b.WriteByte(0)
		case '\\':
			b.WriteByte('\\')
		case 'x':
			n, err := strconv.ParseUint(rest[1:min(3, len(rest))], 16, 8)
			if err != nil || len(rest) < 3 {
				return "", fmt.Errorf(`\x wants two hexadecimal digits`)
			}
			b.WriteByte(byte(n))
			text = rest[3:]
		default:
			return "", fmt.Errorf(`\%s is no escape: there are \n, \t, \r, \0, \\ and \xHH`, firstRune(rest))
		}
	}
}
