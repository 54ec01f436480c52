package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/log"
)

// functions is what runs functions.
type functions struct {
	host *function.Host
	gate *gate.Functions
	logs *functionLogs
}

// openFunctions makes the host of functions, and lets it follow the catalog.
func (a *App) openFunctions() error {
	cfg := a.cfg.FunctionRuntime
	directory, err := functionDirectory(cfg.Directory)
	if err != nil {
		return err
	}
	clients := make([]string, len(cfg.Clients))
	for i, one := range cfg.Clients {
		if clients[i], err = filepath.Abs(one); err != nil { // functions have working directories of their own
			return fmt.Errorf("function_runtime.clients: %w", err)
		}
	}
	modules := "" // the system's directory for temporary files is everybody's
	if cfg.Directory != "" {
		if modules, err = filepath.Abs(filepath.Join(cfg.Directory, "modules")); err != nil {
			return fmt.Errorf("function_runtime.directory: %w", err)
		}
	}
	f := &a.functions
	f.logs = newFunctionLogs(a, a.registry)
	f.host, err = function.New(function.Config{
		Directory: directory, Modules: modules, Runtimes: clients, Region: a.cfg.AWS.Region, User: cfg.User, Group: cfg.Group,
		InitTimeout: cfg.InitTimeout, IdleTimeout: cfg.IdleTimeout, Guard: a.opts.Guard, Environment: a.objects.environment, Output: f.logs.take,
		Transport: a.egress.Transport(), Secret: secret.Local, Credentials: secret.NewStore(a.cfg.Secrets, a.cfg.AWS.Region).AWS, Produce: func(ctx context.Context, records ...*kgo.Record) error {
			return a.cluster.Produce(ctx, records...).FirstErr()
		}, Log: a.log,
	})
	if err != nil {
		return err
	}
	f.gate = gate.NewFunctions(gate.FunctionsConfig{
		Gate: a.gate, Store: a.defined.store, Codes: catalog.NewCodes(a.cluster), Host: f.host, Cluster: a.cluster, File: a.cfg.Functions,
		Region: a.cfg.AWS.Region, Account: a.cfg.AWS.Account, Log: a.log,
	})
	queue := sync.OnceFunc(a.runQueue)
	if len(a.cfg.Functions) > 0 {
		queue()
	}
	a.defined.store.Watch(func(keys []string) {
		for _, key := range keys {
			if strings.HasPrefix(key, catalog.KindFunction+"/") {
				queue()
			}
		}
	})
	return nil
}

// functionDirectory returns a directory of this process's own, below the one that is
// configured or the system's for temporary files. Those that processes have left
// behind which were killed are removed.
func functionDirectory(configured string) (string, error) {
	const prefix = "klamm-functions-"
	base := configured
	if base == "" {
		base = os.TempDir()
	} else if err := os.MkdirAll(base, 0o755); err != nil { //nolint:gosec // programs under another user read it
		return "", fmt.Errorf("function_runtime.directory: %w", err)
	}
	old, _ := filepath.Glob(filepath.Join(base, prefix+"*"))
	for _, directory := range old {
		id, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(directory), prefix), "-")
		if pid, err := strconv.Atoi(id); err == nil && pid > 0 && pid != os.Getpid() && syscall.Kill(pid, 0) == syscall.ESRCH {
			_ = os.RemoveAll(directory)
		}
	}
	directory, err := os.MkdirTemp(base, prefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return "", fmt.Errorf("function_runtime.directory: %w", err)
	}
	return directory, os.Chmod(directory, 0o755) //nolint:gosec // programs under another user read it
}

// invoke runs a function for a pipe.
func (a *App) invoke(ctx context.Context, name string, in function.Invocation) (function.Outcome, error) {
	if a.functions.host == nil {
		return function.Outcome{}, function.ErrClosed
	}
	out, err := a.functions.host.Invoke(ctx, name, in)
	var unreached *function.UnreachedError
	if errors.As(err, &unreached) && unreached.After > 0 {
		err = target.RetryAfter(err, unreached.After)
	}
	return out, err
}

