package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

// An issuer is a token endpoint and a receiver that knows its tokens.
type issuer struct {
	*httptest.Server
	issued   atomic.Int64
	mu       sync.Mutex // guards everything below
	requests []seen
	good     map[string]bool
	expires  any
	status   int
	header   http.Header
	block    chan struct{}
}

func newIssuer(t *testing.T) *issuer {
	s := &issuer{good: map[string]bool{}, expires: 3600, status: 200, header: http.Header{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		block := s.block
		s.mu.Unlock()
		if block != nil {
			<-block
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests = append(s.requests, seen{r.Method, r.RequestURI, r.Host, r.Header, string(body)})
		for name, v := range s.header {
			w.Header()[name] = v
		}
		if s.status != 200 {
			w.WriteHeader(s.status)
			_, _ = io.WriteString(w, `{"error":"invalid_client","error_description":"s3cret is wrong"}`)
			return
		}
		token := fmt.Sprint("token-", s.issued.Add(1))
		s.good[token] = true
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "bearer", "expires_in": s.expires})
	})
	mux.HandleFunc("/hook", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.good[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")] {
			w.WriteHeader(401)
		}
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// revoke makes all tokens bad that there are.
func (s *issuer) revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.good)
}

func (s *issuer) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *issuer) config() Config {
	return Config{URL: s.URL + "/hook", Auth: &Auth{OAuth: &OAuth{TokenURL: s.URL + "/token", ClientID: "klamm", ClientSecret: given("s3cret")}}}
}

// A clock is set by the test, and stands still otherwise.
type clock struct{ offset atomic.Int64 }

var clockBegins = time.Now()

func (c *clock) now() time.Time          { return clockBegins.Add(time.Duration(c.offset.Load())) }
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

// oauthTarget opens a target whose tokens follow a clock.
func oauthTarget(t *testing.T, c Config) (*webhook, *clock) {
	w := opened(t, c, targettest.Env(t, ""))
	k := &clock{}
	w.tokens.now = k.now
	return w, k
}

func deliver(t *testing.T, w *webhook) error {
	t.Helper()
	return w.Deliver(t.Context(), []*event.Event{targettest.Event(1, "k", "1")})
}

