package catalog

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/table"
)

// Topic is the compacted topic that definitions lie in, one document an entry:
//
//	pipe/NAME             a pipe, klamm's own or one of EventBridge Pipes
//	connection/NAME       how API destinations are called; its secrets are sealed
//	api-destination/NAME  an HTTP endpoint with a rate
//	mapping/UUID          an event source mapping
//	cluster-policy/NAME   who of other accounts may do what in a cluster
//	bus/NAME              an event bus, with its policy
//	rule/BUS/NAME         a rule of a bus, with its targets
//	archive/NAME          an archive of a bus
//	replay/NAME           a replay of an archive
//	connector/NAME        a sink connector of Kafka Connect's API
//	seal/key              the key that secrets are sealed with, where none is configured
const Topic = "__klamm_catalog"

// The kinds of documents.
const (
	KindPipe        = "pipe"
	KindConnection  = "connection"
	KindDestination = "api-destination"
)

// Format is the newest form of documents that this program understands. A document
// of a newer one is left alone: what was known before it goes on.
const Format = 1

const (
	// MaxDocument bounds the JSON of one definition, in bytes.
	MaxDocument = 256 << 10
	// mostDocuments bounds the definitions of one kind.
	mostDocuments = 20_000
	// openWithin is how long a call waits for a catalog that is not yet open.
	openWithin = 10 * time.Second
	// reopen is the pause before a catalog that could not be opened is tried again.
	reopen = time.Second
	// inspectEvery is how often the topic is looked at.
	inspectEvery = 20 * time.Second
)

var (
	// ErrNotFound says that there is no such definition.
	ErrNotFound = errors.New("there is no such definition")
	// ErrExists says that a definition of that name exists.
	ErrExists = errors.New("a definition of that name exists already")
	// ErrConflict says that the definition is not at the expected version: somebody
	// has changed it meanwhile.
	ErrConflict = errors.New("the definition was changed meanwhile")
	// ErrInvalid is wrapped by errors about what a definition says.
	ErrInvalid = errors.New("the definition is not valid")
	// ErrReadOnly says that a definition stands in the configuration file.
	ErrReadOnly = errors.New("the definition stands in the configuration file, which is where it is changed")
	// ErrNewer says that a newer version of klamm wrote the definition.
	ErrNewer = errors.New("a newer version of klamm has written this definition")
	// ErrFull says that there are as many definitions as there may be.
	ErrFull = errors.New("there are too many definitions")
	// ErrUnavailable says that the catalog cannot be read or written now.
	ErrUnavailable = errors.New("the catalog is not available")
)

// A Document is a definition as it is stored. Its Body and what it came from belong
// to the store and must not be changed.
type Document struct {
	// Kind and Name are what it is known by.
	Kind string `json:"-"`
	Name string `json:"-"`
	// Version tells the states of a definition apart; a later one is larger. 0 is a
	// definition that is not stored.
	Version int64 `json:"-"`
	// Format is the form that Body is in.
	Format int `json:"format"`
	// Dialect says in whose words Body speaks: "" are those of the configuration
	// file, "aws" those of the AWS API that it was made with.
	Dialect string `json:"dialect,omitempty"`
	// Created, Changed and By are when it was made and when and by whom it was
	// changed last.
	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"`
	By      string    `json:"by"`
	// Stopped keeps a pipe from running.
	Stopped bool `json:"stopped,omitempty"`
	// Body is the definition, a JSON object.
	Body json.RawMessage `json:"body"`
	// Before is what this state has replaced; nil: nothing.
	Before *Former `json:"before,omitempty"`
}

// A Former is the state of a definition before the last change.
type Former struct {
	Version int64           `json:"version"`
	Changed time.Time       `json:"changed"`
	By      string          `json:"by"`
	Stopped bool            `json:"stopped,omitempty"`
	Body    json.RawMessage `json:"body"`
}

// Expectations of a write, beside a version.
const (
	Absent int64 = 0  // the definition must not exist
	Any    int64 = -1 // nothing is expected
)

// A StoreConfig is what a Store works with.
type StoreConfig struct {
	Cluster *kafka.Cluster // required
	// Metrics registers the series of the store; nil: nobody counts.
	Metrics prometheus.Registerer
	Log     *slog.Logger // required
}

