package route

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/shape"
)

// Config is an entry of the routes section, as far as it concerns this package.
type Config struct {
	Route, Type string
	Topic       string
	URL         string
	To          string
	Timeout     time.Duration
	Credentials bool
	Request     *Request
	Response    *Response
}

// Request makes a record of a request. Where a path such as $.name is expected, it
// leads into the JSON body; expressions such as ${path.id} may name path, query,
// header, identity, claims, stage, request, body and now.
type Request struct {
	// Key is the key of the record; a value that is not there is no key.
	Key string `yaml:"key"`
	// Value is the value: $, the whole body unchanged (the default), a path into it, or
	// a document with expressions.
	Value json.RawMessage `yaml:"value"`
	// Partition is where the record goes; the default is what its key says.
	Partition string `yaml:"partition"`
	// Timestamp is the time of the record.
	Timestamp *Timestamp `yaml:"timestamp"`
	// Headers are headers of the record, by name.
	Headers map[string]string `yaml:"headers"`
	// Set puts values into the value, by paths such as $.ingested_at.
	Set map[string]json.RawMessage `yaml:"set"`
	// Remove takes parts out of the value, by paths such as $.debug.
	Remove []string `yaml:"remove"`
	// When says under which conditions each of these is done.
	When *Conditions `yaml:"when"`
}

// A Timestamp says where the time of a record is.
type Timestamp struct {
	// From is a path or an expression.
	From string `yaml:"from"`
	// Format is unix_ms (the default), unix, or rfc3339.
	Format string `yaml:"format"`
}

// Response makes an answer. Expressions may name kafka too: topic, partition, offset
// and timestamp of the record.
type Response struct {
	// Status is the answer's; the default is 200, and 204 without a body.
	Status int `yaml:"status"`
	// Body is a JSON document with expressions.
	Body json.RawMessage `yaml:"body"`
	// Headers are the answer's, by name.
	Headers map[string]string `yaml:"headers"`
	// When says under which conditions the answer has its body and headers.
	When *AnswerConditions `yaml:"when"`
}

const (
	shortestTimeout = 50 * time.Millisecond
	longestTimeout  = 15 * time.Minute
	usualTimeout    = 30 * time.Second
)

var headerName = regexp.MustCompile(`^[A-Za-z0-9-]{1,100}$`)

// The types of routes.
const (
	typeProduce = "produce"
	typeProxy   = "proxy"
	typeMock    = "mock"
	typeRewrite = "rewrite"
)

// Validate reports each problem with the field it lies in.
func (c Config) Validate(p shape.Pattern, report func(path, problem string)) {
	if !slices.Contains([]string{"", typeProduce, typeProxy, typeMock, typeRewrite}, c.Type) {
		report("type", "want webhook, produce, proxy, mock or rewrite, or none for the routes that klamm has")
		return
	}
	for _, f := range []struct {
		name  string
		given bool
		types []string
	}{
		{"topic", c.Topic != "", []string{typeProduce}}, {"request", c.Request != nil, []string{typeProduce}}, {"response", c.Response != nil, []string{typeProduce, typeMock}},
		{"url", c.URL != "", []string{typeProxy}}, {"to", c.To != "", []string{typeRewrite}}, {"timeout", c.Timeout != 0, []string{typeProxy}}, {"pass_credentials", c.Credentials, []string{typeProxy}},
	} {
		if f.given && !slices.Contains(f.types, c.Type) {
			report(f.name, "belongs to the type "+strings.Join(f.types, " or "))
		}
	}
	switch c.Type {
	case typeProduce:
		if c.Topic == "" {
			report("topic", "want a topic")
		} else if t, err := parseTemplate(c.Topic); err != nil || t.names("kafka") {
			report("topic", "want a topic, or one with expressions such as beats-${path.region}")
		}
	case typeProxy:
		if _, err := parseTarget(c.URL, p); err != nil {
			report("url", err.Error())
		}
		if c.Timeout != 0 && (c.Timeout < shortestTimeout || c.Timeout > longestTimeout) {
			report("timeout", "want a time from 50ms to 15m")
		}
	case typeRewrite:
		if _, err := parseRewrite(c.To, p); err != nil {
			report("to", err.Error())
		}
	case typeMock:
		if c.Response == nil {
			report("response", "want what is answered")
		}
	}
}

