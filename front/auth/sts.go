package auth

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/secret"
)

const (
	// issuedShortest and issuedLongest bound for how long temporary credentials can be
	// asked for, and issuedUsual is for how long they hold where nobody says.
	issuedShortest = 15 * time.Minute
	issuedLongest  = 12 * time.Hour
	issuedUsual    = time.Hour
	// shortestMaster bounds the key that they are made from, in characters.
	shortestMaster = 32
	// largestIssued bounds a session token, in bytes: it comes with each request, among
	// the other headers.
	largestIssued = 8 << 10
	// forIssued is what session tokens are sealed for.
	forIssued = "klamm sts"
	// temporaryKey begins the id of a temporary key.
	temporaryKey = "ASIA"
)

// STS gives temporary credentials to callers who have shown who they are, so that they can
// sign requests as SDKs of AWS do.
type STS struct {
	// Key is the secret that they are made from, at least 32 characters. Processes with
	// the same one take each other's; with another one, all that were given have ended.
	Key secret.Ref `yaml:"key"`
	// MaxDuration is how long they can hold, 15m to 12h; the default is 1h.
	MaxDuration time.Duration `yaml:"max_duration"`
}

// Validate reports each problem with the field it lies in.
func (s *STS) Validate(report func(path, problem string)) {
	if s.Key.IsZero() {
		report("key", "want {env: NAME}, {file: PATH} or {value: TEXT}")
	}
	if s.MaxDuration != 0 && (s.MaxDuration < issuedShortest || s.MaxDuration > issuedLongest) {
		report("max_duration", "want a time from 15m to 12h")
	}
}

// A mint makes temporary credentials (gateway-policies.md 1.3.1) and knows them again.
// Nothing of them is kept here: the secret follows from the id of the key, and who it is
// for is sealed in the session token.
type mint struct {
	sealer // of session tokens
	master []byte
	lasts  time.Duration // at most
	now    func() time.Time
	// stands says whether what the caller has shown at the time is still taken.
	stands func(who *gate.Principal, now time.Time) bool
}

// An identity is what is sealed in a session token.
type identity struct {
	Key     string         `json:"ak"`
	Who     gate.Principal `json:"who"`
	Issued  int64          `json:"iat"` // seconds since 1970
	Expires int64          `json:"exp"`
}

func newMint(ctx context.Context, cfg *STS, env Env) (*mint, error) {
	master, err := env.Secret(ctx, cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if len(master) < shortestMaster {
		return nil, fmt.Errorf("key: want at least %d characters", shortestMaster)
	}
	i := &mint{master: []byte(master), lasts: cfg.MaxDuration, now: env.now}
	if i.lasts == 0 {
		i.lasts = issuedUsual
	}
	i.sealer, err = newSealer(i.master, "klamm sts token", base64.StdEncoding, largestIssued)
	return i, err
}

// Temporary are credentials that klamm has given.
type Temporary struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	Expires                                    time.Time
}

// Issue gives a caller temporary credentials that stand for them as they are now, for a
// time, 0 being an hour or as long as is possible; they never outlast what the caller has
// come with. The errors are front.ErrNoRoute where klamm gives none, and otherwise of kind
// Denied, Invalid or TooLarge.
func (c *Chain) Issue(who gate.Principal, lasts time.Duration) (t Temporary, err error) {
	if c == nil || c.mint == nil {
		return t, front.ErrNoRoute
	}
	i := c.mint
	switch {
	case who.Name == "" || who.Name == gate.Anonymous.Name:
		return t, &gate.Error{Kind: gate.Denied, Message: "temporary credentials are for callers who have shown who they are"}
	case who.Session != "":
		return t, &gate.Error{Kind: gate.Denied, Message: "temporary credentials give no further ones; ask with what they were given for"}
	case lasts == 0:
		lasts = min(issuedUsual, i.lasts)
	case lasts < issuedShortest || lasts > i.lasts:
		return t, &gate.Error{Kind: gate.Invalid, Message: fmt.Sprintf("DurationSeconds must be a number from %d to %d", issuedShortest/time.Second, i.lasts/time.Second)}
	}
	now := i.now()
	t.Expires = now.Add(lasts).Truncate(time.Second)
	if !who.Expires.IsZero() && who.Expires.Before(t.Expires) {
		t.Expires = who.Expires.Truncate(time.Second)
	}
	t.AccessKeyID = temporaryKey + rand.Text()[:16]
	if t.SecretAccessKey, err = i.secretOf(t.AccessKeyID); err != nil {
		return t, err
	}
	// How a call came belongs to that call alone.
	who.Certificate, who.Stage, who.TopicPrefix, who.Cluster = nil, "", "", ""
	who.Source, who.Secure = netip.Addr{}, false
	t.SessionToken, err = i.seal(forIssued, identity{Key: t.AccessKeyID, Who: who, Issued: now.Unix(), Expires: t.Expires.Unix()})
	if errors.Is(err, errSealed) {
		err = &gate.Error{Kind: gate.TooLarge, Message: "what is known of the caller, such as the claims of the token, is more than a session token can hold"}
	}
	return t, err
}

// secretOf returns the secret of a key. Only who knows the master key can compute it.
func (i *mint) secretOf(id string) (string, error) {
	key, err := hkdf.Key(sha256.New, i.master, []byte(id), "klamm sts secret", 30)
	return base64.RawStdEncoding.EncodeToString(key), err
}

// keyOf returns the key of a signature with a session token; false: it is none of ours.
func (i *mint) keyOf(id, token string, now time.Time) (*iamKey, bool) {
	var one identity
	if !strings.HasPrefix(id, temporaryKey) || !i.open(forIssued, token, &one) || one.Key != id {
		return nil, false
	}
	key := &iamKey{id: id, token: token, enabled: true, expires: time.Unix(one.Expires, 0), who: one.Who}
	if !i.stands(&key.who, now) {
		return nil, false
	}
	var err error
	if key.secret, err = i.secretOf(id); err != nil {
		return nil, false
	}
	key.who.Session, key.who.Issued, key.who.Expires = id, time.Unix(one.Issued, 0), key.expires
	return key, true
}

// addMint has the chain give temporary credentials.
func (c *Chain) addMint(ctx context.Context, cfg *STS, s *sigv4) error {
	i, err := newMint(ctx, cfg, c.env)
	if err != nil {
		return fmt.Errorf("auth.iam.sts.%w", err)
	}
	// An API key that is revoked takes with it what was given for it.
	i.stands = func(who *gate.Principal, now time.Time) bool {
		return who.Scheme != gate.SchemeAPIKey || c.keys != nil && c.keys.stands(who.KeyID, now)
	}
	c.mint, s.mint = i, i
	return nil
}
