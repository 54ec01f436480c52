// Package ingress receives signed webhooks (gateway-policies.md 6.5): routes of
// the configuration file, each a path, the scheme that its sender signs with and
// a topic.
//
// The bytes of the body are verified before anybody looks into them, and go to
// the topic unchanged: compressed, if they came so. verify.go reads each scheme's
// headers into a delivery and checks it; a delivery that has come before, to whatever
// process, is answered and not written, by a claim of the gate (gate/idempotency.go).
package ingress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/secret"
)

const (
	// remembered is how long the id of a delivery is known; GitHub lets people
	// send one again for days, with the same id, so it is longer there.
	remembered       = 10 * time.Minute
	rememberedGitHub = 24 * time.Hour
	// produceTime leaves a delivery time to be answered within 15 seconds, by when
	// senders give up.
	produceTime = 9 * time.Second
	// secretsFor is how long secrets are used before they are looked up again.
	secretsFor = 10 * time.Second
	// longestKey bounds the key that is taken from a body, in bytes.
	longestKey = 32 << 10
)

// Config is what the routes need.
type Config struct {
	Routes []Route
	Gate   *gate.Gate
	Claims *gate.Claims  // which know the deliveries that have come before
	Secret secret.Lookup // required if there is a route
	Log    *slog.Logger
}

// Dialect returns the routes as a dialect. The error names a secret that is
// missing or cannot be one of its scheme.
func Dialect(ctx context.Context, cfg Config) (front.Dialect, error) {
	d := front.Dialect{Name: "webhook", WriteError: writeError, Unstaged: true}
	for i, r := range cfg.Routes {
		h := &hook{Route: r, cfg: &cfg, who: gate.Principal{Name: "User:webhook:" + r.Path}.As(kafka.IdentityGateway), now: time.Now}
		if !r.Gone {
			if _, err := h.keys(ctx); err != nil {
				return front.Dialect{}, fmt.Errorf("route %s: %w", r.Path, err)
			}
		}
		// The name is a label of metrics: what a user has chosen, and not a client.
		d.Routes = append(d.Routes, front.Route{Name: r.Path, Pattern: "POST " + r.Path, Serve: h.serve, Public: true, Own: true, Raw: true})
		d.Prefixes = append(d.Prefixes, cfg.Routes[i].Path)
	}
	return d, nil
}

// A hook is a route that is served.
type hook struct {
	Route
	cfg *Config
	who gate.Principal
	now func() time.Time

	mu     sync.Mutex // guards what follows
	known  []key
	looked time.Time // when the secrets were looked up
}

// keys returns the keys of the secrets, all of them or an error. The secrets are
// looked up again from time to time, so that one that was replaced counts.
func (h *hook) keys(ctx context.Context) ([]key, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known != nil && time.Since(h.looked) < secretsFor {
		return h.known, nil
	}
	known := make([]key, 0, len(h.Secrets))
	for _, ref := range h.Secrets {
		text, err := h.cfg.Secret(ctx, ref)
		if err != nil {
			return nil, err
		}
		k, err := parseKey(h.Scheme, text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ref, err)
		}
		known = append(known, k)
	}
	h.known, h.looked = known, time.Now()
	return known, nil
}

// read reads the headers of a request as the scheme has them.
func (h *hook) read(header http.Header, body []byte) (delivery, error) {
	switch h.Scheme {
	case "standard":
		return readStandard(header, "webhook", body)
	case "svix":
		return readStandard(header, "svix", body)
	case "github":
		return readGitHub(header, body)
	case "stripe":
		return readStripe(header, body)
	case "slack":
		return readSlack(header, body)
	}
	return readGeneric(header, h.Signature, body)
}

// serve takes one delivery: 202 if it was written, 200 if it was before or is a
// ping. It checks size, headers, time, signature and repetition, in this order.
func (h *hook) serve(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
	if h.Gone {
		return &refusal{http.StatusGone, "nothing is received here any more"}
	}
	body, release, err := front.LendBody(r)
	if err != nil {
		return err
	}
	settled := true
	defer func() { release(settled) }()
	d, err := h.read(r.Header, body)
	if err != nil {
		return err
	}
	if err := h.verify(r.Context(), &d); err != nil {
		return err
	}
	if answered := h.greet(w, r.Header, body); answered {
		return nil
	}
	settled, err = h.produce(w, r, &d, body)
	return err
}

// verify checks time and signature.
func (h *hook) verify(ctx context.Context, d *delivery) error {
	if !d.fresh(h.now()) {
		return &refusal{http.StatusUnauthorized, fmt.Sprintf("the time of signing is missing, or more than %s off", d.within)}
	}
	keys, err := h.keys(ctx)
	if err != nil {
		h.cfg.Log.Error("the secrets of a webhook cannot be looked up; its deliveries are answered 503", "route", h.Path, "err", err)
		return &refusal{http.StatusServiceUnavailable, "the signature cannot be checked now"}
	}
	if !d.verifies(keys) {
		return &refusal{http.StatusUnauthorized, "no signature is right for this body"}
	}
	return nil
}

// greet answers what senders send only to see who is there: GitHub's ping, and
// the challenge by which Slack finds out whether the receiver reads it.
func (h *hook) greet(w http.ResponseWriter, header http.Header, body []byte) bool {
	switch {
	case h.Scheme == "github" && !h.Pings && header.Get("X-GitHub-Event") == "ping":
		w.WriteHeader(http.StatusOK)
		return true
	case h.Scheme == "slack" && member(body, "type") == "url_verification":
		w.Header()["Content-Type"] = []string{"text/plain; charset=utf-8"}
		w.Header()["X-Content-Type-Options"] = []string{"nosniff"}
		challenge := member(body, "challenge")
		_, _ = w.Write([]byte(challenge[:min(len(challenge), 1000)]))
		return true
	}
	return false
}

