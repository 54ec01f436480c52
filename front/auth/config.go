package auth

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/secret"
)

// A Config is the auth section of the configuration file: who may use klamm. A
// scheme that it does not name is not served.
type Config struct {
	// Anonymous lets callers without credentials in, as User:ANONYMOUS; bad
	// credentials are refused all the same. Without it and without any scheme,
	// klamm serves everybody on loopback only.
	Anonymous bool `yaml:"anonymous"`
	// IAM takes requests that are signed as those to AWS are (Signature Version
	// 4).
	IAM *IAM `yaml:"iam"`
	// JWT takes bearer tokens, from each of these issuers.
	JWT []Issuer `yaml:"jwt"`
	// Introspect takes bearer tokens that klamm cannot read itself, and asks who has made
	// them. Those that have the form of a JWT are left to jwt, where there is that.
	Introspect *Introspect `yaml:"introspect"`
	// MTLS takes client certificates that a proxy before klamm tells of. Those of klamm's
	// own connections are the tls section's.
	MTLS *MTLS `yaml:"mtls"`
	// Basic takes user names and passwords.
	Basic *Basic `yaml:"basic"`
	// APIKeys takes keys: those listed here, and those made with klamm key.
	APIKeys *APIKeys `yaml:"apikeys"`
	// Authorizers are asked over HTTP who is calling, and what they may do.
	Authorizers []Authorizer `yaml:"authorizers"`
	// Graph is Microsoft Graph, which is asked for the groups of callers whose
	// tokens from Entra ID do not hold them.
	Graph *Graph `yaml:"graph"`
}

// Configured says whether there is any scheme by which callers can show who they
// are.
func (c Config) Configured() bool {
	return c.IAM != nil || len(c.JWT) > 0 || c.Introspect != nil || c.MTLS != nil || c.Basic != nil || c.APIKeys != nil || len(c.Authorizers) > 0
}

// Issues says whether tokens of an issuer are taken.
func (c Config) Issues(issuer string) bool {
	return slices.ContainsFunc(c.JWT, func(i Issuer) bool { return slices.Contains(i.names(), issuer) })
}

// Validate reports what the parts have in common and must not.
func (c Config) Validate(report func(path, problem string)) {
	issuers := map[string]bool{}
	for i, j := range c.JWT {
		for _, name := range j.names() {
			if issuers[name] {
				report(fmt.Sprintf("jwt[%d].issuer", i), fmt.Sprintf("there is another entry for %q", name))
			}
			issuers[name] = true
		}
	}
	names := map[string]bool{}
	for i, a := range c.Authorizers {
		if names[a.Name] {
			report(fmt.Sprintf("authorizers[%d].name", i), "there is another authorizer of this name")
		}
		names[a.Name] = true
	}
}

// IAM takes signed requests.
type IAM struct {
	// Service is the service that requests are signed for, or a list of those
	// that are accepted; the default is execute-api.
	Service json.RawMessage `yaml:"service"`
	// Skew is how far the clock of a caller may be off, up to 15m; the default is
	// 5m.
	Skew time.Duration `yaml:"skew"`
	// Keys are the access keys that klamm knows.
	Keys []AccessKey `yaml:"keys"`
	// PathEncoding is double (the default), which is what AWS's SDKs sign, or
	// either, which also takes paths that were signed as they are sent.
	PathEncoding string `yaml:"path_encoding"`
	// HostFrom is x-forwarded-host where a trusted proxy puts the host that
	// callers have signed into that header; the default is the Host header.
	HostFrom string `yaml:"host_from"`
	// AllowUnsignedPayload takes requests whose signature leaves out the body.
	AllowUnsignedPayload bool `yaml:"allow_unsigned_payload"`
	// DebugMismatch answers a wrong signature with the canonical request that
	// klamm has computed. It is for finding a client's mistake, not for keeps.
	DebugMismatch bool `yaml:"debug_mismatch"`
	// ReplayCache refuses a signature that was seen before. Clients that repeat a
	// request must sign it again.
	ReplayCache bool `yaml:"replay_cache"`
	// STS gives temporary credentials to callers of any scheme (POST /_klamm/sts); the
	// default is not to.
	STS *STS `yaml:"sts"`
}

