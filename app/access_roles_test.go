package app_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestRolesCountWithoutTheDirectory has callers whose groups only a directory knows that
// does not answer (gateway-policies.md 1.5).
func TestRolesCountWithoutTheDirectory(t *testing.T) {
	topic := fmt.Sprintf("roles-%x", time.Now().UnixNano())
	directory := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	defer directory.Close()
	const group, banned = "9d1f6a60-0000-4000-8000-000000000001", "9d1f6a60-0000-4000-8000-000000000002"
	r := start(t, "auth:"+tokensOf+`
  graph: {url: "`+directory.URL+`", login: "`+directory.URL+`", tenant: t1, client_id: c, client_secret: {value: s}}
rules:
  - {who: ["role:Kafka.Admin"], can: [all], topics: ["*"], groups: ["*"]}
  - {who: ["group:`+group+`"], can: [all], topics: ["*"], groups: ["*"]}
  - {who: ["group:`+banned+`"], deny: [produce], topics: ["roles-banned"]}
`, t.TempDir())
	token := func(claims map[string]any) string { return "Authorization: Bearer " + tokenOf(t, claims) }
	admin := token(map[string]any{"sub": "o-1", "oid": "o-1", "roles": []string{"Kafka.Admin"}})
	overage := token(map[string]any{"sub": "x", "oid": "o-2", "hasgroups": true})
	member := token(map[string]any{"sub": "x", "oid": "o-3", "groups": []string{group}})
	for _, c := range []struct {
		name, call, who string
		want            int
	}{
		{"a role allows it", "POST /topics/" + topic, admin, 200},
		{"a role allows it again", "GET /topics/" + topic, admin, 200},
		{"a list that a role allows to see", "GET /topics", admin, 200},
		{"a group might deny it", "POST /topics/roles-banned", admin, 503},
		{"a group might allow it", "POST /topics/" + topic, overage, 503},
		{"a group might allow to see it", "GET /topics/" + topic, overage, 503},
		{"a list that would not be all", "GET /topics", overage, 503},
		{"a group that the token names", "POST /topics/" + topic, member, 200},
		{"no group that the token names", "POST /topics/" + topic, token(map[string]any{"sub": "x", "oid": "o-4", "groups": []string{"h"}}), 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &running{t: t, url: r.url}
			method, path, _ := strings.Cut(c.call, " ")
			body := ""
			if method == "POST" {
				body = `{"n":1}`
			}
			resp, text := r.exchange(method, path, body, c.who)
			if resp.StatusCode != c.want || (resp.Header.Get("Retry-After") == "5") != (c.want == 503) {
				t.Errorf("got %d %v %s, want %d", resp.StatusCode, resp.Header["Retry-After"], text, c.want)
			}
		})
	}
}
