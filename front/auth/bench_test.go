package auth

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/secret"
)

// What it costs to know who is calling, once klamm has seen the caller before.
func BenchmarkAuthenticate(b *testing.B) {
	key := func(i int) string { return fmt.Sprintf("key-%032d", i) }
	for _, n := range []int{1, 10_000} {
		var keys []APIKey
		for i := range n {
			keys = append(keys, APIKey{Name: fmt.Sprint("caller-", i), Key: secret.Ref{Value: key(i)}, Groups: []string{"bench"}})
		}
		b.Run(fmt.Sprintf("apikey/%d", n), func(b *testing.B) {
			env := testEnv(&testing.T{})
			c, err := New(b.Context(), Config{APIKeys: &APIKeys{Keys: keys}}, env)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			run(b, c, func(i int) *http.Request { return request("X-Api-Key", key(i%n)) })
		})
	}
	b.Run("jwt", func(b *testing.B) {
		j := newTestJWT(&testing.T{}, time.Now().Unix(), nil)
		c := newChain(Config{}, j.env)
		defer c.Close()
		c.add("jwt", j.authenticate, nil, j.renew)
		now := time.Now().Unix()
		token := sign(m{"alg": "ES256", "kid": "e1"}, m{"iss": "https://id.example/", "aud": "klamm", "sub": "carol", "iat": now, "exp": now + 3600, "groups": []string{"bench"}}, ec1, false)
		run(b, c, func(int) *http.Request { return request("Authorization", "Bearer "+token) })
	})
	b.Run("sigv4", func(b *testing.B) {
		s := newTestSigV4(&testing.T{}, nil)
		c := newChain(Config{}, testEnv(&testing.T{}))
		defer c.Close()
		c.add("sigv4", s.authenticate, nil, s.renew)
		r := signedRequest(&testing.T{}, alice, "GET", "/topics/t/records", nil, "", vectorNow(), nil)
		run(b, c, func(int) *http.Request { return r })
	})
}

func run(b *testing.B, c *Chain, next func(i int) *http.Request) {
	requests := make([]*http.Request, 1024)
	for i := range requests {
		requests[i] = next(i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := c.Authenticate(requests[i%len(requests)]); err != nil {
			b.Fatal(err)
		}
	}
}
