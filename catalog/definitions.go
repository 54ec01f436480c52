package catalog

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
)

// A DefinitionsConfig is what Definitions work with. All fields but InFile are
// required.
type DefinitionsConfig struct {
	Store *Store
	// Kind is that of the documents, such as KindPipe or KindRule; empty is KindPipe.
	Kind string
	// InFile are the pipes of the configuration file. They win over those of the same
	// name in the store.
	InFile []Pipe
	// Compile makes the pipes that can be run of a document: one of a pipe, one for
	// each target of a rule. Pipes of the same document that it made before, and no
	// longer makes, end.
	Compile func(context.Context, Document) ([]Pipe, error)
	// Suspends says whether the error of a Compile means that the pipes must stop;
	// otherwise they go on as they were.
	Suspends func(error) bool
	// Set makes a pipe run as it says, and Remove ends one by its name. They return at
	// once.
	Set    func(Pipe)
	Remove func(name string)
	// Known is called once, when the pipes of all documents have been set that there are
	// at the beginning; nil: nobody is.
	Known func()
	Log   *slog.Logger
}

// Definitions make pipes run as the store says, and say what became of each. They are
// safe for concurrent use.
type Definitions struct {
	cfg  DefinitionsConfig
	news chan struct{} // has a token when dirty is not empty

	applying sync.Mutex // held while it is decided what runs by a name, and told

	mu       sync.Mutex // guards what follows
	file     map[string]Pipe
	dirty    map[string]bool
	noted    int               // how often there was news
	applied  int               // up to which of them everything is set
	moved    chan struct{}     // closed when applied grows
	run      map[string][]Pipe // that were set, by the name of their document
	problems map[string]error
	shadowed map[string]bool
	readers  map[[2]string]string // who reads a topic in a group
}

// One makes a Compile of a function that makes one pipe of a document.
func One(compile func(context.Context, Document) (Pipe, error)) func(context.Context, Document) ([]Pipe, error) {
	return func(ctx context.Context, d Document) ([]Pipe, error) {
		p, err := compile(ctx, d)
		return []Pipe{p}, err
	}
}

// NewDefinitions returns definitions that begin to work with Run. It has to be called
// before the store runs.
func NewDefinitions(cfg DefinitionsConfig) *Definitions {
	set(&cfg.Kind, KindPipe)
	d := &Definitions{cfg: cfg, file: map[string]Pipe{}, news: make(chan struct{}, 1), dirty: map[string]bool{}, moved: make(chan struct{}), run: map[string][]Pipe{}, problems: map[string]error{}, shadowed: map[string]bool{}, readers: map[[2]string]string{}}
	for _, p := range cfg.InFile {
		d.file[p.Name] = p
		d.reads(p, p.Name)
	}
	cfg.Store.Watch(d.changed)
	return d
}

// changed notes that documents may have changed.
func (d *Definitions) changed(keys []string) {
	d.mu.Lock()
	for _, key := range keys {
		d.dirty[key] = true
	}
	d.noted++
	d.mu.Unlock()
	select {
	case d.news <- struct{}{}:
	default:
	}
}

// Run carries out what changes, until ctx ends.
func (d *Definitions) Run(ctx context.Context) {
	known := d.cfg.Known
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.news:
		}
		d.mu.Lock()
		keys, noted := d.dirty, d.noted
		d.dirty = map[string]bool{}
		d.mu.Unlock()
		d.apply(ctx, keys)
		d.mu.Lock()
		d.applied = noted
		close(d.moved)
		d.moved = make(chan struct{})
		d.mu.Unlock()
		if known != nil && ctx.Err() == nil {
			known()
			known = nil
		}
	}
}

