package auth

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
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
	// largestIdentity bounds what is in one.
	largestIdentity = 64 << 10
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
	master []byte
	sealer cipher.AEAD
	most   time.Duration
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
	i := &mint{master: []byte(master), most: cfg.MaxDuration, now: env.now}
	if i.most == 0 {
		i.most = issuedUsual
	}
	key, err := hkdf.Key(sha256.New, i.master, nil, "klamm sts token", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	i.sealer, err = cipher.NewGCM(block)
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
		lasts = min(issuedUsual, i.most)
	case lasts < issuedShortest || lasts > i.most:
		return t, &gate.Error{Kind: gate.Invalid, Message: fmt.Sprintf("DurationSeconds must be a number from %d to %d", issuedShortest/time.Second, i.most/time.Second)}
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
	t.SessionToken, err = i.seal(identity{Key: t.AccessKeyID, Who: who, Issued: now.Unix(), Expires: t.Expires.Unix()})
	return t, err
}

// secretOf returns the secret of a key. Only who knows the master key can compute it.
func (i *mint) secretOf(id string) (string, error) {
	key, err := hkdf.Key(sha256.New, i.master, []byte(id), "klamm sts secret", 30)
	return base64.RawStdEncoding.EncodeToString(key), err
}

func (i *mint) seal(one identity) (string, error) {
	text, err := json.Marshal(one)
	if err != nil {
		return "", err
	}
	var packed bytes.Buffer
	w, _ := flate.NewWriter(&packed, flate.BestCompression)
	_, _ = w.Write(text)
	_ = w.Close()
	nonce := make([]byte, i.sealer.NonceSize())
	_, _ = rand.Read(nonce)
	token := base64.StdEncoding.EncodeToString(i.sealer.Seal(nonce, nonce, packed.Bytes(), []byte(forIssued)))
	if len(token) > largestIssued || len(text) > largestIdentity {
		return "", &gate.Error{Kind: gate.TooLarge, Message: "what is known of the caller, such as the claims of the token, is more than a session token can hold"}
	}
	return token, nil
}

// open returns the key of a signature with a session token; false: it is none of ours.
func (i *mint) open(id, token string, now time.Time) (*iamKey, bool) {
	if !strings.HasPrefix(id, temporaryKey) || len(token) > largestIssued {
		return nil, false
	}
	sealed, err := base64.StdEncoding.DecodeString(token)
	n := i.sealer.NonceSize()
	if err != nil || len(sealed) < n {
		return nil, false
	}
	packed, err := i.sealer.Open(nil, sealed[:n], sealed[n:], []byte(forIssued))
	if err != nil {
		return nil, false
	}
	text, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), largestIdentity))
	if err != nil {
		return nil, false
	}
	var one identity
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if d.Decode(&one) != nil || one.Key != id {
		return nil, false
	}
	key := &iamKey{id: id, token: token, enabled: true, expires: time.Unix(one.Expires, 0), who: one.Who}
	if !i.stands(&key.who, now) {
		return nil, false
	}
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
