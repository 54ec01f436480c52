package gate

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/table"
)

// Idempotency is the idempotency section of the configuration file.
type Idempotency struct {
	// TTL is how long the answer to a request with an Idempotency-Key is kept, 1s
	// to 168h; the default is 24h.
	TTL time.Duration `yaml:"ttl"`
	// Required refuses requests without an Idempotency-Key, with 400, wherever
	// one would be kept; the default is to take them as they are.
	Required bool `yaml:"required"`
	// Scope says what a key belongs to: principal, route or both, which is the
	// default. Without principal all callers share their keys, without route a
	// key stands for one request of any kind.
	Scope []string `yaml:"scope"`
	// Keys is how many keys are kept at most, 100 to 1000000; the default is
	// 200000. Each takes about 400 bytes of memory in every klamm process.
	Keys int `yaml:"keys"`
	// Bytes is how much the answers of all keys may take together, at least 1MiB;
	// the default is 64MiB.
	Bytes int64 `yaml:"bytes" unit:"bytes"`
}

// The parts of a scope.
const (
	ScopePrincipal = "principal"
	ScopeRoute     = "route"
)

// Validate reports each problem with the field it lies in.
func (c Idempotency) Validate(report func(path, problem string)) {
	if c.TTL != 0 && (c.TTL < time.Second || c.TTL > 7*24*time.Hour) {
		report("ttl", "want a time from 1s to 168h")
	}
	for i, part := range c.Scope {
		if part != ScopePrincipal && part != ScopeRoute || slices.Contains(c.Scope[:i], part) {
			report(fmt.Sprintf("scope[%d]", i), "want principal and route, each once at most")
		}
	}
	if c.Keys != 0 && (c.Keys < 100 || c.Keys > 1_000_000) {
		report("keys", "want a number from 100 to 1000000")
	}
	if c.Bytes != 0 && (c.Bytes < 1<<20 || c.Bytes > 4<<30) {
		report("bytes", "want a size from 1MiB to 4GiB")
	}
}

// WithDefaults returns the section with its defaults filled in.
func (c Idempotency) WithDefaults() Idempotency {
	if c.TTL == 0 {
		c.TTL = 24 * time.Hour
	}
	if len(c.Scope) == 0 {
		c.Scope = []string{ScopePrincipal, ScopeRoute}
	}
	if c.Keys == 0 {
		c.Keys = 200_000
	}
	if c.Bytes == 0 {
		c.Bytes = 64 << 20
	}
	return c
}

// runningFor is how long a claim is held that nobody finishes: what producing may
// take at most, and 30 seconds (gateway-policies.md 6.6).
const runningFor = 15*time.Second + 30*time.Second

// Errors of claims.
var (
	// ErrRepeated says that the request was answered before; Claim.Earlier has
	// that answer.
	ErrRepeated = &Error{Exists, "the request was answered before"}
	// ErrRunning says that the same request is under way, here or on another
	// process.
	ErrRunning = &Error{Conflict, "a request with this key is still running; repeat it in a moment"}
	// ErrReused says that the key was used for another request.
	ErrReused = &Error{Invalid, "this key was used for another request"}
	// errManyClaims says that no more keys can be kept now.
	errManyClaims = &Error{Unavailable, "too many keys are kept already (idempotency.keys, idempotency.bytes); repeat the request later"}
)

// An Answer is what a request was answered with.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	// Dropped says that the body was too large to be kept, and is missing.
	Dropped bool
}

// A Claim is one request made under a key. The operation of the gate that writes
// its records begins it when the policies have passed: whoever is first under a
// key may go on, and everybody after gets ErrRepeated, ErrRunning or ErrReused
// from that operation instead. Whoever made the claim finishes it.
//
// It is safe for concurrent use.
type Claim struct {
	claims *Claims
	key    string
	ttl    time.Duration
	owner  [ownerSize]byte

	mu          sync.Mutex // guards what follows
	fingerprint [sha256.Size]byte
	begun       bool
	refused     error
	held        *ledger
	entry       table.Entry // of the running claim
	earlier     Answer
	written     bool // some record, or nobody knows
	failed      bool // some record, in a way that may pass
}

// New makes a claim for a key of a scope, whose answer is kept for ttl. It does
// not wait, and costs nothing that must be given back unless it is begun.
func (c *Claims) New(scope []string, key string, ttl time.Duration) *Claim {
	h := sha256.New()
	for _, part := range append(slices.Clone(scope), key) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write([]byte(part))
	}
	claim := &Claim{claims: c, key: base64.RawURLEncoding.EncodeToString(h.Sum(nil)), ttl: ttl}
	_, _ = rand.Read(claim.owner[:])
	return claim
}

// Under returns the principal as one whose records are written under a claim.
func (p Principal) Under(c *Claim) Principal {
	p.claim = c
	return p
}

// Identify says what request the claim is for. Without it, all requests under a
// key count as the same one.
func (c *Claim) Identify(fingerprint [sha256.Size]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fingerprint = fingerprint
}

// Begun says whether the claim is held: records are being written under it.
func (c *Claim) Begun() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begun
}

// Refused returns why the claim is not held although the request has come to its
// records, and nil otherwise.
func (c *Claim) Refused() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused
}