// An AccessKey is one access key.
type AccessKey struct {
	// AccessKeyID is its public id: 16 to 128 capital letters and digits, ASIA...
	// for temporary keys.
	AccessKeyID string `yaml:"access_key_id"`
	// Secret is the secret access key.
	Secret secret.Ref `yaml:"secret"`
	// SessionToken is what a temporary key must come with.
	SessionToken secret.Ref `yaml:"session_token"`
	// User is the name of the IAM user, for a key that is not temporary.
	User string `yaml:"user"`
	// Role is the role of a temporary key.
	Role string `yaml:"role"`
	// SessionName tells the sessions of a role apart.
	SessionName string `yaml:"session_name"`
	// AccountID is the AWS account of the user or role; the default is
	// aws.account.
	AccountID string `yaml:"account_id"`
	// Principal is the caller's name, such as User:alice; the default is made of
	// the user or the role.
	Principal string `yaml:"principal"`
	// Groups are what the caller is a member of.
	Groups []string `yaml:"groups"`
	// Tags are the caller's (aws:PrincipalTag/...).
	Tags map[string]string `yaml:"tags"`
	// Enabled may be false; the default is true.
	Enabled *bool `yaml:"enabled"`
	// NotAfter is the time, such as 2027-01-01T00:00:00Z, from which on the key is
	// not taken any more.
	NotAfter string `yaml:"not_after"`
	// Expires is the end of a temporary key; callers are told that it has expired.
	Expires string `yaml:"expires"`
}

var (
	keyIDForm   = regexp.MustCompile(`^[A-Z0-9]{16,128}$`)
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
	iamName     = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
)

// services returns the accepted services.
func (c *IAM) services() ([]string, error) {
	if len(c.Service) == 0 {
		return []string{"execute-api"}, nil
	}
	var one string
	if json.Unmarshal(c.Service, &one) == nil {
		return []string{one}, checkServices([]string{one})
	}
	var list []string
	if err := json.Unmarshal(c.Service, &list); err != nil {
		return nil, fmt.Errorf("want a service or a list of services")
	}
	return list, checkServices(list)
}

func checkServices(list []string) error {
	if len(list) == 0 {
		return fmt.Errorf("want at least one service")
	}
	for _, s := range list {
		if s == "" || len(s) > 64 || strings.ContainsAny(s, "/ ,") {
			return fmt.Errorf("%q is no service", s)
		}
	}
	return nil
}

// Validate reports each problem with the field it lies in.
func (c *IAM) Validate(report func(path, problem string)) {
	if _, err := c.services(); err != nil {
		report("service", err.Error())
	}
	if c.Skew < 0 || c.Skew > 15*time.Minute || c.Skew != 0 && c.Skew < time.Second {
		report("skew", "want a time from 1s to 15m")
	}
	if !slices.Contains([]string{"", "double", "either"}, c.PathEncoding) {
		report("path_encoding", "want double or either")
	}
	if !slices.Contains([]string{"", "host", "x-forwarded-host"}, c.HostFrom) {
		report("host_from", "want host or x-forwarded-host")
	}
	ids := map[string]bool{}
	for i, k := range c.Keys {
		if ids[k.AccessKeyID] {
			report(fmt.Sprintf("keys[%d].access_key_id", i), "this key is there twice")
		}
		ids[k.AccessKeyID] = true
	}
}

// Validate reports each problem with the field it lies in.
func (k AccessKey) Validate(report func(path, problem string)) {
	if !keyIDForm.MatchString(k.AccessKeyID) {
		report("access_key_id", "want 16 to 128 capital letters and digits")
	}
	if k.Secret.IsZero() {
		report("secret", "want {env: NAME}, {file: PATH} or {value: TEXT}")
	}
	temporary := strings.HasPrefix(k.AccessKeyID, "ASIA")
	switch {
	case temporary && k.SessionToken.IsZero():
		report("session_token", "a temporary key (ASIA...) has a session token")
	case temporary && (k.Role == "" || k.SessionName == ""):
		report("role", "a temporary key (ASIA...) has a role and a session_name")
	case !temporary && !k.SessionToken.IsZero():
		report("session_token", "only a temporary key (ASIA...) has one")
	case !temporary && k.User == "":
		report("user", "a key has a user")
	}
	for _, one := range []struct{ field, name string }{{"user", k.User}, {"role", k.Role}, {"session_name", k.SessionName}} {
		if one.name != "" && !iamName.MatchString(one.name) {
			report(one.field, "want up to 64 letters, digits and _+=,.@-")
		}
	}
	if k.AccountID != "" && !accountForm.MatchString(k.AccountID) {
		report("account_id", "want twelve digits")
	}
	checkPrincipal(report, k.Principal)
	checkTime(report, "not_after", k.NotAfter)
	checkTime(report, "expires", k.Expires)
}

