package app_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// tokenSecret signs the tokens of these tests.
const tokenSecret = "a-secret-of-tests-0123456789abcdef"

// tokenOf makes a token with claims beside those that each has.
func tokenOf(t *testing.T, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"iss": "https://id.example/", "aud": "klamm", "exp": time.Now().Add(time.Hour).Unix()}
	for name, v := range claims {
		all[name] = v
	}
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	text := part(map[string]string{"alg": "HS256", "typ": "JWT"}) + "." + part(all)
	mac := hmac.New(sha256.New, []byte(tokenSecret))
	_, _ = mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

const tokensOf = `
  jwt:
    - {issuer: "https://id.example/", audiences: [klamm], symmetric_key: {value: "` + tokenSecret + `"}, algorithms: [HS256]}
`

// TestRoutesSayWhoCounts calls routes with other ways in than the rest, and with scopes.
func TestRoutesSayWhoCounts(t *testing.T) {
	topic := fmt.Sprintf("counts-%x", time.Now().UnixNano())
	r := start(t, keysOf("root", "acme")+tokensOf+`
routes:
  - {route: "POST /topics/{topic}", scopes: [records.write, records]}
  - {route: "GET /topics/{topic}", auth: [apikey, jwt], scopes: [a, b], scopes_match: all}
  - {route: "GET /topics", auth: [anonymous]}
  - {route: "GET /brokers", auth: [jwt, anonymous]}
  - {route: "GET /metrics", auth: [apikey]}
  - {route: "ANY /{proxy+}", auth: [apikey]}
rules:
  - {who: ["*"], can: [all], topics: ["*"], groups: ["*"]}
`, t.TempDir())
	key, other := "X-Api-Key: "+keyOf("acme"), "Authorization: Basic bm9ib2R5OnB3"
	token := func(scope string) string {
		return "Authorization: Bearer " + tokenOf(t, map[string]any{"sub": "dora", "scp": scope})
	}
	bearer := `Bearer realm="klamm"`
	lacking := bearer + `, error="insufficient_scope", error_description="insufficient scope"`
	write := "POST /topics/" + topic
	for _, c := range []struct {
		name, call string
		fields     []string
		want       int
		challenge  string
	}{
		{"a token with one of the scopes", write, []string{token("x records.write")}, 200, ""},
		{"with the other one", write, []string{token("records")}, 200, ""},
		{"with neither", write, []string{token("records.read Records")}, 403, lacking},
		{"without any", write, []string{token("")}, 403, lacking},
		{"scopes want a token", write, []string{key}, 401, bearer},
		{"scopes want a token, not nothing", write, nil, 401, bearer},
		{"a key beside the token", write, []string{key, token("records")}, 200, ""},
		{"all of the scopes", "GET /topics/" + topic, []string{token("b c a")}, 200, ""},
		{"one of those that are all needed", "GET /topics/" + topic, []string{token("a")}, 403, lacking},
		{"a way in without scopes, which the route names", "GET /topics/" + topic, []string{key}, 200, ""},
		{"the first that the route names refuses", "GET /topics/" + topic, nil, 403, ""},
		{"nobody where nobody has to show anything", "GET /topics", nil, 200, ""},
		{"where nobody looks at credentials, they do not matter", "GET /topics", []string{other}, 200, ""},
		{"nobody may come beside tokens", "GET /brokers", nil, 200, ""},
		{"a good token beside nobody", "GET /brokers", []string{token("")}, 200, ""},
		{"a bad token is no nobody", "GET /brokers", []string{"Authorization: Bearer x"}, 401, bearer + `, error="invalid_token", error_description="the token is malformed"`},
		{"credentials of another kind are no nobody", "GET /brokers", []string{other}, 401, bearer},
		{"an open path that is named", "GET /metrics", nil, 403, ""},
		{"an open path that is named, with a key", "GET /metrics", []string{key}, 200, ""},
		{"an open path that is not named", "GET /healthy", nil, 200, ""},
		{"everything else, by a token", "GET /v3/clusters", []string{token("a")}, 403, ""},
		{"everything else, by a key", "GET /v3/clusters", []string{key}, 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			method, path, _ := strings.Cut(c.call, " ")
			body := ""
			if method == "POST" {
				body = `{"n":1}`
			}
			r := &running{t: t, url: r.url}
			resp, text := r.exchange(method, path, body, c.fields...)
			if resp.StatusCode != c.want || resp.Header.Get("Www-Authenticate") != c.challenge {
				t.Errorf("got %d %q %s\nwant %d %q", resp.StatusCode, resp.Header["Www-Authenticate"], text, c.want, c.challenge)
			}
			if c.challenge == lacking && !strings.Contains(text, "insufficient scope") {
				t.Errorf("the answer does not say why: %s", text)
			}
		})
	}
}
