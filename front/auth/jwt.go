package auth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

const (
	// verifiedTokens and verifiedFor bound the tokens that are remembered of one
	// issuer.
	verifiedTokens = 50_000
	verifiedFor    = 5 * time.Minute
	// usualToken is how long most tokens are at most, in bytes.
	usualToken = 1 << 10
)

// What a caller is told about a bad token (gateway-policies.md 1.4.2). None of it
// shows anything of the token.
const (
	tokenMalformed  = "the token is malformed"
	tokenAlgorithm  = "the token algorithm is not allowed"
	tokenIssuer     = "the token issuer is not trusted"
	tokenKey        = "the token signing key is unknown"
	tokenSignature  = "the token signature is invalid"
	tokenExpired    = "the token is expired"
	tokenEarly      = "the token is not yet valid"
	tokenAudience   = "the token does not have a valid audience"
	tokenClaim      = "a required claim is missing"
	tokenTooLarge   = "the token is too large"
	challengeBearer = `Bearer realm="klamm"`
)

// A tokenError is one of the texts above.
type tokenError string

func (e tokenError) Error() string { return string(e) }

// refuseToken is the answer to a bad token, or to none.
func refuseToken(description string) error {
	challenge, message := challengeBearer, "a bearer token is required"
	if description != "" {
		challenge += `, error="invalid_token", error_description="` + description + `"`
		message = description
	}
	return &front.Refusal{Kind: gate.Unauthenticated, Message: message, Header: http.Header{"Www-Authenticate": {challenge}}}
}

// unavailable is the answer while somebody who must be asked does not answer.
func unavailable(message, retryAfter string) *front.Refusal {
	return &front.Refusal{Kind: gate.Unavailable, Message: message, Header: http.Header{"Retry-After": {retryAfter}}}
}

// jwt takes bearer tokens of several issuers.
type jwt struct {
	env     Env
	issuers []*issuer
	byName  map[string]*issuer // by iss; tenant-independent ones by their form
	sources []tokenSource
	largest int
	algs    []string
	graph   *graph // nil: nobody knows the groups that a token leaves out
	others  bool   // somebody else takes tokens that do not have the form of a JWT
}

// An issuer is one entry of the configuration.
type issuer struct {
	cfg      Issuer
	entra    bool
	keys     *keySet
	verified *cache[[sha256.Size]byte, verified]
}

// verified is a token that was good.
type verified struct {
	who     gate.Principal
	ask     bool     // the groups have to be asked for
	bound   string   // the digest of the certificate that must come with it; "": none
	sources []string // where it may come
}

// A tokenSource is where a token may be.
type tokenSource struct{ text, kind, name, scheme string }

func parseSource(text string) (tokenSource, error) {
	parts := strings.Split(text, ":")
	s := tokenSource{text: text, kind: parts[0]}
	if len(parts) > 1 {
		s.name = parts[1]
	}
	if len(parts) > 2 {
		s.scheme = parts[2]
	}
	switch {
	case s.kind == "header" && (len(parts) == 2 || len(parts) == 3 && s.scheme != "") && headerForm.MatchString(s.name):
	case s.kind == "query" && len(parts) == 2 && s.name != "":
	case s.kind == "cookie" && len(parts) == 2 && headerForm.MatchString(s.name):
	default:
		return s, errors.New("want header:NAME:SCHEME, query:NAME or cookie:NAME")
	}
	return s, nil
}

func newJWT(ctx context.Context, cfg Config, c *Chain) (*jwt, error) {
	j := &jwt{env: c.env, byName: map[string]*issuer{}, others: cfg.Introspect != nil}
	for i, one := range cfg.JWT {
		one = one.WithDefaults()
		keys, err := newKeySet(ctx, one, c)
		if err != nil {
			return nil, fmt.Errorf("auth.jwt[%d]: %w", i, err)
		}
		is := &issuer{cfg: one, entra: isEntra(one), keys: keys, verified: newCache[[sha256.Size]byte, verified](verifiedTokens)}
		keys.changed = is.verified.clear
		j.issuers = append(j.issuers, is)
		for _, name := range one.names() {
			j.byName[name] = is
		}
		j.largest = max(j.largest, one.MaxTokenBytes)
		j.algs = append(j.algs, one.Algorithms...)
		for _, text := range one.Sources {
			s, err := parseSource(text)
			if err != nil {
				return nil, fmt.Errorf("auth.jwt[%d].sources: %w", i, err)
			}
			if !slices.Contains(j.sources, s) {
				j.sources = append(j.sources, s)
			}
		}
	}
	if cfg.Graph != nil {
		var err error
		if j.graph, err = newGraph(ctx, *cfg.Graph, c.env); err != nil {
			return nil, fmt.Errorf("auth.graph: %w", err)
		}
	}
	for _, is := range j.issuers {
		is.keys.start(c)
	}
	return j, nil
}

