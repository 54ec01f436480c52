package auth

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

const (
	stampForm = "20060102T150405Z"
	// derivedKeys and derivedFor bound the signing keys that are remembered.
	derivedKeys = 50_000
	derivedFor  = 24 * time.Hour
	// seenSignatures bounds those that are remembered against replay.
	seenSignatures = 100_000
	// presignedFor and presignedMost are for how long a presigned request is good
	// where it does not say, and at most, in seconds.
	presignedFor  = 300
	presignedMost = 604_800
)

// Names of refusals (gateway-policies.md 1.3.4).
const (
	missingToken        = "MissingAuthenticationTokenException"
	incompleteSignature = "IncompleteSignatureException"
	invalidSignature    = "InvalidSignatureException"
	unrecognizedClient  = "UnrecognizedClientException"
	expiredToken        = "ExpiredTokenException"
)

const mismatch = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. " +
	"Consult the service documentation for details."

// A sigv4 checks requests that are signed as those to AWS are
// (gateway-policies.md 1.3). It asks nobody: klamm holds the secrets.
type sigv4 struct {
	region   string
	services []string
	skew     time.Duration
	single   bool // a path may be signed as it is sent
	unsigned bool // bodies need not be signed
	explain  bool // say what was computed
	hostOf   func(*http.Request) string
	keys     map[string]*iamKey
	nobody   *iamKey // computes for keys that klamm does not know
	mint     *mint   // of temporary keys; nil: there are none but those of the file
	now      func() time.Time
	derived  *cache[derivedFrom, []byte]
	seen     *cache[[sha256.Size]byte, struct{}] // nil: signatures may come again
}

type derivedFrom struct {
	key string
	scope
}

// An iamKey is one access key.
type iamKey struct {
	id, secret, token string
	enabled           bool
	until             time.Time // zero: for ever
	expires           time.Time // of a temporary key; zero: never
	who               gate.Principal

	kept bool // for longer than a request
	last atomic.Pointer[derivedKey]
}

// A derivedKey is the signing key of a scope.
type derivedKey struct {
	scope
	key []byte
}

// newSigV4 looks the secrets up.
func newSigV4(ctx context.Context, cfg *IAM, env Env) (*sigv4, error) {
	services, err := cfg.services()
	if err != nil {
		return nil, fmt.Errorf("auth.iam.service: %w", err)
	}
	s := &sigv4{
		region: env.Region, services: services, skew: cfg.Skew, single: cfg.PathEncoding == "either", unsigned: cfg.AllowUnsignedPayload,
		explain: cfg.DebugMismatch, hostOf: func(r *http.Request) string { return r.Host }, keys: map[string]*iamKey{}, now: env.now,
		nobody: &iamKey{secret: "of nobody"}, derived: newCache[derivedFrom, []byte](derivedKeys),
	}
	if s.skew == 0 {
		s.skew = 5 * time.Minute
	}
	if cfg.ReplayCache {
		s.seen = newCache[[sha256.Size]byte, struct{}](seenSignatures)
	}
	if cfg.HostFrom == "x-forwarded-host" {
		s.hostOf = func(r *http.Request) string {
			if at := r.Header.Get("X-Forwarded-Host"); at != "" && env.Links.FromProxy(r) {
				return at
			}
			return r.Host
		}
	}
	for i, k := range cfg.Keys {
		one, err := newKey(ctx, k, env)
		if err != nil {
			return nil, fmt.Errorf("auth.iam.keys[%d]: %w", i, err)
		}
		s.keys[k.AccessKeyID] = one
	}
	return s, nil
}