// A Store holds the definitions that are made while klamm runs, in a topic that all
// processes of the cluster follow. Reading never waits for a broker once Run has
// opened it. It is safe for concurrent use.
type Store struct {
	cfg    StoreConfig
	opened chan struct{} // closed when table is set
	table  *table.Table
	lost   atomic.Pointer[error]
	broken prometheus.Gauge

	telling sync.Mutex // held while watchers are told, before mu

	mu      sync.Mutex // guards what follows
	known   map[string]Document
	strange map[string]Strange // by key
	watch   []func(keys []string)
	count   map[string]int // of those known, by kind
}

// A Strange is a document that this program cannot read.
type Strange struct {
	Kind, Name string
	Version    int64
	Err        error // ErrNewer, or why it is no document
}

// NewStore returns a store that begins to work with Run.
func NewStore(cfg StoreConfig) *Store {
	s := &Store{cfg: cfg, opened: make(chan struct{}), known: map[string]Document{}, strange: map[string]Strange{}, count: map[string]int{}, broken: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "klamm_catalog_broken", Help: "1 while the topic of the definitions is gone, truncated or unreadable: this process goes on with what it has.",
	})}
	if cfg.Metrics != nil {
		cfg.Metrics.MustRegister(s.broken)
	}
	return s
}

// Watch has see called with the keys (KIND/NAME) of documents that may have changed,
// the first time with all that there are, also if there are none. It must be called
// before Run, and see must return soon, and neither Put, Delete nor Get. When Put or Delete
// returns, what they have stored was told.
func (s *Store) Watch(see func(keys []string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watch = append(s.watch, see)
}

// Run opens the catalog, as soon as brokers answer, and follows it until ctx ends.
func (s *Store) Run(ctx context.Context) {
	for {
		t, err := table.Open(ctx, s.cfg.Cluster, Topic, table.Options{Log: s.cfg.Log, Alarm: s.lose})
		if err == nil {
			s.table = t
			break
		}
		if ctx.Err() != nil {
			return
		}
		s.cfg.Log.Error("definitions cannot be read yet", "topic", Topic, "again_in", reopen, "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(reopen):
		}
	}
	defer s.table.Close()
	var keys []string
	for e := range s.table.All() {
		keys = append(keys, e.Key)
	}
	s.take(keys, true)
	stop := s.table.Watch(func(changes []table.Change) {
		keys := make([]string, len(changes))
		for i, c := range changes {
			keys[i] = c.Key
		}
		s.take(keys, false)
	})
	defer stop()
	close(s.opened)
	tick := time.NewTicker(inspectEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.inspect(ctx)
		}
	}
}

// lose notes that the topic is gone.
func (s *Store) lose(err error) {
	s.lost.Store(&err)
	s.broken.Set(1)
	s.cfg.Log.Error("the topic of the definitions was deleted: everything goes on as it is, and nothing can be changed until klamm is started again; klamm export saves what there is",
		"topic", Topic, "err", err)
}

// inspect looks whether the topic has been truncated behind the catalog's back. What
// is missing is written again, so that the next process finds it.
func (s *Store) inspect(ctx context.Context) {
	if s.lost.Load() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, inspectEvery)
	defer cancel()
	ranges, err := s.cfg.Cluster.Ranges(ctx, Topic)
	if err != nil {
		return // Health tells of brokers that do not answer
	}
	start := ranges[0].Start
	for _, e := range s.table.List("") {
		if int64(e.Version) >= start {
			continue
		}
		s.broken.Set(1)
		s.cfg.Log.Error("the topic of the definitions was truncated; everything goes on as it is, and what is missing is written again", "topic", Topic, "definition", e.Key, "start", start)
		if _, err := s.table.Put(ctx, e.Key, e.Value, e.Version); err != nil && !errors.Is(err, table.ErrConflict) {
			s.cfg.Log.Error("a definition cannot be written again", "definition", e.Key, "err", err)
			return
		}
	}
	s.broken.Set(0)
}

// take looks again at the documents of keys that have changed, and returns when
// everybody knows of it who watches, also where another take has found the news.
func (s *Store) take(keys []string, first bool) {
	s.telling.Lock()
	defer s.telling.Unlock()
	changed := make([]string, 0, len(keys))
	s.mu.Lock()
	for _, key := range keys {
		kind, name, ok := strings.Cut(key, "/")
		if ok && kind != sealKind && s.takeOne(kind, name, key) {
			changed = append(changed, key)
		}
	}
	watch := s.watch
	s.mu.Unlock()
	if len(changed) == 0 && !first {
		return
	}
	for _, see := range watch {
		see(changed)
	}
}

