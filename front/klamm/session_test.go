package klamm_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestWhoIsCalling(t *testing.T) {
	k := start(t, &receiver{})
	var doc struct {
		Principal string
		Groups    []string
		Cookie    bool
		Version   string
		Ways      []string
	}
	k.want(&doc, "GET", "/session", "")
	if doc.Principal != "User:ANONYMOUS" || doc.Groups == nil || doc.Cookie || doc.Version != "v1.2.3" || doc.Ways == nil || len(doc.Ways) > 0 {
		t.Errorf("%+v", doc)
	}
	k.want(nil, "GET", "/session/ways", "")
	if status, _, _ := k.ask("DELETE", "/session", ""); status != http.StatusNoContent {
		t.Errorf("signing out: %d", status)
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/session", `{"key":"x"}`, 409, "nobody can sign in"},
		{"POST", "/session", `{"token":"x"}`, 400, "token"},
		{"GET", "/session/oidc?back=%23/pipes", "", 409, "nobody can sign in"},
		{"GET", "/session/oidc?to=https://evil.example", "", 400, "no query parameter"},
		{"GET", "/history?span=1h", "", 404, ""},
		{"GET", "/requests?status=44", "", 400, "failed"},
		{"GET", "/requests?status=4x", "", 400, "failed"},
		{"GET", "/requests?after=x", "", 400, "next"},
		{"GET", "/requests?limit=0", "", 400, "10000"},
		{"GET", "/audit?from=yesterday", "", 400, "-15m"},
		{"GET", "/audit?after=x", "", 400, "next"},
	} {
		if status, _, text := k.ask(c.method, c.path, c.body); status != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%s %s: %d %s, want %d and %s", c.method, c.path, status, text, c.status, c.want)
		}
	}
	var seen struct {
		Requests []any
		Complete bool
	}
	k.want(&seen, "GET", "/requests", "")
	if seen.Requests == nil || !seen.Complete {
		t.Errorf("%+v", seen)
	}
	var audit struct {
		Source string
		Lines  []any
	}
	k.want(&audit, "GET", "/audit", "")
	if audit.Source != "memory" || audit.Lines == nil {
		t.Errorf("%+v", audit)
	}
}
