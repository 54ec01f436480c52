// Package objectstore is the target that keeps events as objects, one for each
// batch: in an S3-compatible store or in a directory (interface.md 6).
//
// A batch goes through three steps. An encoding makes the object's bytes
// (encode.go: JSON and lines of JSON, csv.go, parquet.go with the file format in
// parquetfile.go), and names the events that it cannot express. A template makes
// the key (key.go) of nothing but what the batch is, so that another attempt
// writes the same object again. A store puts it there: all of it or nothing
// (directory.go, s3.go).
package objectstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
)

// Kind returns the object store kind.
func Kind() target.Kind {
	return target.Kind{Name: "objectstore", Config: func() target.Config { return &Config{} }, Open: open}
}

// A store keeps objects: a directory, or a bucket. It is safe for concurrent
// use.
type store interface {
	// put writes an object as a whole, in the place of one with the same key.
	put(ctx context.Context, o *object) error
	close() error
}

// An object is what a batch becomes.
type object struct {
	key       string
	mediaType string
	delivery  string // its id
	body      []byte
}

// An encoding makes one body of events. Events that it cannot express are left
// out and named by their position; if they are all, there is no body.
type encoding func(events []*event.Event) (body []byte, failed map[int]error, err error)

type objectStore struct {
	endpoint  string // empty: a directory
	store     store
	encode    encoding
	key       *template
	mediaType string
}

func open(raw json.RawMessage, env target.Env) (target.Target, error) {
	c := &Config{}
	if err := json.Unmarshal(raw, c); err != nil {
		return nil, fmt.Errorf("objectstore: %w", err)
	}
	var problem error
	c.Validate(func(path, text string) {
		if problem == nil {
			problem = fmt.Errorf("objectstore: %s: %s", path, text)
		}
	})
	if problem != nil {
		return nil, problem
	}
	o := &objectStore{mediaType: c.mediaType()}
	var err error
	if o.key, err = compile(c.Key, env.Pipe, c.extension()); err != nil {
		return nil, fmt.Errorf("objectstore: key: %w", err)
	}
	if o.encode, err = c.encoding(); err != nil {
		return nil, fmt.Errorf("objectstore: %w", err)
	}
	if c.Directory != "" {
		o.store = newDirectory(c.Directory)
		return o, nil
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("objectstore: endpoint: %w", err)
	}
	if err := env.Egress.CheckHost(u.Hostname()); err != nil {
		return nil, fmt.Errorf("objectstore %s: %w", c.Endpoint, err)
	}
	o.endpoint = u.Scheme + "://" + u.Host
	if o.store, err = newBucket(c, u, env); err != nil {
		return nil, fmt.Errorf("objectstore %s: %w", c.Endpoint, err)
	}
	return o, nil
}

// Deliver writes one object with the events. Those that the format cannot
// express are given up, and the object has the others.
func (s *objectStore) Deliver(ctx context.Context, events []*event.Event) error {
	body, failed, err := s.encode(events)
	if err != nil {
		return err
	}
	if len(failed) < len(events) {
		key, err := s.key.render(events)
		if err != nil {
			return target.Permanent(err)
		}
		err = s.store.put(ctx, &object{key: key, mediaType: s.mediaType, delivery: events[0].ID, body: body})
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("it was not written in time")
		}
		if err != nil {
			return fmt.Errorf("write object %s: %w", key, target.Unreachable(err))
		}
	}
	return target.Outcome(failed, len(events))
}

// Endpoint is the store that all objects are sent to; empty: a directory.
func (s *objectStore) Endpoint() string { return s.endpoint }

// Close frees the store; what it is still writing has a few seconds to end.
func (s *objectStore) Close() error { return s.store.close() }
