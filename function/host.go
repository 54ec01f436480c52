package function

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/secret"
)

// A Config says how a Host runs functions.
type Config struct {
	// Directory is where the code of packages is unpacked and instances have their
	// temporary files; it is made if it is not there, and is this host's alone.
	// Required.
	Directory string
	// Runtimes are further directories in which the runtime clients of Python
	// (awslambdaric) and Node (node_modules/aws-lambda-ric) are looked for when the
	// code does not bring them.
	Runtimes []string
	// Region is the program's AWS_REGION.
	Region string
	// Environment is given to every program, and wins over the function's own:
	// endpoints and credentials.
	Environment map[string]string
	// User and Group are the ids that programs run under, where klamm may change
	// them; zero: klamm's own.
	User, Group int
	// Modules is a directory in which compiled WebAssembly modules are kept, so that they
	// are compiled once for all starts and for all processes that have it in common. It
	// must be klamm's alone: what lies there is run. Empty: nothing is kept.
	Modules string
	// InitTimeout is how long a program may take until it asks for work; zero: 10 s.
	InitTimeout time.Duration
	// IdleTimeout is how long an instance without work is kept; zero: 5 min.
	IdleTimeout time.Duration
	// Guard is the command of the process that kills what klamm started when klamm
	// itself was killed: one whose main calls Guard. Empty: there is none, and only
	// the programs themselves end with klamm, not their children.
	Guard []string
	// Output receives every line that programs write. It is called by several
	// goroutines at once and must not block for long: a program that writes waits
	// for it.
	Output func(Line)
	// Transport sends requests to functions that run elsewhere, without following
	// redirects; nil: there are none.
	Transport http.RoundTripper
	// Secret looks up what a Remote names by a secret.Ref.
	Secret secret.Lookup
	// Credentials are those of the machine in AWS, for functions behind the Lambda
	// API that bring none; nil: there are none.
	Credentials func(ctx context.Context) (aws.Credentials, error)
	// Produce writes records, for CloudEvents that functions answer with.
	Produce func(ctx context.Context, records ...*kgo.Record) error
	Log     *slog.Logger // required
}

// A Host runs functions. It is safe for concurrent use.
type Host struct {
	cfg   Config
	start starter
	code  store

	mu        sync.Mutex
	functions map[string]*entry
	retiring  sync.WaitGroup
	closed    bool
}

type entry struct {
	def    Definition
	engine engine
	tally  *tally // stays when the definition changes
}

// New returns a host without functions. Nothing is started before an invocation.
func New(cfg Config) (*Host, error) {
	cfg.InitTimeout = cmp.Or(cfg.InitTimeout, 10*time.Second)
	cfg.IdleTimeout = cmp.Or(cfg.IdleTimeout, 5*time.Minute)
	if cfg.Output == nil {
		cfg.Output = func(Line) {}
	}
	directory, err := filepath.Abs(cfg.Directory)
	if err != nil {
		return nil, err
	}
	cfg.Directory = directory
	if err := os.MkdirAll(directory, 0o711); err != nil {
		return nil, fmt.Errorf("functions: %w", err)
	}
	return &Host{cfg: cfg, start: starter{guard: cfg.Guard, log: cfg.Log}, code: store{directory: filepath.Join(directory, "code")}, functions: map[string]*entry{}}, nil
}

// Set makes a function known, or replaces it: invocations that run end with the old
// definition, those that come get the new one. A definition that is the same as
// before changes nothing.
func (h *Host) Set(def Definition) {
	def = def.withDefaults(runtime.NumCPU())
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.functions[def.Name]
	if h.closed || old != nil && same(old.def, def) {
		return
	}
	e := &entry{def: def, tally: &tally{}}
	if old != nil {
		e.tally = old.tally
	}
	switch {
	case def.Remote != nil:
		e.engine = newRemote(def, h.cfg)
	case def.Wasm != "":
		e.engine = newModule(def, h.cfg)
	default:
		e.engine = newPool(def, h.cfg, &h.start, &h.code)
	}
	h.code.use(def.Package)
	h.functions[def.Name] = e
	if old != nil {
		h.retire(old)
	}
}

// same says whether two definitions mean the same.
func same(a, b Definition) bool {
	if a.Package != nil && b.Package != nil && a.Package.Digest == b.Package.Digest {
		b.Package = a.Package // functions cannot be compared
	}
	return reflect.DeepEqual(a, b)
}

// Remove forgets a function. Invocations that run may end; its processes go.
func (h *Host) Remove(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.functions[name]; e != nil {
		delete(h.functions, name)
		h.retire(e)
	}
}

// retire ends an engine in the background. h.mu is held.
func (h *Host) retire(e *entry) {
	h.retiring.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), e.def.Timeout+h.cfg.InitTimeout+time.Second)
		defer cancel()
		e.engine.retire(ctx)
		h.code.leave(e.def.Package)
	})
}

// Definition returns what Set was given, with defaults filled in.
func (h *Host) Definition(name string) (Definition, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.functions[name]; e != nil {
		return e.def, true
	}
	return Definition{}, false
}

// Invoke runs a function once. An error means that it was not reached: ErrNotFound,
// ErrThrottled, ErrClosed, a *StartError, or that of the context. A function that was
// handed its event goes on when ctx ends; its outcome is lost then.
func (h *Host) Invoke(ctx context.Context, name string, in Invocation) (Outcome, error) {
	if in.ID == "" {
		in.ID = uuid.NewString()
	}
	for {
		h.mu.Lock()
		e, closed := h.functions[name], h.closed
		h.mu.Unlock()
		if closed {
			return Outcome{}, ErrClosed
		}
		if e == nil {
			return Outcome{}, fmt.Errorf("%w: %s", ErrNotFound, name)
		}
		out, err := e.engine.invoke(ctx, in)
		if err == errRetired { //nolint:errorlint // it is never wrapped
			continue // replaced or removed between look-up and call
		}
		e.tally.add(out, err)
		return out, err
	}
}

// Close ends all functions: invocations that run may end until ctx does, then
// every process is killed. It returns when none is left.
func (h *Host) Close(ctx context.Context) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return
	}
	h.closed = true
	for name, e := range h.functions {
		delete(h.functions, name)
		h.retiring.Go(func() { e.engine.retire(ctx) })
	}
	h.mu.Unlock()
	h.retiring.Wait()
	h.start.close()
	_ = os.RemoveAll(h.cfg.Directory)
}
