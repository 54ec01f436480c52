package connect

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/target/sink"
)

// What a connector says lies in the catalog for everybody who may see connectors, so that
// secrets are references, as a worker's EnvVarConfigProvider has them. The variables are
// those that definitions made at run time may name.
var (
	reference   = regexp.MustCompile(`^\$\{env:(KLAMM_SECRET_[A-Za-z0-9_]+)\}$`)
	noReference = "klamm keeps no secrets in connectors: name an environment variable of klamm, ${env:KLAMM_SECRET_NAME}"
)

// referred checks a setting that is a secret.
func referred(value string) string {
	if value == "" || reference.MatchString(value) {
		return ""
	}
	return noReference
}

// secret is a setting as a webhook's reference to a secret.
func (c configuration) secret(name string) map[string]string {
	return map[string]string{"env": reference.ReplaceAllString(c[name], "$1")}
}

// only takes one value, and says why no other one.
func only(value, why string) func(string) string {
	return func(given string) string {
		if strings.EqualFold(given, value) {
			return ""
		}
		return why
	}
}

// foldedOneOf is oneOf for values that may be written in capitals.
func foldedOneOf(values ...string) func(string) string {
	return func(value string) string { return oneOf(values...)(strings.ToLower(value)) }
}

// tokenOnly is why a setting of OAuth has one value only.
const tokenOnly = "klamm takes the token from access_token"

// ofConfluentHTTP are those settings of Confluent's HTTP sink that a webhook can honour.
var ofConfluentHTTP = []setting{
	{name: "http.api.url", kind: "STRING", required: true, importance: "HIGH", group: "HTTP", doc: "Where records are sent.", check: form(`^https?://\S+$`, "want a URL")},
	{name: "request.method", kind: "STRING", fallback: "POST", importance: "HIGH", group: "HTTP", doc: "The method.", check: methodCheck("POST", "PUT", "PATCH", "DELETE")},
	{name: "request.body.format", kind: "STRING", fallback: "string", importance: "MEDIUM", group: "HTTP", doc: "json sends values as JSON, string as they are.", check: oneOf("string", "json")},
	{name: "headers", kind: "STRING", importance: "MEDIUM", group: "HTTP", doc: "HTTP headers, name:value, with the separator between them."},
	{name: "header.separator", kind: "STRING", fallback: "|", importance: "MEDIUM", group: "HTTP", doc: "What is between two headers."},
	{name: "auth.type", kind: "STRING", fallback: "none", importance: "MEDIUM", group: "HTTP", doc: "How klamm logs in.", check: foldedOneOf("none", "basic", "bearer", "oauth2")},
	{name: "connection.user", kind: "STRING", importance: "MEDIUM", group: "HTTP", doc: "The name for auth.type basic."},
	{name: "connection.password", kind: "PASSWORD", importance: "MEDIUM", group: "HTTP", doc: "The password for auth.type basic, as a reference.", check: referred},
	{name: "bearer.token", kind: "PASSWORD", importance: "MEDIUM", group: "HTTP", doc: "The token for auth.type bearer, as a reference.", check: referred},
	{name: "oauth2.token.url", kind: "STRING", importance: "MEDIUM", group: "HTTP", doc: "The token endpoint for auth.type oauth2.", check: form(`^https?://\S+$`, "want a URL")},
	{name: "oauth2.client.id", kind: "STRING", importance: "MEDIUM", group: "HTTP", doc: "The name of the client."},
	{name: "oauth2.client.secret", kind: "PASSWORD", importance: "MEDIUM", group: "HTTP", doc: "The secret of the client, as a reference.", check: referred},
	{name: "oauth2.client.scope", kind: "STRING", fallback: "any", importance: "MEDIUM", group: "HTTP", doc: "What the token is to be good for."},
	{name: "oauth2.client.auth.mode", kind: "STRING", fallback: "header", importance: "MEDIUM", group: "HTTP", doc: "How the client logs in: header or url.", check: foldedOneOf("header", "url")},
	{name: "oauth2.token.property", kind: "STRING", fallback: "access_token", importance: "LOW", group: "HTTP", doc: "Where the token is in the answer.", check: only("access_token", tokenOnly)},
	{name: "batch.max.size", kind: "INT", fallback: "1", importance: "MEDIUM", group: "HTTP", doc: "The most records of a request, which is then an array.", check: between(1, 10000)},
	{name: "batch.prefix", kind: "STRING", fallback: "", importance: "LOW", group: "HTTP", doc: "What a batch begins with: [ or nothing.", check: oneOf("", "[")},
	{name: "batch.suffix", kind: "STRING", fallback: "", importance: "LOW", group: "HTTP", doc: "What a batch ends with: ] or nothing.", check: oneOf("", "]")},
	{name: "batch.separator", kind: "STRING", fallback: ",", importance: "LOW", group: "HTTP", doc: "What is between two records: a comma, or a line feed.", check: oneOf(",", "\n", `\n`)},
	{name: "max.retries", kind: "INT", fallback: "10", importance: "MEDIUM", group: "HTTP", doc: "Attempts after the first one.", check: between(0, 1_000_000)},
	{name: "retry.backoff.ms", kind: "INT", fallback: "3000", importance: "MEDIUM", group: "HTTP", doc: "Milliseconds before the second attempt.", check: between(0, 86_400_000)},
	{name: "http.request.timeout.ms", kind: "INT", fallback: "30000", importance: "LOW", group: "HTTP", doc: "Milliseconds that one attempt may take.", check: between(1, 3_600_000)},
	{name: "regex.patterns", kind: "STRING", importance: "LOW", group: "HTTP", doc: "Replacements in the body.", check: unserved("klamm does not replace text in bodies; use a transform of a pipe")},
}

