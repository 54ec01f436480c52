package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/schema"
	"github.com/klamm-gateway/klamm/table"
)

const (
	// openWithin is how long a call waits for a topic that is not open yet.
	openWithin = 15 * time.Second
	// reopen is the pause before a topic that could not be opened is tried again.
	reopen = 500 * time.Millisecond
	// mostAttempts bounds how often a change is worked out anew because another
	// process was faster.
	mostAttempts = 50
	// keptParsed bounds the schemas that are kept as they were read.
	keptParsed = 500
)

// A Registry is the schema registry of a cluster. It is safe for concurrent use; its
// errors are *schema.RegistryError. The topic is opened, and made if need be, when it is
// first asked for something.
type Registry struct {
	cluster *kafka.Cluster
	log     *slog.Logger
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	begin   sync.Once
	opened  chan struct{} // closed when table is set
	ended   sync.WaitGroup
	table   *table.Table
	index   *index
	writing chan struct{} // holds one token while a change of this process is worked out
	cache   cache

	mu      sync.Mutex // guards trouble
	trouble error      // why the topic could not be opened when it was last tried
}

// New makes the registry of a cluster. It must be closed.
func New(cluster *kafka.Cluster, log *slog.Logger) *Registry {
	ctx, cancel := context.WithCancel(context.Background())
	return &Registry{cluster: cluster, log: log, ctx: ctx, cancel: cancel, opened: make(chan struct{}), index: newIndex(),
		writing: make(chan struct{}, 1), cache: cache{most: keptParsed}}
}

// Close ends following the topic, within about five seconds. It may be called more than
// once.
func (r *Registry) Close() {
	r.begin.Do(func() {})
	r.cancel()
	r.ended.Wait()
}

