package front

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/gate"
)

// A Repeat says what an Idempotency-Key in a request means to a route
// (gateway-policies.md 6.6).
type Repeat int

const (
	// RepeatIgnored is the choice for routes that nobody minds repeating.
	RepeatIgnored Repeat = iota
	// RepeatOnce makes a request with a key that was used before get the answer
	// to the first one. The handler reads the whole body, with ReadBody or
	// LendBody, before it calls the gate, and gives the gate the principal that it
	// was given. Its answer is held in memory until it is complete.
	RepeatOnce
	// RepeatBounded is RepeatOnce for a handler that reads a stream. Only a body
	// that announces a length of up to 1 MiB can be compared with another one; with
	// other bodies a key is answered 400, so that no client relies on what does
	// not hold.
	RepeatBounded
	// RepeatOffered is RepeatOnce for a route that also serves what nobody minds
	// repeating: no request needs a key, wherever idempotency.required is set. The key
	// may also be in X-Amz-Client-Token.
	RepeatOffered
)

// longestRepeated bounds the body of a stream that comes with a key.
const longestRepeated = 1 << 20

const (
	repeatHeader   = "Idempotency-Key"
	tokenHeader    = "X-Amz-Client-Token"
	replayedHeader = "Idempotency-Replayed"
	droppedHeader  = "Klamm-Body-Dropped"
)

// A RepeatError is the answer to a request whose Idempotency-Key does not let it
// pass. A dialect's WriteError answers with the status, and the message in its own
// shape.
type RepeatError struct {
	Status  int
	Message string
}

func (e *RepeatError) Error() string { return e.Message }

// Reported says that there is nothing about it that the log should know.
func (e *RepeatError) Reported() {}

// repeatable returns the handler of a route, behind what its keys demand.
func (s *Server) repeatable(d *Dialect, route Route) Handler {
	claims := s.cfg.Claims
	if claims == nil || route.Repeat == RepeatIgnored {
		return route.Serve
	}
	cfg := claims.Config()
	return func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
		values := r.Header[repeatHeader]
		if values == nil && route.Repeat == RepeatOffered {
			values = r.Header[tokenHeader]
		}
		if values == nil {
			if cfg.Required && route.Repeat != RepeatOffered {
				return &RepeatError{http.StatusBadRequest, "this operation requires an " + repeatHeader + " header"}
			}
			return route.Serve(w, r, who)
		}
		key, err := repeatKey(values)
		if err != nil {
			return &RepeatError{http.StatusBadRequest, err.Error()}
		}
		var scope []string
		for _, part := range cfg.Scope {
			switch part {
			case gate.ScopePrincipal:
				scope = append(scope, "principal", who.Name)
			case gate.ScopeRoute:
				scope = append(scope, "route", d.Name+" "+route.Name)
			}
		}
		return s.once(w, r, who, d, route, claims.New(scope, key, cfg.TTL))
	}
}

// parameters are what may follow a value in a structured field (RFC 9651, 3.1.2): they
// say nothing about an Idempotency-Key, and are not part of it.
var parameters = regexp.MustCompile(`^(?:; *[a-z*][a-z0-9_.*-]*(?:=(?:` +
	`-?[0-9]{1,15}|-?[0-9]{1,12}\.[0-9]{1,3}|@-?[0-9]{1,15}|\?[01]|"(?:[ !#-\[\]-~]|\\["\\])*"|[A-Za-z*][A-Za-z0-9!#$%&'*+.^_|~:/` + "`" + `-]*|:[A-Za-z0-9+/=]*:` +
	`))?)*$`)

// repeatKey reads the header: a string of RFC 9651, which may have parameters, or the
// same without quotes.
func repeatKey(values []string) (string, error) {
	if len(values) != 1 {
		return "", errors.New("more than one " + repeatHeader + " header")
	}
	key := values[0]
	if strings.HasPrefix(key, `"`) {
		inside := make([]byte, 0, len(key))
		end := 1
		for ; end < len(key) && key[end] != '"'; end++ {
			if key[end] == '\\' {
				if end++; end == len(key) || key[end] != '"' && key[end] != '\\' {
					return "", errors.New(repeatHeader + ": a backslash stands only before \" and \\")
				}
			}
			inside = append(inside, key[end])
		}
		if end >= len(key) || !parameters.MatchString(key[end+1:]) {
			return "", errors.New(repeatHeader + ": want one string in double quotes, or a key without")
		}
		key = string(inside)
	}
	if key == "" || len(key) > 255 {
		return "", errors.New(repeatHeader + ": want from 1 to 255 characters")
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return "", errors.New(repeatHeader + ": want visible ASCII characters")
		}
	}
	return key, nil
}

