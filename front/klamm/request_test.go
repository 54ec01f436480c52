package klamm

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/gate"
)

type body struct {
	To      string          `json:"to"`
	Rate    int             `json:"rate"`
	Where   json.RawMessage `json:"where"`
	Letters *[]string       `json:"letters"`
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"space", " \n", ""},
		{"an object", ` {"to":"earliest","letters":["0-1"]} `, ""},
		{"an array", `[]`, "not a JSON object"},
		{"null", `null`, "not a JSON object"},
		{"an unknown member", `{"too":"earliest"}`, `unknown field "too"`},
		{"another type", `{"rate":"5"}`, "rate cannot be a string"},
		{"a fraction", `{"rate":1.5}`, "rate cannot be a number 1.5"},
		{"half", `{"to":`, "breaks off"},
		{"two", `{} {}`, "behind"},
		{"rubbish", `{to:1}`, "invalid character"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := parse([]byte(c.in), &body{})
			if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || gate.Classify(err) != gate.Invalid) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"to":"earliest","rate":3,"where":{"value":[1]},"letters":["0-1"]}`)
	f.Add(`{"to":1}{`)
	f.Fuzz(func(t *testing.T, text string) {
		var b body
		err := parse([]byte(text), &b)
		var own *gate.Error
		if err != nil && (!errors.As(err, &own) || own.Kind != gate.Invalid) {
			t.Fatalf("%q: %v is not the caller's mistake", text, err)
		}
		if err == nil && strings.TrimSpace(text) != "" && !json.Valid([]byte(text)) {
			t.Fatalf("%q is taken for JSON", text)
		}
	})
}

func FuzzQuery(f *testing.F) {
	f.Add("limit=5&since=-15m")
	f.Add("since=2026-01-31T12:00:00Z&limit=0")
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := queryOf(&http.Request{URL: &url.URL{RawQuery: raw}}, "limit", "since")
		if err != nil {
			return
		}
		if n, err := q.limit(); err == nil && (n < 1 || n > mostRows) {
			t.Errorf("%q: limit %d", raw, n)
		}
		if at, err := q.since(); err == nil && strings.HasPrefix(q.text("since"), "-") && at.After(time.Now()) {
			t.Errorf("%q: since %s", raw, at)
		}
	})
}
