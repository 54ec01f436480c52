package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
)

// Config is the configuration of a webhook.
//
// Where a text may have placeholders, <$.path> stands for what is found on that
// path in the document of the record (topic, partition, offset, timestamp, key,
// headers, value) and in $.body, which is what the pipe delivers.
type Config struct {
	// URL is where the requests go: http or https. Behind the host it may have
	// placeholders such as <$.value.id>; each becomes one segment of the path, or
	// one value of the query, percent-encoded.
	URL string `yaml:"url" json:"url"`
	// PathParameters take the places of the * in the URL, from left to right;
	// each may have placeholders, and is percent-encoded as a whole. Without them
	// a * is a *.
	PathParameters []string `yaml:"path_parameters" json:"path_parameters,omitzero"`
	// Method is POST (the default), PUT, PATCH, GET, DELETE, HEAD or OPTIONS.
	Method string `yaml:"method" json:"method,omitempty"`
	// Headers are sent with every request, and win over klamm's own. Values may
	// have placeholders; a header whose value is empty then is left out.
	Headers map[string]string `yaml:"headers" json:"headers,omitempty"`
	// Query are further parameters of the URL, and win over those in it. Values
	// may have placeholders.
	Query map[string]string `yaml:"query" json:"query,omitempty"`
	// NamedQuery are parameters whose names have placeholders, too, as only EventBridge
	// Pipes have them (pipes.md 8). A name that is empty, or that of another parameter,
	// adds none: a record cannot replace what is configured.
	NamedQuery map[string]string `yaml:"-" json:"named_query,omitempty"`
	// Body makes another body than what the pipe delivers, where a transform does
	// not do: a form, XML or text.
	Body *Body `yaml:"body" json:"body,omitempty"`
	// Auth says how klamm proves who it is.
	Auth *Auth `yaml:"auth" json:"auth,omitempty"`
	// Connection are secret parameters. They win over all others.
	Connection *Connection `yaml:"connection" json:"connection,omitempty"`
	// Sign signs every request as Standard Webhooks has it.
	Sign *Sign `yaml:"sign" json:"sign,omitempty"`
	// TLS says which certificates are used and trusted.
	TLS *TLS `yaml:"tls" json:"tls,omitempty"`
	// Rate is the most requests in a second, over all that one process delivers
	// here; 0 is no limit. Waiting for one's turn counts as part of the attempt.
	Rate int `yaml:"rate" json:"rate,omitempty"`
	// RetryConflict retries after the status 409, which otherwise is final.
	RetryConflict bool `yaml:"retry_conflict" json:"retry_conflict,omitempty"`
	// RetryStatuses are the statuses from 300 to 499 that another attempt is made after;
	// the default is 408, 425 and 429. Those from 500 on always are, 401 and 407 where
	// there is OAuth, and 409 with retry_conflict. Where they are given, Retry-After
	// counts with every status that is retried, otherwise with 429 and 503.
	RetryStatuses []int `yaml:"retry_statuses" json:"retry_statuses,omitzero"`
	// FailUnknownHosts gives an event up when its host has no address, instead of waiting
	// until it has one.
	FailUnknownHosts bool `yaml:"fail_unknown_hosts" json:"fail_unknown_hosts,omitempty"`
	// Plain leaves out all headers of klamm's own and those of the record. A header that
	// has placeholders is sent also where its value is empty.
	Plain bool `yaml:"-" json:"plain,omitempty"`
	// CloseConnection closes the connection after each request.
	CloseConnection bool `yaml:"-" json:"close,omitempty"`
	// Partial says that the answer to a batch may name the records that were not
	// accepted: {"batchItemFailures": [{"itemIdentifier": "TOPIC-PARTITION-OFFSET"}]}.
	Partial bool `yaml:"partial" json:"partial,omitempty"`
	// Reported is Partial for a receiver that may as well answer anything else, which
	// then says nothing.
	Reported bool `yaml:"-" json:"reported,omitempty"`
}

// A Body is a text with placeholders.
type Body struct {
	// Template is the text, at most 64 KiB.
	Template string `yaml:"template" json:"template"`
	// Escape says how values are written into the text: json (the default; the
	// result is always JSON), form, xml, or none.
	Escape string `yaml:"escape" json:"escape,omitempty"`
	// ContentType is the media type; the default goes with escape.
	ContentType string `yaml:"content_type" json:"content_type,omitempty"`
}