// Earlier returns the answer to the request that was made first under the key; it
// belongs to ErrRepeated.
func (c *Claim) Earlier() Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.earlier
}

// begin takes the claim unless it is held. Several operations of one request
// share the outcome of the first. A nil claim is always held.
func (c *Claim) begin(ctx context.Context) error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begun || c.refused != nil {
		return c.refused
	}
	outcome, err := c.take(ctx)
	c.claims.metrics.requests.WithLabelValues(outcome).Inc()
	c.begun, c.refused = err == nil, err
	return err
}

// take writes the running claim, or finds out who was first.
func (c *Claim) take(ctx context.Context) (outcome string, err error) {
	ctx, cancel := context.WithTimeout(ctx, firstPatience)
	defer cancel()
	l, err := c.claims.open(ctx)
	if err != nil {
		return "unavailable", err
	}
	if l.written.Load() {
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	synced := false
	for ctx.Err() == nil {
		now := time.Now()
		found, ok := l.table.Get(c.key)
		expect := table.Absent
		if ok {
			expect = found.Version
			kept, known := readKept(found.Value)
			switch {
			case !known || !now.Before(kept.expires): // its time is over
			case kept.owner == c.owner && !kept.done:
				c.held, c.entry = l, found
				return "first", nil
			case kept.done && kept.fingerprint == c.fingerprint:
				if c.earlier, err = kept.answer(); err != nil {
					return "unavailable", err
				}
				return "repeated", ErrRepeated
			case !synced: // by now it may have ended
				if err := l.table.Sync(ctx); err != nil {
					return "unavailable", c.claims.lost(l, err)
				}
				synced = true
				continue
			case kept.fingerprint != c.fingerprint:
				return "reused", ErrReused
			default:
				return "running", ErrRunning
			}
		} else if l.full() {
			return "refused", errManyClaims
		}
		value := appendKept(nil, kept{owner: c.owner, fingerprint: c.fingerprint, expires: now.Add(runningFor)})
		entry, err := l.table.Put(ctx, c.key, value, expect)
		switch {
		case err == nil:
			l.written.Store(true)
			c.held, c.entry = l, entry
			return "first", nil
		case errors.Is(err, table.ErrConflict):
		case errors.Is(err, table.ErrUnknown):
			if err := l.table.Sync(ctx); err != nil {
				return "unavailable", c.claims.lost(l, err)
			}
		default:
			return "unavailable", c.claims.lost(l, err)
		}
	}
	return "unavailable", c.claims.lost(l, ctx.Err())
}

// note remembers how the records of the request fared. A nil claim does not.
func (c *Claim) note(results kgo.ProduceResults) {
	if c == nil {
		return
	}
	for i := range results {
		c.noteOne(results[i].Err)
	}
}

func (c *Claim) noteOne(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.written = true
		return
	}
	switch Classify(err) {
	case Unavailable, Throttled, Internal:
		c.failed = true
	}
}

// noting returns what tells the claim how a record fared, and then done. A nil
// claim is told nothing.
func (c *Claim) noting(done func(error)) func(error) {
	if c == nil {
		return done
	}
	return func(err error) {
		c.noteOne(err)
		done(err)
	}
}

// keeps says whether an answer is to be given again: a success, or a refusal that
// repeating the request would only repeat. What failed as a whole in a way that
// may pass is not, whatever the status that the API has for it.
func (c *Claim) keeps(status int) bool {
	if c.failed && !c.written {
		return false
	}
	return status >= 200 && status < 300 || status >= 400 && status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout
}

// Finish ends a claim with the answer to the request: kept, so that it is given
// again, or forgotten, so that a repetition may succeed. It waits until every
// process will find it so, and for some seconds at most. An error means that the
// claim ends by itself in less than a minute, and that a repetition after that may
// write the records again. A claim that is not held has nothing to finish.
func (c *Claim) Finish(a Answer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.begun {
		return nil
	}
	c.begun = false
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	if c.keeps(a.Status) {
		done := kept{done: true, owner: c.owner, fingerprint: c.fingerprint, expires: time.Now().Add(c.ttl)}
		_, err = c.held.table.Put(ctx, c.key, appendAnswer(appendKept(nil, done), a), c.entry.Version)
	} else {
		err = c.held.table.Delete(ctx, c.key, c.entry.Version)
	}
	if err != nil {
		c.claims.metrics.unfinished.Inc()
		return c.claims.lost(c.held, err)
	}
	return nil
}

// Abandon ends a claim whose request came to nothing that could be told. It does
// nothing after Finish.
func (c *Claim) Abandon() error { return c.Finish(Answer{Status: http.StatusInternalServerError}) }

const (
	// patience bounds how long the table may take at the beginning and at the end
	// of a claim.
	patience = 5 * time.Second
	// firstPatience bounds it for the first of a process: brokers that are new make
	// the topics of their transactions first.
	firstPatience = 15 * time.Second
)

// unreached is the error for a table that cannot be reached.
func unreached(err error) error {
	text := "the idempotency keys cannot be looked up now; repeat the request later"
	if errors.Is(err, kafka.ErrUnreachable) {
		text += ": no broker answers"
	}
	return &Error{Unavailable, text}
}
