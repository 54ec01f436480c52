package connect

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
)

// noLogin refuses logins: what a connector says lies in the catalog for everybody who
// may see connectors, and a webhook's secrets are references.
const noLogin = "klamm keeps no credentials in connectors; make a pipe with a webhook, whose secrets are references"

// ofConfluentHTTP are those settings of Confluent's HTTP sink that a webhook can honour.
var ofConfluentHTTP = []setting{
	{name: "http.api.url", kind: "STRING", required: true, importance: "HIGH", group: "HTTP", doc: "Where records are sent.", check: form(`^https?://\S+$`, "want a URL")},
	{name: "request.method", kind: "STRING", fallback: "POST", importance: "HIGH", group: "HTTP", doc: "The method.", check: methodCheck("POST", "PUT", "PATCH", "DELETE")},
	{name: "request.body.format", kind: "STRING", fallback: "string", importance: "MEDIUM", group: "HTTP", doc: "json sends values as JSON, string as they are.", check: oneOf("string", "json")},
	{name: "headers", kind: "STRING", importance: "MEDIUM", group: "HTTP", doc: "HTTP headers, name:value, with the separator between them."},
	{name: "header.separator", kind: "STRING", fallback: "|", importance: "MEDIUM", group: "HTTP", doc: "What is between two headers."},
	{name: "auth.type", kind: "STRING", fallback: "none", importance: "MEDIUM", group: "HTTP", doc: "How klamm logs in.", check: only("none", noLogin)},
	{name: "connection.password", kind: "PASSWORD", importance: "MEDIUM", group: "HTTP", doc: "A password.", check: unserved(noLogin)},
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
	{name: "http.authorization.type", kind: "STRING", required: true, importance: "HIGH", group: "HTTP", doc: "How klamm logs in.", check: only("none", noLogin)},
	{name: "http.headers.authorization", kind: "PASSWORD", importance: "MEDIUM", group: "HTTP", doc: "An Authorization header.", check: unserved(noLogin)},
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

// only takes one value, and says why no other one.
func only(value, why string) func(string) string {
	return func(given string) string {
		if strings.EqualFold(given, value) {
			return ""
		}
		return why
	}
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
			return nil, fmt.Errorf("%w: %s", catalog.ErrInvalid, noLogin)
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
	return nil
}