// Auth has exactly one way to prove who klamm is.
type Auth struct {
	// Basic is a name and a password.
	Basic *Basic `yaml:"basic" json:"basic,omitempty"`
	// APIKey is a key in a header of its own.
	APIKey *APIKey `yaml:"api_key" json:"api_key,omitempty"`
	// Bearer is a token for the header Authorization.
	Bearer secret.Ref `yaml:"bearer" json:"bearer,omitzero"`
	// OAuth gets tokens for client credentials (RFC 6749, 4.4).
	OAuth *OAuth `yaml:"oauth" json:"oauth,omitempty"`
}

// Basic is a name and a password (RFC 7617).
type Basic struct {
	// Username must not have a colon.
	Username string `yaml:"username" json:"username"`
	// Password goes with it.
	Password secret.Ref `yaml:"password" json:"password"`
}

// An APIKey is a header whose value is secret.
type APIKey struct {
	// Header is its name, such as X-Api-Key.
	Header string `yaml:"header" json:"header"`
	// Value is the key.
	Value secret.Ref `yaml:"value" json:"value"`
}

// OAuth says where tokens come from. A token is used until 60 seconds before it
// expires, or until a tenth of its life is left where that is less; after the
// status 401 or 407 a new one is asked for.
type OAuth struct {
	// TokenURL is the token endpoint; it may have a query.
	TokenURL string `yaml:"token_url" json:"token_url"`
	// Method is POST (the default), PUT, or GET, where all fields go into the
	// query.
	Method string `yaml:"method" json:"method,omitempty"`
	// ClientID is the name of the client.
	ClientID string `yaml:"client_id" json:"client_id"`
	// ClientSecret goes with it. It is looked up anew for each token.
	ClientSecret secret.Ref `yaml:"client_secret" json:"client_secret"`
	// ClientAuth is how the client shows who it is: body (the default), by the fields
	// client_id and client_secret, or header, by an Authorization header with both, as
	// RFC 6749, section 2.3.1, has it.
	ClientAuth string `yaml:"client_auth" json:"client_auth,omitempty"`
	// Scope is what the token is to be good for, if the endpoint wants to know.
	Scope string `yaml:"scope" json:"scope,omitempty"`
	// Audience is whom the token is for, if the endpoint wants to know.
	Audience string `yaml:"audience" json:"audience,omitempty"`
	// Headers are sent to the token endpoint, each given as a secret. With
	// Content-Type application/json the fields are sent as JSON instead of a form.
	Headers map[string]secret.Ref `yaml:"headers" json:"headers,omitempty"`
	// Query are further parameters of the token endpoint's URL, each given as a
	// secret.
	Query map[string]secret.Ref `yaml:"query" json:"query,omitempty"`
	// Body are further fields, each given as a secret; they win over klamm's own.
	// Where neither body nor query has a grant_type, it is client_credentials.
	Body map[string]secret.Ref `yaml:"body" json:"body,omitempty"`
	// Blank are the names of further fields, which are empty: a secret never is. Only the
	// control plane has them.
	Blank []string `yaml:"-" json:"blank,omitempty"`
	// TLS is for the token endpoint.
	TLS *TLS `yaml:"tls" json:"tls,omitempty"`
	// Connection names the connection of the control plane that this is the login of:
	// its targets share their tokens, and target.Env.LoggedIn is told what comes of each
	// exchange. Empty: there is none.
	Connection string `yaml:"-" json:"connection,omitempty"`
}

// A Connection is what a request has beside that of the target, each parameter
// given as a secret.
type Connection struct {
	// Headers win over the target's headers.
	Headers map[string]secret.Ref `yaml:"headers" json:"headers,omitempty"`
	// Query wins over parameters of the same name in URL and query.
	Query map[string]secret.Ref `yaml:"query" json:"query,omitempty"`
	// Body are strings that become members of a body that is a JSON object. They
	// win over members of the same name.
	Body map[string]secret.Ref `yaml:"body" json:"body,omitempty"`
	// Blank are the names of further members, which are empty strings: a secret never
	// is. Only the control plane has them.
	Blank []string `yaml:"-" json:"blank,omitempty"`
}

// Sign signs requests with the headers webhook-id (the delivery id),
// webhook-timestamp and webhook-signature.
type Sign struct {
	// Secrets are 24 to 64 bytes in base64, with or without whsec_ before it. All
	// sign, so that a receiver can change from one to the next; at most 4.
	Secrets []secret.Ref `yaml:"secrets" json:"secrets"`
}

