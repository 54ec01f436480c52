package function

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// pageSize is WebAssembly's, in bytes.
const pageSize = 64 << 10

// A module runs a WebAssembly module in one of two ways (function-targets.md 7), with
// a new instance for each event. A WASI command finds the event on standard input, and
// what it writes to standard output is the answer. A module that exports klamm_handle
// is called with the place of the event in its memory, which klamm_alloc has given, and
// returns that of the answer; what it writes is its log. Neither sees a file, the
// network or a variable of klamm's.
type module struct {
	def  Definition
	cfg  Config
	seat seats // one for each instance that may run

	mu       sync.Mutex
	runtime  wazero.Runtime
	kept     wazero.CompilationCache // on the disk; nil: there is none
	compiled wazero.CompiledModule
	reactor  bool // it is called, and does not run from its beginning to its end
	retired  bool
	running  sync.WaitGroup
}

func newModule(def Definition, cfg Config) *module {
	return &module{def: def, cfg: cfg, seat: make(seats, def.Concurrency)}
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
		return nil, nil, &StartError{Type: InvalidEntrypoint, Reason: err.Error()}
	}
	code, err := os.ReadFile(m.def.Wasm)
	if err != nil {
		return fail(err)
	}
	pages := uint32(min(int64(m.def.Memory)<<20/pageSize, 65536)) //nolint:gosec // at most 65536
	config := wazero.NewRuntimeConfig().WithCloseOnContextDone(true).WithMemoryLimitPages(pages)
	if m.kept == nil && m.cfg.Modules != "" {
		// A disk that cannot be written to delays starts, and that is all.
		if err := os.MkdirAll(m.cfg.Modules, 0o700); err != nil {
			m.cfg.Log.Warn("compiled modules are not kept", "function", m.def.Name, "err", err)
		} else if m.kept, err = wazero.NewCompilationCacheWithDir(m.cfg.Modules); err != nil {
			m.kept = nil
			m.cfg.Log.Warn("compiled modules are not kept", "function", m.def.Name, "err", err)
		}
	}
	if m.kept != nil {
		config = config.WithCompilationCache(m.kept)
	}
	r := wazero.NewRuntimeWithConfig(ctx, config)
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r); err != nil {
		return fail(errors.Join(err, r.Close(ctx)))
	}
	compiled, err := r.CompileModule(ctx, code)
	if err != nil {
		return fail(fmt.Errorf("%s is not a WebAssembly module that can be run: %w", m.def.Wasm, errors.Join(err, r.Close(ctx))))
	}
	m.runtime, m.compiled = r, compiled
	_, m.reactor = compiled.ExportedFunctions()[handleExport]
	return r, compiled, nil
}

func (m *module) invoke(ctx context.Context, in Invocation) (Outcome, error) {
	if err := m.seat.take(ctx, in.Wait); err != nil {
		return Outcome{}, err
	}
	defer m.seat.leave()
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
	log.begin(in.ID, 0)
	var out bounded
	config := wazero.NewModuleConfig().WithName("").WithArgs(m.def.Name).
		WithStdin(bytes.NewReader(in.Payload)).WithStdout(&out).WithStderr(logWriter{log}).
		WithSysWalltime().WithSysNanotime().WithSysNanosleep().WithRandSource(rand.Reader)
	for name, value := range moduleEnvironment(m.def, in.ID, end) {
		config = config.WithEnv(name, value)
	}
	if m.reactor {
		config = config.WithStartFunctions("_initialize").WithStdout(logWriter{log})
	}
	refused := false
	instance, err := r.InstantiateModule(run, compiled, config)
	if err == nil && m.reactor {
		refused, err = handle(run, instance, in.Payload, &out)
	}
	if instance != nil {
		_ = instance.Close(context.WithoutCancel(ctx))
	}
	o := m.outcome(ctx, run, in, &out, err)
	if refused && o.Error == "" {
		o.Error = Unhandled
		if !json.Valid(o.Payload) {
			o.Payload = errorBody("Function.Unknown", string(o.Payload))
		}
	}
	if o.ID == "" {
		return Outcome{}, ctx.Err()
	}
	o.Duration, o.Log = time.Since(began), log.tail()
	return o, nil
}

// The exports of a module that is called.
const (
	allocExport  = "klamm_alloc"
	handleExport = "klamm_handle"
	// refusedBit says that an answer describes a failure, in its length.
	refusedBit = 1 << 31
)

// errExports says that a module cannot be called.
var errExports = errors.New("the module exports " + handleExport + "(i32, i32) i64, but not memory and " + allocExport + "(i32) i32 beside it")

// handle calls a module with an event and takes its answer, which may describe a
// failure.
func handle(ctx context.Context, m api.Module, payload []byte, out *bounded) (refused bool, err error) {
	alloc, run, memory := m.ExportedFunction(allocExport), m.ExportedFunction(handleExport), m.Memory()
	if alloc == nil || memory == nil || !signature(alloc, 1, api.ValueTypeI32) || !signature(run, 2, api.ValueTypeI64) {
		return false, errExports
	}
	place, err := alloc.Call(ctx, uint64(len(payload)))
	if err != nil {
		return false, err
	}
	if !memory.Write(api.DecodeU32(place[0]), payload) {
		return false, errors.New(allocExport + " gave a place outside of the memory")
	}
	packed, err := run.Call(ctx, place[0], uint64(len(payload)))
	if err != nil {
		return false, err
	}
	at, length := uint32(packed[0]>>32), uint32(packed[0]) //nolint:gosec // the halves are what is wanted
	refused, length = length&refusedBit != 0, length&^refusedBit
	answer, ok := memory.Read(at, length)
	if !ok {
		return false, errors.New(handleExport + " returned a place outside of the memory")
	}
	_, _ = out.Write(answer) // it notes that an answer is too large
	return refused, nil
}

// signature says whether a function takes so many i32 and returns one value of a type.
func signature(f api.Function, params int, result api.ValueType) bool {
	d := f.Definition()
	for _, t := range d.ParamTypes() {
		if t != api.ValueTypeI32 {
			return false
		}
	}
	return len(d.ParamTypes()) == params && len(d.ResultTypes()) == 1 && d.ResultTypes()[0] == result
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
		return Outcome{ID: in.ID, Error: Unhandled, Payload: timedOut(in.ID, m.def.Timeout)}
	case errors.As(err, &exit):
		return failure(in.ID, "Runtime.ExitError", "RequestId: %s Error: Runtime exited with error: exit status %d", in.ID, exit.ExitCode())
	}
	if err != nil {
		return failure(in.ID, "Runtime.Trap", "RequestId: %s Error: %v", in.ID, err)
	}
	if out.over {
		return failure(in.ID, "Function.ResponseSizeTooLarge", "Response payload size exceeded maximum allowed payload size (%d bytes).", maxResponse)
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
	if m.kept != nil {
		_ = m.kept.Close(context.Background())
	}
}

// bounded keeps an answer up to the largest that is allowed.
type bounded struct {
	bytes.Buffer
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxResponse {
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

// moduleEnvironment returns the variables of one call of a module: those of the
// function, and klamm's, which win, as they do for programs (function-targets.md 2.5).
func moduleEnvironment(d Definition, id string, end time.Time) map[string]string {
	vars := maps.Clone(d.Environment)
	if vars == nil {
		vars = map[string]string{}
	}
	maps.Copy(vars, map[string]string{"_HANDLER": d.Handler, "KLAMM_REQUEST_ID": id, "KLAMM_DEADLINE_MS": strconv.FormatInt(end.UnixMilli(), 10)})
	return vars
}
