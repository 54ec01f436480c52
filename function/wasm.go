package function

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// pageSize is WebAssembly's, in bytes.
const pageSize = 64 << 10

// A module runs a WASI command: a new instance for each event, which it finds on
// standard input; what it writes to standard output is the answer
// (function-targets.md 7). It sees no file, no network, no variable of klamm's and
// no clock but those of its own.
type module struct {
	def  Definition
	cfg  Config
	seat chan struct{} // one for each instance that may run

	mu       sync.Mutex
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	retired  bool
	running  sync.WaitGroup
}

func newModule(def Definition, cfg Config) *module {
	return &module{def: def, cfg: cfg, seat: make(chan struct{}, def.Concurrency)}
}

// load compiles the module when it is needed first.
func (m *module) load(ctx context.Context) (wazero.Runtime, wazero.CompiledModule, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.retired {
		return nil, nil, errRetired
	}
	m.running.Add(1) // before the lock is given up, so that retire waits
	if m.compiled != nil {
		return m.runtime, m.compiled, nil
	}
	fail := func(err error) (wazero.Runtime, wazero.CompiledModule, error) {
		m.running.Done()
		return nil, nil, &StartError{Type: "Runtime.InvalidEntrypoint", Reason: err.Error()}
	}
	code, err := os.ReadFile(m.def.Wasm)
	if err != nil {
		return fail(err)
	}
	pages := uint32(min(int64(m.def.Memory)<<20/pageSize, 65536)) //nolint:gosec // at most 65536
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCloseOnContextDone(true).WithMemoryLimitPages(pages))
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r); err != nil {
		return fail(errors.Join(err, r.Close(ctx)))
	}
	compiled, err := r.CompileModule(ctx, code)
	if err != nil {
		return fail(fmt.Errorf("%s is not a WebAssembly module that can be run: %w", m.def.Wasm, errors.Join(err, r.Close(ctx))))
	}
	m.runtime, m.compiled = r, compiled
	return r, compiled, nil
}

func (m *module) invoke(ctx context.Context, in Invocation) (Outcome, error) {
	if err := m.sit(ctx, in.Wait); err != nil {
		return Outcome{}, err
	}
	defer func() { <-m.seat }()
	r, compiled, err := m.load(context.WithoutCancel(ctx))
	if err != nil {
		return Outcome{}, err
	}
	defer m.running.Done()
	began := time.Now()
	end := began.Add(m.def.Timeout)
	run, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	log := newOutput(m.def.Name, m.cfg.Output)
	log.begin(in.ID)
	var out bounded
	config := wazero.NewModuleConfig().WithName("").WithArgs(m.def.Name).
		WithStdin(bytes.NewReader(in.Payload)).WithStdout(&out).WithStderr(logWriter{log}).
		WithSysWalltime().WithSysNanotime().WithSysNanosleep().
		WithEnv("_HANDLER", m.def.Handler).WithEnv("KLAMM_REQUEST_ID", in.ID).WithEnv("KLAMM_DEADLINE_MS", fmt.Sprint(end.UnixMilli()))
	for name, value := range m.def.Environment {
		config = config.WithEnv(name, value)
	}
	instance, err := r.InstantiateModule(run, compiled, config)
	if instance != nil {
		_ = instance.Close(context.WithoutCancel(ctx))
	}
	o := m.outcome(ctx, run, in, &out, err)
	if o.ID == "" {
		return Outcome{}, ctx.Err()
	}
	o.Duration, o.Log = time.Since(began), log.tail()
	return o, nil
}

// sit waits for a seat.
func (m *module) sit(ctx context.Context, wait time.Duration) error {
	select {
	case m.seat <- struct{}{}:
		return nil
	default:
	}
	if wait == 0 {
		return ErrThrottled
	}
	var late <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case m.seat <- struct{}{}:
		return nil
	case <-late:
		return ErrThrottled
	case <-ctx.Done():
		return ctx.Err()
	}
}

// outcome says what a run came to; the zero value: the caller has gone.
func (m *module) outcome(ctx, run context.Context, in Invocation, out *bounded, err error) Outcome {
	var exit *sys.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == 0:
		err = nil
	case ctx.Err() != nil:
		return Outcome{}
	case run.Err() != nil:
		return failure(in.ID, "Sandbox.Timedout", "%s Task timed out after %.2f seconds", in.ID, m.def.Timeout.Seconds())
	case errors.As(err, &exit):
		return failure(in.ID, "Runtime.ExitError", "RequestId: %s Error: Runtime exited with error: exit status %d", in.ID, exit.ExitCode())
	}
	if err != nil {
		return failure(in.ID, "Runtime.Trap", "RequestId: %s Error: %v", in.ID, err)
	}
	if out.over {
		return failure(in.ID, "Function.ResponseSizeTooLarge", "Response payload size exceeded maximum allowed payload size (%d bytes).", MaxResponse)
	}
	return Outcome{ID: in.ID, Payload: out.Bytes()}
}

func (m *module) retire(context.Context) {
	m.mu.Lock()
	m.retired = true
	m.mu.Unlock()
	m.running.Wait() // each has its time limit
	if m.runtime != nil {
		_ = m.runtime.Close(context.Background())
	}
}

// bounded keeps an answer up to the largest that is allowed.
type bounded struct {
	bytes.Buffer
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > MaxResponse {
		b.over = true
		return 0, errors.New("the response is too large")
	}
	return b.Buffer.Write(p)
}

// logWriter takes what a module writes to standard error.
type logWriter struct{ o *output }

func (w logWriter) Write(p []byte) (int, error) {
	w.o.keep(p)
	for line := range bytes.Lines(p) {
		w.o.pass(bytes.TrimSuffix(line, []byte("\n")))
	}
	return len(p), nil
}