// TLS says which certificates are used and trusted. Certificates are always
// verified.
type TLS struct {
	// Certificate is klamm's own, in PEM, with its chain.
	Certificate secret.Ref `yaml:"certificate" json:"certificate,omitzero"`
	// Key goes with the certificate, in PEM.
	Key secret.Ref `yaml:"key" json:"key,omitzero"`
	// CA are the certificates that are trusted, in PEM; the default is those of
	// the system.
	CA secret.Ref `yaml:"ca" json:"ca,omitzero"`
	// ServerName is the name in the receiver's certificate; the default is the
	// host of the URL.
	ServerName string `yaml:"server_name" json:"server_name,omitempty"`
	// MinVersion is 1.2 (the default) or 1.3.
	MinVersion string `yaml:"min_version" json:"min_version,omitempty"`
}

// The limits of a configuration.
const (
	maxURL        = 8 << 10
	maxBody       = 64 << 10
	maxValue      = 8 << 10 // of a header or parameter, before and after
	maxParameters = 100     // of one kind
	maxSecrets    = 4
	maxRate       = 1_000_000
)

// Validate reports each problem with the field it lies in.
func (c *Config) Validate(report func(path, problem string)) {
	well := true
	p := c.plan(func(path, problem string) {
		well = false
		report(path, problem)
	})
	switch {
	case p.short:
		report("path_parameters", "there are fewer than * in the url")
	case well && p.made && !p.moving:
		if _, err := p.url(nil); err != nil {
			report("url", strings.TrimPrefix(err.Error(), target.CodeParameter+": "))
		}
	}
}

// plan checks the configuration and prepares its texts. What is wrong is
// reported; the plan is good only if nothing is.
func (c *Config) plan(report func(path, problem string)) *plan {
	p := &plan{fixed: http.Header{}}
	switch c.Method {
	case "", "POST", "PUT", "PATCH", "GET", "DELETE", "HEAD", "OPTIONS":
	default:
		report("method", "want POST, PUT, PATCH, GET, DELETE, HEAD or OPTIONS")
	}
	c.planURL(p, report)
	c.planHeaders(p, report)
	if c.Body != nil {
		c.Body.plan(p, func(path, problem string) { report("body."+path, problem) })
	}
	if c.Auth != nil {
		c.Auth.validate(func(path, problem string) { report(strings.TrimSuffix("auth."+path, "."), problem) })
	}
	if c.Connection != nil {
		c.Connection.validate(func(path, problem string) { report("connection."+path, problem) })
	}
	if c.Sign != nil {
		if n := len(c.Sign.Secrets); n == 0 || n > maxSecrets {
			report("sign.secrets", fmt.Sprintf("want 1 to %d secrets", maxSecrets))
		}
	}
	if c.TLS != nil {
		if p.base != nil && p.base.Scheme != "https" {
			report("tls", "needs a url with https")
		}
		c.TLS.validate(func(path, problem string) { report("tls."+path, problem) })
	}
	if len(c.RetryStatuses) > maxParameters || slices.ContainsFunc(c.RetryStatuses, func(status int) bool { return status < 300 || status > 499 }) {
		report("retry_statuses", "want statuses from 300 to 499")
	}
	if c.Rate < 0 || c.Rate > maxRate {
		report("rate", fmt.Sprintf("want a number from 1 to %d, or 0 for no limit", maxRate))
	}
	return p
}

// usuallyRetried are the statuses below 500 that are retried where nothing else is said.
var usuallyRetried = []int{http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests}

// retried are the statuses below 500 that are worth another attempt.
func (c *Config) retried() []int {
	again := usuallyRetried
	if c.RetryStatuses != nil {
		again = c.RetryStatuses
	}
	if c.RetryConflict {
		again = append(slices.Clip(again), http.StatusConflict)
	}
	return again
}

// planHeaders sorts headers into those that are always the same and those with
// placeholders.
func (c *Config) planHeaders(p *plan, report func(path, problem string)) {
	if len(c.Headers) > maxParameters {
		report("headers", fmt.Sprintf("has %d entries; at most %d are allowed", len(c.Headers), maxParameters))
	}
	seen := map[string]string{}
	for _, name := range sorted(c.Headers) {
		value, at := c.Headers[name], "headers."+name
		canonical := http.CanonicalHeaderKey(name)
		if other, twice := seen[canonical]; twice {
			report(at, fmt.Sprintf("is the same header as %q", other))
		}
		seen[canonical] = name
		t, err := p.compile(value)
		switch {
		case !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) || len(value) > maxValue:
			report(at, "not a valid HTTP header")
		case reserved[canonical] || c.Sign != nil && signature[canonical]:
			report(at, "this header is klamm's to set")
		case err != nil:
			report(at, err.Error())
		case t.plain():
			p.fixed[canonical] = []string{value}
		case untemplated(canonical):
			report(at, "this header cannot have placeholders")
		default:
			p.headers = append(p.headers, templated{canonical, t})
		}
	}
}

