package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// Bounds of an API key, in characters.
const (
	shortestKey = 20
	longestKey  = 128
	// guessable is the length below which an imported key might be guessed from a
	// quick hash.
	guessable = 32
)

// apiKeys takes API keys (gateway-policies.md 1.6).
type apiKeys struct {
	env     Env
	headers []string
	query   string
	macs    sync.Pool           // of *keyMAC
	file    map[string]*fileKey // by hash
	made    *Keys
}

// A fileKey is a key of the configuration file.
type fileKey struct {
	who       gate.Principal
	enabled   bool
	notBefore time.Time
	notAfter  time.Time
	sources   []netip.Prefix
	name      string
}

func newAPIKeys(ctx context.Context, cfg *APIKeys, c *Chain) (*apiKeys, error) {
	a := &apiKeys{env: c.env, query: cfg.Query, file: map[string]*fileKey{}}
	pepper := []byte("klamm")
	for _, h := range cfg.Headers {
		a.headers = append(a.headers, http.CanonicalHeaderKey(h))
	}
	if a.headers == nil {
		a.headers = []string{"X-Api-Key"}
	}
	if !cfg.Pepper.IsZero() {
		text, err := c.env.Secret(ctx, cfg.Pepper)
		if err != nil {
			return nil, fmt.Errorf("auth.apikeys.pepper: %w", err)
		}
		pepper = []byte(text)
	}
	a.macs.New = func() any { return &keyMAC{mac: hmac.New(sha256.New, pepper)} }
	for i, k := range cfg.Keys {
		if err := a.addFile(ctx, k); err != nil {
			return nil, fmt.Errorf("auth.apikeys.keys[%d]: %w", i, err)
		}
	}
	a.made = newKeys(c, a)
	return a, nil
}

func (a *apiKeys) addFile(ctx context.Context, k APIKey) error {
	key, err := a.env.Secret(ctx, k.Key)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if !keyShape(key) {
		return fmt.Errorf("key %q: want %d to %d printable ASCII characters", k.Name, shortestKey, longestKey)
	}
	sources, err := prefixes(k.Sources)
	if err != nil {
		return fmt.Errorf("sources: %w", err)
	}
	digits := a.hash(key)
	hash := string(digits[:])
	if other, there := a.file[hash]; there {
		return fmt.Errorf("%q and %q have the same key", other.name, k.Name)
	}
	who := gate.Principal{Name: k.Principal, Groups: slices.Clone(k.Groups), Tags: k.Tags, Scheme: gate.SchemeAPIKey, KeyID: k.Name, Expires: moment(k.NotAfter)}
	if who.Name == "" {
		who.Name = "User:" + k.Name
	}
	a.file[hash] = &fileKey{who, k.Enabled == nil || *k.Enabled, moment(k.NotBefore), moment(k.NotAfter), sources, k.Name}
	return nil
}

// keyShape says whether a text can be a key at all.
func keyShape(key string) bool {
	if len(key) < shortestKey || len(key) > longestKey {
		return false
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return false
		}
	}
	return true
}

// A keyHash stands for a key wherever it is kept: an HMAC, in hexadecimal digits.
type keyHash [2 * sha256.Size]byte

// A keyMAC computes hashes with the pepper, in memory of its own.
type keyMAC struct {
	mac  hash.Hash
	text [longestKey]byte
	sum  [sha256.Size]byte
}

func (a *apiKeys) hash(key string) (digits keyHash) {
	m := a.macs.Get().(*keyMAC)
	defer a.macs.Put(m)
	m.mac.Reset()
	_, _ = m.mac.Write(append(m.text[:0], key...))
	hex.Encode(digits[:], m.mac.Sum(m.sum[:0]))
	clear(m.text[:]) // a pool is no place for a secret
	return digits
}

// refuseKey is the answer to a key that is not taken, whatever the reason, and to
// none.
func refuseKey() error {
	message := "Forbidden"
	return front.RefuseAWS(gate.Denied, http.StatusForbidden, "ForbiddenException", "message", &message)
}

// find returns the key of a request.
func (a *apiKeys) find(r *http.Request) (key string, ok bool) {
	for _, h := range a.headers {
		if v := r.Header[h]; v != nil {
			if len(v) > 1 {
				return "", true
			}
			return v[0], true
		}
	}
	if a.query != "" {
		if v, ok := r.URL.Query()[a.query]; ok {
			if len(v) > 1 {
				return "", true
			}
			return v[0], true
		}
	}
	return "", false
}

// errRefused says that a key is not taken.
var errRefused = errors.New("the key is not taken")

func (a *apiKeys) authenticate(r *http.Request) (gate.Principal, error) {
	key, ok := a.find(r)
	if !ok {
		return gate.Principal{}, front.ErrNotMine
	}
	return a.holder(r, key)
}

// holder is the caller that a key of a request stands for.
func (a *apiKeys) holder(r *http.Request, key string) (gate.Principal, error) {
	if !keyShape(key) {
		return gate.Principal{}, refuseKey()
	}
	source, now := a.env.source(r), a.env.now()
	// Both places are looked at for every key, so that the time says nothing about
	// where one is.
	digits := a.hash(key)
	known, inFile := a.file[string(digits[:])]
	who, err := a.made.find(key, &digits, source, now)
	if inFile {
		if !known.enabled || !between(now, known.notBefore, known.notAfter) || !fromOneOf(known.sources, source) {
			return gate.Principal{}, refuseKey()
		}
		return known.who, nil
	}
	if errors.Is(err, errRefused) {
		return gate.Principal{}, refuseKey()
	}
	return who, err
}

func between(now, from, to time.Time) bool {
	return !now.Before(from) && (to.IsZero() || now.Before(to))
}

func fromOneOf(prefixes []netip.Prefix, addr netip.Addr) bool {
	if len(prefixes) == 0 {
		return true
	}
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// madeKey takes a key of klamm's own form apart: klm_ID_SECRET.
func madeKey(key string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(key, "klm_")
	id, secret, _ := strings.Cut(rest, "_")
	if !ok || len(id) != keyIDLength || len(secret) != keySecretLength || !base62(id) || !base62(secret) {
		return "", false
	}
	return id, true
}

func base62(s string) bool {
	for i := range len(s) {
		if strings.IndexByte(alphabet62, s[i]) < 0 {
			return false
		}
	}
	return true
}