func checkPrincipal(report func(path, problem string), name string) {
	if bare, ok := strings.CutPrefix(name, "User:"); name != "" && (!ok || !validName(bare)) {
		report("principal", "want User:NAME, 1 to 249 printable characters")
	}
}

func checkTime(report func(path, problem string), field, text string) {
	if text == "" {
		return
	}
	if _, err := time.Parse(time.RFC3339, text); err != nil {
		report(field, "want a time such as 2027-01-01T00:00:00Z")
	}
}

// moment is a validated time; the zero time for none.
func moment(text string) time.Time {
	t, _ := time.Parse(time.RFC3339, text)
	return t
}

// An Issuer is who makes tokens (gateway-policies.md 1.4.2).
type Issuer struct {
	// Name is for logs and metrics; the default is the issuer.
	Name string `yaml:"name"`
	// Preset is entra-v1-v2 for a tenant of Microsoft Entra ID: both forms of its
	// issuer, and its names for callers.
	Preset string `yaml:"preset"`
	// Tenant is the id of the tenant, for the preset.
	Tenant string `yaml:"tenant"`
	// Tenants are the ids of the tenants whose tokens are taken, where issuer has
	// {tenantid} in the place of one.
	Tenants []string `yaml:"tenants"`
	// Issuer is the iss of its tokens, character for character.
	Issuer string `yaml:"issuer"`
	// IssuerAliases are further values of iss.
	IssuerAliases []string `yaml:"issuer_aliases"`
	// Discovery says where its keys are found out: auto (the default) looks below
	// the issuer, off needs jwks_uri or jwks_file, and a URL is that of the
	// metadata document.
	Discovery string `yaml:"discovery"`
	// JWKSURI is where the keys are; it goes before discovery.
	JWKSURI string `yaml:"jwks_uri"`
	// JWKSFile holds the keys, for sites without a way to the issuer.
	JWKSFile string `yaml:"jwks_file"`
	// SymmetricKey is the key of tokens with HS256, HS384 or HS512, which the
	// algorithms must name; there is no other key then.
	SymmetricKey secret.Ref `yaml:"symmetric_key"`
	// Audiences are the values of aud of which a token must have one.
	Audiences []string `yaml:"audiences"`
	// AcceptClientIDAsAudience takes client_id, azp or appid where there is no
	// aud.
	AcceptClientIDAsAudience bool `yaml:"accept_client_id_as_audience"`
	// Algorithms are those that are taken; the default is RS256, ES256, EdDSA and
	// PS256.
	Algorithms []string `yaml:"algorithms"`
	// RequiredClaims must be there with one of these values.
	RequiredClaims map[string][]string `yaml:"required_claims"`
	// TokenTypes are the values of typ that are taken, "" being none; the default
	// is at+jwt, JWT and none.
	TokenTypes []string `yaml:"token_types"`
	// ClockSkew is how far clocks may differ, 0s to 300s; the default is 60s.
	ClockSkew *time.Duration `yaml:"clock_skew"`
	// MaxTokenBytes bounds a token; the default is 16384.
	MaxTokenBytes int `yaml:"max_token_bytes"`
	// MaxLifetime bounds exp - iat; the default is 24h.
	MaxLifetime time.Duration `yaml:"max_lifetime"`
	// Sources are where tokens may come: header:Authorization:Bearer (the
	// default), query:access_token (streams only), cookie:NAME.
	Sources []string `yaml:"sources"`
	// Principal is the claim with the caller's name, or several in braces, such
	// as {tid}/{oid}; the default is sub, and for tokens of Entra ID the client's
	// id or the user's object id.
	Principal string `yaml:"principal"`
	// GroupsClaim is the claim with the caller's groups; the default is groups.
	GroupsClaim string `yaml:"groups_claim"`
	// RolesClaim is the claim with the application's roles; the default is roles.
	RolesClaim string `yaml:"roles_claim"`
	// ScopeClaims hold scopes, in either of their forms; the default is scope and
	// scp.
	ScopeClaims []string `yaml:"scope_claims"`
	// IgnoreDPoP takes tokens that are bound to a key by DPoP without the proof.
	IgnoreDPoP bool `yaml:"ignore_dpop"`
}

