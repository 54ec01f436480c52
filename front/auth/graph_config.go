package auth

import (
	"time"

	"github.com/klamm-gateway/klamm/secret"
)

// A Graph is Microsoft Graph, and how klamm logs in to it.
type Graph struct {
	// URL is Graph's own; the default is https://graph.microsoft.com.
	URL string `yaml:"url"`
	// Login is where tokens for it are made; the default is
	// https://login.microsoftonline.com.
	Login string `yaml:"login"`
	// Tenant is the id of the tenant whose directory is asked.
	Tenant string `yaml:"tenant"`
	// ClientID is the id of klamm's own application there.
	ClientID string `yaml:"client_id"`
	// ClientSecret is its secret. It, Certificate and TokenFile are three ways to show
	// that klamm is this application; one of them is wanted.
	ClientSecret secret.Ref `yaml:"client_secret"`
	// Certificate is a PEM file with a certificate of the application, which has an RSA
	// key. The file is read again for each login, about once an hour.
	Certificate string `yaml:"certificate"`
	// Key is its private key, PEM; the default is the one in the file of the certificate.
	Key secret.Ref `yaml:"key"`
	// KeyPassword opens the private key.
	KeyPassword secret.Ref `yaml:"key_password"`
	// TokenFile is a file with a token of an identity provider that the application
	// trusts (workload identity federation), which the platform keeps fresh: on AKS, what
	// AZURE_FEDERATED_TOKEN_FILE says. It is read again for each login.
	TokenFile string `yaml:"token_file"`
	// Cache is how long membership is remembered, up to 5m, which is the default.
	Cache time.Duration `yaml:"cache"`
	// NegativeCache is Cache for callers who are in none of the groups; the
	// default is 1m.
	NegativeCache time.Duration `yaml:"negative_cache"`
}

// WithDefaults returns the section with its defaults filled in.
func (g Graph) WithDefaults() Graph {
	if g.URL == "" {
		g.URL = "https://graph.microsoft.com"
	}
	if g.Login == "" {
		g.Login = "https://login.microsoftonline.com"
	}
	if g.Cache == 0 {
		g.Cache = 5 * time.Minute
	}
	if g.NegativeCache == 0 {
		g.NegativeCache = time.Minute
	}
	return g
}

// Validate reports each problem with the field it lies in.
func (g *Graph) Validate(report func(path, problem string)) {
	d := g.WithDefaults()
	if !safeURL(d.URL) {
		report("url", "want an https URL; http only for this machine")
	}
	if !safeURL(d.Login) {
		report("login", "want an https URL; http only for this machine")
	}
	if !tenantForm.MatchString(g.Tenant) {
		report("tenant", "want the id of the tenant")
	}
	if g.ClientID == "" {
		report("client_id", "want the id of klamm's application")
	}
	g.validateProof(report)
	if d.Cache < 0 || d.Cache > 5*time.Minute {
		report("cache", "want a time up to 5m")
	}
	if d.NegativeCache < 0 || d.NegativeCache > d.Cache {
		report("negative_cache", "want a time up to that of cache")
	}
}

// validateProof reports what is wrong with how klamm shows who it is.
func (g *Graph) validateProof(report func(path, problem string)) {
	ways := 0
	for _, one := range []bool{!g.ClientSecret.IsZero(), g.Certificate != "", g.TokenFile != ""} {
		if one {
			ways++
		}
	}
	if ways != 1 {
		report("client_secret", "want one of client_secret ({env: NAME}, {file: PATH} or {value: TEXT}), certificate (a PEM file) and token_file")
	}
	if g.Certificate == "" && !g.Key.IsZero() {
		report("key", "there is no certificate that it belongs to")
	}
	if g.Certificate == "" && !g.KeyPassword.IsZero() {
		report("key_password", "there is no certificate whose key it could open")
	}
}
