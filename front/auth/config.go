package auth

import (
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