// tenantMark stands for the tenant in the issuer of a multi-tenant endpoint.
const tenantMark = "{tenantid}"

// names are the values of iss that an entry takes.
func (c Issuer) names() []string {
	c = c.WithDefaults()
	return append([]string{c.Issuer}, c.IssuerAliases...)
}

// WithDefaults returns the entry with its defaults filled in.
func (c Issuer) WithDefaults() Issuer {
	if c.Preset == "entra-v1-v2" && c.Tenant != "" {
		if c.Issuer == "" {
			c.Issuer = "https://login.microsoftonline.com/" + c.Tenant + "/v2.0"
		}
		c.IssuerAliases = append(slices.Clone(c.IssuerAliases), "https://sts.windows.net/"+c.Tenant+"/")
	}
	c.Issuer = strings.ReplaceAll(c.Issuer, "{tenant}", c.Tenant)
	if c.Name == "" {
		c.Name = c.Issuer
	}
	if c.Algorithms == nil {
		c.Algorithms = []string{"RS256", "ES256", "EdDSA", "PS256"}
	}
	if c.TokenTypes == nil {
		c.TokenTypes = []string{"at+jwt", "JWT", ""}
	}
	if c.ClockSkew == nil {
		skew := time.Minute
		c.ClockSkew = &skew
	}
	if c.MaxTokenBytes == 0 {
		c.MaxTokenBytes = 16384
	}
	if c.MaxLifetime == 0 {
		c.MaxLifetime = 24 * time.Hour
	}
	if c.Sources == nil {
		c.Sources = []string{"header:Authorization:Bearer"}
	}
	if c.GroupsClaim == "" {
		c.GroupsClaim = "groups"
	}
	if c.RolesClaim == "" {
		c.RolesClaim = "roles"
	}
	if c.ScopeClaims == nil {
		c.ScopeClaims = []string{"scope", "scp"}
	}
	return c
}

// Algorithms that tokens may be signed with.
var (
	asymmetric = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	symmetric  = []string{"HS256", "HS384", "HS512"}
)

var tenantForm = regexp.MustCompile(`^[A-Za-z0-9.-]{1,128}$`)

// Validate reports each problem with the field it lies in.
func (c Issuer) Validate(report func(path, problem string)) {
	if c.Preset != "" && c.Preset != "entra-v1-v2" {
		report("preset", "want entra-v1-v2")
	}
	if c.Preset != "" && !tenantForm.MatchString(c.Tenant) {
		report("tenant", "the preset needs the id of the tenant")
	}
	c = c.WithDefaults()
	if c.Issuer == "" {
		report("issuer", "want the iss of the issuer's tokens")
	}
	for i, a := range c.Audiences {
		if a == "" {
			report(fmt.Sprintf("audiences[%d]", i), "an audience is not empty")
		}
	}
	if len(c.Audiences) == 0 {
		report("audiences", "want at least one audience: without it a token for anybody else would be taken")
	}
	known := asymmetric
	if !c.SymmetricKey.IsZero() {
		known = symmetric
	}
	for i, a := range c.Algorithms {
		if !slices.Contains(known, a) {
			report(fmt.Sprintf("algorithms[%d]", i), "want of "+strings.Join(known, ", "))
		}
	}
	if *c.ClockSkew < 0 || *c.ClockSkew > 5*time.Minute {
		report("clock_skew", "want a time up to 300s")
	}
	if c.MaxTokenBytes < 256 || c.MaxTokenBytes > 64<<10 {
		report("max_token_bytes", "want a number from 256 to 65536")
	}
	if c.MaxLifetime < time.Second {
		report("max_lifetime", "want at least 1s")
	}
	c.validatePlaces(report)
}