// tallies says what functions have been run for here.
func (a *App) tallies() []function.Tally {
	if a.functions.host == nil {
		return nil
	}
	return a.functions.host.Tallies()
}

// enqueue keeps an invocation for a pipe until the function has taken it.
func (a *App) enqueue(ctx context.Context, name string, in function.Invocation) error {
	if a.functions.gate == nil {
		return function.ErrClosed
	}
	return a.functions.gate.Queue(ctx, name, in)
}

// runQueue begins to take invocations out of the topic in which those lie that
// nobody waits for: two more attempts after a failure, as the Lambda service makes.
func (a *App) runQueue() {
	config, _ := json.Marshal(map[string]bool{"queued": true}) // cannot fail
	a.runner.Set(catalog.Pipe{
		Name: "klamm.async", Topics: []string{gate.AsyncTopic}, Start: "earliest", Target: catalog.Target{Kind: "function", Config: config},
		Delivery: catalog.Delivery{
			Attempts: 3, MaxAge: 6 * time.Hour, Timeout: 16 * time.Minute, Order: "none",
			Backoff: catalog.Backoff{Min: time.Minute, Max: 2 * time.Minute},
		},
	})
}

// closeFunctions ends all functions, those that run not before ctx does.
func (a *App) closeFunctions(ctx context.Context) {
	if a.functions.host != nil {
		a.functions.host.Close(ctx)
		a.functions.logs.close()
	}
}

// stopped is a context that has ended.
func stopped() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// Bounds of the log of functions.
const (
	functionLogQueue     = 10_000
	functionLogRetention = "604800000" // milliseconds: a week
)

// functionLogs writes what functions write into topics, one for each function, in
// the order of lines. A broker that is away costs lines, which are counted.
type functionLogs struct {
	app     *App
	pending atomic.Int64
	lost    prometheus.Counter
	sent    sync.WaitGroup

	mu     sync.Mutex
	topics map[string]time.Time // the zero time: it is there; else not to be tried before
}

func newFunctionLogs(a *App, metrics prometheus.Registerer) *functionLogs {
	l := &functionLogs{app: a, topics: map[string]time.Time{}, lost: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "klamm_function_log_lines_lost_total", Help: "Lines of functions that did not reach their topic.",
	})}
	metrics.MustRegister(l.lost)
	return l
}

// take is called with each line.
func (l *functionLogs) take(line function.Line) {
	if l.pending.Load() >= functionLogQueue {
		l.lost.Inc()
		return
	}
	topic := log.Topic("/aws/lambda/" + line.Function)
	if !l.ensure(topic) {
		l.lost.Inc()
		return
	}
	l.pending.Add(1)
	l.sent.Add(1)
	r := &kgo.Record{Topic: topic, Partition: 0, Key: []byte(line.ID), Value: append([]byte{}, line.Text...), Timestamp: line.Time}
	l.app.cluster.Send(context.Background(), r, func(err error) {
		if err != nil {
			l.lost.Inc()
		}
		l.pending.Add(-1)
		l.sent.Done()
	})
}

// ensure makes the topic of a log.
func (l *functionLogs) ensure(topic string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	after, known := l.topics[topic]
	switch {
	case known && after.IsZero():
		return true
	case time.Now().Before(after):
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	retention := functionLogRetention
	if l.app.cluster.EnsureTopic(ctx, topic, 1, map[string]*string{"retention.ms": &retention}) != nil {
		l.topics[topic] = time.Now().Add(30 * time.Second)
		return false
	}
	l.topics[topic] = time.Time{}
	return true
}

// close waits for what is on its way, not for long.
func (l *functionLogs) close() {
	done := make(chan struct{})
	go func() {
		l.sent.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Second):
	}
}
