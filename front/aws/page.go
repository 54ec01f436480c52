package aws

import (
	"encoding/base64"
	"strings"
)

// A pageRequest asks for a part of a list that is sorted by name.
type pageRequest struct {
	Limit     *number
	NextToken *string
}

// A page is the part of a list that is wanted.
type page struct {
	limit int
	after string // the name of the last one before
	last  string // the name of the last one on it
	more  bool
}

// tokenForm begins what is in a token, so that others are told apart.
const tokenForm = "klamm1:"

// page checks a request, with all that v has found before.
func (q pageRequest) page(v *violations) (*page, error) { return q.named(v, "nextToken") }

// named is page where the token has another name.
func (q pageRequest) named(v *violations, token string) (*page, error) {
	v.number("limit", q.Limit.int(), 1, 100)
	p := &page{limit: 100}
	if q.Limit != nil {
		p.limit = int(*q.Limit)
	}
	known := len(v.texts)
	v.text(token, q.NextToken, long(1, 2048).hidden())
	if q.NextToken != nil && len(v.texts) == known {
		raw, err := base64.RawURLEncoding.DecodeString(*q.NextToken)
		after, ok := strings.CutPrefix(string(raw), tokenForm)
		if err != nil || !ok {
			v.say(token, "the token is not one that this API has given")
		}
		p.after = after
	}
	return p, v.fault()
}

func (p *page) wants(name string) bool { return name > p.after }

// full says whether there is no room any more for what follows.
func (p *page) full(n int) bool {
	p.more = n == p.limit
	return p.more
}

// answer is a list with the token for what follows, if anything does.
func (p *page) answer(member string, list any) map[string]any {
	out := map[string]any{member: list}
	if p.more {
		out["NextToken"] = base64.RawURLEncoding.EncodeToString([]byte(tokenForm + p.last))
	}
	return out
}
