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

// Algorithms that tokens may be signed with.
var (
	asymmetric = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	symmetric  = []string{"HS256", "HS384", "HS512"}
)

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
