package front

import (
	"os"
	"testing"
)

func TestChallengesAreAnsweredBeforeAnythingElse(t *testing.T) {
	wall, err := NewFirewall(WAF{Hosts: []string{"elsewhere.example"}}, os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	url := serve(t, Config{Firewall: wall, Challenge: func(token string) (string, bool) { return "answer to " + token, token == "in-hand" }})
	for _, c := range []struct {
		name, method, path string
		status             int // 500 is what these dialects make of the firewall's refusal
		said               string
	}{
		{"in hand", "GET", "/.well-known/acme-challenge/in-hand", 200, "answer to in-hand"},
		{"its head", "HEAD", "/.well-known/acme-challenge/in-hand", 200, ""},
		{"with a query", "GET", "/.well-known/acme-challenge/in-hand?x=y", 200, "answer to in-hand"},
		{"another token", "GET", "/.well-known/acme-challenge/other", 500, ""},
		{"no token", "GET", "/.well-known/acme-challenge/", 500, ""},
		{"another path", "GET", "/.well-known/acme-challengein-hand", 500, ""},
		{"another method", "POST", "/.well-known/acme-challenge/in-hand", 500, ""},
		{"another address", "GET", "/things/a", 500, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, said, header := ask(t, c.method, url+c.path, nil)
			if status != c.status || c.status == 200 && said != c.said {
				t.Errorf("got %d %q, want %d %q", status, said, c.status, c.said)
			}
			if c.status == 200 && header.Get("Content-Type") != "application/octet-stream" {
				t.Errorf("the answer is %q", header.Get("Content-Type"))
			}
		})
	}
}