// validatePlaces reports what is wrong with where keys and tokens come from.
func (c Issuer) validatePlaces(report func(path, problem string)) {
	ways := 0
	for _, one := range []string{c.JWKSURI, c.JWKSFile} {
		if one != "" {
			ways++
		}
	}
	if !c.SymmetricKey.IsZero() {
		ways++
	}
	switch {
	case ways > 1:
		report("jwks_uri", "want one of jwks_uri, jwks_file and symmetric_key")
	case c.Discovery == "off" && ways == 0:
		report("discovery", "without discovery, want jwks_uri or jwks_file")
	case c.JWKSURI != "" && !safeURL(c.JWKSURI):
		report("jwks_uri", "want an https URL; http only for this machine")
	case ways == 0 && c.Discovery != "" && c.Discovery != "auto" && !safeURL(c.Discovery):
		report("discovery", "want auto, off or an https URL")
	case ways == 0 && (c.Discovery == "" || c.Discovery == "auto") && c.Issuer != "" && !safeURL(c.Issuer):
		report("issuer", "for discovery, want an https URL; http only for this machine")
	}
	if strings.Contains(c.Issuer, tenantMark) && len(c.Tenants) == 0 {
		report("tenants", "want the tenants whose tokens are taken")
	}
	for i, s := range c.Sources {
		if _, err := parseSource(s); err != nil {
			report(fmt.Sprintf("sources[%d]", i), err.Error())
		}
	}
}

// safeURL says whether a URL can be asked without somebody in between: https, or
// http on this machine.
func safeURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil {
		return false
	}
	if u.Scheme == "https" {
		return true
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && addr.Unmap().IsLoopback())
}

// Basic takes user names and passwords.
type Basic struct {
	// File holds the users: lines of htpasswd with bcrypt or argon2id, or of a
	// property file with roles, as in user: HASH,role.
	File string `yaml:"file"`
	// Passthrough has Kafka decide, instead of a file: a caller is who the brokers
	// take the user name and the password for. With kafka.identity: passthrough calls
	// are made with them too.
	Passthrough bool `yaml:"passthrough"`
	// AllowLegacy takes MD5 and SHA-1 hashes too, which are quickly guessed.
	AllowLegacy bool `yaml:"allow_legacy"`
}

// Validate reports each problem with the field it lies in.
func (b *Basic) Validate(report func(path, problem string)) {
	switch {
	case b.File == "" && !b.Passthrough:
		report("file", "want the file of the users")
	case b.File != "" && b.Passthrough:
		report("passthrough", "there is a file of users too, and only one of them can decide")
	}
}

// APIKeys takes keys.
type APIKeys struct {
	// Keys are read-only: those made with klamm key are kept in Kafka.
	Keys []APIKey `yaml:"keys"`
	// Headers are the HTTP headers that hold a key; the default is x-api-key.
	Headers []string `yaml:"headers"`
	// Query is the query parameter that holds a key; the default is none.
	Query string `yaml:"query"`
	// Pepper is a secret without which the hashes in Kafka are of no use to who
	// tries to guess keys. Keys that were made with another one are not known any
	// more.
	Pepper secret.Ref `yaml:"pepper"`
}

// An APIKey is one key of the file.
type APIKey struct {
	// Name is the key's, for people.
	Name string `yaml:"name"`
	// Key is the secret: 20 to 128 printable ASCII characters.
	Key secret.Ref `yaml:"key"`
	// Principal is the caller's name; the default is User: and the key's name.
	Principal string `yaml:"principal"`
	// Groups are what the caller is a member of.
	Groups []string `yaml:"groups"`
	// Tags are the caller's.
	Tags map[string]string `yaml:"tags"`
	// Enabled may be false; the default is true.
	Enabled *bool `yaml:"enabled"`
	// NotBefore is the time, such as 2027-01-01T00:00:00Z, from which on the key is
	// taken.
	NotBefore string `yaml:"not_before"`
	// NotAfter is the time from which on it is not taken any more.
	NotAfter string `yaml:"not_after"`
	// Sources are the addresses and prefixes that the key may come from; the
	// default is all.
	Sources []string `yaml:"sources"`
}

