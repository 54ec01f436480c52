package ingress

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/secret"
)

// A Route is one entry of the routes section of the configuration file: a path of
// your own at which signed webhooks come in.
type Route struct {
	// Path is where the webhook is received, such as /in/github: segments of
	// letters, digits, '.', '_', '~' and '-', and none of klamm's own paths.
	Path string `yaml:"path"`
	// Type is webhook.
	Type string `yaml:"type"`
	// Scheme says how the sender signs: standard (Standard Webhooks), github,
	// stripe, slack, svix, or generic, which the signature section describes.
	Scheme string `yaml:"scheme"`
	// Topic gets the bodies, unchanged.
	Topic string `yaml:"topic"`
	// Secrets are what the sender signs with, up to 10. Each counts, so that a
	// sender can change its secret. Of standard and svix they are
	// whsec_BASE64, or whpk_BASE64 for Ed25519, and then nothing else counts.
	Secrets []secret.Ref `yaml:"secrets"`
	// Key says where the key of the record is: $.NAME or $.NAME.NAME and so on
	// for a member of a JSON body, or id for the id of the delivery. The default
	// is no key.
	Key string `yaml:"key"`
	// Pings writes GitHub's pings to the topic too; the default is to answer them
	// only.
	Pings bool `yaml:"pings"`
	// Gone answers 410, whatever comes, so that the sender stops. Path and type
	// are enough then.
	Gone bool `yaml:"gone"`
	// Signature describes the scheme generic.
	Signature *Signature `yaml:"signature"`
}

// A Signature describes how a sender signs with HMAC-SHA256.
type Signature struct {
	// Header has the signature.
	Header string `yaml:"header"`
	// Prefix stands before the signature, such as sha256=; the default is
	// nothing.
	Prefix string `yaml:"prefix"`
	// Encoding of the signature is hex (the default) or base64.
	Encoding string `yaml:"encoding"`
	// Text is what is signed, made of {body}, {timestamp}, {id} and any other
	// text; the default is {body}.
	Text string `yaml:"text"`
	// ID is the header with the id of the delivery. A second delivery with the
	// same id is not written. Without it, and with a timestamp, it is the same
	// request that is not written twice; without either, everything is written.
	ID string `yaml:"id"`
	// Timestamp is the header with the time of signing, in seconds since 1970.
	Timestamp string `yaml:"timestamp"`
	// Tolerance is how far the time may be off, 1s to 24h; the default is 5m.
	Tolerance time.Duration `yaml:"tolerance"`
}

// maxSecrets bounds the secrets of a route: all are tried.
const maxSecrets = 10

var (
	schemeNames = []string{"standard", "github", "stripe", "slack", "svix", "generic"}
	pathShape   = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)
	keyShape    = regexp.MustCompile(`^(id|\$(\.[A-Za-z0-9_-]{1,100}){1,10})?$`)
	headerShape = regexp.MustCompile(`^[A-Za-z0-9-]{1,100}$`)
	dateShape   = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}$`)
	placeholder = regexp.MustCompile(`\{[^{}]*\}`)
)

// reserved are the first segments of klamm's own paths (interface.md 2).
var reserved = []string{
	"topics", "consumers", "brokers", "admin", "p", "stream", "ws", "v1", "v3", "kafka", "tags", "subjects", "schemas", "config", "mode",
	"compatibility", "contexts", "connectors", "connector-plugins", "klamm", "healthy", "ready", "metrics", "openapi", "console", "status", "_health",
}

// Validate reports each problem with the field it lies in.
func (r Route) Validate(report func(path, problem string)) {
	if r.Type != "webhook" {
		report("type", "want webhook")
	}
	r.validatePath(report)
	if r.Gone {
		return
	}
	if !slices.Contains(schemeNames, r.Scheme) {
		report("scheme", "want "+strings.Join(schemeNames, ", "))
	}
	if !kafka.ValidTopic(r.Topic) {
		report("topic", fmt.Sprintf("%q is not a topic name: want 1 to 249 letters, digits, '.', '_' and '-'", r.Topic))
	}
	if len(r.Secrets) == 0 || len(r.Secrets) > maxSecrets {
		report("secrets", fmt.Sprintf("want from 1 to %d secrets", maxSecrets))
	}
	for i, s := range r.Secrets {
		if s.Value == "" {
			continue // only looked up when klamm runs
		}
		if _, err := parseKey(r.Scheme, s.Value); err != nil {
			report(fmt.Sprintf("secrets[%d]", i), err.Error())
		}
	}
	if !keyShape.MatchString(r.Key) {
		report("key", "want id, or a member of the body such as $.type or $.data.id")
	}
	switch {
	case r.Scheme == "generic" && r.Signature == nil:
		report("signature", "the scheme generic needs a description of the signature")
	case r.Scheme != "generic" && r.Signature != nil:
		report("signature", "belongs to the scheme generic only")
	}
	if r.Pings && r.Scheme != "github" {
		report("pings", "belongs to the scheme github only")
	}
}

func (r Route) validatePath(report func(path, problem string)) {
	first, _, _ := strings.Cut(strings.TrimPrefix(r.Path, "/"), "/")
	switch {
	case !pathShape.MatchString(r.Path) || len(r.Path) > 255 || strings.HasSuffix(r.Path, "/.") || strings.HasSuffix(r.Path, "/..") ||
		strings.Contains(r.Path, "/./") || strings.Contains(r.Path, "/../"):
		report("path", "want a path such as /in/github: segments of letters, digits, '.', '_', '~' and '-'")
	case slices.Contains(reserved, first) || dateShape.MatchString(first):
		report("path", fmt.Sprintf("/%s is klamm's own; choose another path, such as /in%s", first, r.Path))
	}
}

// Validate reports each problem with the field it lies in.
func (s Signature) Validate(report func(path, problem string)) {
	if !headerShape.MatchString(s.Header) {
		report("header", "want the name of an HTTP header")
	}
	for name, header := range map[string]string{"id": s.ID, "timestamp": s.Timestamp} {
		if header != "" && !headerShape.MatchString(header) {
			report(name, "want the name of an HTTP header")
		}
	}
	if s.Encoding != "" && s.Encoding != "hex" && s.Encoding != "base64" {
		report("encoding", "want hex or base64")
	}
	if len(s.Prefix) > 100 {
		report("prefix", "want at most 100 characters")
	}
	if s.Tolerance != 0 && (s.Tolerance < time.Second || s.Tolerance > 24*time.Hour) {
		report("tolerance", "want a time from 1s to 24h")
	}
	s.validateText(report)
}

func (s Signature) validateText(report func(path, problem string)) {
	if s.Text == "" {
		return
	}
	bodies := 0
	for _, name := range placeholder.FindAllString(s.Text, -1) {
		switch {
		case name == "{body}":
			bodies++
		case name == "{timestamp}" && s.Timestamp == "":
			report("text", "{timestamp} needs the header that timestamp names")
		case name == "{id}" && s.ID == "":
			report("text", "{id} needs the header that id names")
		case name != "{timestamp}" && name != "{id}":
			report("text", "want the placeholders {body}, {timestamp} and {id} only")
		}
	}
	if bodies != 1 {
		report("text", "want {body} in it once: what is not signed could be anybody's")
	}
	if len(s.Text) > 1000 {
		report("text", "want at most 1000 characters")
	}
}
