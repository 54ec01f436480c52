package schema

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// mostEchoed bounds the characters of a text that is repeated.
const mostEchoed = 100

// Echo notes with violations what stands at their places in a value
// (gateway-policies.md 4.5): strings of at most 100 characters, numbers, truth values
// and null, but neither objects nor arrays. A value that is no JSON is a string.
func Echo(found []Violation, value []byte) {
	if len(found) == 0 {
		return
	}
	doc, err := decode(value)
	if err != nil {
		if !utf8.Valid(value) {
			return
		}
		doc = string(value)
	}
	for i := range found {
		if at, ok := follow(doc, found[i].Pointer); ok {
			found[i].Actual = echoed(at)
		}
	}
}

// EchoText is Echo for a text that was checked as such.
func EchoText(found []Violation, text string) {
	for i := range found {
		found[i].Actual = echoed(text)
	}
}

// follow returns what a pointer leads to.
func follow(doc any, pointer string) (any, bool) {
	path := strings.TrimPrefix(pointer, "#")
	if path == "" {
		return doc, true
	}
	for _, token := range strings.Split(path, "/")[1:] {
		name, err := url.PathUnescape(token)
		if err != nil {
			return nil, false
		}
		name = strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")
		switch at := doc.(type) {
		case map[string]any:
			member, ok := at[name]
			if !ok {
				return nil, false
			}
			doc = member
		case []any:
			n, err := strconv.Atoi(name)
			if err != nil || n < 0 || n >= len(at) {
				return nil, false
			}
			doc = at[n]
		default:
			return nil, false
		}
	}
	return doc, true
}

// echoed writes a value as it is repeated; empty: it is not.
func echoed(value any) string {
	switch v := value.(type) {
	case string:
		if !utf8.ValidString(v) {
			return ""
		}
		n := 0
		for i := range v {
			if n == mostEchoed {
				value = v[:i] + "…"
				break
			}
			n++
		}
	case json.Number:
		if len(v) > mostEchoed {
			return ""
		}
	case bool, nil:
	default:
		return ""
	}
	text, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(text)
}
