package route

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/shape"
)

// Env is what the routes need.
type Env struct {
	Gate *gate.Gate
	// Transport reaches back ends; it has to refuse the addresses that nobody may make
	// klamm call.
	Transport http.RoundTripper
	Links     front.Links
	Log       *slog.Logger
}

// Routes has the dialect of the routes and makes them.
type Routes struct {
	env     Env
	dialect front.Dialect
}

// New returns routes without one.
func New(env Env) *Routes {
	return &Routes{env: env, dialect: front.Dialect{Name: "route", WriteError: writeError}}
}

// Add makes a route of one of this package's types. The error says what is wrong with
// its configuration.
func (a *Routes) Add(cfg Config, p shape.Pattern) (*front.Route, *front.Dialect, error) {
	var serve front.Handler
	repeat := front.Route{}.Repeat
	switch cfg.Type {
	case typeProduce:
		one, err := a.producer(cfg)
		if err != nil {
			return nil, nil, err
		}
		serve, repeat = one.serve, front.RepeatOnce
	case typeProxy:
		one, err := a.proxy(cfg, p)
		if err != nil {
			return nil, nil, err
		}
		serve = one.serve
	case typeMock:
		answer, err := compileResponse(cfg.Response, http.StatusOK)
		if err != nil {
			return nil, nil, err
		}
		names := p.Variables()
		serve = func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
			f := a.facts(r, who)
			body, release, err := front.ReadBody(r)
			if err != nil {
				return err
			}
			defer release()
			f.raw, f.names = body, names
			return answer.write(w, f)
		}
	default:
		return nil, nil, fmt.Errorf("there is no type %q", cfg.Type)
	}
	// The name is a label of metrics: what a user has chosen, and not a client.
	return &front.Route{Name: p.String(), Serve: serve, Repeat: repeat}, &a.dialect, nil
}

// facts are what is known of a request before its body is read.
func (a *Routes) facts(r *http.Request, who gate.Principal) *facts {
	f := &facts{r: r, who: who, stage: front.StageOf(r), variables: front.StageVariables(r), now: time.Now(), id: r.Header.Get("X-Request-Id")}
	if at := a.env.Links.Source(r); at.IsValid() {
		f.source = at.String()
	}
	return f
}

// An answer is a Response made ready.
type answer struct {
	status  int
	body    *document // nil: there is none
	when    *condition
	headers []header
}

func compileResponse(s *Response, status int) (*answer, error) {
	a := &answer{status: status}
	if s == nil {
		return a, nil
	}
	var when AnswerConditions
	if s.When != nil {
		when = *s.When
	}
	var err error
	if a.when, err = parseCondition(when.Body, true); err != nil {
		return nil, err
	}
	if len(s.Body) > 0 {
		d, err := parseDocument(s.Body)
		if err != nil {
			return nil, err
		}
		a.body = &d
	}
	for name, text := range s.Headers {
		t, err := parseTemplate(text)
		if err != nil {
			return nil, err
		}
		c, err := parseCondition(when.Headers[name], true)
		if err != nil {
			return nil, err
		}
		a.headers = append(a.headers, header{http.CanonicalHeaderKey(name), t, c})
	}
	if s.Status != 0 {
		a.status = s.Status
	}
	return a, nil
}

func (a *answer) write(w http.ResponseWriter, f *facts) error {
	h := w.Header()
	for _, one := range a.headers {
		if yes, err := one.when.holds(f); err != nil || !yes {
			continue // what cannot be decided is not told
		}
		text, err := one.text.text(f)
		if err != nil {
			return invalid(err)
		}
		h[one.name] = []string{headerText(text)}
	}
	if yes, err := a.when.holds(f); a.body == nil || err != nil || !yes {
		w.WriteHeader(a.status)
		return nil
	}
	v, err := a.body.value(f)
	if err != nil {
		return invalid(err)
	}
	body, err := encode(v)
	if err != nil {
		return err
	}
	if h["Content-Type"] == nil {
		h["Content-Type"] = []string{"application/json"}
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(a.status)
	_, _ = w.Write(body)
	return nil
}

// headerText leaves out what must not be in a header.
func headerText(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, text)
}

func invalid(err error) error { return &gate.Error{Kind: gate.Invalid, Message: err.Error()} }

// statuses is the table from the kind of an error to its status.
var statuses = map[gate.Kind]int{
	gate.Invalid: http.StatusBadRequest, gate.Unauthenticated: http.StatusUnauthorized, gate.Denied: http.StatusForbidden, gate.NotFound: http.StatusNotFound,
	gate.Exists: http.StatusConflict, gate.Conflict: http.StatusConflict, gate.TooLarge: http.StatusRequestEntityTooLarge, gate.Throttled: http.StatusTooManyRequests,
	gate.Unsupported: http.StatusNotImplemented, gate.Unavailable: http.StatusServiceUnavailable,
}

// writeError answers in the form of RFC 9457.
func writeError(w http.ResponseWriter, _ *http.Request, err error) {
	if p := front.InvalidProblem(err); p != nil {
		p.Write(w)
		return
	}
	status, text, ok := front.Status(err)
	if kind := gate.Classify(err); !ok {
		if status, ok = statuses[kind]; ok {
			text = kafka.Message(err)
		} else {
			status, text = http.StatusInternalServerError, "an unexpected error; the log has the details"
		}
	}
	p := front.Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: text}
	if kind, title, violated := front.LimitType(err); kind != "" {
		p.Type, p.Title, p.Violated = kind, title, violated
	}
	body, _ := json.Marshal(p)
	h := w.Header()
	h["Content-Type"] = []string{"application/problem+json"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// errNoTopic says that an expression did not make the name of a topic.
var errNoTopic = errors.New("the request does not name a topic that records can go to")
