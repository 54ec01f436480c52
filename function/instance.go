package function

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// Times of an instance.
const (
	// respondedGrace is how long a program may take from its answer to its next
	// request for work.
	respondedGrace = time.Second
	// soonGrace is how long a caller waits for an instance that has answered, before
	// another one is started.
	soonGrace = 25 * time.Millisecond
	// initGrace is how long a program may take from saying that it cannot start to
	// its end.
	initGrace = 500 * time.Millisecond
	// stopGrace is how long a program may take from SIGTERM to its end.
	stopGrace = 2 * time.Second
	// tailGrace is how long an answer waits for log lines that are on their way.
	tailGrace = 100 * time.Millisecond
	// lineGrace is how long an event waits for those of the event before.
	lineGrace = 50 * time.Millisecond
)

// A state says where an instance stands (function-targets.md 2.4).
type state int

const (
	starting  state = iota // until it asks for work
	idle                   // it waits for an event
	running                // it has one
	responded              // it has answered and not asked again
	dead
)

// An instance is one process and the listener at which it asks for work.
type instance struct {
	pool    *pool
	process *process
	server  *runtimeServer
	output  *output
	temp    string
	dead    chan struct{} // closed when the process is gone
	spent   time.Duration // of the first call's time limit, by a start that was made within it
	reap    *time.Timer   // owned by the pool

	mu      sync.Mutex
	state   state
	call    *call         // the one that runs, or ran last
	work    chan *call    // holds one between hand-over and the program's request
	replace chan struct{} // closed when a newer request for work takes over; nil: there is none
	ready   chan struct{} // closed at the first request for work
	refused []byte        // what the program posted to init/error
	failed  chan struct{} // closed when it did
	killed  string        // why klamm killed it
	memory  int           // the largest that was seen, MiB
	soon    bool          // the pool counts on its next request for work
}

// A call is one invocation in an instance.
type call struct {
	in    Invocation // Payload and Records are nil once it was concluded; they are guarded by the instance's mu
	began time.Time
	end   time.Time // the time limit
	timer *time.Timer
	done  chan Outcome // takes one
	sent  bool         // to the program; guarded by the instance's mu
	over  bool         // guarded by the instance's mu
	lost  chan struct{}
}

// launch starts a process and waits until it asks for work. One that does not within
// the time for that is started anew within the time limit of the call that waits for
// it, as Lambda does: a slow machine delays a function that takes long to load, and
// does not shut it out (function-targets.md 2.7).
func launch(p *pool) (*instance, *initFailure) {
	i, failed := start(p, p.cfg.InitTimeout)
	if failed == nil || !failed.late || !p.wanted() {
		return i, failed
	}
	p.cfg.Log.Warn("function is slow to start, and is started anew within the time of its call", "function", p.def.Name, "init_timeout", p.cfg.InitTimeout, "timeout", p.def.Timeout)
	began := time.Now()
	if i, failed = start(p, p.def.Timeout); failed == nil {
		i.spent = time.Since(began)
	} else if failed.late {
		failed.payload = func(id string) []byte { return timedOut(id, p.def.Timeout) }
	}
	return i, failed
}

// start starts a process that has so much time to ask for work.
func start(p *pool, within time.Duration) (*instance, *initFailure) {
	i := &instance{
		pool: p, dead: make(chan struct{}), work: make(chan *call, 1),
		ready: make(chan struct{}), failed: make(chan struct{}), output: newOutput(p.def.Name, p.cfg.Output),
	}
	if err := i.open(); err != nil {
		i.close()
		start := &StartError{Type: InvalidEntrypoint, Reason: err.Error()}
		if e, ok := err.(*StartError); ok { //nolint:errorlint // made by open itself
			start = e
		}
		return nil, &initFailure{start: start}
	}
	go i.await()
	watch := time.NewTicker(memoryInterval)
	defer watch.Stop()
	limit := time.NewTimer(within)
	defer limit.Stop()
	late := false
	for {
		select {
		case <-i.ready:
			return i, nil
		case <-i.failed:
			i.end(initGrace)
		case <-i.dead:
		case <-watch.C:
			i.checkMemory()
			continue
		case <-p.over:
			i.kill("was replaced while it started")
		case <-limit.C:
			select {
			case <-i.ready: // at the same moment
				return i, nil
			default:
			}
			late = true
			i.kill(fmt.Sprintf("did not ask for work within %s of its start", within))
		}
		break
	}
	<-i.dead // what it wrote last is in the log then
	f := i.initFailure()
	f.late = late
	return nil, f
}