// Sync waits until the pipes of every document are set that anybody had stored before the
// call. Run must be under way.
func (d *Definitions) Sync(ctx context.Context) error {
	if err := d.cfg.Store.Sync(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	noted := d.noted
	d.mu.Unlock()
	for {
		d.mu.Lock()
		applied, moved := d.applied, d.moved
		d.mu.Unlock()
		if applied >= noted {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// apply takes up documents. A change of anything but a pipe may concern every pipe
// that was made in the same dialect.
func (d *Definitions) apply(ctx context.Context, keys map[string]bool) {
	names := map[string]bool{}
	others := false
	for key := range keys {
		kind, name, _ := strings.Cut(key, "/")
		switch kind {
		case d.cfg.Kind:
			names[name] = true
		case KindPipe, KindMapping, KindRule, KindArchive, KindReplay, KindClusterPolicy, KindConnector: // no definition names another one
		default:
			others = true
		}
	}
	if others {
		all, err := d.cfg.Store.List(ctx, d.cfg.Kind, "")
		if err != nil {
			return
		}
		for _, doc := range all {
			if doc.Dialect != "" {
				names[doc.Name] = true
			}
		}
	}
	for name := range names {
		if ctx.Err() != nil {
			return
		}
		d.take(ctx, name)
	}
}

// take makes the pipes of one document run as it says.
func (d *Definitions) take(ctx context.Context, name string) {
	d.applying.Lock()
	defer d.applying.Unlock()
	doc, ok := d.cfg.Store.Look(d.cfg.Kind, name)
	d.mu.Lock()
	_, inFile := d.file[name]
	was := d.run[name]
	told := d.shadowed[name]
	if inFile {
		d.shadowed[name] = ok
	} else {
		delete(d.shadowed, name)
	}
	delete(d.problems, name)
	d.mu.Unlock()
	switch {
	case inFile:
		if ok && !told {
			d.cfg.Log.Warn("the pipe of the configuration file wins over the definition of the same name that was made at run time", "pipe", name)
		}
		return
	case !ok:
		d.change(name, was, nil)
		return
	}
	pipes, err := d.cfg.Compile(ctx, doc)
	if err != nil {
		d.cfg.Log.Error("a definition cannot be carried out", "kind", d.cfg.Kind, "name", name, "version", doc.Version, "by", doc.By, "err", err)
		d.mu.Lock()
		d.problems[name] = err
		d.mu.Unlock()
		if len(was) == 0 || !d.cfg.Suspends(err) && !doc.Stopped {
			return
		}
		pipes = slices.Clone(was)
		for i := range pipes {
			pipes[i].Paused = true
		}
	}
	d.change(name, was, pipes)
}

// change makes these the pipes of a document.
func (d *Definitions) change(name string, was, pipes []Pipe) {
	d.mu.Lock()
	for _, p := range was {
		d.unread(p)
	}
	for _, p := range pipes {
		d.reads(p, p.Name)
	}
	if len(pipes) > 0 {
		d.run[name] = pipes
	} else {
		delete(d.run, name)
	}
	d.mu.Unlock()
	for _, p := range was {
		if !slices.ContainsFunc(pipes, func(now Pipe) bool { return now.Name == p.Name }) {
			d.cfg.Remove(p.Name)
			d.cfg.Log.Info("pipe removed", "pipe", p.Name)
		}
	}
	for _, p := range pipes {
		d.cfg.Set(p)
	}
}

// reads notes who reads topics in a group. A pipe of a bus shares them with others.
func (d *Definitions) reads(p Pipe, name string) {
	if p.Bus != nil {
		return
	}
	group := p.WithDefaults().Group
	for _, t := range p.Topics {
		d.readers[[2]string{group, t}] = name
	}
}

func (d *Definitions) unread(was Pipe) {
	group := was.WithDefaults().Group
	for _, t := range was.Topics {
		if key := [2]string{group, t}; d.readers[key] == was.Name {
			delete(d.readers, key)
		}
	}
}

// InFile returns a pipe of the configuration file.
func (d *Definitions) InFile(name string) (Pipe, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, ok := d.file[name]
	return p, ok
}

// Problem returns why a definition is not carried out; nil: it is, or there is none.
func (d *Definitions) Problem(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.problems[name]
}

// Problems returns why definitions are not carried out, by their names, without those that
// are stopped.
func (d *Definitions) Problems() map[string]error {
	d.mu.Lock()
	problems := maps.Clone(d.problems)
	d.mu.Unlock()
	maps.DeleteFunc(problems, func(name string, _ error) bool {
		doc, ok := d.cfg.Store.Look(d.cfg.Kind, name)
		return !ok || doc.Stopped
	})
	return problems
}

// Reader returns the pipe that reads a topic in a group; empty: none does.
func (d *Definitions) Reader(group, topic string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.readers[[2]string{group, topic}]
}

// Shadowed returns the names of definitions that the configuration file hides.
func (d *Definitions) Shadowed() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name, is := range d.shadowed {
		if is {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// CheckReaders returns an error if another pipe reads one of the topics in the same
// group: each record would reach only one of the two. It looks at pipes that are
// carried out, which one that was made a moment ago may not be.
func (d *Definitions) CheckReaders(p Pipe) error {
	group := p.WithDefaults().Group
	for _, t := range p.Topics {
		if other := d.Reader(group, t); other != "" && other != p.Name {
			return fmt.Errorf("%w: group: pipe %q reads topic %q with group %q already: each record would reach only one of the two", ErrConflict, other, t, group)
		}
	}
	return nil
}