func newKey(ctx context.Context, k AccessKey, env Env) (*iamKey, error) {
	one := &iamKey{kept: true, id: k.AccessKeyID, enabled: k.Enabled == nil || *k.Enabled, until: moment(k.NotAfter), expires: moment(k.Expires)}
	var err error
	if one.secret, err = env.Secret(ctx, k.Secret); err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	if !k.SessionToken.IsZero() {
		if one.token, err = env.Secret(ctx, k.SessionToken); err != nil {
			return nil, fmt.Errorf("session_token: %w", err)
		}
	}
	account := k.AccountID
	if account == "" {
		account = env.Account
	}
	who := gate.Principal{Name: k.Principal, Groups: slices.Clone(k.Groups), Scheme: gate.SchemeSigV4, AccountID: account, Tags: k.Tags, Expires: one.expires}
	if one.token != "" {
		// The file does not say when the session began. Policies must not take it for a
		// new one, nor for a key without a session.
		who.Issued = time.Unix(0, 0)
	}
	name := k.User
	if k.Role != "" {
		name = "role/" + k.Role
		who.RoleARN = "arn:aws:iam::" + account + ":role/" + k.Role
		who.ARN = "arn:aws:sts::" + account + ":assumed-role/" + k.Role + "/" + k.SessionName
	} else {
		who.ARN = "arn:aws:iam::" + account + ":user/" + k.User
	}
	if who.Name == "" {
		who.Name = "User:" + name
	}
	one.who = who
	return one, nil
}

// mine says whether a request carries a signature, good or bad.
func (s *sigv4) mine(r *http.Request) bool {
	word, _, _ := strings.Cut(strings.TrimLeft(r.Header.Get("Authorization"), " "), " ")
	return strings.HasPrefix(word, "AWS4-") || word == "AWS3" || word == "AWS" || presigned(r)
}

func presigned(r *http.Request) bool {
	_, query := wireTarget(r.RequestURI)
	if !strings.Contains(query, "X-Amz-Algorithm") {
		return false
	}
	_, ok := queryValue(query, "X-Amz-Algorithm")
	return ok
}

// authenticate checks a request in the order of gateway-policies.md 1.3.4.
func (s *sigv4) authenticate(r *http.Request) (gate.Principal, error) {
	sig, err := parseSignature(r)
	if err != nil {
		return gate.Principal{}, err
	}
	sig.plane = front.ControlPlane(r)
	now := s.now().UTC()
	if err := s.checkClock(sig, now); err != nil {
		return gate.Principal{}, err
	}
	if err := s.checkScope(sig); err != nil {
		return gate.Principal{}, err
	}
	key, known := s.find(sig, now)
	if known && !key.expires.IsZero() && !now.Before(key.expires) {
		return gate.Principal{}, refuseIAM(expiredToken, "The security token included in the request is expired")
	}
	// Who does not know a key must not find out that klamm does not either: the
	// work is the same.
	err = s.checkSignature(r, sig, key)
	if !known {
		if readable(err) {
			return gate.Principal{}, refuseIAM(unrecognizedClient, "The security token included in the request is invalid.")
		}
		return gate.Principal{}, err
	}
	if err != nil {
		return gate.Principal{}, err
	}
	if s.seen != nil && !s.seen.add(sha256.Sum256(append([]byte(sig.credential+" "), sig.mac()...)), struct{}{}, now, sig.at.Add(2*s.skew+time.Duration(sig.expires)*time.Second)) {
		return gate.Principal{}, refuseIAM(invalidSignature, mismatch)
	}
	return key.who, nil
}

// readable says whether an outcome of checkSignature is a verdict, and not that
// the body could not be read.
func readable(err error) bool {
	var e *front.Refusal
	return err == nil || errors.As(err, &e)
}

func (s *sigv4) checkClock(sig *signature, now time.Time) error {
	age := s.skew
	if sig.presigned {
		age = time.Duration(sig.expires) * time.Second
	}
	if oldest := now.Add(-age); sig.at.Before(oldest.Truncate(time.Second)) {
		return refuseIAM(invalidSignature, fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - %s)", sig.stamp, oldest.Format(stampForm), now.Format(stampForm), span(age)))
	}
	if newest := now.Add(s.skew); sig.at.After(newest) {
		return refuseIAM(invalidSignature, fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + %s)", sig.stamp, newest.Format(stampForm), now.Format(stampForm), span(s.skew)))
	}
	return nil
}

// span is a time as these messages show it.
func span(d time.Duration) string {
	if d%time.Minute == 0 {
		return fmt.Sprintf("%d min.", d/time.Minute)
	}
	return fmt.Sprintf("%d sec.", d/time.Second)
}