// open makes the listener, the temporary directory and the process.
func (i *instance) open() error {
	p := i.pool
	def := p.def
	if def.Package != nil {
		directory, err := p.code.unpacked(def.Package, p.cfg.InitTimeout)
		if err != nil {
			return &StartError{Type: "Runtime.CodeUnavailable", Reason: fmt.Sprintf("the code of %s (SHA-256 %s): %v", def.Name, def.Package.Digest, err)}
		}
		def.Directory = directory
	}
	command, err := commandOf(def, p.cfg)
	if err != nil {
		return err
	}
	if i.temp, err = os.MkdirTemp(p.cfg.Directory, "instance-"); err != nil {
		return err
	}
	if p.cfg.User != 0 {
		if err := os.Chown(i.temp, p.cfg.User, p.cfg.Group); err != nil {
			return err
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	i.server = newRuntimeServer(listener, i.serve)
	command.environment = environmentOf(def, p.cfg, listener.Addr().String(), i.temp)
	if i.process, err = startProcess(command, p.cfg, p.starter, i.output); err != nil {
		return &StartError{Type: InvalidEntrypoint, Reason: fmt.Sprintf("%s: %v", command.path, err)}
	}
	return nil
}

// close frees what open made.
func (i *instance) close() {
	if i.server != nil {
		i.server.close()
	}
	if i.temp != "" {
		_ = os.RemoveAll(i.temp)
	}
}

// initFailure describes a start that came to nothing.
func (i *instance) initFailure() *initFailure {
	i.mu.Lock()
	defer i.mu.Unlock()
	f := &initFailure{log: i.output.tail()}
	kind, text := "Runtime.ExitError", ""
	switch {
	case i.refused != nil:
		body := i.refused
		f.payload = func(string) []byte { return body }
		return f
	case i.killed != "":
		kind, text = "Runtime.InitError", "Runtime "+i.killed
		if i.memory > i.pool.def.Memory {
			kind = "Runtime.OutOfMemory"
		}
	default:
		text = i.process.ended()
	}
	f.payload = func(id string) []byte { return errorBody(kind, "RequestId: "+id+" Error: "+text) }
	return f
}

// run hands over an event and waits for what becomes of it. The pool gives an
// instance to one caller at a time.
func (i *instance) run(ctx context.Context, in Invocation) (Outcome, error) {
	if i.reap != nil {
		i.reap.Stop()
	}
	i.output.begin(in.ID, lineGrace)
	now, d := time.Now(), i.pool.def
	// What is left may be nothing, and the call ends at once then.
	c := &call{in: in, began: now, end: now.Add(d.Timeout - i.spent), done: make(chan Outcome, 1), lost: make(chan struct{})}
	i.spent = 0
	i.mu.Lock()
	if i.state != idle {
		i.mu.Unlock()
		return Outcome{}, errUnreached
	}
	i.state, i.call, i.memory = running, c, 0
	c.timer = time.AfterFunc(min(c.end.Sub(now), memoryInterval), func() { i.watch(c) })
	i.work <- c
	i.mu.Unlock()
	select {
	case out := <-c.done:
		return out, nil
	case <-c.lost:
		return Outcome{}, errUnreached
	case <-ctx.Done():
		return Outcome{}, ctx.Err()
	}
}

// timedOut is what the caller of an invocation gets whose time is up.
func timedOut(id string, limit time.Duration) []byte {
	return errorBody("Sandbox.Timedout", fmt.Sprintf("%s %s Task timed out after %.2f seconds", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), id, limit.Seconds()))
}

// watch looks at a running call from time to time: at its memory, and whether its
// time is up.
func (i *instance) watch(c *call) {
	now := time.Now()
	if !now.Before(c.end) {
		if i.finish(c, Outcome{Error: Unhandled, Payload: timedOut(c.in.ID, i.pool.def.Timeout)}, dead) {
			i.kill("ran into its time limit")
		}
		return
	}
	i.checkMemory()
	i.mu.Lock()
	defer i.mu.Unlock()
	if !c.over {
		c.timer.Reset(min(time.Until(c.end), memoryInterval))
	}
}

// checkMemory kills an instance that has grown beyond its limit.
func (i *instance) checkMemory() {
	used := i.process.memory()
	i.mu.Lock()
	i.memory = max(i.memory, used)
	i.mu.Unlock()
	if limit := i.pool.def.Memory; used > limit {
		i.kill(fmt.Sprintf("used %d MiB of memory, more than the limit of %d MiB", used, limit))
	}
}

// kill ends the process group at once and remembers why.
func (i *instance) kill(why string) {
	i.mu.Lock()
	if i.killed == "" {
		i.killed = why
	}
	i.mu.Unlock()
	i.process.kill()
}

// finish ends a call for its caller; the first one to say so is believed. The
// instance goes on in state next.
func (i *instance) finish(c *call, out Outcome, next state) bool {
	if !i.conclude(c, &out, next) {
		return false
	}
	c.done <- out
	return true
}

// conclude is finish without telling the caller, to whom the outcome is to be sent when
// it returns true.
func (i *instance) conclude(c *call, out *Outcome, next state) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if c.over {
		return false
	}
	c.over = true
	c.timer.Stop()
	if i.state != dead {
		i.state = next
	}
	if c.in.Tail {
		i.output.settle(tailGrace)
	}
	out.ID, out.Duration, out.Memory, out.Log = c.in.ID, time.Since(c.began), i.memory, i.output.tail()
	c.in.Payload, c.in.Records = nil, nil // which are large, and the instance remembers the call
	if next == responded && i.state == responded {
		i.soon = true
		i.pool.expect(1) // before the caller comes back with the next event
		time.AfterFunc(soonGrace, i.unexpect)
	}
	if next == responded {
		c.timer = time.AfterFunc(respondedGrace, func() {
			i.mu.Lock()
			stuck := i.state == responded && i.call == c
			i.mu.Unlock()
			if stuck {
				i.kill("did not ask for work after its answer")
			}
		})
	}
	return true
}

