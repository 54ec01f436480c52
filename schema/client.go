package schema

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// latestFor is how long the newest version of a subject is believed to be it.
	latestFor = 5 * time.Minute
	// missingFor is how long what a registry does not have is not asked for again.
	missingFor = 30 * time.Second
	// downFor is how long a registry that could not answer is left alone with the
	// same question.
	downFor = time.Second
	// liveFor is how long a registry in this process is believed to have a schema
	// still that it was asked to have: reading the text again is what costs.
	liveFor = time.Second
	// mostKept bounds how many schemas, answers and refusals are remembered each;
	// beyond it they are forgotten and asked for again.
	mostKept = 4096
	// mostReferences bounds how many schemas one may build on, at any depth.
	mostReferences = 256
)

// ErrNone is the error of schemas where no registry is configured.
var ErrNone = errors.New("schema registry must be configured when using schemas")

// A Client asks a Registry for schemas and remembers the answers: a schema by its
// id for ever, the newest version of a subject for five minutes, what there is not
// for thirty seconds. For one schema there is one request at a time, however many
// records wait for it. It is safe for concurrent use; a remembered schema is found
// without a lock. A nil Client answers every question with ErrNone.
type Client struct {
	registry Registry
	live     bool // the registry's answers cost nothing: versions are not remembered

	schemas atomic.Pointer[map[int]*Schema] // by id; never changed, only replaced

	failures atomic.Int64

	// mu guards what follows.
	mu      sync.Mutex
	answers map[string]answer // to questions about subjects, and refusals of all
	asking  map[string]*flight
}

// An answer is what a question was last answered with.
type answer struct {
	found  Registered
	schema *Schema
	err    error
	until  time.Time // zero: for ever
}

// A flight is a question on its way. Who waits for done reads the answer.
type flight struct {
	done   chan struct{}
	answer answer
}

// NewClient returns a client of a registry. Live says that the registry is in this
// process, so that the newest version of a subject is always asked for.
func NewClient(r Registry, live bool) *Client {
	c := &Client{registry: r, live: live, answers: map[string]answer{}, asking: map[string]*flight{}}
	c.schemas.Store(&map[int]*Schema{})
	return c
}

// Failures counts the questions that the registry could not answer since the
// client was made.
func (c *Client) Failures() int64 { return c.failures.Load() }

// Schema returns the schema of an id. It returns a *RegistryError, or a
// *BrokenError if the registry's schema cannot be used.
func (c *Client) Schema(ctx context.Context, id int) (*Schema, error) {
	if c == nil {
		return nil, ErrNone
	}
	if s := (*c.schemas.Load())[id]; s != nil {
		return s, nil
	}
	if id <= 0 || id > math.MaxInt32 { // bytes that only look like a frame
		return nil, &RegistryError{Status: http.StatusNotFound, Code: 40403, Message: fmt.Sprintf("Schema %d not found", id)}
	}
	a := c.ask(ctx, "id "+strconv.Itoa(id), func(ctx context.Context) answer {
		if s := (*c.schemas.Load())[id]; s != nil {
			return answer{schema: s} // it came between the look at what is there and the question
		}
		found, err := c.registry.ByID(ctx, id)
		if err != nil {
			return answer{err: err}
		}
		return c.ready(ctx, Registered{Definition: found.Definition, ID: id})
	})
	return a.schema, a.err
}

// A BrokenError is a schema of the registry that cannot be used.
type BrokenError struct {
	// Schema says which one.
	Schema string
	Err    error
}

func (e *BrokenError) Error() string { return fmt.Sprintf("%s cannot be used: %v", e.Schema, e.Err) }

// Unwrap returns what is wrong with it.
func (e *BrokenError) Unwrap() error { return e.Err }

// ready compiles what a registry answered, and remembers it by its id.
func (c *Client) ready(ctx context.Context, found Registered) answer {
	if s := (*c.schemas.Load())[found.ID]; s != nil {
		return answer{found: found, schema: s}
	}
	s, err := c.compile(ctx, found.Definition)
	if err != nil {
		return answer{found: found, err: err}
	}
	s.ID = found.ID
	c.keep(s)
	return answer{found: found, schema: s}
}

