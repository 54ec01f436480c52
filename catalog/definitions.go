package catalog

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// A DefinitionsConfig is what Definitions work with. All fields but InFile are
// required.
type DefinitionsConfig struct {
	Store *Store
	// Kind is that of the documents: KindPipe, or KindMapping; empty is KindPipe.
	Kind string
	// InFile are the pipes of the configuration file. They win over those of the same
	// name in the store.
	InFile []Pipe
	// Compile makes a pipe that can be run of a document.
	Compile func(context.Context, Document) (Pipe, error)
	// Suspends says whether the error of a Compile means that the pipe must stop;
	// otherwise it goes on as it was.
	Suspends func(error) bool
	// Set makes a pipe run as it says, and Remove ends one. They return at once.
	Set    func(Pipe)
	Remove func(name string)
	Log    *slog.Logger
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
	run      map[string]Pipe // that were set, by name
	problems map[string]error
	shadowed map[string]bool
	readers  map[[2]string]string // who reads a topic in a group
}

// NewDefinitions returns definitions that begin to work with Run. It has to be called
// before the store runs.
func NewDefinitions(cfg DefinitionsConfig) *Definitions {
	set(&cfg.Kind, KindPipe)
	d := &Definitions{cfg: cfg, file: map[string]Pipe{}, news: make(chan struct{}, 1), dirty: map[string]bool{}, run: map[string]Pipe{}, problems: map[string]error{}, shadowed: map[string]bool{}, readers: map[[2]string]string{}}
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
	d.mu.Unlock()
	select {
	case d.news <- struct{}{}:
	default:
	}
}

// Run carries out what changes, until ctx ends.
func (d *Definitions) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.news:
		}
		d.mu.Lock()
		keys := d.dirty
		d.dirty = map[string]bool{}
		d.mu.Unlock()
		d.apply(ctx, keys)
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
		case KindPipe, KindMapping: // no definition names another one
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

// take makes one pipe run as its document says.
func (d *Definitions) take(ctx context.Context, name string) {
	d.applying.Lock()
	defer d.applying.Unlock()
	doc, ok := d.cfg.Store.Look(d.cfg.Kind, name)
	d.mu.Lock()
	_, inFile := d.file[name]
	was, ran := d.run[name]
	told := d.shadowed[name]
	d.shadowed[name] = ok && inFile
	delete(d.problems, name)
	d.mu.Unlock()
	switch {
	case inFile:
		if ok && !told {
			d.cfg.Log.Warn("the pipe of the configuration file wins over the definition of the same name that was made at run time", "pipe", name)
		}
		return
	case !ok:
		if ran {
			d.mu.Lock()
			delete(d.run, name)
			d.unread(was)
			d.mu.Unlock()
			d.cfg.Remove(name)
			d.cfg.Log.Info("pipe removed", "pipe", name)
		}
		return
	}
	p, err := d.cfg.Compile(ctx, doc)
	if err != nil {
		d.cfg.Log.Error("a definition cannot be carried out", "pipe", name, "version", doc.Version, "by", doc.By, "err", err)
		d.mu.Lock()
		d.problems[name] = err
		d.mu.Unlock()
		if !ran || !d.cfg.Suspends(err) && !doc.Stopped {
			return
		}
		p = was
		p.Paused = true
	}
	d.mu.Lock()
	d.run[name] = p
	d.unread(was)
	d.reads(p, p.Name)
	d.mu.Unlock()
	d.cfg.Set(p)
}

// reads notes who reads topics in a group.
func (d *Definitions) reads(p Pipe, name string) {
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

// Reader returns the pipe that reads a topic in a group; empty: none does.
func (d *Definitions) Reader(group, topic string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.readers[[2]string{group, topic}]
}

// Running returns the pipe that was set by the name, if one was.
func (d *Definitions) Running(name string) (Pipe, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, ok := d.run[name]
	return p, ok
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
// group: each record would reach only one of the two.
func (d *Definitions) CheckReaders(p Pipe) error {
	group := p.WithDefaults().Group
	for _, t := range p.Topics {
		if other := d.Reader(group, t); other != "" && other != p.Name {
			return fmt.Errorf("%w: group: pipe %q reads topic %q with group %q already: each record would reach only one of the two", ErrConflict, other, t, group)
		}
	}
	return nil
}