// Validate reports each problem with the field it lies in.
func (q Request) Validate(report func(path, problem string)) {
	for name, text := range map[string]string{"key": q.Key, "partition": q.Partition} {
		if t, err := parseTemplate(text); err != nil {
			report(name, err.Error())
		} else if t.names("kafka") {
			report(name, "the record is not written yet")
		}
	}
	if len(q.Value) > 0 {
		if _, err := parseDocument(q.Value); err != nil {
			report("value", err.Error())
		}
	}
	if q.Timestamp != nil {
		if _, err := parseTemplate(q.Timestamp.From); err != nil || q.Timestamp.From == "" {
			report("timestamp.from", "want a path or an expression")
		}
		if !slices.Contains([]string{"", "unix_ms", "unix", "rfc3339"}, q.Timestamp.Format) {
			report("timestamp.format", "want unix_ms, unix or rfc3339")
		}
	}
	for name, text := range q.Headers {
		if _, err := parseTemplate(text); err != nil || name == "" {
			report("headers", fmt.Sprintf("%q: want a name and a text with expressions", name))
		}
	}
	for at, raw := range q.Set {
		if _, err := parsePath(at); err != nil {
			report("set", err.Error())
		} else if _, err := parseDocument(raw); err != nil {
			report("set", at+": "+err.Error())
		}
	}
	for i, at := range q.Remove {
		if p, err := parsePath(at); err != nil || len(p) == 0 {
			report(fmt.Sprintf("remove[%d]", i), "want a path such as $.debug")
		}
	}
	if q.When != nil {
		q.When.check(&q, report)
	}
}

// Validate reports each problem with the field it lies in.
func (s Response) Validate(report func(path, problem string)) {
	if s.Status != 0 && (s.Status < 200 || s.Status > 599) {
		report("status", "want a status from 200 to 599")
	}
	if len(s.Body) > 0 {
		if _, err := parseDocument(s.Body); err != nil {
			report("body", err.Error())
		}
	}
	for name, text := range s.Headers {
		if _, err := parseTemplate(text); err != nil || !headerName.MatchString(name) {
			report("headers", fmt.Sprintf("%q: want the name of an HTTP header and a text with expressions", name))
		}
	}
	if s.When != nil {
		s.When.check(&s, report)
	}
}

// A target is where a proxy passes requests on to.
type target struct {
	base  *url.URL
	parts []part // of the path
}

// A part of a path is a text as it is sent, or a variable.
type part struct {
	text             string
	variable, greedy bool
}

var targetVariable = regexp.MustCompile(`\{([A-Za-z0-9._-]{1,100})\+?\}`)

// parseTarget reads the URL of a proxy. Variables may stand in its path only: a
// caller must not choose the host.
func parseTarget(text string, p shape.Pattern) (target, error) {
	scheme, rest, _ := strings.Cut(text, "://")
	host, path, _ := strings.Cut(rest, "/")
	u, err := url.Parse(scheme + "://" + host)
	if err != nil || scheme != "http" && scheme != "https" || u.Host == "" || u.User != nil || strings.ContainsAny(text, "?#") || strings.Contains(host, "{") {
		return target{}, fmt.Errorf("want http://HOST/PATH or https://HOST/PATH, with variables in the path only")
	}
	parts, err := parseParts("/"+path, p)
	return target{u, parts}, err
}

// parseParts reads a path with variables of a route.
func parseParts(path string, p shape.Pattern) (parts []part, err error) {
	for path != "" {
		at := targetVariable.FindStringSubmatchIndex(path)
		if at == nil {
			return append(parts, part{text: path}), nil
		}
		name := path[at[2]:at[3]]
		if !slices.Contains(p.Variables(), name) {
			return nil, fmt.Errorf("the route has no variable {%s}", name)
		}
		if at[0] > 0 {
			parts = append(parts, part{text: path[:at[0]]})
		}
		parts = append(parts, part{text: name, variable: true, greedy: p.Greedy() && name == p.Variables()[len(p.Variables())-1]})
		path = path[at[1]:]
	}
	return parts, nil
}