// compile makes a schema ready with what it refers to. What its text is to blame
// for is a *BrokenError.
func (c *Client) compile(ctx context.Context, d Definition) (*Schema, error) {
	before, err := c.references(ctx, d)
	if err != nil {
		return nil, err
	}
	s, err := Compile(d, before)
	if err != nil {
		return nil, &BrokenError{Schema: "the schema", Err: err}
	}
	return s, nil
}

// references fetches what a schema refers to, each behind what it needs itself.
func (c *Client) references(ctx context.Context, d Definition) ([]Named, error) {
	var out []Named
	seen := map[Reference]bool{}
	var walk func(refs []Reference, depth int) error
	walk = func(refs []Reference, depth int) error {
		for _, r := range refs {
			if seen[r] {
				continue
			}
			if len(seen) >= mostReferences || depth > maxIndexes {
				return &BrokenError{Schema: "the schema", Err: fmt.Errorf("it refers to more than %d others", mostReferences)}
			}
			seen[r] = true
			found, err := c.registry.ByVersion(ctx, r.Subject, r.Version)
			if err != nil {
				return err
			}
			if err := walk(found.References, depth+1); err != nil {
				return err
			}
			out = append(out, Named{Name: r.Name, Definition: found.Definition})
		}
		return nil
	}
	return out, walk(d.References, 0)
}

// keep remembers a schema by its id.
func (c *Client) keep(s *Schema) {
	for {
		old := c.schemas.Load()
		next := make(map[int]*Schema, len(*old)+1)
		if len(*old) < mostKept {
			for id, one := range *old {
				next[id] = one
			}
		}
		next[s.ID] = s
		if c.schemas.CompareAndSwap(old, &next) {
			return
		}
	}
}

// ask returns the remembered answer to a question, or asks it: once, however many
// callers wait. A caller whose ctx ends waits no longer; the question goes on.
func (c *Client) ask(ctx context.Context, key string, question func(context.Context) answer) answer {
	c.mu.Lock()
	if a, ok := c.answers[key]; ok {
		if a.until.IsZero() || time.Now().Before(a.until) {
			c.mu.Unlock()
			return a
		}
		delete(c.answers, key)
	}
	f := c.asking[key]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		c.asking[key] = f
		// It ends with the registry's own time limit.
		go c.fly(context.WithoutCancel(ctx), key, f, question)
	}
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.answer
	case <-ctx.Done():
		return answer{err: &RegistryError{Message: "no answer yet: " + context.Cause(ctx).Error()}}
	}
}

func (c *Client) fly(ctx context.Context, key string, f *flight, question func(context.Context) answer) {
	f.answer = question(ctx)
	keep := f.answer.err != nil || f.answer.found.Subject != "" // schemas by id have a place of their own
	if c.live && f.answer.until.IsZero() {
		keep = false
	}
	var refusal *RegistryError
	switch {
	case f.answer.err == nil:
	case errors.As(f.answer.err, &refusal) && refusal.Unavailable():
		c.failures.Add(1)
		f.answer.until = time.Now().Add(max(downFor, min(refusal.After, missingFor)))
	default:
		f.answer.until = time.Now().Add(missingFor)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.asking, key)
	if keep {
		if len(c.answers) >= mostKept {
			clear(c.answers)
		}
		c.answers[key] = f.answer
	}
	close(f.done)
}

// forget drops a remembered answer.
func (c *Client) forget(key string) {
	c.mu.Lock()
	delete(c.answers, key)
	c.mu.Unlock()
}

// Version returns a version of a subject, or its Latest.
func (c *Client) Version(ctx context.Context, subject string, version int) (*Schema, Ref, error) {
	if c == nil {
		return nil, Ref{}, ErrNone
	}
	a := c.ask(ctx, versionKey(subject, version), func(ctx context.Context) answer {
		found, err := c.registry.ByVersion(ctx, subject, version)
		if err != nil {
			return answer{err: err}
		}
		found.Subject = subject
		a := c.ready(ctx, found)
		if version == Latest && !c.live {
			a.until = time.Now().Add(latestFor)
		}
		return a
	})
	return a.schema, a.ref(), a.err
}