// ofAivenHTTP are those of Aiven's.
var ofAivenHTTP = []setting{
	{name: "http.url", kind: "STRING", required: true, importance: "HIGH", group: "HTTP", doc: "Where records are sent.", check: form(`^https?://\S+$`, "want a URL")},
	{name: "http.authorization.type", kind: "STRING", required: true, importance: "HIGH", group: "HTTP", doc: "How klamm logs in.", check: foldedOneOf("none", "static", "oauth2")},
	{name: "http.headers.authorization", kind: "PASSWORD", importance: "MEDIUM", group: "HTTP", doc: "The header Authorization for http.authorization.type static, as a reference.", check: referred},
	{name: "oauth2.access.token.url", kind: "STRING", importance: "MEDIUM", group: "HTTP", doc: "The token endpoint for http.authorization.type oauth2.", check: form(`^https?://\S+$`, "want a URL")},
	{name: "oauth2.client.id", kind: "STRING", importance: "MEDIUM", group: "HTTP", doc: "The name of the client."},
	{name: "oauth2.client.secret", kind: "PASSWORD", importance: "MEDIUM", group: "HTTP", doc: "The secret of the client, as a reference.", check: referred},
	{name: "oauth2.client.scope", kind: "STRING", importance: "MEDIUM", group: "HTTP", doc: "What the token is to be good for."},
	{name: "oauth2.client.authorization.mode", kind: "STRING", fallback: "header", importance: "MEDIUM", group: "HTTP", doc: "How the client logs in: header or url.", check: foldedOneOf("header", "url")},
	{name: "oauth2.response.token.property", kind: "STRING", fallback: "access_token", importance: "LOW", group: "HTTP", doc: "Where the token is in the answer.", check: only("access_token", tokenOnly)},
	{name: "http.headers.content.type", kind: "STRING", importance: "LOW", group: "HTTP", doc: "The Content-Type of requests."},
	{name: "http.headers.additional", kind: "LIST", importance: "LOW", group: "HTTP", doc: "Further HTTP headers, name:value."},
	{name: "http.timeout", kind: "INT", fallback: "30", importance: "LOW", group: "HTTP", doc: "Seconds that one attempt may take.", check: between(1, 3600)},
	{name: "batching.enabled", kind: "BOOLEAN", fallback: "false", importance: "HIGH", group: "HTTP", doc: "Whether a request may have several records.", check: boolean},
	{name: "batch.max.size", kind: "INT", fallback: "500", importance: "MEDIUM", group: "HTTP", doc: "The most records of a request.", check: between(1, 10000)},
	{name: "batch.prefix", kind: "STRING", fallback: "", importance: "LOW", group: "HTTP", doc: "What a batch begins with: [ or nothing.", check: oneOf("", "[")},
	{name: "batch.suffix", kind: "STRING", fallback: "", importance: "LOW", group: "HTTP", doc: "What a batch ends with: ] or nothing.", check: oneOf("", "]", "\n", `\n`)},
	{name: "batch.separator", kind: "STRING", fallback: "\n", importance: "LOW", group: "HTTP", doc: "What is between two records: a comma, or a line feed.", check: oneOf(",", "\n", `\n`)},
	{name: "max.retries", kind: "INT", fallback: "1", importance: "MEDIUM", group: "HTTP", doc: "Attempts after the first one.", check: between(0, 1_000_000)},
	{name: "retry.backoff.ms", kind: "INT", fallback: "3000", importance: "MEDIUM", group: "HTTP", doc: "Milliseconds before the second attempt.", check: between(0, 86_400_000)},
}

func methodCheck(methods ...string) func(string) string {
	return func(value string) string { return oneOf(methods...)(strings.ToUpper(value)) }
}

// A login is what a connector says about how klamm proves who it is.
type login struct {
	setting string            // the one that chooses the kind
	kind    string            // none, basic, bearer, static or oauth2
	names   map[string]string // the settings that the kind needs, by what they are for
	mode    string            // the setting for how a client of oauth2 logs in
}

