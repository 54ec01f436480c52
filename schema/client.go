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

	"github.com/google/uuid"
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

// A Client asks a Registry for schemas, AWS Glue, or both, and remembers the answers: a
// schema by its id for ever, the newest version of a subject for five minutes, what there
// is not for thirty seconds. For one schema there is one request at a time, however many
// records wait for it. It is safe for concurrent use; a remembered schema is found
// without a lock. A nil Client answers every question with ErrNone.
type Client struct {
	registry Registry      // nil: there is only Glue
	glue     *GlueRegistry // nil: there is none
	live     bool          // the registry's answers cost nothing: versions are not remembered

	schemas shelf[int]       // by id
	glued   shelf[uuid.UUID] // of Glue, by the id of the version

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

// A shelf holds what is remembered of schemas. It is safe for concurrent use, and read
// without a lock.
type shelf[K comparable] struct {
	at atomic.Pointer[map[K]*Schema] // never changed, only replaced; nil: it is empty
}

// get returns a schema, nil if it is not there.
func (s *shelf[K]) get(id K) *Schema {
	if all := s.at.Load(); all != nil {
		return (*all)[id]
	}
	return nil
}

// put remembers a schema.
func (s *shelf[K]) put(id K, one *Schema) {
	for {
		old := s.at.Load()
		next := map[K]*Schema{id: one}
		if old != nil && len(*old) < mostKept {
			for id, other := range *old {
				next[id] = other
			}
			next[id] = one
		}
		if s.at.CompareAndSwap(old, &next) {
			return
		}
	}
}

// NewClient returns a client of a registry. Live says that the registry is in this
// process, so that the newest version of a subject is always asked for. Glue reads what
// was written with AWS Glue; nil: that cannot be read. One of both has to be there.
func NewClient(r Registry, glue *GlueRegistry, live bool) *Client {
	return &Client{registry: r, glue: glue, live: live, answers: map[string]answer{}, asking: map[string]*flight{}}
}

// Frames says whether bytes begin as those do that one of the client's registries has the
// schemas of. A nil Client has none.
func (c *Client) Frames(data []byte) bool {
	if c == nil {
		return false
	}
	return c.registry != nil && Framed(data) || c.glue != nil && gluedFrame(data)
}

// Failures counts the questions that the registry could not answer since the
// client was made.
func (c *Client) Failures() int64 { return c.failures.Load() }

// Schema returns the schema of an id. It returns a *RegistryError, or a
// *BrokenError if the registry's schema cannot be used.
func (c *Client) Schema(ctx context.Context, id int) (*Schema, error) {
	if c == nil || c.registry == nil {
		return nil, ErrNone
	}
	if s := c.schemas.get(id); s != nil {
		return s, nil
	}
	if id <= 0 || id > math.MaxInt32 { // bytes that only look like a frame
		return nil, &RegistryError{Status: http.StatusNotFound, Code: 40403, Message: fmt.Sprintf("Schema %d not found", id)}
	}
	a := c.ask(ctx, "id "+strconv.Itoa(id), func(ctx context.Context) answer {
		if s := c.schemas.get(id); s != nil {
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
	if s := c.schemas.get(found.ID); s != nil {
		return answer{found: found, schema: s}
	}
	s, err := c.compile(ctx, found.Definition)
	if err != nil {
		return answer{found: found, err: err}
	}
	s.ID = found.ID
	c.schemas.put(s.ID, s)
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
			found, err := c.registry.Referred(ctx, r.Subject, r.Version)
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
	if c == nil || c.registry == nil {
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
		// The subject may stand for another one, under whose name the registry lists it.
		found, err := c.registry.Find(ctx, subject, s.Definition)
		var refusal *RegistryError
		switch {
		case err == nil && found.ID == id:
			found.Subject, found.Definition = subject, s.Definition
			return answer{found: found, schema: s}
		case err != nil && (!errors.As(err, &refusal) || refusal.Status != http.StatusNotFound):
			return answer{err: err}
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

// Decode appends the JSON of a framed value to dst; the client must not be nil. The errors are a *ValueError,
// if the bytes have no frame or do not fit their schema; a *RegistryError; a
// *BrokenError.
func (c *Client) Decode(ctx context.Context, dst, data []byte, style Style) (Decoded, error) {
	f, err := ParseFrame(data)
	if err != nil {
		return Decoded{}, err
	}
	var s *Schema
	if f.Glue != uuid.Nil {
		s, err = c.glueSchema(ctx, f.Glue)
	} else if c.registry == nil {
		err = unfit("names a schema of a Confluent registry, and there is only one of AWS Glue")
	} else {
		s, err = c.Schema(ctx, f.ID)
	}
	if err != nil {
		return Decoded{Frame: f}, err
	}
	out, err := s.AppendJSON(dst, f.Payload, style)
	return Decoded{JSON: out, Frame: f, Schema: s}, err
}

// glueSchema returns the schema of a version of AWS Glue.
func (c *Client) glueSchema(ctx context.Context, version uuid.UUID) (*Schema, error) {
	if c.glue == nil {
		return nil, unfit("names a schema of AWS Glue, and no registry of AWS Glue is configured")
	}
	if s := c.glued.get(version); s != nil {
		return s, nil
	}
	a := c.ask(ctx, "glue "+version.String(), func(ctx context.Context) answer {
		if s := c.glued.get(version); s != nil {
			return answer{schema: s}
		}
		d, err := c.glue.Version(ctx, version)
		if err != nil {
			return answer{err: err}
		}
		s, err := compileGlue(d)
		if err != nil {
			return answer{err: &BrokenError{Schema: "the schema", Err: err}}
		}
		c.glued.put(version, s)
		return answer{schema: s}
	})
	return a.schema, a.err
}
