package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/time/rate"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

const (
	// knownPasswords and knownFor bound the passwords that need not be hashed
	// again.
	knownPasswords = 10_000
	knownFor       = time.Minute
	// failuresPerSecond is how often one source or one user may fail; what is
	// beyond waits, failureWait at most, and is then refused without a look.
	failuresPerSecond = 5
	failureWait       = 2 * time.Second
	failureKeys       = 20_000
	// hashesAtOnce bounds how many passwords are hashed at a time: that is slow on
	// purpose.
	hashesAtOnce = 4
	// largestPassword bounds what is looked at.
	largestPassword = 1 << 10
)

// basic takes user names and passwords (gateway-policies.md 1.8).
type basic struct {
	env     Env
	users   map[string]user
	dummy   string // is checked for users who are not there
	key     []byte // of what is remembered
	known   *cache[[sha256.Size]byte, struct{}]
	failing *cache[string, *rate.Limiter]
	hashing chan struct{}
	passed  bool // Kafka decides; there is no file
}

func newBasic(cfg *Basic, env Env) (*basic, error) {
	if cfg.Passthrough {
		return &basic{env: env, passed: true, failing: newCache[string, *rate.Limiter](failureKeys)}, nil
	}
	text, err := env.Read(cfg.File)
	if err != nil {
		return nil, fmt.Errorf("auth.basic.file: %w", err)
	}
	users, err := parseUsers(text, cfg.AllowLegacy)
	if err != nil {
		return nil, fmt.Errorf("auth.basic.file: %s: %w", cfg.File, err)
	}
	b := &basic{env: env, users: users, key: make([]byte, 32), known: newCache[[sha256.Size]byte, struct{}](knownPasswords),
		failing: newCache[string, *rate.Limiter](failureKeys), hashing: make(chan struct{}, hashesAtOnce)}
	_, _ = rand.Read(b.key)
	// A user who is not there takes as long as one who is.
	for _, u := range users {
		if b.dummy = u.hash; isBcrypt(u.hash) {
			break
		}
	}
	return b, nil
}

func refuseBasic() error {
	return &front.Refusal{Kind: gate.Unauthenticated, Message: "a user name and a password are required", Header: http.Header{
		"Www-Authenticate": {`Basic realm="klamm", charset="UTF-8"`},
	}}
}

// parseBasic reads the header. The user name ends with the first colon.
func parseBasic(header string) (name, password string, ok bool) {
	word, text, _ := strings.Cut(header, " ")
	if !strings.EqualFold(word, "Basic") || len(text) > 2*largestPassword {
		return "", "", false
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || !utf8.Valid(raw) {
		return "", "", false
	}
	name, password, ok = strings.Cut(string(raw), ":")
	return name, password, ok && validName(name) && password != "" && len(password) <= largestPassword
}

func (b *basic) authenticate(r *http.Request) (gate.Principal, error) {
	header := r.Header.Get("Authorization")
	if word, _, _ := strings.Cut(header, " "); !strings.EqualFold(word, "Basic") {
		return gate.Principal{}, front.ErrNotMine
	}
	name, password, ok := parseBasic(header)
	if !ok {
		return gate.Principal{}, refuseBasic()
	}
	if b.passed {
		return b.pass(r, name, password)
	}
	u, there := b.users[name]
	now := b.env.now()
	remembered := b.digest(name, u.hash, password)
	if _, ok := b.known.get(remembered, now); !ok {
		if err := b.check(r, name, u, there, password); err != nil {
			return gate.Principal{}, err
		}
		b.known.put(remembered, struct{}{}, now.Add(knownFor))
	}
	return gate.Principal{Name: "User:" + name, Groups: u.groups, Scheme: gate.SchemeBasic}, nil
}

// check hashes a password. Who fails often has to wait.
func (b *basic) check(r *http.Request, name string, u user, there bool, password string) error {
	limits, err := b.slow(r, name)
	if err != nil {
		return err
	}
	select {
	case b.hashing <- struct{}{}:
	case <-r.Context().Done():
		return r.Context().Err()
	}
	hash := u.hash
	if !there {
		hash = b.dummy
	}
	ok := matches(hash, password)
	<-b.hashing
	if ok && there {
		return nil
	}
	for _, l := range limits {
		l.Allow()
	}
	return refuseBasic()
}

// slow has who failed often wait, and refuses who failed too often. It returns what
// the next failure counts for.
func (b *basic) slow(r *http.Request, name string) ([]*rate.Limiter, error) {
	limits := []*rate.Limiter{b.limit("source " + b.env.source(r).String()), b.limit("user " + name)}
	for _, l := range limits {
		if l.Tokens() >= 1 {
			continue
		}
		timer := time.NewTimer(min(failureWait, time.Second/failuresPerSecond))
		select {
		case <-timer.C:
		case <-r.Context().Done():
			timer.Stop()
			return nil, r.Context().Err()
		}
		if l.Tokens() < 1 {
			return nil, refuseBasic()
		}
	}
	return limits, nil
}

func (b *basic) limit(key string) *rate.Limiter {
	now := b.env.now()
	if l, ok := b.failing.get(key, now); ok {
		return l
	}
	l := rate.NewLimiter(failuresPerSecond, failuresPerSecond)
	b.failing.put(key, l, now.Add(time.Minute))
	return l
}

// digest stands for a user and a password in memory.
func (b *basic) digest(name, hash, password string) [sha256.Size]byte {
	h := hmac.New(sha256.New, b.key)
	for _, part := range []string{name, hash, password} {
		fmt.Fprintf(h, "%d:", len(part))
		_, _ = h.Write([]byte(part))
	}
	return [sha256.Size]byte(h.Sum(nil))
}