// isEntra says whether the tokens of an issuer name callers as Microsoft Entra ID
// does.
func isEntra(cfg Issuer) bool {
	if cfg.Preset != "" {
		return true
	}
	u, err := url.Parse(cfg.Issuer)
	return err == nil && (strings.HasPrefix(u.Host, "login.microsoftonline.") || u.Host == "login.partner.microsoftonline.cn" || u.Host == "sts.windows.net")
}

// find returns the token of a request and where it was.
func (j *jwt) find(r *http.Request) (token string, from string, ok bool) {
	return findToken(j.sources, j.env, r)
}

// findToken returns the token of a request and where it was, of some places.
func findToken(sources []tokenSource, env Env, r *http.Request) (token string, from string, ok bool) {
	for _, s := range sources {
		switch s.kind {
		case "header":
			v := r.Header.Get(s.name)
			if v == "" {
				continue
			}
			if s.scheme == "" {
				return v, s.text, true
			}
			if word, rest, _ := strings.Cut(v, " "); strings.EqualFold(word, s.scheme) {
				return strings.TrimLeft(rest, " "), s.text, true
			}
		case "query":
			if env.Streams == nil || !env.Streams(r.Pattern) {
				continue
			}
			if v := r.URL.Query().Get(s.name); v != "" {
				return v, s.text, true
			}
		case "cookie":
			if c, err := r.Cookie(s.name); err == nil && c.Value != "" {
				return c.Value, s.text, true
			}
		}
	}
	return "", "", false
}

func (j *jwt) authenticate(r *http.Request) (gate.Principal, error) { return j.check(r, 0) }

// renew is authenticate with groups that were asked for a moment ago.
func (j *jwt) renew(r *http.Request) (gate.Principal, error) { return j.check(r, renewedWithin) }

// check finds out who comes with a token. Groups that somebody else knows may have
// been asked for so long ago; 0 is as long as is configured.
func (j *jwt) check(r *http.Request, within time.Duration) (gate.Principal, error) {
	token, from, ok := j.find(r)
	if !ok || j.others && !looksLikeJWT(token) {
		return gate.Principal{}, front.ErrNotMine
	}
	v, err := j.verify(r.Context(), token)
	if err == nil && !slices.Contains(v.sources, from) {
		err = tokenError(tokenIssuer)
	}
	if err == nil && v.bound != "" && !j.env.holds(r, v.bound) {
		err = tokenError(tokenSignature)
	}
	if err != nil {
		var bad tokenError
		if errors.As(err, &bad) {
			return gate.Principal{}, refuseToken(string(bad))
		}
		return v.who, err
	}
	if !v.ask {
		return v.who, nil
	}
	return j.resolve(r.Context(), v.who, within)
}

// looksLikeJWT says whether a token has the form of a signed JWT: three parts, of which the
// first is a JSON object in base64.
func looksLikeJWT(token string) bool {
	return strings.HasPrefix(token, "ey") && strings.Count(token, ".") == 2
}

// holds says whether the client certificate of a request is the one with a digest.
func (e Env) holds(r *http.Request, digest string) bool {
	if e.Certificate == nil {
		return false
	}
	_, _, have, ok := e.Certificate(r)
	return ok && base64.RawURLEncoding.EncodeToString(have[:]) == digest
}

// resolve asks for the groups that a token has left out.
func (j *jwt) resolve(ctx context.Context, who gate.Principal, within time.Duration) (gate.Principal, error) {
	oid, _ := who.Claims["oid"].(string)
	if j.graph == nil || oid == "" {
		who.GroupsUnknown = true
		return who, nil
	}
	var err error
	who.Groups, err = j.graph.groups(ctx, oid, within)
	if errors.Is(err, errDirectory) {
		// What a role or a name allows does not depend on it (gateway-policies.md 1.5).
		who.GroupsUnknown, who.GroupsFailed, err = true, true, nil
	}
	return who, err
}