func (s *issuer) wantIssued(t *testing.T, want int64) {
	t.Helper()
	for end := time.Now().Add(time.Minute); s.issued.Load() != want; {
		if time.Now().After(end) {
			t.Fatalf("%d tokens were issued, want %d", s.issued.Load(), want)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestTokenRequests(t *testing.T) {
	base := func(change func(*OAuth)) *OAuth {
		o := &OAuth{ClientID: "kl am", ClientSecret: given("s&t")}
		change(o)
		return o
	}
	for _, c := range []struct {
		name         string
		oauth        *OAuth
		method, uri  string
		kind, header string // Content-Type, X-Extra
		fields       map[string]string
	}{
		{"a form", base(func(o *OAuth) { o.Scope, o.Audience = "a b", "aud" }), "POST", "/token", "application/x-www-form-urlencoded", "",
			map[string]string{"client_id": "kl am", "client_secret": "s&t", "grant_type": "client_credentials", "scope": "a b", "audience": "aud"}},
		{"body fields win", base(func(o *OAuth) {
			o.Method = "PUT"
			o.Body = map[string]secret.Ref{"grant_type": given("special"), "client_id": given("other"), "resource": given("r")}
		}),
			"PUT", "/token", "application/x-www-form-urlencoded", "", map[string]string{"client_id": "other", "client_secret": "s&t", "grant_type": "special", "resource": "r"}},
		{"a grant type in the query", base(func(o *OAuth) { o.Query = map[string]secret.Ref{"grant_type": given("q")} }), "POST", "/token?grant_type=q", "application/x-www-form-urlencoded", "",
			map[string]string{"client_id": "kl am", "client_secret": "s&t"}},
		{"JSON", base(func(o *OAuth) {
			o.Headers = map[string]secret.Ref{"content-type": given("application/json; charset=utf-8"), "X-Extra": given("x")}
		}), "POST", "/token", "application/json; charset=utf-8", "x",
			map[string]string{"client_id": "kl am", "client_secret": "s&t", "grant_type": "client_credentials"}},
		{"a login in a header", base(func(o *OAuth) { o.ClientAuth, o.Scope = "header", "a" }), "POST", "/token", "application/x-www-form-urlencoded", "",
			map[string]string{"grant_type": "client_credentials", "scope": "a"}},
		{"GET", base(func(o *OAuth) { o.Method = "GET"; o.Query = map[string]secret.Ref{"client_id": given("mine")} }), "GET",
			"/token?client_id=mine&client_secret=s%26t&grant_type=client_credentials", "", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newIssuer(t)
			c.oauth.TokenURL = s.URL + "/token"
			w := opened(t, Config{URL: s.URL + "/hook", Auth: &Auth{OAuth: c.oauth}}, targettest.Env(t, ""))
			if err := deliver(t, w); err != nil {
				t.Fatal(err)
			}
			got := s.requests[0]
			login := ""
			if c.oauth.ClientAuth == "header" {
				login = "Basic a2wrYW06cyUyNnQ=" // kl+am:s%26t
			}
			if auth := got.Header.Get("Authorization"); auth != login {
				t.Errorf("Authorization: %q, want %q", auth, login)
			}
			if got.Method != c.method || got.URI != c.uri || got.Header.Get("Content-Type") != c.kind || got.Header.Get("X-Extra") != c.header {
				t.Errorf("%s %s %v", got.Method, got.URI, got.Header)
			}
			fields := map[string]string{}
			if strings.HasPrefix(c.kind, "application/json") {
				if err := json.Unmarshal([]byte(got.Body), &fields); err != nil {
					t.Fatal(err)
				}
			} else {
				form, _ := url.ParseQuery(got.Body)
				for name := range form {
					fields[name] = form.Get(name)
				}
			}
			if c.fields == nil {
				c.fields = map[string]string{}
			}
			if diff := cmp.Diff(c.fields, fields); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTokenIsUsedUntilItIsAboutToExpire(t *testing.T) {
	for _, c := range []struct {
		name    string
		expires any
		still   time.Duration // a time at which it is used
		renewed time.Duration // one at which another is asked for
	}{
		{"60 seconds ahead", 1800, 1735 * time.Second, 1745 * time.Second},
		{"a tenth where that is less", 100, 85 * time.Second, 92 * time.Second},
		{"a number in a text", "100", 85 * time.Second, 92 * time.Second},
		{"without an end an hour", nil, 3500 * time.Second, 3545 * time.Second},
		{"a day is an hour", 86400, 3500 * time.Second, 3545 * time.Second},
		{"nonsense is an hour", "soon", 3500 * time.Second, 3545 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newIssuer(t)
			s.expires = c.expires
			w, k := oauthTarget(t, s.config())
			for _, at := range []time.Duration{0, 0, c.still} {
				k.offset.Store(int64(at))
				if err := deliver(t, w); err != nil {
					t.Fatal(err)
				}
			}
			if n := s.issued.Load(); n != 1 {
				t.Errorf("%d tokens, want 1", n)
			}
			k.offset.Store(int64(c.renewed))
			if err := deliver(t, w); err != nil {
				t.Fatal(err)
			}
			s.wantIssued(t, 2)
			// Beyond the end of the first one only the second is good.
			s.set(func() { delete(s.good, "token-1") })
			k.offset.Store(int64(c.renewed + time.Second))
			if err := deliver(t, w); err != nil {
				t.Error(err)
			}
			if n := s.issued.Load(); n != 2 {
				t.Errorf("%d tokens, want 2", n)
			}
		})
	}
}

func TestRefusedTokenIsReplacedOnce(t *testing.T) {
	s := newIssuer(t)
	w, k := oauthTarget(t, s.config())
	if err := deliver(t, w); err != nil {
		t.Fatal(err)
	}
	k.advance(10 * time.Second)
	s.revoke()
	if err := deliver(t, w); err != nil {
		t.Errorf("a new token was not tried: %v", err)
	}
	if n := s.issued.Load(); n != 2 {
		t.Errorf("%d tokens, want 2", n)
	}
	// A receiver that refuses whatever comes does not cost a token a request.
	for i := range 20 {
		s.revoke()
		err := deliver(t, w)
		if f := target.FailureOf(err); err == nil || f.Final || f.Status != 401 {
			t.Fatalf("attempt %d: %v (final %v), want a status 401 to be tried again", i, err, f.Final)
		}
	}
	if n := s.issued.Load(); n > 3 {
		t.Errorf("%d tokens for 21 refused requests", n)
	}
}

// One that was refused as soon as it was there may have been revoked all the same.
func TestYoungTokenIsReplaced(t *testing.T) {
	s := newIssuer(t)
	w, _ := oauthTarget(t, s.config())
	if err := deliver(t, w); err != nil {
		t.Fatal(err)
	}
	s.revoke()
	if err := deliver(t, w); err != nil {
		t.Errorf("a new token was not tried: %v", err)
	}
}

func TestOneExchangeForManyRequests(t *testing.T) {
	s := newIssuer(t)
	s.block = make(chan struct{})
	w, _ := oauthTarget(t, s.config())
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if err := deliver(t, w); err != nil {
				t.Error(err)
			}
		})
	}
	close(s.block)
	all.Wait()
	if n := s.issued.Load(); n != 1 {
		t.Errorf("%d tokens, want 1", n)
	}
}

func TestTokenEndpointThatFails(t *testing.T) {
	s := newIssuer(t)
	s.status = 400
	var log bytes.Buffer
	env := targettest.Env(t, "")
	env.Log = slog.New(slog.NewTextHandler(&log, nil))
	c := s.config()
	c.Auth.OAuth.TokenURL += "?key=hunter2"
	w := opened(t, c, env)
	k := &clock{}
	w.tokens.now = k.now
	err := deliver(t, w)
	f := target.FailureOf(err)
	if err == nil || f.Final || !strings.Contains(err.Error(), "HTTP status 400 (invalid_client)") {
		t.Fatalf("%v, final %v", err, f.Final)
	}
	for _, secret := range []string{"s3cret", "hunter2"} {
		if strings.Contains(err.Error()+log.String(), secret) {
			t.Errorf("a secret is shown: %v\n%s", err, &log)
		}
	}
	// It is left alone for a while, and told when to come back.
	if err = deliver(t, w); err == nil || target.FailureOf(err).After <= 0 {
		t.Errorf("%v", err)
	}
	if len(s.requests) != 1 {
		t.Errorf("%d exchanges", len(s.requests))
	}
	s.set(func() { s.status, s.header = 503, http.Header{"Retry-After": {"40"}} })
	k.advance(2 * time.Second)
	_ = deliver(t, w)
	if f := target.FailureOf(deliver(t, w)); f.After < 30*time.Second || f.After > time.Minute {
		t.Errorf("after %s, want what the endpoint asked for", f.After)
	}
	s.set(func() { s.status = 200 })
	k.advance(time.Minute)
	if err := deliver(t, w); err != nil {
		t.Error(err)
	}
	// A token that lasts outlives an endpoint that fails.
	s.set(func() { s.status = 500 })
	k.advance(longestToken - 30*time.Second)
	for range 3 {
		if err := deliver(t, w); err != nil {
			t.Error(err)
		}
	}
}

func TestAnswersThatAreNoToken(t *testing.T) {
	for _, answer := range []string{"", "x", "[]", "{}", `{"access_token":""}`, `{"access_token":7}`, `{"access_token":"a\r\nX-Evil: 1"}`, `{"access_token":"a","token_type":"x y"}`, `{"access_token":"ü"}`} {
		if tok, err := tokenOf([]byte(answer), time.Now()); err == nil {
			t.Errorf("%s: %v", answer, tok)
		}
	}
	tok, err := tokenOf([]byte(`{"access_token":"a","token_type":"MAC","expires_in":-1}`), time.Now())
	if err != nil || tok.header != "MAC a" {
		t.Errorf("%v, %v", tok, err)
	}
}

func TestCloseEndsTheExchange(t *testing.T) {
	s := newIssuer(t)
	s.block = make(chan struct{})
	defer close(s.block)
	w, _ := oauthTarget(t, s.config())
	failed := make(chan error)
	go func() { failed <- deliver(t, w) }()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		w.tokens.mu.Lock()
		begun := w.tokens.exchange != nil
		w.tokens.mu.Unlock()
		if begun || time.Now().After(end) {
			break
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; err == nil {
		t.Error("no error")
	}
}