// once serves a request under a claim. It goes on when the client leaves: the
// answer is for whoever asks again.
func (s *Server) once(w http.ResponseWriter, r *http.Request, who gate.Principal, d *Dialect, route Route, claim *gate.Claim) error {
	defer func() {
		if claim.Begun() { // the handler has panicked, or broken off its answer
			_ = claim.Abandon()
		}
	}()
	claim.Identify(fingerprint(r, nil))
	if b, ok := r.Body.(*body); ok {
		b.told = func(data []byte) { claim.Identify(fingerprint(r, data)) }
		if route.Repeat == RepeatBounded {
			release, err := b.gather(r)
			if err != nil {
				return err
			}
			defer release()
		}
	}
	answer := &heldAnswer{header: http.Header{}}
	err := route.Serve(answer, r.WithContext(context.WithoutCancel(r.Context())), who.Under(claim))
	if refused := claim.Refused(); refused != nil {
		return s.repeat(w, refused, claim)
	}
	if !claim.Begun() { // what is wrong with it was found before anything was done
		if err == nil {
			answer.send(w)
		}
		return err
	}
	if err != nil {
		if answer.status != 0 {
			return err
		}
		d.WriteError(answer, r, err)
		if answer.written() >= http.StatusInternalServerError {
			s.report(w, r, err)
		}
	}
	if err := claim.Finish(gate.Answer{Status: answer.written(), Header: answer.kept(), Body: answer.body.Bytes()}); err != nil {
		s.cfg.Log.Warn("the answer to a request with an idempotency key was not kept; a repetition may write its records again", "route", route.Name, "err", err)
	}
	answer.send(w)
	return nil
}

// gather reads the body of a stream as a whole and puts it in the place of the
// connection.
func (b *body) gather(r *http.Request) (release func(), err error) {
	if b.length < 0 || b.length > longestRepeated {
		return nil, &RepeatError{http.StatusBadRequest, fmt.Sprintf("%s is supported only with a Content-Length of up to %d here", repeatHeader, longestRepeated)}
	}
	data, release, err := ReadBody(r)
	if err != nil {
		return nil, err
	}
	b.ReadCloser = struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(data), b.ReadCloser}
	return release, nil
}

// repeat answers a request that does not hold its claim.
func (s *Server) repeat(w http.ResponseWriter, refused error, claim *gate.Claim) error {
	switch {
	case errors.Is(refused, gate.ErrRepeated):
		earlier := claim.Earlier()
		maps.Copy(w.Header(), earlier.Header)
		w.Header()[replayedHeader] = []string{"true"}
		if earlier.Dropped {
			delete(w.Header(), "Content-Type")
			w.Header()[droppedHeader] = []string{"true"}
		}
		w.WriteHeader(earlier.Status)
		if len(earlier.Body) > 0 {
			_, _ = w.Write(earlier.Body) // a client that has left will ask again
		}
		return nil
	case errors.Is(refused, gate.ErrReused):
		return &RepeatError{http.StatusUnprocessableEntity, refused.Error()}
	case errors.Is(refused, gate.ErrRunning):
		w.Header()["Retry-After"] = []string{"1"}
		return &RepeatError{http.StatusConflict, refused.Error()}
	case gate.Classify(refused) == gate.Unavailable:
		w.Header()["Retry-After"] = []string{"1"}
		return &RepeatError{http.StatusServiceUnavailable, refused.Error()}
	}
	return fmt.Errorf("look up an idempotency key: %w", refused)
}

// fingerprint tells requests apart. Beside the method, the path with its query,
// the content type and the body, the headers count that become parts of records.
func fingerprint(r *http.Request, body []byte) [sha256.Size]byte {
	h := sha256.New()
	add := func(part []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	for _, part := range []string{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("Content-Type")} {
		add([]byte(part))
	}
	add(body)
	var names []string
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Kafka-") || strings.HasPrefix(name, "Ce-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range r.Header[name] {
			add([]byte(name))
			add([]byte(value))
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// heldAnswer is an answer that waits in memory until it has been kept.
type heldAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *heldAnswer) Header() http.Header { return a.header }

func (a *heldAnswer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
}

func (a *heldAnswer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// Flush does nothing; a stream wants to be able to.
func (a *heldAnswer) Flush() {}

func (a *heldAnswer) written() int {
	if a.status == 0 {
		return http.StatusOK
	}
	return a.status
}

// kept are the headers that belong to the answer and not to the connection or the
// moment.
func (a *heldAnswer) kept() http.Header {
	h := maps.Clone(a.header)
	for _, name := range []string{"Connection", "Content-Length", "Date", "Keep-Alive", "Set-Cookie", "Trailer", "Transfer-Encoding"} {
		delete(h, name)
	}
	return h
}

func (a *heldAnswer) send(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.written())
	if a.body.Len() > 0 {
		_, _ = w.Write(a.body.Bytes()) // a client that has left will ask again
	}
}
