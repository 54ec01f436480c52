package auth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/secret"
)

func mustURL(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil {
		panic(err)
	}
	return u
}

func refusalOf(t *testing.T, err error) *front.Refusal {
	t.Helper()
	var e *front.Refusal
	if !errors.As(err, &e) {
		t.Fatalf("not a refusal: %v", err)
	}
	return e
}

func request(header ...string) *http.Request {
	r := &http.Request{Method: "POST", URL: mustURL("/topics/t"), RequestURI: "/topics/t", RemoteAddr: "192.0.2.7:1234", Header: http.Header{}, Pattern: "POST /topics/{topic}"}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func newTestChain(t *testing.T, cfg Config, change func(*Env)) *Chain {
	t.Helper()
	env := testEnv(t)
	if change != nil {
		change(&env)
	}
	c, err := New(t.Context(), cfg, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// has:a colon and ümläut
const doraHash = "$2y$10$N9qo8uLOickgx2ZMRZoMyekwhzL4.chXOYd4u8x/aohRVjoCUKDf6"

func basicHeader(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestBasic(t *testing.T) {
	c := newTestChain(t, Config{Basic: &Basic{File: "users"}}, func(e *Env) {
		e.Read = func(string) ([]byte, error) {
			return []byte("# people\ndora:" + doraHash + "\neve: " + doraHash + ",ops, dev\n"), nil
		}
	})
	for _, tc := range []struct {
		name, header string
		want         string
	}{
		{"good", basicHeader("dora", "has:a colon and ümläut"), "User:dora"},
		{"again", basicHeader("dora", "has:a colon and ümläut"), "User:dora"},
		{"roles", basicHeader("eve", "has:a colon and ümläut"), "User:eve"},
		{"password", basicHeader("dora", "other"), ""},
		{"user", basicHeader("nobody", "has:a colon and ümläut"), ""},
		{"empty user", basicHeader("", "x"), ""},
		{"empty password", basicHeader("dora", ""), ""},
		{"the hash", basicHeader("dora", doraHash), ""},
		{"not base64", "Basic !!!", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			who, err := c.Authenticate(request("Authorization", tc.header))
			if who.Name != tc.want {
				t.Fatalf("got %q, %v; want %q", who.Name, err, tc.want)
			}
			if tc.want == "" {
				if got := refusalOf(t, err).Header.Get("Www-Authenticate"); got != `Basic realm="klamm", charset="UTF-8"` {
					t.Errorf("challenge %q", got)
				}
			}
			if tc.name == "roles" && strings.Join(who.Groups, ",") != "ops,dev" {
				t.Errorf("groups %v", who.Groups)
			}
		})
	}
}

func TestHashes(t *testing.T) {
	for _, tc := range []struct {
		name, hash, password string
		legacy, loads, fits  bool
	}{
		{"bcrypt", doraHash, "has:a colon and ümläut", false, true, true},
		{"argon2id", "$argon2id$v=19$m=65536,t=1,p=4$c29tZXNhbHRzb21lc2FsdA$8WlYd+QCQ0bfQ0bmBYwbbp5NzLHWO4Z9bD8lHAC0o8c", "x", false, true, false},
		{"apr1 not allowed", "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", "myPassword", false, false, true},
		{"apr1", "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", "myPassword", true, true, true},
		{"MD5 of Unix", "$1$abcdefgh$irWbblnpmw.5z7wgBnprh0", "test", true, true, true},
		{"SHA-1", "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "test", true, true, true},
		{"SHA-1 not allowed", "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "test", false, false, true},
		{"MD5 in hexadecimal", "MD5:098f6bcd4621d373cade4e832627b4f6", "test", true, true, true},
		{"crypt", "rqXexS6ZhobKA", "test", true, false, false},
		{"plain", "test", "test", true, false, false},
		{"obfuscated", "OBF:1v2j1uum1xtv1zej1zer1xtn1uvk1v1v", "test", true, false, false},
		{"bcrypt too slow", "$2y$31$N9qo8uLOickgx2ZMRZoMyekwhzL4.chXOYd4u8x/aohRVjoCUKDf6", "", true, false, false},
		{"argon2id too large", "$argon2id$v=19$m=99999999,t=1,p=4$c29tZXNhbHRzb21lc2FsdA$8WlYd+QCQ0bfQ0bmBYwbbp5NzLHWO4Z9bD8lHAC0o8c", "", true, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := checkHash(tc.hash, tc.legacy)
			if (err == nil) != tc.loads {
				t.Fatalf("loads: %v, want %v", err, tc.loads)
			}
			if err != nil && strings.Contains(err.Error(), tc.hash) {
				t.Errorf("the error shows the hash: %v", err)
			}
			if tc.loads && matches(tc.hash, tc.password) != tc.fits {
				t.Errorf("fits: %v, want %v", !tc.fits, tc.fits)
			}
		})
	}
	if !matches(hashShort("a short key 123"), "a short key 123") {
		t.Error("a short key does not fit its own hash")
	}
}

func FuzzUsers(f *testing.F) {
	f.Add("dora:" + doraHash + ",a,b\n#x\n")
	f.Add("x:$argon2id$v=19$m=8,t=1,p=1$$")
	f.Fuzz(func(t *testing.T, text string) {
		users, err := parseUsers([]byte(text), true)
		for name, u := range users {
			if err == nil && (!validName(name) || checkHash(u.hash, true) != nil) {
				t.Errorf("%q: %+v", name, u)
			}
		}
		parseBasic(text)
	})
}

const acmeKey = "acme-key-0123456789abcdefghijklmnopqrstuv"

func TestKeysOfTheFile(t *testing.T) {
	past, future := "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"
	key := func(name, value string, change func(*APIKey)) APIKey {
		k := APIKey{Name: name, Key: secret.Ref{Value: value}}
		if change != nil {
			change(&k)
		}
		return k
	}
	c := newTestChain(t, Config{APIKeys: &APIKeys{Keys: []APIKey{
		key("acme", acmeKey, func(k *APIKey) { k.Groups = []string{"partners"} }),
		key("off", "off-"+acmeKey, func(k *APIKey) { k.Enabled = new(bool) }),
		key("over", "over-"+acmeKey, func(k *APIKey) { k.NotAfter = past }),
		key("early", "early-"+acmeKey, func(k *APIKey) { k.NotBefore = future }),
		key("near", "near-"+acmeKey, func(k *APIKey) { k.Sources = []string{"192.0.2.0/24"} }),
		key("far", "far-"+acmeKey, func(k *APIKey) { k.Sources = []string{"198.51.100.1"} }),
	}}}, nil)
	for _, tc := range []struct{ name, key, want string }{
		{"good", acmeKey, "User:acme"}, {"source", "near-" + acmeKey, "User:near"},
		{"wrong", acmeKey[:len(acmeKey)-1] + "X", ""}, {"cut", acmeKey[:len(acmeKey)-1], ""}, {"empty", "", ""}, {"upper case", strings.ToUpper(acmeKey), ""},
		{"disabled", "off-" + acmeKey, ""}, {"over", "over-" + acmeKey, ""}, {"early", "early-" + acmeKey, ""}, {"other source", "far-" + acmeKey, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			who, err := c.Authenticate(request("X-Api-Key", tc.key))
			if who.Name != tc.want {
				t.Fatalf("got %q, %v; want %q", who.Name, err, tc.want)
			}
			if tc.want == "" {
				e := refusalOf(t, err)
				if e.Status != 403 || string(e.Body) != `{"message":"Forbidden"}` || e.Header.Get("X-Amzn-Errortype") != "ForbiddenException" {
					t.Errorf("refusal %+v", e)
				}
			}
		})
	}
	if _, err := c.Authenticate(request()); refusalOf(t, err).Status != 403 {
		t.Errorf("no key: %v", err)
	}
}

func TestKeysOfTheQuery(t *testing.T) {
	c := newTestChain(t, Config{APIKeys: &APIKeys{Query: "key", Keys: []APIKey{{Name: "acme", Key: secret.Ref{Value: acmeKey}}}}}, nil)
	for query, want := range map[string]string{"key=" + acmeKey: "User:acme", "key=" + acmeKey + "&key=" + acmeKey: "", "key=": "", "KEY=" + acmeKey: ""} {
		r := request()
		r.URL.RawQuery = query
		if who, err := c.Authenticate(r); who.Name != want {
			t.Errorf("%s: got %q, %v; want %q", query, who.Name, err, want)
		}
	}
}

func TestChainOrder(t *testing.T) {
	cfg := Config{IAM: iamConfig(), Basic: &Basic{File: "users"}, APIKeys: &APIKeys{Keys: []APIKey{{Name: "acme", Key: secret.Ref{Value: acmeKey}}}}}
	users := func(e *Env) { e.Read = func(string) ([]byte, error) { return []byte("dora:" + doraHash), nil } }
	dora := basicHeader("dora", "has:a colon and ümläut")
	for _, tc := range []struct {
		name      string
		anonymous bool
		request   *http.Request
		want      string // name, "anonymous", or the refusal
	}{
		{"key", false, request("X-Api-Key", acmeKey), "User:acme"},
		{"password and key", false, request("X-Api-Key", acmeKey, "Authorization", dora), "User:dora key acme"},
		{"password and bad key", false, request("X-Api-Key", "bad-"+acmeKey, "Authorization", dora), "Forbidden"},
		{"nothing", false, request(), "Missing Authentication Token"},
		{"two headers", false, request("Authorization", "a", "Authorization", "b"), "There is more than one Authorization header."},
		{"nothing, anonymous", true, request(), "anonymous"},
		{"bad key, anonymous", true, request("X-Api-Key", "bad-"+acmeKey), "Forbidden"},
		{"unknown scheme, anonymous", true, request("Authorization", "Digest x"), "Invalid key=value pair"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := cfg
			cfg.Anonymous = tc.anonymous
			c := newTestChain(t, cfg, users)
			who, err := c.Authenticate(tc.request)
			got := who.Name
			switch {
			case errors.Is(err, front.ErrNotMine):
				got = "anonymous"
			case err != nil:
				got = textOf(err)
			case who.Scheme != gate.SchemeAPIKey && who.KeyID != "":
				got += " key " + who.KeyID
			}
			if !strings.HasPrefix(got, tc.want) || tc.want == "" {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestAuthorizer(t *testing.T) {
	var calls atomic.Int32
	var event atomic.Pointer[map[string]any]
	answer := func(effect, resource string) string {
		return `{"principalId":"visitor","policyDocument":{"Version":"2012-10-17","Statement":[{"Effect":"` + effect + `","Action":"execute-api:Invoke","Resource":"` + resource + `"}]},"context":{"n":1,"b":true}}`
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		body, _ := io.ReadAll(r.Body)
		var e map[string]any
		_ = json.Unmarshal(body, &e)
		event.Store(&e)
		arn, _ := e["methodArn"].(string)
		switch badge := e["headers"].(map[string]any)["X-Badge"]; badge {
		case "gold":
			_, _ = io.WriteString(w, answer("Allow", arn))
		case "black":
			_, _ = io.WriteString(w, answer("Deny", "*"))
		case "simple":
			_, _ = io.WriteString(w, `{"isAuthorized":true}`)
		case "simply not":
			_, _ = io.WriteString(w, `{"isAuthorized":false}`)
		case "no policy":
			_, _ = io.WriteString(w, `{"principalId":"x"}`)
		case "no principal":
			_, _ = io.WriteString(w, strings.Replace(answer("Allow", "*"), "visitor", "", 1))
		case "nested":
			_, _ = io.WriteString(w, strings.Replace(answer("Allow", "*"), `"n":1`, `"n":{}`, 1))
		case "not JSON":
			_, _ = io.WriteString(w, "yes")
		case "broken":
			w.WriteHeader(500)
		default:
			w.WriteHeader(401)
		}
	}))
	defer server.Close()
	c := newTestChain(t, Config{Authorizers: []Authorizer{{Name: "a", URL: server.URL, Identity: []string{"header:X-Badge"}, Secret: secret.Ref{Value: "s"}}}}, nil)
	other := request("X-Badge", "gold")
	other.Method = "GET"
	for _, tc := range []struct {
		name    string
		request *http.Request
		want    string
		status  int
		calls   int32
	}{
		{"allowed", request("X-Badge", "gold"), "User:visitor", 0, 1},
		{"remembered", request("X-Badge", "gold"), "User:visitor", 0, 0},
		{"another route by the same policy", other, "User is not authorized to access this resource", 403, 0},
		{"denied", request("X-Badge", "black"), "User is not authorized to access this resource with an explicit deny", 403, 1},
		{"denial remembered", request("X-Badge", "black"), "User is not authorized to access this resource with an explicit deny", 403, 0},
		{"unknown", request("X-Badge", "x"), "Unauthorized", 401, 1},
		{"no badge", request(), "Unauthorized", 401, 0},
		{"simple", request("X-Badge", "simple"), "User:a", 0, 1},
		{"simply not", request("X-Badge", "simply not"), "User is not authorized to access this resource", 403, 1},
		{"no policy", request("X-Badge", "no policy"), "AuthorizerConfigurationException", 500, 1},
		{"not remembered", request("X-Badge", "no policy"), "AuthorizerConfigurationException", 500, 1},
		{"no principal", request("X-Badge", "no principal"), "AuthorizerConfigurationException", 500, 1},
		{"nested context", request("X-Badge", "nested"), "AuthorizerConfigurationException", 500, 1},
		{"not JSON", request("X-Badge", "not JSON"), "AuthorizerConfigurationException", 500, 1},
		{"broken", request("X-Badge", "broken"), "the authorizer does not answer", 0, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := calls.Load()
			who, err := c.Authenticate(tc.request)
			if err != nil {
				who.Name = textOf(err)
				if e := refusalOf(t, err); e.Status != tc.status {
					t.Errorf("status %d, want %d", e.Status, tc.status)
				}
			}
			if who.Name != tc.want || calls.Load()-before != tc.calls {
				t.Errorf("got %q after %d calls, want %q after %d", who.Name, calls.Load()-before, tc.want, tc.calls)
			}
		})
	}
	if e := *event.Load(); e["type"] != "REQUEST" || e["httpMethod"] != "POST" || e["methodArn"] != "arn:aws:execute-api:eu-west-3:111122223333:klamm/"+gate.DefaultStage+"/POST/topics/t" {
		t.Errorf("event %v", e)
	}
}

func TestCachesAreBounded(t *testing.T) {
	c, now := newCache[int, int](3), time.Now()
	for i := range 10 {
		c.put(i, i, now.Add(time.Minute))
		c.get(0, now)
	}
	if len(c.known) != 3 || c.order.Len() != 3 {
		t.Errorf("%d entries, want 3", len(c.known))
	}
	if _, ok := c.get(0, now); !ok {
		t.Error("what was used last has gone")
	}
	if _, ok := c.get(9, now.Add(time.Minute)); ok {
		t.Error("what is over is still there")
	}
}

func TestSourcesOfKeys(t *testing.T) {
	p, err := prefixes([]string{"10.0.0.0/8", "2001:db8::1"})
	if err != nil || !fromOneOf(p, netip.MustParseAddr("10.1.2.3")) || fromOneOf(p, netip.MustParseAddr("11.0.0.1")) || fromOneOf(p, netip.Addr{}) {
		t.Errorf("%v, %v", p, err)
	}
}
