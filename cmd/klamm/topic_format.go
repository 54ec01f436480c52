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
	raw   bool // keys, values and headers came as base64
}

// A formatPart is a token or, if that is 0, a text.
type formatPart struct {
	token byte
	text  string
}

const formatTokens = "%t topic, %p partition, %o offset, %k key, %s or %v value, %K and %S their lengths (-1: null), %T time in ms, %h headers, %% a percent sign"

// parseFormat reads a format. Beside the tokens it has \n, \t, \r, \0, \\ and \xHH.
func parseFormat(text string) (f format, err error) {
	if text, err = resolveEscapes(text); err != nil {
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

// appendPlace prints a text, or what a token says of where and when a record lies.
func (p formatPart) appendPlace(b []byte, topic string, partition int32, offset, timestamp int64) []byte {
	switch p.token {
	case 't':
		return append(b, topic...)
	case 'p':
		return strconv.AppendInt(b, int64(partition), 10)
	case 'o':
		return strconv.AppendInt(b, offset, 10)
	case 'T':
		return strconv.AppendInt(b, timestamp, 10)
	}
	return append(b, p.text...)
}

// append prints a record.
func (f format) append(b []byte, r recordDoc) []byte {
	for _, p := range f.parts {
		switch p.token {
		case 0, 't', 'p', 'o', 'T':
			b = p.appendPlace(b, r.Topic, r.Partition, r.Offset, r.Timestamp)
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
				b = append(b, bytesOf(h.Value, f.raw)...)
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

// resolveEscapes resolves \n, \t, \r, \0, \\ and \xHH.
func resolveEscapes(text string) (string, error) {
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