// open waits for the topic.
func (r *Registry) open(ctx context.Context) error {
	r.begin.Do(func() { r.ended.Go(r.follow) })
	select {
	case <-r.opened:
		return nil
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	select {
	case <-r.opened:
		return nil
	case <-r.ctx.Done():
		return unavailable(table.ErrClosed)
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trouble != nil {
		return unavailable(r.trouble)
	}
	return unavailable(kafka.ErrUnreachable)
}

// follow opens the topic and keeps the index up to date until the registry is closed.
func (r *Registry) follow() {
	for {
		t, err := table.Open(r.ctx, r.cluster, Topic, table.Options{Log: r.log})
		if err == nil {
			r.index.catchUp(t)
			stop := t.Watch(func(changes []table.Change) {
				keys := make([]string, len(changes))
				for i, c := range changes {
					keys[i] = c.Key
				}
				r.index.refresh(t, keys)
			})
			r.table = t
			close(r.opened)
			<-r.ctx.Done()
			stop()
			t.Close()
			return
		}
		if r.ctx.Err() != nil {
			return
		}
		r.mu.Lock()
		if r.trouble == nil {
			r.log.Warn("the schema registry cannot open its topic yet", "topic", Topic, "err", err)
		}
		r.trouble = err
		r.mu.Unlock()
		select {
		case <-r.ctx.Done():
			return
		case <-time.After(reopen):
		}
	}
}

// Health returns nil if the registry follows its topic or was not needed so far.
func (r *Registry) Health() error {
	select {
	case <-r.opened:
		return r.table.Health()
	default:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.trouble
}

// sync makes the index know all that anybody has written before the call.
func (r *Registry) sync(ctx context.Context) error {
	if err := r.table.Sync(ctx); err != nil {
		return err
	}
	r.index.catchUp(r.table)
	return nil
}

// A write is an entry that a change makes, or with a nil value one that it removes.
type write struct {
	key   string
	value []byte
}

var errStale = errors.New("somebody has changed the registry meanwhile")

// change works a change out against the index and writes it if nobody has written
// anything since; otherwise it begins again. A refusal is only given when it holds
// against the present state of the topic.
func (r *Registry) change(ctx context.Context, plan func() ([]write, error)) error {
	if err := r.open(ctx); err != nil {
		return err
	}
	select {
	case r.writing <- struct{}{}:
		defer func() { <-r.writing }()
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
	synced := false
	for range mostAttempts {
		before := r.index.state()
		writes, err := plan()
		if err == nil && len(writes) == 0 {
			return nil
		}
		if err != nil {
			if synced {
				return unavailable(err)
			}
			if err := r.sync(ctx); err != nil {
				return unavailable(err)
			}
			synced = true
			if r.index.state() == before {
				return unavailable(err)
			}
			continue
		}
		err = r.write(ctx, before, writes)
		if !errors.Is(err, errStale) {
			return unavailable(err)
		}
		synced = true
	}
	return unavailable(fmt.Errorf("%w, %d times in a row", errStale, mostAttempts))
}

// write writes entries if the table is still what it was.
func (r *Registry) write(ctx context.Context, before stamp, writes []write) error {
	err := r.table.Update(ctx, func(tx *table.Tx) error {
		var now stamp
		for _, e := range tx.List("") {
			now.entries++
			now.sum += int64(e.Version)
		}
		if now != before {
			return errStale
		}
		for _, w := range writes {
			if w.value == nil {
				tx.Delete(w.key)
			} else {
				tx.Put(w.key, w.value)
			}
		}
		return nil
	})
	// Whatever has come of it: what is in the table now is what counts.
	r.index.catchUp(r.table)
	return err
}

// read answers a question from memory. A refusal is only given when it holds against
// the present state of the topic: another process may have written a moment ago.
func read[T any](ctx context.Context, r *Registry, look func() (T, error)) (T, error) {
	var none T
	if err := r.open(ctx); err != nil {
		return none, err
	}
	before := r.index.state()
	answer, err := look()
	if err == nil {
		return answer, nil
	}
	if r.sync(ctx) != nil || r.index.state() == before {
		return none, err
	}
	return look()
}

// cache keeps schemas as they were read, by what they were read from; the oldest go
// first.
type cache struct {
	most int

	mu    sync.Mutex // guards what follows
	by    map[string]parsed
	order []string
}

func (c *cache) get(key string) (parsed, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.by[key]
	return p, ok
}

func (c *cache) put(key string, p parsed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[string]parsed{}
	}
	if _, ok := c.by[key]; ok {
		return
	}
	if len(c.order) >= c.most {
		delete(c.by, c.order[0])
		c.order = c.order[1:]
	}
	c.by[key] = p
	c.order = append(c.order, key)
}

// parsed reads a source, or remembers it.
func (r *Registry) parsed(s source) (parsed, error) {
	key := string(s.format) + "\x00" + s.text
	for i, text := range s.texts {
		key += "\x00" + s.names[i] + "\x00" + text
	}
	if p, ok := r.cache.get(key); ok {
		return p, nil
	}
	p, err := s.parse()
	if err != nil {
		return p, err
	}
	r.cache.put(key, p)
	return p, nil
}

// source finds what a schema refers to. Subjects that name no context are looked for in
// the given one. A schema that is kept already may refer to versions that are deleted, a
// new one may not.
func (r *Registry) source(context string, d schema.Definition, kept bool) (source, error) {
	s := source{format: d.Format, text: d.Text, references: d.References}
	if s.format == "" {
		s.format = schema.Avro
	}
	seen := map[string]bool{}
	var follow func(list []schema.Reference, depth int) error
	follow = func(list []schema.Reference, depth int) error {
		for _, ref := range list {
			if len(seen) >= mostReferences || depth > 50 {
				return fmt.Errorf("the schema refers to more than %d others, or to others of others more than 50 deep", mostReferences)
			}
			if ref.Name == "" || ref.Subject == "" {
				return errors.New("a reference needs a name, a subject and a version")
			}
			if seen[ref.Name] {
				continue
			}
			seen[ref.Name] = true
			v := r.index.version(inContext(context, ref.Subject), ref.Version, active)
			if v == nil {
				// What is deleted goes on to serve those that were there before it went.
				if v = r.index.version(inContext(context, ref.Subject), ref.Version, all); v == nil || depth == 0 && !kept {
					return fmt.Errorf("no schema reference found for subject %s and version %d", quoted(ref.Subject), ref.Version)
				}
			}
			if v.Type != s.format {
				return fmt.Errorf("the reference %s is a schema of the type %s", quoted(ref.Name), v.Type)
			}
			if err := follow(v.References, depth+1); err != nil {
				return err
			}
			s.names, s.texts = append(s.names, ref.Name), append(s.texts, v.Text)
		}
		return nil
	}
	return s, follow(d.References, 0)
}

// inContext is a subject as it is meant by a schema of a context.
func inContext(context, subject string) string {
	if own, name := split(subject); own != DefaultContext || subject != name {
		return subject
	}
	return qualify(context, subject)
}

// stored reads a version that is there already.
func (r *Registry) stored(v *version) (parsed, error) {
	s, err := r.source(v.context, schema.Definition{Format: v.Type, Text: v.Text, References: v.References}, true)
	if err != nil {
		return parsed{}, err
	}
	return r.parsed(s)
}

// identityOf returns what a version is told by. One that cannot be read any more is like
// no other.
func (r *Registry) identityOf(v *version) identity {
	if id, ok := r.index.identified(v); ok {
		return id
	}
	var id identity
	if p, err := r.stored(v); err == nil {
		id = p.identity(v.References, v.Metadata, v.RuleSet)
	}
	r.index.identify(v, id)
	return id
}
