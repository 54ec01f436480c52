package front

import (
	"errors"
	"net/http"

	"github.com/klamm-gateway/klamm/gate"
)

// A Dialect is one HTTP API that existing clients already speak. It is data.
type Dialect struct {
	// Name labels metrics and logs: "confluent/v2".
	Name string
	// Prefixes are the paths, each beginning with a slash, below which
	// requests that match no route are answered in this dialect's error shape.
	// The longest prefix of all dialects wins; "/" takes what is left.
	Prefixes []string
	Routes   []Route
	// Unstaged says that the routes are there outside of stages too, where there are
	// stages: klamm is operated by them.
	Unstaged bool
	// WriteError answers a request that failed. It gets the errors of this
	// package, of the gate, and the dialect's own, and must not show the
	// inside of an error it does not know.
	WriteError func(w http.ResponseWriter, r *http.Request, err error)
	// ErrorMedia is the media type of errors in the form of Confluent's APIs that a stage
	// makes in the dialect's place; "" is application/json.
	ErrorMedia string
}

// A Route is one operation of a dialect.
type Route struct {
	// Name is stable, for metrics, logs and audit: "topics.list".
	Name string
	// Pattern is as in net/http: "GET /v3/clusters/{cluster}/topics". A request
	// path matches with and without one slash at its end.
	Pattern string
	Serve   Handler
	// Public routes are served without authentication: health checks.
	Public bool
	// Streams says that the answer has no end of its own: it ends when the
	// caller's credentials do, and they may come in the query.
	Streams bool
	// Action is what calling the route is in policies; "" is gate.Invoke.
	Action gate.Action
	// Repeat says what an Idempotency-Key means here.
	Repeat Repeat
	// Metadata says what the operation has to do with answers that are kept.
	Metadata Metadata
	// When, if not nil, says for which requests the route is served instead of another
	// one of the same pattern, which has to be one path.
	When func(*http.Request) bool
	// Own says of a Public route that it finds out by itself who is calling, and
	// calls OwnCaller with that.
	Own bool
	// Raw leaves the body as it was sent, whatever its Content-Encoding says: for who
	// checks a signature of these very bytes.
	Raw bool
}

// Metadata says whether an operation is about topics, partitions, settings or schemas
// rather than about records.
type Metadata int

// What an operation does to metadata.
const (
	NoMetadata      Metadata = iota
	TellsMetadata            // its answer may be kept for a while, where that is configured
	ChangesMetadata          // afterwards, answers that were kept are no longer good
)

// A Handler decodes the request, calls the gate and encodes the result. It
// writes nothing when it returns an error.
type Handler func(w http.ResponseWriter, r *http.Request, who gate.Principal) error

// An Authenticator finds out who is calling. It answers ErrNotMine if the
// request carries no credentials of its scheme; the next one is then asked.
type Authenticator interface {
	Authenticate(r *http.Request) (gate.Principal, error)
}

// The errors of this package that a dialect's WriteError must know.
var (
	// ErrNotMine is an authenticator's "no credentials of my scheme".
	ErrNotMine = errors.New("no credentials of this scheme")
	// ErrNoRoute says that no dialect has an operation at this path.
	ErrNoRoute = errors.New("no such path")
	// ErrMethod says that the path exists for other methods only; the answer
	// already has its Allow header.
	ErrMethod = errors.New("method not allowed")
	// ErrBodyTooLarge says that a request body exceeds sizes.body.
	ErrBodyTooLarge = errors.New("request body too large")
	// ErrBodyTimeout says that the client stopped sending its body.
	ErrBodyTimeout = errors.New("the request body did not arrive in time")
	// ErrBodyMalformed says that the chunks of a request body are none.
	ErrBodyMalformed = errors.New("the chunks of the request body cannot be read")
	// ErrStopping says that a stream ends because klamm does.
	ErrStopping = errors.New("klamm is stopping; go on with a new connection")
	// ErrBusy says that the bodies in flight exceed sizes.in_flight.
	ErrBusy = errors.New("too many request bodies in flight")
)
