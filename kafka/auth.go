package kafka

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/secret"
)

// The ways to log in to a cluster (kafka-auth.md A2). The zero value is auto.
const (
	authAuto     = "auto"
	authMTLS     = "mtls"
	authSCRAM512 = "scram-512"
	authSCRAM256 = "scram-256"
	authPlain    = "plain"
	authOAuth    = "oauth"
	authIAM      = "iam"
	authTLS      = "tls"
	authNone     = "none"
)

var methods = []string{authAuto, authMTLS, authSCRAM512, authSCRAM256, authPlain, authOAuth, authIAM, authTLS, authNone}

// A Login says how to log in to a cluster. The zero value is clear text without any
// login.
type Login struct {
	Auth          string
	Credentials   *Credentials
	RootCA        *Source
	OAuth         *OAuth
	AllowInsecure bool
}

// A Source is where a text lies, in exactly one of its fields.
type Source struct {
	// Env is the name of an environment variable.
	Env string `yaml:"env"`
	// File is the path of a file.
	File string `yaml:"file"`
	// Value is the text itself.
	Value string `yaml:"value"`
	// Secret is the name or the ARN of a secret; the section secrets says where it
	// is looked up.
	Secret string `yaml:"secret"`
}

// places counts where a text is said to lie.
func (s Source) places() (n int) {
	for _, one := range []string{s.Env, s.File, s.Value, s.Secret} {
		if one != "" {
			n++
		}
	}
	return n
}

// Validate reports a source that names none or several places.
func (s *Source) Validate(report func(path, problem string)) {
	if s.places() != 1 {
		report("", "want exactly one of {file: PATH}, {env: NAME}, {value: TEXT} and {secret: NAME}")
	}
}

// Credentials are what klamm shows to a cluster: a secret in one of AWS's formats
// (kafka-auth.md A5), or its members one by one. They are read again for each
// connection, so that a secret which has changed needs no restart.
type Credentials struct {
	// Env is the name of an environment variable with a secret in JSON.
	Env string `yaml:"env"`
	// File is the path of a file with a secret in JSON, such as {"username": "klamm",
	// "password": "..."} or {"certificate": "...", "privateKey": "..."}.
	File string `yaml:"file"`
	// Value is a secret in JSON.
	Value string `yaml:"value"`
	// Secret is the name or the ARN of such a secret; the section secrets says
	// where it is looked up.
	Secret string `yaml:"secret"`

	// Username is the user of SCRAM or PLAIN.
	Username string `yaml:"username"`
	// Password is the user's.
	Password secret.Ref `yaml:"password"`
	// Certificate is the path of a PEM file with klamm's certificate and its issuers,
	// or that text itself.
	Certificate string `yaml:"certificate"`
	// Key is the certificate's private key, PEM; the default is to look for it beside
	// the certificate.
	Key secret.Ref `yaml:"key"`
	// KeyPassword opens the key where it is encrypted.
	KeyPassword secret.Ref `yaml:"key_password"`
	// AccessKeyID is an AWS access key; without it auth: iam finds credentials as the
	// SDKs of AWS do.
	AccessKeyID string `yaml:"access_key_id"`
	// SecretAccessKey is the access key's secret.
	SecretAccessKey secret.Ref `yaml:"secret_access_key"`
	// SessionToken belongs to a temporary access key.
	SessionToken secret.Ref `yaml:"session_token"`
}

// source is where a secret with all members lies.
func (c *Credentials) source() Source {
	return Source{Env: c.Env, File: c.File, Value: c.Value, Secret: c.Secret}
}

// Validate reports each problem with the field it lies in.
func (c *Credentials) Validate(report func(path, problem string)) {
	n := c.source().places()
	for _, kind := range []string{c.Username, c.Certificate, c.AccessKeyID} {
		if kind != "" {
			n++
		}
	}
	if n != 1 {
		report("", "want one of {file}, {env}, {value}, {secret}, {username, password}, {certificate, key} and {access_key_id, secret_access_key}; two kinds of credentials exclude each other")
	}
	if c.Username != "" && c.Password.IsZero() {
		report("password", "want {env: NAME}, {file: PATH} or {value: TEXT}")
	}
	if c.AccessKeyID != "" && c.SecretAccessKey.IsZero() {
		report("secret_access_key", "want {env: NAME}, {file: PATH} or {value: TEXT}")
	}
	for _, lone := range []struct {
		path, with, needs string
		ref               secret.Ref
	}{
		{"password", c.Username, "username", c.Password}, {"key", c.Certificate, "certificate", c.Key}, {"key_password", c.Certificate, "certificate", c.KeyPassword},
		{"secret_access_key", c.AccessKeyID, "access_key_id", c.SecretAccessKey}, {"session_token", c.AccessKeyID, "access_key_id", c.SessionToken},
	} {
		if lone.with == "" && !lone.ref.IsZero() {
			report(lone.path, "this goes with "+lone.needs)
		}
	}
}