func (a *Auth) validate(report func(path, problem string)) {
	n := 0
	if b := a.Basic; b != nil {
		n++
		if b.Username == "" || strings.ContainsAny(b.Username, ":\r\n\x00") {
			report("basic.username", "want a name without colon and control characters")
		}
		required(report, "basic.password", b.Password)
	}
	if k := a.APIKey; k != nil {
		n++
		if problem := secretHeader(k.Header); problem != "" {
			report("api_key.header", problem)
		}
		required(report, "api_key.value", k.Value)
	}
	if !a.Bearer.IsZero() {
		n++
	}
	if a.OAuth != nil {
		n++
		a.OAuth.validate(func(path, problem string) { report("oauth."+path, problem) })
	}
	if n != 1 {
		report("", "want exactly one of basic, api_key, bearer and oauth")
	}
}

func (o *OAuth) validate(report func(path, problem string)) {
	if problem := urlProblem(o.TokenURL); problem != "" {
		report("token_url", problem)
	}
	if o.Method != "" && o.Method != "POST" && o.Method != "PUT" && o.Method != "GET" {
		report("method", "want POST, PUT or GET")
	}
	if o.ClientID == "" {
		report("client_id", "want the name of the client")
	}
	required(report, "client_secret", o.ClientSecret)
	if o.ClientAuth != "" && o.ClientAuth != "body" && o.ClientAuth != "header" {
		report("client_auth", "want body or header")
	}
	parameters(report, "headers", o.Headers)
	parameters(report, "query", o.Query)
	parameters(report, "body", o.Body)
	if o.TLS != nil {
		if strings.HasPrefix(o.TokenURL, "http:") {
			report("tls", "needs a token_url with https")
		}
		o.TLS.validate(func(path, problem string) { report("tls."+path, problem) })
	}
}

func (c *Connection) validate(report func(path, problem string)) {
	parameters(report, "headers", c.Headers)
	parameters(report, "query", c.Query)
	parameters(report, "body", c.Body)
}

func (t *TLS) validate(report func(path, problem string)) {
	if t.Certificate.IsZero() != t.Key.IsZero() {
		report("certificate", "certificate and key go together")
	}
	if t.MinVersion != "" && t.MinVersion != "1.2" && t.MinVersion != "1.3" {
		report("min_version", `want "1.2" or "1.3"`)
	}
	if len(t.ServerName) > 253 || strings.ContainsAny(t.ServerName, " /:\x00") {
		report("server_name", "want a name such as hooks.example.com")
	}
}

func required(report func(path, problem string), path string, ref secret.Ref) {
	if ref.IsZero() {
		report(path, "want a secret: {env: NAME}, {file: PATH} or {value: TEXT}")
	}
}

// parameters checks names and secrets of one kind of parameters.
func parameters(report func(path, problem string), kind string, all map[string]secret.Ref) {
	if len(all) > maxParameters {
		report(kind, fmt.Sprintf("has %d entries; at most %d are allowed", len(all), maxParameters))
	}
	for _, name := range sorted(all) {
		at := kind + "." + name
		required(report, at, all[name])
		if kind != "headers" {
			if name == "" || len(name) > maxValue {
				report(at, "want a name")
			}
			continue
		}
		if problem := secretHeader(name); problem != "" {
			report(at, problem)
		}
	}
}

// secretHeader says why a header of that name cannot have a secret value; it is
// empty if it can.
func secretHeader(name string) string {
	switch canonical := http.CanonicalHeaderKey(name); {
	case !httpguts.ValidHeaderFieldName(name):
		return "not the name of an HTTP header"
	case reserved[canonical] || signature[canonical] || canonical == "Host":
		return "this header is klamm's to set"
	}
	return ""
}

// urlProblem says what is wrong with a URL; it is empty if nothing is.
func urlProblem(text string) string {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return "want a URL"
	case err != nil || len(text) > maxURL:
		return "not a URL"
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return "want http://HOST/PATH or https://HOST/PATH"
	case u.User != nil:
		return "credentials do not belong into a URL; use auth"
	}
	return ""
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// configOf decodes a configuration, and returns the first mistake in it.
func configOf(raw json.RawMessage) (*Config, *plan, error) {
	c := &Config{}
	if err := json.Unmarshal(raw, c); err != nil {
		return nil, nil, err
	}
	var first error
	p := c.plan(func(path, problem string) {
		if first == nil {
			first = fmt.Errorf("%s: %s", path, problem)
		}
	})
	return c, p, first
}