// checkScope takes the credential apart. All that is wrong with it is told at
// once.
func (s *sigv4) checkScope(sig *signature) error {
	var room [5]string
	parts := room[:0]
	for part := range strings.SplitSeq(sig.credential, "/") {
		if parts = append(parts, part); len(parts) > len(room) {
			break
		}
	}
	if len(parts) != len(room) {
		return refuseIAM(incompleteSignature, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '"+clip(sig.credential)+"'")
	}
	sig.id, sig.scope = parts[0], scope{parts[1], parts[2], parts[3]}
	var wrong []string
	if parts[2] != s.region {
		wrong = append(wrong, "Credential should be scoped to a valid region, not '"+clip(parts[2])+"'.")
	}
	if !slices.Contains(s.services, parts[3]) && (sig.plane == "" || parts[3] != sig.plane) {
		wrong = append(wrong, "Credential should be scoped to correct service: '"+cmp.Or(sig.plane, s.services[0])+"'.")
	}
	if parts[4] != "aws4_request" {
		wrong = append(wrong, "Credential should be scoped with a valid terminator: 'aws4_request', not '"+clip(parts[4])+"'.")
	}
	if day := sig.stamp[:8]; parts[1] != day {
		wrong = append(wrong, fmt.Sprintf("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.", clip(parts[1]), day, sig.stamp))
	}
	if wrong != nil {
		return refuseIAM(invalidSignature, strings.Join(wrong, " "))
	}
	return nil
}

// find returns the key of a signature, or that of nobody.
func (s *sigv4) find(sig *signature, now time.Time) (*iamKey, bool) {
	key, ok := s.keys[sig.id]
	if !ok && s.mint != nil && sig.hasToken {
		key, ok = s.mint.keyOf(sig.id, sig.token, now)
	}
	if !ok || !key.enabled || !key.until.IsZero() && !now.Before(key.until) {
		return s.nobody, false
	}
	same := subtle.ConstantTimeCompare([]byte(key.token), []byte(sig.token)) == 1
	if !same || sig.hasToken != (key.token != "") {
		return s.nobody, false
	}
	return key, true
}

// checkSignature computes the signature and compares it, and the body with the
// hash that was signed.
func (s *sigv4) checkSignature(r *http.Request, sig *signature, key *iamKey) error {
	payload, err := s.payload(r, sig)
	if err != nil {
		return err
	}
	wrong := !inOrder(sig.signed) || !covered(r, sig.signed)
	got := sig.mac()
	host := s.hostOf(r)
	pooled := canonicals.Get().(*[]byte)
	defer func() {
		if cap(*pooled) <= keptCanonical {
			canonicals.Put(pooled)
		}
	}()
	canonical := appendCanonical((*pooled)[:0], r, form{host: host}, sig.signed, payload.hash)
	text := appendToSign(canonical, sig.stamp, sig.scope, canonical)[len(canonical):]
	*pooled = canonical[:0]
	derived := s.derive(key, sig.scope)
	ok := hmac.Equal(got, sum(derived, text)) || s.otherwise(r, sig, payload.hash, derived, got)
	switch {
	case wrong || !ok:
		message := mismatch
		if s.explain && key != s.nobody {
			message += "\n\nThe Canonical String for this request should have been\n'" + string(canonical) + "'\n\nThe String-to-Sign should have been\n'" + string(text) + "'\n"
		}
		return refuseIAM(invalidSignature, message)
	case payload.claimed:
		// Only now: whoever does not know the secret makes klamm read nothing.
		return checkBody(r, payload.hash)
	}
	return nil
}

// otherwise says whether a signature is that of the same request in one of the other
// forms that clients write it in.
func (s *sigv4) otherwise(r *http.Request, sig *signature, payload string, derived, got []byte) bool {
	_, query := wireTarget(r.RequestURI)
	var b []byte
	for _, as := range s.forms(s.hostOf(r), query)[1:] {
		b = appendCanonical(b[:0], r, as, sig.signed, payload)
		n := len(b)
		b = appendToSign(b, sig.stamp, sig.scope, b)
		if hmac.Equal(got, sum(derived, b[n:])) {
			return true
		}
	}
	return false
}

// forms are the ways in which a client may have written a request down, the usual one
// first.
func (s *sigv4) forms(host, query string) []form {
	var all []form
	for _, host := range hostForms(host) {
		for _, query := range queryForms(query) {
			all = append(all, form{host, query, false})
			if s.single {
				all = append(all, form{host, query, true})
			}
		}
	}
	return all
}

// canonicals are the memory of canonical requests, up to keptCanonical bytes each.
var canonicals = sync.Pool{New: func() any { b := make([]byte, 0, 1<<10); return &b }}

const keptCanonical = 16 << 10

// derive returns the signing key of a scope. Most keys are used for one scope a day, which
// they remember themselves.
func (s *sigv4) derive(key *iamKey, sc scope) []byte {
	if key == s.nobody {
		return signingKey(key.secret, sc)
	}
	last := key.last.Load()
	switch {
	case last != nil && last.scope == sc:
		return last.key
	case key.kept && (last == nil || last.date < sc.date):
		// What came with the request would keep all of its header.
		one := &derivedKey{unique.Make(sc).Value(), signingKey(key.secret, sc)}
		key.last.Store(one)
		return one.key
	}
	from, now := derivedFrom{key.id, sc}, s.now()
	if known, ok := s.derived.get(from, now); ok {
		return known
	}
	derived := signingKey(key.secret, sc)
	s.derived.put(from, derived, now.Add(derivedFor))
	return derived
}

// A payload is the last line of a canonical request.
type payload struct {
	hash    string
	claimed bool // the caller says so, and the body is still to be read
}

// payload returns the hash of the body that the signature is about: the header's,
// or that of the body itself.
func (s *sigv4) payload(r *http.Request, sig *signature) (payload, error) {
	values := r.Header["X-Amz-Content-Sha256"]
	if len(values) == 0 || !slices.Contains(sig.signed, "x-amz-content-sha256") {
		data, err := front.HoldBody(r)
		if err != nil {
			return payload{}, err
		}
		digest := sha256.Sum256(data)
		return payload{hash: hex.EncodeToString(digest[:])}, nil
	}
	switch v := values[0]; {
	case v == "UNSIGNED-PAYLOAD" && s.unsigned:
		return payload{hash: v}, nil
	case v == "UNSIGNED-PAYLOAD":
		return payload{}, refuseIAM(invalidSignature, "The payload must be signed: x-amz-content-sha256 may not be UNSIGNED-PAYLOAD here.")
	case strings.HasPrefix(v, "STREAMING-"):
		return payload{}, refuseIAM(invalidSignature, "The payload must be signed as a whole: x-amz-content-sha256 may not be STREAMING-... here.")
	default:
		return payload{hash: v, claimed: true}, nil
	}
}

// checkBody compares the body with its hash. It is read as a whole before any of it
// is used.
func checkBody(r *http.Request, hash string) error {
	data, err := front.HoldBody(r)
	if err != nil {
		return err
	}
	var digits [4 * sha256.Size]byte
	var room [2 * sha256.Size]byte
	want, _ := hex.AppendDecode(room[:0], append(digits[:0], hash...))
	if digest := sha256.Sum256(data); !bytes.Equal(digest[:], want) {
		return refuseIAM(invalidSignature, "The provided 'x-amz-content-sha256' header does not match what was computed.")
	}
	return nil
}

// inOrder says whether the names of signed headers are as they must be: in lower
// case, sorted, each once.
func inOrder(names []string) bool {
	for i, name := range names {
		if name == "" || name != strings.ToLower(name) || i > 0 && names[i-1] >= name {
			return false
		}
	}
	return true
}

// covered says whether what a signature must cover is signed: every x-amz header,
// and the date.
func covered(r *http.Request, signed []string) bool {
	for name := range r.Header {
		if len(name) > 6 && name[0] == 'X' && strings.HasPrefix(name, "X-Amz-") && !slices.ContainsFunc(signed, func(s string) bool { return isLower(s, name) }) {
			return false
		}
	}
	if presigned(r) || r.Header["X-Amz-Date"] != nil {
		return true
	}
	return slices.Contains(signed, "date")
}

// isLower says whether a text is the name of a header in lower case.
func isLower(s, name string) bool {
	if len(s) != len(name) {
		return false
	}
	for i := range len(s) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if s[i] != c {
			return false
		}
	}
	return true
}

// clip bounds what an answer repeats of a request.
func clip(s string) string {
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// refuseIAM is how API Gateway answers: 403 for all of it.
func refuseIAM(name, message string) error {
	return front.RefuseAWS(kindOf(name), http.StatusForbidden, name, "message", &message)
}

func kindOf(name string) gate.Kind {
	if name == missingToken || name == incompleteSignature {
		return gate.Unauthenticated
	}
	return gate.Denied
}