// verify checks a token, or remembers that it has.
func (j *jwt) verify(ctx context.Context, token string) (verified, error) {
	if len(token) > j.largest {
		return verified{}, tokenError(tokenTooLarge)
	}
	var room [usualToken]byte // most tokens need no memory for that
	digest, now := sha256.Sum256(append(room[:0], token...)), j.env.now()
	for _, is := range j.issuers {
		if v, ok := is.verified.get(digest, now); ok {
			return v, nil
		}
	}
	t, err := parseToken(token)
	if err != nil {
		return verified{}, err
	}
	if !slices.Contains(j.algs, t.alg) {
		return verified{}, tokenError(tokenAlgorithm)
	}
	is, err := j.issuerOf(t)
	if err != nil {
		return verified{}, err
	}
	if !slices.Contains(is.cfg.Algorithms, t.alg) {
		return verified{}, tokenError(tokenAlgorithm)
	}
	if len(token) > is.cfg.MaxTokenBytes {
		return verified{}, tokenError(tokenTooLarge)
	}
	generation, err := is.keys.check(ctx, t)
	if err != nil {
		return verified{}, err
	}
	v, err := is.accept(t, now)
	if err != nil {
		return verified{}, err
	}
	until := now.Add(verifiedFor)
	if v.who.Expires.Before(until) {
		until = v.who.Expires
	}
	is.verified.put(digest, v, until)
	if is.keys.generation() != generation { // the keys changed while it was checked
		is.verified.clear()
	}
	return v, nil
}

// issuerOf finds the entry of a token by its iss, character for character.
func (j *jwt) issuerOf(t *parsedToken) (*issuer, error) {
	iss, _ := t.claims["iss"].(string)
	if is, ok := j.byName[iss]; ok && !strings.Contains(iss, tenantMark) {
		return is, nil
	}
	tid, _ := t.claims["tid"].(string)
	if !tenantForm.MatchString(tid) {
		return nil, tokenError(tokenIssuer)
	}
	for name, is := range j.byName {
		if strings.Contains(name, tenantMark) && strings.ReplaceAll(name, tenantMark, tid) == iss && slices.Contains(is.cfg.Tenants, tid) {
			return is, nil
		}
	}
	return nil, tokenError(tokenIssuer)
}

// accept checks the claims of a token whose signature is good
// (gateway-policies.md 1.4.2, 6 to 9), and says who it names.
func (is *issuer) accept(t *parsedToken, now time.Time) (verified, error) {
	issued, expires, err := is.checkTimes(t.claims, now)
	if err != nil {
		return verified{}, err
	}
	if !is.meantForUs(t.claims) {
		return verified{}, tokenError(tokenAudience)
	}
	scopes := is.scopes(t.claims)
	roles := texts(t.claims[is.cfg.RolesClaim])
	if !is.kindOfToken(t, scopes, roles) {
		return verified{}, tokenError(tokenMalformed)
	}
	who, ask, err := is.caller(t.claims)
	if err != nil {
		return verified{}, err
	}
	bound, err := is.binding(t.claims)
	if err != nil {
		return verified{}, err
	}
	who.Issued, who.Expires = issued, expires
	return verified{who: who, ask: ask, bound: bound, sources: is.cfg.Sources}, nil
}

// caller returns who the claims of a token name, and whether somebody has to be asked
// for the groups.
func (is *issuer) caller(claims map[string]any) (who gate.Principal, ask bool, err error) {
	for name, want := range is.cfg.RequiredClaims {
		if !slices.ContainsFunc(scalars(claims[name]), func(v string) bool { return slices.Contains(want, v) }) {
			return who, false, tokenError(tokenClaim)
		}
	}
	appOnly := isAppOnly(claims)
	name := is.principal(claims, appOnly)
	if !validName(name) {
		return who, false, tokenError(tokenClaim)
	}
	groups, there := claims[is.cfg.GroupsClaim]
	return gate.Principal{
		Name: "User:" + name, Groups: texts(groups), Scheme: gate.SchemeJWT, Scopes: is.scopes(claims), Roles: texts(claims[is.cfg.RolesClaim]), Claims: claims,
	}, !there && (overage(claims) || appOnly), nil
}

// checkTimes returns when a token was made and when it ends, skew included.
func (is *issuer) checkTimes(claims map[string]any, now time.Time) (issued, expires time.Time, err error) {
	var at [3]time.Time
	for i, name := range []string{"exp", "nbf", "iat"} {
		v, there := claims[name]
		if !there {
			continue
		}
		if at[i], err = numericDate(v); err != nil {
			return issued, expires, err
		}
	}
	exp, nbf, iat := at[0], at[1], at[2]
	skew := *is.cfg.ClockSkew
	switch {
	case exp.IsZero():
		err = tokenError(tokenClaim)
	case !now.Before(exp.Add(skew)):
		err = tokenError(tokenExpired)
	case !nbf.IsZero() && now.Before(nbf.Add(-skew)), !iat.IsZero() && iat.After(now.Add(skew)):
		err = tokenError(tokenEarly)
	case !iat.IsZero() && exp.Sub(iat) > is.cfg.MaxLifetime:
		err = tokenError(tokenMalformed)
	}
	return iat, exp.Add(skew), err
}

