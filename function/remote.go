package function

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klamm-gateway/klamm/secret"
)

// The formats in which a function that is reached by HTTP gets its events
// (function-targets.md 4, 5).
const (
	// FormatLambda is the event of the Lambda API: the default.
	FormatLambda = "lambda"
	// FormatRecord is the value of a record, one request for each.
	FormatRecord = "record"
	// FormatBinary, FormatStructured and FormatBatch are those of CloudEvents: one
	// request for each record, and one for all of them.
	FormatBinary     = "cloudevents-binary"
	FormatStructured = "cloudevents-structured"
	FormatBatch      = "cloudevents-batch"
)

// A Remote says where a function runs that klamm does not start. Exactly one of URL,
// Lambda and RIE is set.
type Remote struct {
	// URL is where events are sent to, in Format; empty: FormatLambda.
	URL, Format string
	// Authorization is the header of that name; the zero value: there is none.
	Authorization secret.Ref
	// EventType is the type of the CloudEvents that are made of records; empty:
	// dev.knative.kafka.event.
	EventType string
	// NotReached are the statuses by which a proxy says that the function was not
	// reached; nil: 502 and 504.
	NotReached []int
	// ReplyTopic takes the CloudEvents that a function answers with; empty: answers
	// are not asked for.
	ReplyTopic string
	// Lambda is a function behind a Lambda API.
	Lambda *Lambda
	// RIE is the URL of a Runtime Interface Emulator.
	RIE string
}

// An UnreachedError says that a function which runs elsewhere was not reached, or did
// not take the event.
type UnreachedError struct {
	// Status is that of the answer; 0: there was none.
	Status int
	// After is how long the other side asks to be left alone; 0: it does not say.
	After time.Duration
	Err   error
}

func (e *UnreachedError) Error() string { return e.Err.Error() }
func (e *UnreachedError) Unwrap() error { return e.Err }

// ErrTooLarge says that a function does not take so large an event: half of it may do.
var ErrTooLarge = errors.New("the event is too large for the function")

const (
	// maxRetryAfter is the longest wait that the other side may ask for.
	maxRetryAfter = 15 * time.Minute
	// maxExcerpt is how much of an answer an error shows, in bytes.
	maxExcerpt = 500
	// lambdaTime is how long a function of the Lambda service may run, and
	// emulatorTime one in the emulator by default.
	lambdaTime   = 15 * time.Minute
	emulatorTime = 300 * time.Second
)

// Seats are places for so many invocations at once. Who gets one puts it back.
type seats chan struct{}

// take waits for a seat, as Invocation.Wait says.
func (s seats) take(ctx context.Context, wait time.Duration) error {
	select {
	case s <- struct{}{}:
		return nil
	default:
	}
	if wait == 0 {
		return ErrThrottled
	}
	var late <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case s <- struct{}{}:
		return nil
	case <-late:
		return ErrThrottled
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s seats) leave() { <-s }

// A remote is the engine of a function that runs elsewhere.
type remote struct {
	def  Definition
	cfg  Config
	seat seats
	call func(ctx context.Context, in Invocation) (Outcome, error)

	mu      sync.Mutex // guards retired, and running against it
	retired bool
	running sync.WaitGroup
}

func newRemote(def Definition, cfg Config) *remote {
	r := &remote{def: def, cfg: cfg, seat: make(seats, def.Concurrency)}
	switch {
	case def.Remote.Lambda != nil:
		r.call = newLambda(r).invoke
	case def.Remote.RIE != "":
		r.call = r.emulate
	default:
		r.call = r.post
	}
	return r
}

func (r *remote) invoke(ctx context.Context, in Invocation) (Outcome, error) {
	if err := r.seat.take(ctx, in.Wait); err != nil {
		return Outcome{}, err
	}
	defer r.seat.leave()
	r.mu.Lock()
	if r.retired {
		r.mu.Unlock()
		return Outcome{}, errRetired
	}
	r.running.Add(1)
	r.mu.Unlock()
	defer r.running.Done()
	began := time.Now()
	run, cancel := context.WithDeadline(ctx, began.Add(r.def.Timeout))
	defer cancel()
	out, err := r.call(run, in)
	if ctx.Err() != nil { // whoever waited has gone
		return Outcome{}, ctx.Err()
	}
	out.ID, out.Duration = in.ID, time.Since(began)
	return out, err
}

func (r *remote) retire(ctx context.Context) {
	r.mu.Lock()
	r.retired = true
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		r.running.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done(): // each has its time limit
	}
}

// An answered is an HTTP answer that has been read.
type answered struct {
	status int
	header http.Header
	body   []byte
	over   bool // the body is larger than an answer may be
}

// exchange sends a request once, without following redirects, and reads the answer.
// sent says whether the other side may have got it.
func (r *remote) exchange(ctx context.Context, at string, header http.Header, body []byte) (a answered, sent bool, err error) {
	// A plain reader, so that nothing can be sent again behind our back.
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, at, io.NopCloser(bytes.NewReader(body)))
	if err != nil {
		return answered{}, false, err
	}
	q.ContentLength = int64(len(body))
	if len(body) == 0 {
		q.Body = http.NoBody
	}
	q.Header = header
	return r.send(q)
}

func (r *remote) send(q *http.Request) (a answered, sent bool, err error) {
	var wrote atomic.Bool
	q = q.WithContext(httptrace.WithClientTrace(q.Context(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { wrote.Store(true) }}))
	if q.Header.Get("User-Agent") == "" {
		q.Header.Set("User-Agent", "klamm")
	}
	answer, err := r.cfg.Transport.RoundTrip(q)
	if err != nil {
		return answered{}, wrote.Load(), err
	}
	defer answer.Body.Close()
	a = answered{status: answer.StatusCode, header: answer.Header}
	a.body, err = io.ReadAll(io.LimitReader(answer.Body, maxResponse+1))
	if a.over = len(a.body) > maxResponse; a.over {
		a.body = nil
	}
	return a, true, err
}

// unreached is the error for a request that got no answer, or one that says nothing
// of the function.
func (r *remote) unreached(a answered, err error) error {
	if err == nil {
		err = fmt.Errorf("function %s: the answer is %d %s", r.def.Name, a.status, excerpt(a.body))
	} else {
		err = fmt.Errorf("function %s: %w", r.def.Name, err)
	}
	u := &UnreachedError{Status: a.status, Err: err}
	if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err == nil && seconds > 0 {
		u.After = min(time.Duration(seconds)*time.Second, maxRetryAfter)
	} else if at, err := http.ParseTime(a.header.Get("Retry-After")); err == nil {
		u.After = max(0, min(time.Until(at), maxRetryAfter))
	}
	return u
}

// excerpt is the beginning of an answer as text.
func excerpt(body []byte) string {
	return strings.ToValidUTF8(string(body[:min(len(body), maxExcerpt)]), "\uFFFD")
}

// timedOut is the outcome of a function that was given its event and did not answer.
func (r *remote) timedOut(id string) Outcome {
	return Outcome{ID: id, Error: Unhandled, Payload: timedOut(id, r.def.Timeout)}
}

// isTimeout says whether an exchange has come to its time limit.
func isTimeout(ctx context.Context) bool { return errors.Is(ctx.Err(), context.DeadlineExceeded) }

// timeoutOf is the default of Definition.Timeout.
func timeoutOf(d Definition) time.Duration {
	switch r := d.Remote; {
	case r != nil && r.Lambda != nil:
		return lambdaTime
	case r != nil && r.RIE != "":
		return emulatorTime
	}
	return 3 * time.Second
}
