package auth

import (
	"time"

	"github.com/klamm-gateway/klamm/secret"
)

// A Console is the console section of the configuration file: the web console, and how
// people sign in to it.
type Console struct {
	// Enabled serves the console: the default is true.
	Enabled *bool `yaml:"enabled"`
	// SessionKey is the secret that sessions are sealed with, at least 32 characters.
	// Processes with the same one take each other's sessions; the default is one of its
	// own for each process, so that everybody signs in again after a restart.
	SessionKey secret.Ref `yaml:"session_key"`
	// SessionLifetime is how long somebody stays signed in, 1m to 720h; the default is
	// 8h.
	SessionLifetime time.Duration `yaml:"session_lifetime"`
	// OIDC lets people sign in with an OpenID provider.
	OIDC *ConsoleOIDC `yaml:"oidc"`
}

// On says whether the console is served.
func (c Console) On() bool { return c.Enabled == nil || *c.Enabled }

// lifetime is SessionLifetime, or its default.
func (c Console) lifetime() time.Duration {
	if c.SessionLifetime == 0 {
		return 8 * time.Hour
	}
	return c.SessionLifetime
}

// Validate reports each problem with the field it lies in.
func (c Console) Validate(report func(path, problem string)) {
	if c.SessionLifetime != 0 && (c.SessionLifetime < time.Minute || c.SessionLifetime > 30*24*time.Hour) {
		report("session_lifetime", "want a time from 1m to 720h")
	}
}

// A ConsoleOIDC is the application that the console is at an OpenID provider.
type ConsoleOIDC struct {
	// Issuer is the issuer of one of auth.jwt, whose claims say who somebody is and
	// which groups they are a member of.
	Issuer string `yaml:"issuer"`
	// ClientID is the id of the application. Its redirect URI is
	// /klamm/v1/session/oidc/callback below public_url.
	ClientID string `yaml:"client_id"`
	// ClientSecret is its secret; the default is none, for a public client.
	ClientSecret secret.Ref `yaml:"client_secret"`
	// Scopes are asked for; the default is openid and profile.
	Scopes []string `yaml:"scopes"`
}

// Validate reports each problem with the field it lies in.
func (c *ConsoleOIDC) Validate(report func(path, problem string)) {
	if c.Issuer == "" {
		report("issuer", "want the issuer of one of auth.jwt")
	}
	if c.ClientID == "" {
		report("client_id", "want the id of the application")
	}
}
