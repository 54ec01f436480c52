package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/waittest"
)

// renewed is what an open stream learns of its caller.
func renewed(t *testing.T, c *Chain, scheme string, r *http.Request) (gate.Principal, error) {
	t.Helper()
	for _, s := range c.all {
		if s.name == scheme {
			return s.renew(r)
		}
	}
	t.Fatalf("there is no scheme %s", scheme)
	return gate.Principal{}, nil
}

func TestOpenStreamsLearnOfRevokedKeys(t *testing.T) {
	cluster := testCluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := newTestChain(t, Config{APIKeys: &APIKeys{}}, func(e *Env) { e.Cluster = cluster })
	key, text, err := c.Keys().Create(ctx, gate.Principal{Name: "User:root"}, NewKey{Name: "stream-" + random62(8)})
	if err != nil {
		t.Fatal(err)
	}
	r := request("X-Api-Key", text)
	waittest.Until(t, "the key is taken", func() bool { _, err := c.Authenticate(r); return err == nil })
	if who, err := renewed(t, c, gate.SchemeAPIKey, r); err != nil || who.KeyID != key.ID {
		t.Fatalf("before it is revoked: %v", err)
	}
	if _, err := c.Keys().Revoke(ctx, key.ID); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the stream learns of it", func() bool {
		_, err := renewed(t, c, gate.SchemeAPIKey, r)
		return gate.Classify(err) == gate.Denied
	})
}

func TestOpenStreamsLearnOfGroups(t *testing.T) {
	const g1 = "9d1f6a60-0000-4000-8000-000000000001"
	var member atomic.Bool
	var asked atomic.Int32
	member.Store(true)
	directory := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token") {
			fmt.Fprint(w, `{"access_token":"graph-token","expires_in":3600}`)
			return
		}
		asked.Add(1)
		var q struct{ GroupIDs []string }
		_ = json.NewDecoder(r.Body).Decode(&q)
		_ = json.NewEncoder(w).Encode(m{"value": slices.DeleteFunc(q.GroupIDs, func(string) bool { return !member.Load() })})
	}))
	defer directory.Close()
	p := newIDP(t)
	c, pass := startJWT(t, p, &Graph{URL: directory.URL, Login: directory.URL, Tenant: "t1", ClientID: "c", ClientSecret: secret.Ref{Value: "s"}}, g1)
	r := request("Authorization", "Bearer "+p.token("r1", rsa1, m{"oid": "o-1", "hasgroups": true}))
	groups := func(who gate.Principal, err error) string {
		if err != nil {
			return err.Error()
		}
		return strings.Join(who.Groups, ",")
	}
	waittest.Until(t, "the caller is in the group", func() bool { who, err := c.Authenticate(r); return groups(who, err) == g1 })
	member.Store(false)
	if got := groups(renewed(t, c, gate.SchemeJWT, r)); got != g1 || asked.Load() != 1 {
		t.Errorf("at once: %q, asked %d times", got, asked.Load())
	}
	pass(renewedWithin)
	if got := groups(c.Authenticate(r)); got != g1 {
		t.Errorf("new calls go by what is remembered: %q", got)
	}
	if got := groups(renewed(t, c, gate.SchemeJWT, r)); got != "" || asked.Load() != 2 {
		t.Errorf("the stream of a removed member: %q, asked %d times", got, asked.Load())
	}
}

func TestOpenStreamsAskTheAuthorizerAgain(t *testing.T) {
	var effect atomic.Value
	effect.Store("Allow")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"principalId":"visitor","policyDocument":{"Version":"2012-10-17","Statement":{"Effect":"`+effect.Load().(string)+`","Action":"*","Resource":"*"}}}`)
	}))
	defer server.Close()
	var ahead atomic.Int64
	c := newTestChain(t, Config{Authorizers: []Authorizer{{Name: "a", URL: server.URL, Identity: []string{"header:X-Badge"}}}}, func(e *Env) {
		e.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	r := request("X-Badge", "gold")
	if _, err := c.Authenticate(r); err != nil {
		t.Fatal(err)
	}
	effect.Store("Deny")
	ahead.Store(int64(renewedWithin))
	if _, err := c.Authenticate(r); err != nil {
		t.Errorf("new calls go by what is remembered: %v", err)
	}
	if _, err := renewed(t, c, gate.SchemeAuthorizer, r); gate.Classify(err) != gate.Denied {
		t.Errorf("the stream of a caller who is denied now: %v", err)
	}
	if _, err := c.Authenticate(r); gate.Classify(err) != gate.Denied {
		t.Errorf("new calls, once that is known: %v", err)
	}
}

func TestOpenStreamsOfSignedRequests(t *testing.T) {
	s := newTestSigV4(t, nil)
	r := signedRequest(t, alice, "GET", "/stream/t", nil, "", vectorNow(), nil)
	if _, err := s.authenticate(r); err != nil {
		t.Fatal(err)
	}
	now := vectorNow()
	s.now = func() time.Time { return now }
	now = now.Add(time.Hour) // the signature alone would be too old
	if who, err := s.renew(r); err != nil || who.Name != "User:alice" {
		t.Errorf("an hour later: %q, %v", who.Name, err)
	}
	s.keys[vectorKey].until = now
	wantRefusal(t, func() error { _, err := s.renew(r); return err }(), "The security token included in the request is invalid.")
}

// What was let in by ways that do not count any more has to come in anew.
func TestOpenStreamsEndWithTheirChain(t *testing.T) {
	c := newTestChain(t, Config{APIKeys: &APIKeys{Keys: []APIKey{{Name: "k", Key: secret.Ref{Value: "key-0123456789abcdefghijklmnopqrstu"}}}}}, func(*Env) {})
	r := request("X-Api-Key", "key-0123456789abcdefghijklmnopqrstu")
	waittest.Until(t, "the key is taken", func() bool { _, err := c.Authenticate(r); return err == nil })
	if _, err := renewed(t, c, gate.SchemeAPIKey, r); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := c.stillOpen(); gate.Classify(err) != gate.Unauthenticated {
		t.Errorf("after the end: %v", err)
	}
}