func versionKey(subject string, version int) string {
	return fmt.Sprintf("version %d %s", version, subject)
}

// A Ref is where a schema stands in a registry.
type Ref struct {
	Subject string
	ID      int
	Version int
}

func (a answer) ref() Ref {
	return Ref{Subject: a.found.Subject, ID: a.found.ID, Version: a.found.Version}
}

// Under returns the schema of an id as a subject has it. It is a *RegistryError
// if the subject does not have it.
func (c *Client) Under(ctx context.Context, subject string, id int) (*Schema, Ref, error) {
	s, err := c.Schema(ctx, id)
	if err != nil {
		return nil, Ref{}, err
	}
	a := c.ask(ctx, fmt.Sprintf("under %d %s", id, subject), func(ctx context.Context) answer {
		all, err := c.registry.Versions(ctx, id)
		if err != nil {
			return answer{err: err}
		}
		for _, one := range all {
			if one.Subject == subject {
				one.ID, one.Definition = id, s.Definition
				return answer{found: one, schema: s}
			}
		}
		return answer{err: &RegistryError{Status: http.StatusNotFound, Code: 40403, Message: fmt.Sprintf("schema %d is not registered under subject %s", id, subject)}}
	})
	return a.schema, a.ref(), a.err
}

// ensure finds the schema whose text a choice gives, and registers it if its subject
// does not have it yet.
func (c *Client) ensure(ctx context.Context, w Choice) answer {
	sum := sha256.Sum256([]byte(w.Text))
	key := fmt.Sprintf("text %x %s %t %q %q %q", sum, w.Format, w.Key, w.Topic, w.Subject, w.Strategy)
	return c.ask(ctx, key, func(ctx context.Context) answer {
		d := Definition{Format: w.Format, Text: w.Text}
		s, err := Compile(d, nil)
		if err != nil {
			return answer{err: &InvalidError{err}}
		}
		d.Format = s.Format
		subject := w.Subject
		if subject == "" {
			if subject, err = w.Strategy.Subject(w.Topic, w.Key, s.Name); err != nil {
				return answer{err: &InvalidError{err}}
			}
		}
		found, err := c.registry.Find(ctx, subject, d)
		var refusal *RegistryError
		if errors.As(err, &refusal) && refusal.NotFound() {
			if _, err = c.registry.Register(ctx, subject, d); err == nil {
				c.forget(versionKey(subject, Latest))
				found, err = c.registry.Find(ctx, subject, d)
			}
		}
		if errors.As(err, &refusal) && refusal.Invalid() {
			err = &InvalidError{errors.New(refusal.Message)}
		}
		if err != nil {
			return answer{err: err}
		}
		if found.Subject = subject; found.Text == "" {
			found.Definition = d
		}
		a := c.ready(ctx, found)
		if c.live {
			a.until = time.Now().Add(liveFor)
		}
		return a
	})
}

// A Decoded is a value that has become JSON.
type Decoded struct {
	JSON []byte
	Frame
	Schema *Schema
}

// Decode appends the JSON of a framed value to dst. The errors are a *ValueError,
// if the bytes have no frame or do not fit their schema; a *RegistryError; a
// *BrokenError.
func (c *Client) Decode(ctx context.Context, dst, data []byte, style Style) (Decoded, error) {
	f, err := ParseFrame(data)
	if err != nil {
		return Decoded{}, err
	}
	if f.Glue != [16]byte{} {
		return Decoded{Frame: f}, unfit("names a schema of AWS Glue, which a Confluent registry does not have")
	}
	s, err := c.Schema(ctx, f.ID)
	if err != nil {
		return Decoded{Frame: f}, err
	}
	out, err := s.AppendJSON(dst, f.Payload, style)
	return Decoded{JSON: out, Frame: f, Schema: s}, err
}
