package trace

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Settings are what the standard OTEL_* variables say.
type Settings struct {
	// Endpoint is the URL that spans are sent to; "": there is no tracing.
	Endpoint string
	// Header is added to every request: credentials of the collector, mostly.
	Header map[string]string
	// Gzip compresses what is sent.
	Gzip bool
	// Timeout bounds one request.
	Timeout time.Duration
	// Resource says who klamm is: service.name and more.
	Resource []Attribute
	// Ratio is the part of new traces that is sampled, 0 to 1; with Parent a trace
	// that has begun elsewhere is sampled if it was there.
	Ratio  float64
	Parent bool
	// Delay is how long a span may wait for others, Batch how many are sent at once
	// and Queue how many may wait.
	Delay        time.Duration
	Batch, Queue int
}

// FromEnvironment reads the OTEL_* variables with a function like os.Getenv. Tracing
// is on where an OTLP endpoint is named. An error names the variable that cannot be
// used.
func FromEnvironment(getenv func(string) string) (Settings, error) {
	s := Settings{Timeout: 10 * time.Second, Ratio: 1, Parent: true, Delay: 5 * time.Second, Batch: 512, Queue: 2048}
	e := environment{get: func(name string) string { return strings.TrimSpace(getenv(name)) }}
	exporter := e.get("OTEL_TRACES_EXPORTER")
	if strings.EqualFold(e.get("OTEL_SDK_DISABLED"), "true") || exporter == "none" {
		return Settings{}, nil
	}
	s.Endpoint = e.endpoint()
	if s.Endpoint == "" {
		if exporter == "otlp" {
			s.Endpoint = "http://localhost:4318/v1/traces"
		} else {
			return Settings{}, e.err
		}
	}
	if exporter != "" && exporter != "otlp" {
		e.wrong("OTEL_TRACES_EXPORTER", exporter, "otlp or none")
	}
	if p := e.either("PROTOCOL"); p != "" && p != "http/protobuf" {
		e.wrong("OTEL_EXPORTER_OTLP_PROTOCOL", p, "http/protobuf")
	}
	switch c := e.either("COMPRESSION"); c {
	case "", "none":
	case "gzip":
		s.Gzip = true
	default:
		e.wrong("OTEL_EXPORTER_OTLP_COMPRESSION", c, "gzip or none")
	}
	s.Header = map[string]string{}
	for _, a := range e.list("OTEL_EXPORTER_OTLP_HEADERS", e.either("HEADERS")) {
		s.Header[a.Key] = a.Text
	}
	s.resource(&e)
	s.sampler(&e)
	s.Timeout = e.millis("OTEL_EXPORTER_OTLP_TIMEOUT", e.either("TIMEOUT"), s.Timeout)
	s.Delay = e.millis("OTEL_BSP_SCHEDULE_DELAY", e.get("OTEL_BSP_SCHEDULE_DELAY"), s.Delay)
	s.Queue = e.count("OTEL_BSP_MAX_QUEUE_SIZE", s.Queue)
	s.Batch = min(e.count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", s.Batch), s.Queue)
	return s, e.err
}

// resource reads who klamm is.
func (s *Settings) resource(e *environment) {
	named := false
	for _, a := range e.list("OTEL_RESOURCE_ATTRIBUTES", e.get("OTEL_RESOURCE_ATTRIBUTES")) {
		if a.Key == "service.name" {
			if named = true; e.get("OTEL_SERVICE_NAME") != "" {
				continue
			}
		}
		s.Resource = append(s.Resource, a)
	}
	switch name := e.get("OTEL_SERVICE_NAME"); {
	case name != "":
		s.Resource = append(s.Resource, Text("service.name", name))
	case !named:
		s.Resource = append(s.Resource, Text("service.name", "klamm"))
	}
}

func (s *Settings) sampler(e *environment) {
	name := e.get("OTEL_TRACES_SAMPLER")
	kind, parent := strings.CutPrefix(name, "parentbased_")
	if name != "" {
		s.Parent = parent
	}
	switch kind {
	case "", "always_on":
	case "always_off":
		s.Ratio = 0
	case "traceidratio":
		if arg := e.get("OTEL_TRACES_SAMPLER_ARG"); arg != "" {
			ratio, err := strconv.ParseFloat(arg, 64)
			if err != nil || !(ratio >= 0 && ratio <= 1) {
				e.wrong("OTEL_TRACES_SAMPLER_ARG", arg, "a number from 0 to 1")
			}
			s.Ratio = ratio
		}
	default:
		e.wrong("OTEL_TRACES_SAMPLER", name, "always_on, always_off, traceidratio or one of them behind parentbased_")
	}
}

// An environment reads variables and keeps all errors.
type environment struct {
	get func(string) string
	err error
}

func (e *environment) wrong(name, value, want string) {
	e.err = errors.Join(e.err, fmt.Errorf("%s is %q; want %s", name, value, want))
}

// either reads a variable of the traces' own or else the general one.
func (e *environment) either(name string) string {
	if v := e.get("OTEL_EXPORTER_OTLP_TRACES_" + name); v != "" {
		return v
	}
	return e.get("OTEL_EXPORTER_OTLP_" + name)
}

// endpoint is the traces' own as it stands, or the general one with its path.
func (e *environment) endpoint() string {
	name := "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	at := e.get(name)
	if at == "" {
		name = "OTEL_EXPORTER_OTLP_ENDPOINT"
		if at = e.get(name); at == "" {
			return ""
		}
	}
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		e.err = errors.Join(e.err, fmt.Errorf("%s is not an http or https URL", name)) // it may hold a password
		return ""
	}
	if name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
		u = u.JoinPath("v1/traces")
	}
	return u.String()
}

// list reads NAME=VALUE,...; values are percent-encoded. They are not put into
// errors: they may be secrets.
func (e *environment) list(name, text string) (all []Attribute) {
	for pair := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		k, v, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(v))
		if k = strings.TrimSpace(k); !ok || k == "" || err != nil {
			e.err = errors.Join(e.err, fmt.Errorf("%s: want NAME=VALUE, separated by commas", name))
			return nil
		}
		all = append(all, Text(k, value))
	}
	return all
}

func (e *environment) millis(name, text string, def time.Duration) time.Duration {
	if text == "" {
		return def
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 600_000 {
		e.wrong(name, text, "milliseconds up to 600000")
		return def
	}
	return time.Duration(n) * time.Millisecond
}

func (e *environment) count(name string, def int) int {
	text := e.get(name)
	if text == "" {
		return def
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 100_000 {
		e.wrong(name, text, "a number from 1 to 100000")
		return def
	}
	return n
}
