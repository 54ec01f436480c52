package auth

import (
	"fmt"
	"time"

	"github.com/klamm-gateway/klamm/secret"
)

// Introspect asks an authorization server about bearer tokens that klamm cannot read
// itself (RFC 7662).
type Introspect struct {
	// URL is the server's introspection endpoint.
	URL string `yaml:"url"`
	// ClientID is the name by which klamm logs in to it.
	ClientID string `yaml:"client_id"`
	// ClientSecret is klamm's password there.
	ClientSecret secret.Ref `yaml:"client_secret"`
	// Issuer is the iss that answers must have; the default is any or none.
	Issuer string `yaml:"issuer"`
	// Audiences are the values of aud of which a token must have one. Without them the
	// server alone decides whom a token is for.
	Audiences []string `yaml:"audiences"`
	// RequiredClaims must be in the answer with one of these values.
	RequiredClaims map[string][]string `yaml:"required_claims"`
	// Sources are where tokens may come: header:Authorization:Bearer (the default),
	// query:access_token (streams only), cookie:NAME.
	Sources []string `yaml:"sources"`
	// Principal is the member of the answer with the caller's name, or several in braces,
	// such as {client_id}/{sub}; the default is sub.
	Principal string `yaml:"principal"`
	// GroupsClaim is the member with the caller's groups; the default is groups.
	GroupsClaim string `yaml:"groups_claim"`
	// RolesClaim is the member with the caller's roles; the default is roles.
	RolesClaim string `yaml:"roles_claim"`
	// Cache is how long an answer counts, up to 60s, which is the default; never longer
	// than the token.
	Cache time.Duration `yaml:"cache"`
	// Timeout bounds an answer, up to 10s; the default is 5s.
	Timeout time.Duration `yaml:"timeout"`
}

// WithDefaults returns the section with its defaults filled in.
func (c Introspect) WithDefaults() Introspect {
	if c.Sources == nil {
		c.Sources = []string{"header:Authorization:Bearer"}
	}
	if c.Cache == 0 {
		c.Cache = time.Minute
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	return c
}

// Validate reports each problem with the field it lies in.
func (c *Introspect) Validate(report func(path, problem string)) {
	d := c.WithDefaults()
	if !safeURL(d.URL) {
		report("url", "want an https URL; http only for this machine")
	}
	if d.ClientID == "" {
		report("client_id", "want the name by which klamm logs in")
	}
	if d.ClientSecret.IsZero() {
		report("client_secret", "want {env: NAME}, {file: PATH} or {value: TEXT}")
	}
	for i, a := range d.Audiences {
		if a == "" {
			report(fmt.Sprintf("audiences[%d]", i), "an audience is not empty")
		}
	}
	for i, s := range d.Sources {
		if _, err := parseSource(s); err != nil {
			report(fmt.Sprintf("sources[%d]", i), err.Error())
		}
	}
	if d.Cache < time.Second || d.Cache > time.Minute {
		report("cache", "want a time from 1s to 60s")
	}
	if d.Timeout < 100*time.Millisecond || d.Timeout > 10*time.Second {
		report("timeout", "want a time from 100ms to 10s")
	}
}