// numericDate reads seconds since 1970, which may have a fraction. What has a date may
// name any: a token that began in 1970 is good, and one that ended then has expired.
func numericDate(v any) (time.Time, error) {
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, tokenError(tokenMalformed)
	}
	seconds, err := n.Float64()
	if err != nil || math.Abs(seconds) > 253402300799 { // the year 9999
		return time.Time{}, tokenError(tokenMalformed)
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9)), nil
}

func (is *issuer) meantForUs(claims map[string]any) bool {
	if v, there := claims["aud"]; there {
		return slices.ContainsFunc(texts(v), func(a string) bool { return slices.Contains(is.cfg.Audiences, a) })
	}
	if !is.cfg.AcceptClientIDAsAudience {
		return false
	}
	for _, name := range []string{"client_id", "azp", "appid"} {
		if id, ok := claims[name].(string); ok && slices.Contains(is.cfg.Audiences, id) {
			return true
		}
	}
	return false
}

// kindOfToken says whether a token is an access token, as far as that can be told.
func (is *issuer) kindOfToken(t *parsedToken, scopes, roles []string) bool {
	typ := strings.TrimPrefix(strings.ToLower(t.typ), "application/")
	if !slices.ContainsFunc(is.cfg.TokenTypes, func(want string) bool {
		return strings.TrimPrefix(strings.ToLower(want), "application/") == typ
	}) {
		return false
	}
	_, nonce := t.claims["nonce"]
	_, hash := t.claims["at_hash"]
	return !nonce && !hash || len(scopes) > 0 || len(roles) > 0
}

// binding returns the digest of the certificate that must come with a token.
func (is *issuer) binding(claims map[string]any) (string, error) {
	cnf, there := claims["cnf"]
	if !there {
		return "", nil
	}
	members, ok := cnf.(map[string]any)
	if !ok {
		return "", tokenError(tokenMalformed)
	}
	if _, dpop := members["jkt"]; dpop && !is.cfg.IgnoreDPoP {
		return "", tokenError(tokenSignature)
	}
	v, there := members["x5t#S256"]
	if !there {
		return "", nil
	}
	digest, ok := v.(string)
	if !ok || digest == "" {
		return "", tokenError(tokenMalformed)
	}
	return digest, nil
}

// scopes reads both forms that scopes have.
func (is *issuer) scopes(claims map[string]any) []string {
	var all []string
	for _, name := range is.cfg.ScopeClaims {
		for _, text := range texts(claims[name]) {
			all = append(all, strings.Fields(text)...)
		}
	}
	return all
}

// isAppOnly says whether a token of Entra ID stands for an application without a
// user.
func isAppOnly(claims map[string]any) bool {
	if claims["idtyp"] == "app" {
		return true
	}
	oid, _ := claims["oid"].(string)
	_, delegated := claims["scp"]
	return !delegated && oid != "" && claims["sub"] == oid
}

// overage says whether a token has left out groups because there were too many.
func overage(claims map[string]any) bool {
	if claims["hasgroups"] == true {
		return true
	}
	names, _ := claims["_claim_names"].(map[string]any)
	_, there := names["groups"]
	return there
}

// principal is the caller's name (gateway-policies.md 1.2).
func (is *issuer) principal(claims map[string]any, appOnly bool) string {
	text := func(names ...string) string {
		for _, name := range names {
			if s, ok := claims[name].(string); ok && s != "" {
				return s
			}
		}
		return ""
	}
	switch form := is.cfg.Principal; {
	case strings.Contains(form, "{"):
		return expand(form, text)
	case form != "":
		return text(form)
	case is.entra && appOnly:
		return text("azp", "appid")
	case is.entra:
		return text("oid")
	}
	return text("sub")
}

// expand puts claims into the places that braces mark; it is "" where one is
// missing.
func expand(form string, claim func(...string) string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(form, "{")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		name, after, ok := strings.Cut(rest, "}")
		v := claim(name)
		if !ok || v == "" {
			return ""
		}
		b.WriteString(v)
		form = after
	}
}

// texts are the texts of a claim that is one or a list of them.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var list []string
		for _, one := range v {
			if s, ok := one.(string); ok {
				list = append(list, s)
			}
		}
		return list
	}
	return nil
}

// scalars is texts for claims that may be numbers or truth values too.
func scalars(v any) []string {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var all []string
	for _, one := range list {
		switch one := one.(type) {
		case string:
			all = append(all, one)
		case json.Number:
			all = append(all, one.String())
		case bool:
			all = append(all, fmt.Sprint(one))
		}
	}
	return all
}
