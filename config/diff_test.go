package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/target/all"
)

func TestDiff(t *testing.T) {
	read := func(text string) *Config {
		t.Helper()
		cfg, problems := Load([]byte(text), all.Kinds())
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return cfg
	}
	was := `
limits:
  - {name: a, key: [principal], requests: {rate: 5}}
  - {name: b, requests: {rate: 1}}
auth: {iam: {keys: [{access_key_id: AKIAKLAMMEXAMPLE0001, secret: {value: hidden-one}, user: alice}]}}
topics: [{match: t, value: {schema: {type: object}}}]
h2c: false
`
	is := `
limits:
  - {name: c, requests: {rate: 1}}
  - {name: b, requests: {rate: 1}}
  - {name: a, key: [principal, topic], requests: {rate: 7.5}, action: log}
auth: {iam: {keys: [{access_key_id: AKIAKLAMMEXAMPLE0001, secret: {value: hidden-two}, user: alice}]}}
topics: [{match: t, value: {schema: {type: array}}}]
h2c: true
shutdown_timeout: 30s
`
	var got []string
	for _, c := range Diff(read(was), read(is)) {
		text := func(s *string) string {
			if s == nil {
				return "-"
			}
			return *s
		}
		got = append(got, fmt.Sprintf("%s: %s > %s", c.Path, text(c.Was), text(c.Is)))
	}
	want := []string{
		"auth.iam.keys[0].secret: inline value > inline value", "h2c: false > true", "limits (order): a, b > b, a", "limits[a].action: - > log", "limits[a].key[1]: - > topic",
		"limits[a].requests.rate: 5 > 7.5", "limits[c]: - > ...", "shutdown_timeout: 20s > 30s", "topics[0].value.schema: ... > ...",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(strings.Join(got, ""), "hidden") {
		t.Error("a secret is shown")
	}
	if d := Diff(read(was), read(was)); len(d) > 0 {
		t.Errorf("a configuration differs from itself: %v", d)
	}
	if first, again, other := read(was).Hash(), read(was).Hash(), read(is).Hash(); first != again || first == other || len(first) != 16 {
		t.Errorf("hashes %s, %s and %s", first, again, other)
	}
}