// OAuth says where OAUTHBEARER's tokens come from: a token that is given, or an OIDC
// token endpoint that is asked for one by client credentials.
type OAuth struct {
	// TokenEndpoint is the URL of the endpoint; http only on this machine, or with
	// allow_insecure.
	TokenEndpoint string `yaml:"token_endpoint"`
	// ClientID is klamm's at the endpoint.
	ClientID string `yaml:"client_id"`
	// ClientSecret is its secret.
	ClientSecret secret.Ref `yaml:"client_secret"`
	// Scope is asked for; the default is none.
	Scope string `yaml:"scope"`
	// Token is a token that somebody else keeps fresh, instead of an endpoint.
	Token secret.Ref `yaml:"token"`
	// Extensions are sent with a token, such as logicalCluster.
	Extensions map[string]string `yaml:"extensions"`
}

var (
	extensionName  = regexp.MustCompile(`^[A-Za-z]+$`)
	extensionValue = regexp.MustCompile(`^[\x20-\x7e\t\r\n]+$`)
)

// Bounds of an extension, in bytes. They are not in the expressions above, which would
// take milliseconds of each start of klamm to compile.
const (
	maxExtensionName  = 100
	maxExtensionValue = 1000
)

// Validate reports each problem with the field it lies in.
func (o *OAuth) Validate(report func(path, problem string)) {
	switch {
	case (o.TokenEndpoint == "") == o.Token.IsZero():
		report("", "want either token_endpoint or token")
	case o.TokenEndpoint == "":
	case o.ClientID == "":
		report("client_id", "want klamm's id at the token endpoint")
	case o.ClientSecret.IsZero():
		report("client_secret", "want {env: NAME}, {file: PATH} or {value: TEXT}")
	}
	if u, err := url.Parse(o.TokenEndpoint); o.TokenEndpoint != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil) {
		report("token_endpoint", "want an http or https URL")
	}
	for name, value := range o.Extensions {
		fits := len(name) <= maxExtensionName && extensionName.MatchString(name) && len(value) <= maxExtensionValue && extensionValue.MatchString(value)
		if !fits || name == "auth" {
			report("extensions", fmt.Sprintf("%.100q cannot be sent with a token", name))
		}
	}
}

// method is the way to log in: of what is configured the strongest, and never
// another one when that fails.
func (l Login) method() string {
	switch {
	case l.Auth != "" && l.Auth != authAuto:
		return l.Auth
	case l.Credentials != nil && l.Credentials.Certificate != "":
		return authMTLS
	case l.Credentials != nil && l.Credentials.AccessKeyID != "":
		return authIAM
	case l.Credentials != nil && l.Credentials.Username != "":
		return authSCRAM512
	case l.Credentials != nil:
		return authAuto // the secret says whether it is a certificate or a password
	case l.OAuth != nil:
		return authOAuth
	case l.RootCA != nil:
		return authTLS
	}
	return authNone
}

// encrypted says whether connections are made with TLS.
func (l Login) encrypted(method string) bool {
	switch method {
	case authNone:
		return false
	case authMTLS, authTLS, authIAM:
		return true
	}
	return !l.AllowInsecure || l.RootCA != nil
}

// validate reports what does not go together.
func (l Login) validate(report func(path, problem string)) {
	if l.Auth != "" && !slices.Contains(methods, l.Auth) {
		report("auth", fmt.Sprintf("unknown method %q; want one of %s", l.Auth, strings.Join(methods, ", ")))
		return
	}
	c, method := l.Credentials, l.method()
	kind := ""
	if c != nil {
		switch {
		case c.Username != "":
			kind = "a user name and a password"
		case c.Certificate != "":
			kind = "a certificate"
		case c.AccessKeyID != "":
			kind = "an access key"
		}
	}
	want := map[string]string{authMTLS: "a certificate", authSCRAM512: "a user name and a password", authSCRAM256: "a user name and a password", authPlain: "a user name and a password"}[method]
	switch {
	case want != "" && c == nil:
		report("credentials", fmt.Sprintf("auth %s needs credentials: %s", method, want))
	case want != "" && kind != "" && kind != want:
		report("credentials", fmt.Sprintf("auth %s needs %s, not %s", method, want, kind))
	case method == authIAM && kind != "" && kind != "an access key":
		report("credentials", "auth iam needs an access key, or none, and then finds credentials as the SDKs of AWS do")
	case c != nil && slices.Contains([]string{authOAuth, authTLS, authNone}, method):
		report("credentials", fmt.Sprintf("auth %s takes no credentials here", method))
	case c != nil && l.OAuth != nil && l.Auth != authOAuth:
		report("oauth", "there are credentials too, and only one of them can be used")
	case method == authOAuth && l.OAuth == nil:
		report("oauth", "auth oauth needs a token_endpoint or a token")
	case l.OAuth != nil && method != authOAuth:
		report("oauth", "only auth oauth uses this")
	}
	if l.Auth == authNone && !l.AllowInsecure {
		report("auth", "none is clear text, which anybody on the way can read and change: it needs allow_insecure: true")
	}
	if l.Auth == authNone && l.RootCA != nil {
		report("root_ca", "auth none makes no use of TLS; auth tls does")
	}
	if o := l.OAuth; o != nil && !l.AllowInsecure && o.TokenEndpoint != "" && !safeURL(o.TokenEndpoint) {
		report("oauth.token_endpoint", "want an https URL; http only on this machine, or with allow_insecure: true")
	}
}

// safeURL says whether a URL can be asked without somebody in between: https, or
// http on this machine.
func safeURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && addr.Unmap().IsLoopback())
}