// produce writes a delivery unless it has come before. It says whether the record
// is settled, so that its bytes may be used again.
func (h *hook) produce(w http.ResponseWriter, r *http.Request, d *delivery, body []byte) (settled bool, err error) {
	who, err := front.OwnCaller(w, r, h.who)
	if err != nil {
		return true, err
	}
	claim := h.claim(d)
	if claim != nil {
		who = who.Under(claim)
		defer func() {
			_ = claim.Abandon() // whose error tells only that it ends by itself
		}()
	}
	// It goes on when the sender leaves, as one that has not been answered comes
	// again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), produceTime)
	defer cancel()
	results, err := h.cfg.Gate.Produce(ctx, who, h.Topic, []*kgo.Record{h.record(r.Header, d, body)})
	switch {
	case errors.Is(err, gate.ErrRepeated):
		w.WriteHeader(http.StatusOK)
		return true, nil
	case errors.Is(err, gate.ErrRunning):
		return true, &refusal{http.StatusServiceUnavailable, err.Error()}
	case err != nil:
		return true, err
	}
	if err := results[0].Err; err != nil {
		return !errors.Is(err, kafka.ErrNotAcknowledged), err
	}
	if claim != nil {
		if err := claim.Finish(gate.Answer{Status: http.StatusAccepted}); err != nil {
			h.cfg.Log.Warn("the id of a webhook delivery was not kept; a repetition may be written again", "route", h.Path, "err", err)
		}
	}
	w.WriteHeader(http.StatusAccepted)
	return true, nil
}

// claim makes the claim on the id of a delivery; nil if it has none.
func (h *hook) claim(d *delivery) *gate.Claim {
	id, ttl := d.id, remembered
	if h.Scheme == "github" {
		ttl = rememberedGitHub
	}
	if id == "" && d.within != 0 {
		// A request that is signed with its time and comes twice is the same one. A
		// time may be off by the tolerance to either side.
		id, ttl = "digest "+d.digest(), max(ttl, 2*d.within)
	}
	if id == "" {
		return nil
	}
	return h.cfg.Claims.New([]string{"webhook", h.Path}, id, ttl)
}

// recordHeaders are the HTTP headers that a record keeps, under their names in
// lower case.
var recordHeaders = []string{"Content-Type", "Content-Encoding", "Webhook-Id", "Webhook-Timestamp", "Svix-Id", "Svix-Timestamp", "X-Github-Delivery", "X-Github-Event", "X-Slack-Request-Timestamp"}

// record makes the record of a delivery.
func (h *hook) record(header http.Header, d *delivery, body []byte) *kgo.Record {
	if body == nil {
		body = []byte{} // no tombstone
	}
	record := &kgo.Record{Value: body, Partition: -1}
	names := recordHeaders
	if s := h.Signature; s != nil {
		for _, name := range []string{s.ID, s.Timestamp} {
			if name != "" {
				names = append(names[:len(names):len(names)], http.CanonicalHeaderKey(name))
			}
		}
	}
	for _, name := range names {
		if values := header[name]; len(values) > 0 {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: strings.ToLower(name), Value: []byte(values[0])})
		}
	}
	text := ""
	if h.Key == "id" {
		text = d.id
	} else if path, ok := strings.CutPrefix(h.Key, "$."); ok {
		text = member(body, strings.Split(path, ".")...)
	}
	if text != "" && len(text) <= longestKey {
		record.Key = []byte(text)
	}
	return record
}

// A refusal is an answer that is no success.
type refusal struct {
	status  int
	message string
}

func (e *refusal) Error() string { return e.message }

// Reported says that there is nothing about it that the log should know.
func (e *refusal) Reported() {}

// writeError answers in v2's error shape. Senders give up at once on most 4xx,
// so they get one only for what the delivery itself is to blame for.
func writeError(w http.ResponseWriter, _ *http.Request, err error) {
	e := refusalOf(err)
	again := e.status == http.StatusServiceUnavailable || e.status == http.StatusTooManyRequests
	if again && w.Header()["Retry-After"] == nil { // an overload knows better how long it takes
		w.Header()["Retry-After"] = []string{"5"}
	}
	body, _ := json.Marshal(struct {
		Code    int    `json:"error_code"`
		Message string `json:"message"`
	}{e.status, e.message})
	w.Header()["Content-Type"] = []string{"application/json"}
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(e.status)
	_, _ = w.Write(body)
}

// refusalOf turns any error into an answer.
func refusalOf(err error) *refusal {
	var e *refusal
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, front.ErrNoRoute):
		return &refusal{http.StatusNotFound, "there is nothing at this path"}
	case errors.Is(err, front.ErrMethod):
		return &refusal{http.StatusMethodNotAllowed, "webhooks are received with POST"}
	}
	var invalid *gate.Invalidity
	if errors.As(err, &invalid) {
		return &refusal{http.StatusUnprocessableEntity, invalid.Error()}
	}
	if status, text, known := front.Status(err); known {
		return &refusal{status, text}
	}
	switch gate.Classify(err) {
	case gate.Unauthenticated:
		return &refusal{http.StatusUnauthorized, err.Error()}
	case gate.TooLarge:
		return &refusal{http.StatusRequestEntityTooLarge, "the delivery is larger than a record of the topic may be"}
	case gate.Denied:
		return &refusal{http.StatusForbidden, "this webhook may not write to its topic"}
	case gate.Throttled:
		return &refusal{http.StatusTooManyRequests, err.Error()}
	}
	return &refusal{http.StatusServiceUnavailable, "the delivery cannot be written now"}
}