var headerForm = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")

// Validate reports each problem with the field it lies in.
func (c *APIKeys) Validate(report func(path, problem string)) {
	names := map[string]int{}
	for i, k := range c.Keys {
		if names[k.Name]++; names[k.Name] > 2 {
			report(fmt.Sprintf("keys[%d].name", i), "a name has two keys at most")
		}
	}
	for i, h := range c.Headers {
		if !headerForm.MatchString(h) || strings.EqualFold(h, "authorization") {
			report(fmt.Sprintf("headers[%d]", i), "want the name of an HTTP header")
		}
	}
}

// Validate reports each problem with the field it lies in.
func (k APIKey) Validate(report func(path, problem string)) {
	if !validName(k.Name) {
		report("name", "want 1 to 249 printable characters")
	}
	if k.Key.IsZero() {
		report("key", "want {env: NAME}, {file: PATH} or {value: TEXT}")
	}
	checkPrincipal(report, k.Principal)
	checkTime(report, "not_before", k.NotBefore)
	checkTime(report, "not_after", k.NotAfter)
	if _, err := prefixes(k.Sources); err != nil {
		report("sources", err.Error())
	}
}

// prefixes reads addresses and prefixes.
func prefixes(texts []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			addr, bad := netip.ParseAddr(text)
			if bad != nil {
				return nil, fmt.Errorf("%q is no address or prefix such as 10.0.0.0/8", text)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		list = append(list, p.Masked())
	}
	return list, nil
}

// An Authorizer is asked over HTTP (gateway-policies.md 1.8).
type Authorizer struct {
	// Name is for logs and metrics.
	Name string `yaml:"name"`
	// Type is request (the default) or token.
	Type string `yaml:"type"`
	// URL is where it answers.
	URL string `yaml:"url"`
	// Identity are the parts of a request that say who is calling, as in
	// header:X-Ticket, query:ticket, stage:VARIABLE or context:routeKey; the default is
	// header:Authorization. A request without one of them is refused.
	Identity []string `yaml:"identity"`
	// Validation is a regular expression that the token of type token must match
	// as a whole.
	Validation string `yaml:"validation"`
	// TTL is how long an answer is kept, up to 1h, and 0s keeps none; the default
	// is 300s.
	TTL *time.Duration `yaml:"ttl"`
	// Timeout bounds an answer, up to 10s; the default is 5s.
	Timeout time.Duration `yaml:"timeout"`
	// Secret signs the questions: the header Klamm-Signature is t=SECONDS,v1=HEX,
	// the HMAC-SHA-256 of SECONDS, a dot and the body.
	Secret secret.Ref `yaml:"secret"`
}

// Validate reports each problem with the field it lies in.
func (a Authorizer) Validate(report func(path, problem string)) {
	if a.Name == "" {
		report("name", "want a name")
	}
	if a.Type != "" && a.Type != "request" && a.Type != "token" {
		report("type", "want request or token")
	}
	if u, err := url.Parse(a.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		report("url", "want an http or https URL")
	}
	if a.TTL != nil && (*a.TTL < 0 || *a.TTL > time.Hour) {
		report("ttl", "want a time up to 1h")
	}
	if a.Timeout < 0 || a.Timeout > 10*time.Second {
		report("timeout", "want a time up to 10s")
	}
	if _, err := regexp.Compile(a.Validation); err != nil {
		report("validation", "no regular expression: "+err.Error())
	}
	if a.Type == "token" && len(a.Identity) > 1 {
		report("identity", "type token has one")
	}
	for i, text := range a.Identity {
		if _, err := parseIdentity(text); err != nil || a.Type == "token" && !strings.HasPrefix(text, "header:") {
			report(fmt.Sprintf("identity[%d]", i), "want header:NAME, query:NAME, stage:NAME, context:routeKey, context:path, context:httpMethod or context:sourceIp; for type token, header:NAME")
		}
	}
}
