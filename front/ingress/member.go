package ingress

import (
	"encoding/json"

	"github.com/klamm-gateway/klamm/scan"
)

// member returns the text of a member of a JSON object, or of one within it, and
// "" if there is none: what a string says, or a number, true or false as they
// stand there.
func member(body []byte, path ...string) string {
	if !scan.Valid(body) {
		return ""
	}
	at := scan.Space(body, 0)
	for _, name := range path {
		if at = valueOf(body, at, name); at < 0 {
			return ""
		}
	}
	end, _ := scan.Value(body, at)
	raw := body[at:end]
	switch raw[0] {
	case '"':
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return ""
		}
		return s
	case '{', '[', 'n':
		return ""
	}
	return string(raw)
}

// valueOf returns where the value of a name begins, in the object that begins at
// an index of valid JSON; -1 if there is none.
func valueOf(b []byte, i int, name string) int {
	if b[i] != '{' {
		return -1
	}
	for i = scan.Space(b, i+1); b[i] != '}'; {
		if b[i] == ',' {
			i = scan.Space(b, i+1)
		}
		end, escaped, _ := scan.String(b, i)
		is := !escaped && string(b[i+1:end-1]) == name
		i = scan.Space(b, scan.Space(b, end)+1) // over the colon
		if is {
			return i
		}
		end, _ = scan.Value(b, i)
		i = scan.Space(b, end)
	}
	return -1
}