// takeOne reads a document as it is now, and says whether that is news. The mutex is
// held.
func (s *Store) takeOne(kind, name, key string) bool {
	e, ok := s.table.Get(key)
	have, known := s.known[key]
	odd, strange := s.strange[key]
	switch {
	case !ok && !known && !strange, ok && known && !strange && have.Version == int64(e.Version), ok && strange && odd.Version == int64(e.Version):
		return false
	}
	delete(s.strange, key)
	if !ok {
		s.forget(kind, key)
		return true
	}
	d, err := read(kind, name, e)
	if err != nil {
		// What was known before goes on.
		s.strange[key] = Strange{kind, name, int64(e.Version), err}
		s.cfg.Log.Error("a definition cannot be read; what was known of it before goes on", "definition", key, "version", int64(e.Version), "err", err)
		return true
	}
	if !known {
		s.count[kind]++
	}
	s.known[key] = d
	return true
}

func (s *Store) forget(kind, key string) {
	if _, ok := s.known[key]; ok {
		s.count[kind]--
		delete(s.known, key)
	}
}

// read takes a document out of an entry.
func read(kind, name string, e table.Entry) (Document, error) {
	var form struct {
		Format int `json:"format"`
	}
	d := Document{}
	if err := json.Unmarshal(e.Value, &form); err != nil {
		return d, fmt.Errorf("it is no document: %w", err)
	}
	if form.Format > Format {
		return d, fmt.Errorf("%w: its format is %d, and this one knows %d", ErrNewer, form.Format, Format)
	}
	if err := json.Unmarshal(e.Value, &d); err != nil {
		return d, fmt.Errorf("it is no document: %w", err)
	}
	if form.Format < 1 || len(d.Body) == 0 || d.Body[0] != '{' {
		return d, errors.New("it is no document: it has no format or no body")
	}
	d.Kind, d.Name, d.Version = kind, name, int64(e.Version)
	return d, nil
}