// unexpect says that the pool need not count on the instance any more: it is there, or
// has taken too long.
func (i *instance) unexpect() {
	i.mu.Lock()
	was := i.soon
	i.soon = false
	i.mu.Unlock()
	if was {
		i.pool.expect(-1)
	}
}

// await waits for the end of the process and of what depends on it.
func (i *instance) await() {
	i.process.wait()
	i.output.settle(tailGrace)
	i.mu.Lock()
	c, was := i.call, i.state
	i.state = dead
	killed, over := i.killed, i.memory > i.pool.def.Memory
	unreached := c != nil && !c.sent && !c.over
	if unreached { // it ended before it had the event
		c.over = true
		c.timer.Stop()
		close(c.lost)
	}
	i.mu.Unlock()
	if was == responded {
		i.pool.lost()
	}
	if c != nil && !unreached {
		kind, text := "Runtime.ExitError", i.process.ended()
		if over {
			kind, text = "Runtime.OutOfMemory", "Runtime "+killed
		}
		i.finish(c, failure(c.in.ID, kind, "RequestId: %s Error: %s", c.in.ID, text), dead)
	} else if was == idle {
		i.pool.cfg.Log.Info("idle function process ended", "function", i.pool.def.Name, "how", i.process.ended())
	}
	i.unexpect()
	i.close()
	i.output.close()
	close(i.dead)
}

// stop asks an instance that has no work to end, and kills it if it does not.
func (i *instance) stop() {
	i.process.terminate()
	i.end(stopGrace)
}

// end waits for the end of the process, and kills it when the time is up.
func (i *instance) end(grace time.Duration) {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-i.dead:
	case <-timer.C:
		i.kill("did not end when it was told to")
		<-i.dead
	}
}