// login finds out how an HTTP sink logs in.
func (c configuration) login(class string) login {
	l := login{setting: "auth.type", mode: "oauth2.client.auth.mode"}
	oauth := map[string]string{"url": "oauth2.token.url", "id": "oauth2.client.id", "secret": "oauth2.client.secret"}
	if class == aivenHTTP {
		l.setting, l.mode = "http.authorization.type", "oauth2.client.authorization.mode"
		oauth["url"] = "oauth2.access.token.url"
	}
	switch l.kind = strings.ToLower(c.get(l.setting)); l.kind {
	case "basic":
		l.names = map[string]string{"user": "connection.user", "password": "connection.password"}
	case "bearer":
		l.names = map[string]string{"token": "bearer.token"}
	case "static":
		l.names = map[string]string{"header": "http.headers.authorization"}
	case "oauth2":
		l.names = oauth
	}
	return l
}

// missing returns the settings that a login needs and does not have.
func (l login) missing(c configuration) (found []problem) {
	for _, name := range slices.Sorted(maps.Values(l.names)) {
		if c[name] == "" {
			found = append(found, problem{name, fmt.Sprintf("Invalid value for configuration %s: %s=%s needs it", name, l.setting, l.kind)})
		}
	}
	return found
}

// auth is the login as a webhook has it; nil: none.
func (l login) auth(c configuration) map[string]any {
	switch l.kind {
	case "basic":
		return map[string]any{"basic": map[string]any{"username": c[l.names["user"]], "password": c.secret(l.names["password"])}}
	case "bearer":
		return map[string]any{"bearer": c.secret(l.names["token"])}
	case "static":
		return map[string]any{"api_key": map[string]any{"header": "Authorization", "value": c.secret(l.names["header"])}}
	case "oauth2":
		oauth := map[string]any{"token_url": c[l.names["url"]], "client_id": c[l.names["id"]], "client_secret": c.secret(l.names["secret"])}
		if strings.EqualFold(c.get(l.mode), "header") {
			oauth["client_auth"] = "header"
		}
		if scope := c.get("oauth2.client.scope"); scope != "" {
			oauth["scope"] = scope
		}
		return map[string]any{"oauth": oauth}
	}
	return nil
}

var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// headersOf reads HTTP headers.
func headersOf(items []string) (map[string]string, error) {
	out := map[string]string{}
	for _, item := range items {
		name, value, ok := strings.Cut(item, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || !headerName.MatchString(name) || strings.ContainsAny(value, "\r\n") {
			return nil, fmt.Errorf("%w: %s is no HTTP header", catalog.ErrInvalid, clip(item))
		}
		if strings.EqualFold(name, "Authorization") {
			return nil, fmt.Errorf("%w: an Authorization header is no further header: %s", catalog.ErrInvalid, noReference)
		}
		out[name] = strings.ReplaceAll(value, "<$", "< $") // no placeholder of klamm's
	}
	return out, nil
}

// compileHTTP makes the webhook of an HTTP sink.
func compileHTTP(class string, c configuration, p *catalog.Pipe) error {
	webhook := map[string]any{"method": "POST"}
	var headers map[string]string
	var err error
	batch := c.number("batch.max.size")
	if class == confluentHTTP {
		webhook["url"], webhook["method"] = c.get("http.api.url"), strings.ToUpper(c.get("request.method"))
		var items []string
		if text := c.get("headers"); text != "" {
			items = strings.Split(text, c.get("header.separator"))
		}
		headers, err = headersOf(items)
		p.Delivery.Timeout = time.Duration(c.number("http.request.timeout.ms")) * time.Millisecond
	} else {
		webhook["url"] = c.get("http.url")
		if headers, err = headersOf(c.list("http.headers.additional")); err == nil && c["http.headers.content.type"] != "" {
			headers["Content-Type"] = c["http.headers.content.type"]
		}
		p.Delivery.Timeout = time.Duration(c.number("http.timeout")) * time.Second
		if !strings.EqualFold(c.get("batching.enabled"), "true") {
			batch = 1
		}
	}
	if err != nil {
		return err
	}
	if strings.Contains(c.get("http.api.url")+c.get("http.url"), "<$") {
		return fmt.Errorf("%w: the URL has a placeholder", catalog.ErrInvalid)
	}
	if len(headers) > 0 {
		webhook["headers"] = headers
	}
	if auth := c.login(class).auth(c); auth != nil {
		webhook["auth"] = auth
	}
	p.Target.Kind = "webhook"
	if p.Target.Config, err = json.Marshal(webhook); err != nil {
		return err
	}
	p.Delivery.Batch.Records, p.Delivery.Batch.Format = batch, "json"
	if c.get("batch.prefix") == "" && c.get("batch.separator") != "," {
		p.Delivery.Batch.Format = "ndjson"
	}
	p.Delivery.Attempts = c.number("max.retries") + 1
	wait := time.Duration(max(c.number("retry.backoff.ms"), 1)) * time.Millisecond
	p.Delivery.Backoff = catalog.Backoff{Min: wait, Max: max(wait, time.Minute)}
	if p.Connector.Value {
		p.Decode = "json"
	}
	// A worker's own converter is unknown here: values go as they are unless the connector
	// says that they are enveloped.
	_, named := c["value.converter"]
	_, enabled := c["value.converter.schemas.enable"]
	p.Connector.Enveloped = (named || enabled) && c.converter("value") == sink.Enveloped
	return nil
}