// Get returns a document. If there is none, it asks the brokers once whether there
// is one by now: somebody may have just been told that it was made elsewhere.
func (s *Store) Get(ctx context.Context, kind, name string) (Document, error) {
	if err := s.await(ctx); err != nil {
		return Document{}, err
	}
	if d, ok := s.look(kind, name); ok {
		return d, nil
	}
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	if s.lost.Load() == nil {
		if err := s.table.Sync(ctx); err != nil {
			return Document{}, unavailable(err)
		}
		s.take([]string{kind + "/" + name}, false)
	}
	if d, ok := s.look(kind, name); ok {
		return d, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if odd, ok := s.strange[kind+"/"+name]; ok {
		return Document{}, odd.Err
	}
	return Document{}, fmt.Errorf("%w: %s %q", ErrNotFound, kind, name)
}

// Sync waits until every document that anybody had stored before the call is known here,
// and those that Watch were told of it.
func (s *Store) Sync(ctx context.Context) error {
	if err := s.await(ctx); err != nil {
		return err
	}
	if err := s.table.SyncWatchers(ctx); err != nil {
		return unavailable(err)
	}
	return nil
}

// Look returns a document that this process knows of; it asks nobody.
func (s *Store) Look(kind, name string) (Document, bool) { return s.look(kind, name) }

func (s *Store) look(kind, name string) (Document, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.known[kind+"/"+name]
	return d, ok
}

// List returns the documents of a kind whose names begin with prefix, by name.
func (s *Store) List(ctx context.Context, kind, prefix string) ([]Document, error) {
	if err := s.await(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Document
	for key, d := range s.known {
		if strings.HasPrefix(key, kind+"/"+prefix) {
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(a, b Document) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// A Change says when a definition was made or changed last.
type Change struct {
	Name    string
	Changed time.Time
}

// Changes returns when the definitions of a kind were changed last, in no order. There may be
// thousands, whose documents List would copy.
func (s *Store) Changes(ctx context.Context, kind string) ([]Change, error) {
	if err := s.await(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Change, 0, len(s.known))
	for _, d := range s.known {
		if d.Kind == kind {
			list = append(list, Change{d.Name, d.Changed})
		}
	}
	return list, nil
}

// Unreadable returns the documents that this program cannot read, by kind and name.
func (s *Store) Unreadable() []Strange {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Strange, 0, len(s.strange))
	for _, odd := range s.strange {
		list = append(list, odd)
	}
	slices.SortFunc(list, func(a, b Strange) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return list
}

// Put stores a definition: the caller sets Kind, Name, Dialect, By, Stopped and
// Body. The expectation is Absent, Any, or the version that was read. It returns the
// document as it is now; the errors are ErrExists, ErrNotFound, ErrConflict, ErrInvalid,
// ErrNewer, ErrFull and ErrUnavailable. What the body says has been checked by the
// caller.
func (s *Store) Put(ctx context.Context, d Document, expect int64) (Document, error) {
	if len(d.Body) > MaxDocument {
		return Document{}, fmt.Errorf("%w: it has %d bytes, and at most %d are stored", ErrInvalid, len(d.Body), MaxDocument)
	}
	if err := s.await(ctx); err != nil {
		return Document{}, err
	}
	key := d.Kind + "/" + d.Name
	s.mu.Lock()
	_, known := s.known[key]
	full := !known && s.count[d.Kind] >= mostDocuments
	s.mu.Unlock()
	if full {
		return Document{}, fmt.Errorf("%w: %d of kind %s", ErrFull, mostDocuments, d.Kind)
	}
	d.Format, d.Changed = Format, time.Now().UTC().Truncate(time.Millisecond)
	d.Created, d.Before = d.Changed, nil
	err := s.table.Update(ctx, func(tx *table.Tx) error {
		e, ok := tx.Get(key)
		if err := expected(expect, e, ok); err != nil {
			return fmt.Errorf("%w: %s %q", err, d.Kind, d.Name)
		}
		if ok {
			was, err := read(d.Kind, d.Name, e)
			if err != nil {
				return fmt.Errorf("%w: %s %q", err, d.Kind, d.Name)
			}
			d.Created = was.Created
			d.Before = &Former{was.Version, was.Changed, was.By, was.Stopped, was.Body}
		}
		value, err := json.Marshal(d)
		if err != nil {
			return err
		}
		tx.Put(key, value)
		return nil
	})
	if err != nil {
		return Document{}, told(err)
	}
	s.take([]string{key}, false)
	now, _ := s.look(d.Kind, d.Name) // another process may have changed it again
	return now, nil
}

// Delete removes a definition that is as expected; the errors are those of Put.
func (s *Store) Delete(ctx context.Context, kind, name string, expect int64) error {
	if err := s.await(ctx); err != nil {
		return err
	}
	key := kind + "/" + name
	err := s.table.Update(ctx, func(tx *table.Tx) error {
		e, ok := tx.Get(key)
		if !ok {
			return fmt.Errorf("%w: %s %q", ErrNotFound, kind, name)
		}
		if err := expected(expect, e, ok); err != nil {
			return fmt.Errorf("%w: %s %q", err, kind, name)
		}
		tx.Delete(key)
		return nil
	})
	if err != nil {
		return told(err)
	}
	s.take([]string{key}, false)
	return nil
}

func expected(expect int64, e table.Entry, exists bool) error {
	switch {
	case expect == Any:
	case expect == Absent && exists:
		return ErrExists
	case expect != Absent && !exists:
		return ErrNotFound
	case expect != Absent && int64(e.Version) != expect:
		return ErrConflict
	}
	return nil
}

// told makes an error of the table one of the store.
func told(err error) error {
	for _, own := range []error{ErrExists, ErrNotFound, ErrConflict, ErrInvalid, ErrNewer, ErrFull} {
		if errors.Is(err, own) {
			return err
		}
	}
	if errors.Is(err, table.ErrInvalid) {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return unavailable(err)
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }

// await waits for the catalog to be open, for a while.
func (s *Store) await(ctx context.Context) error {
	select {
	case <-s.opened:
		return nil
	default:
	}
	wait := time.NewTimer(openWithin)
	defer wait.Stop()
	select {
	case <-s.opened:
		return nil
	case <-ctx.Done():
		return unavailable(ctx.Err())
	case <-wait.C:
		return fmt.Errorf("%w: topic %s could not be read yet; /ready says whether brokers can be reached", ErrUnavailable, Topic)
	}
}

// Opened is closed when the catalog has been read for the first time.
func (s *Store) Opened() <-chan struct{} { return s.opened }

// Health returns what is wrong with the catalog; nil: nothing. Whatever it is,
// definitions that are known go on.
func (s *Store) Health() error {
	if err := s.lost.Load(); err != nil {
		return fmt.Errorf("topic %s was deleted; definitions cannot be changed until klamm is started again: %w", Topic, *err)
	}
	select {
	case <-s.opened:
	default:
		return nil // brokers that cannot be reached have their own word
	}
	return s.table.Health()
}
