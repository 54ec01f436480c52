package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// startTimeout bounds how long a process may take until it is ready.
	startTimeout = 60 * time.Second
	// leaveTimeout is how long a process may take to end in good order.
	leaveTimeout = 5 * time.Second
	// lineBytes bounds a line that a child prints.
	lineBytes = 1 << 20
	// stderrBytes is how much of a child's last words is kept.
	stderrBytes = 4 << 10
)

// A crew is the processes of one benchmark. None of them outlives it: dismiss
// ends them, and where the conductor is killed the system does.
type crew struct {
	executable string
	dir        string // of temporary files, removed by dismiss
	jobs       chan func()
	over       chan struct{}

	mu       sync.Mutex // guards children
	children []*child
}

func newCrew(executable string) (*crew, error) {
	dir, err := os.MkdirTemp("", "klamm-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the benchmark: %w", err)
	}
	c := &crew{executable: executable, dir: dir, jobs: make(chan func()), over: make(chan struct{})}
	go c.startProcesses()
	return c, nil
}

// startProcesses starts all children from one thread, because the system kills
// a child when the thread that started it ends, not when the process does. It
// ends with dismiss.
func (c *crew) startProcesses() {
	runtime.LockOSThread()
	defer close(c.over)
	for job := range c.jobs {
		job()
	}
}

// dismiss ends all processes and removes their files.
func (c *crew) dismiss() {
	c.mu.Lock()
	children := c.children
	c.children = nil
	c.mu.Unlock()
	for _, child := range children {
		child.kill()
	}
	close(c.jobs)
	<-c.over
	_ = os.RemoveAll(c.dir)
}

// A child is a started process. It is used by one goroutine at a time.
type child struct {
	name   string
	cmd    *exec.Cmd
	lines  chan string // of standard output; closed at its end
	unread chan struct{}
	once   sync.Once
	stderr lastWords
}

// start starts the executable with arguments; name is for messages.
func (c *crew) start(name string, args ...string) (*child, error) {
	p := &child{name: name, lines: make(chan string, 16), unread: make(chan struct{})}
	p.cmd = exec.Command(c.executable, args...)
	p.cmd.Dir = c.dir
	p.cmd.Env = environment()
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = childAttributes()
	// A grandchild could hold standard error open after a kill.
	p.cmd.WaitDelay = 5 * time.Second
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	started := make(chan error, 1)
	c.jobs <- func() { started <- p.cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go p.read(out)
	c.mu.Lock()
	c.children = append(c.children, p)
	c.mu.Unlock()
	return p, nil
}

// role starts a role with its configuration.
func (c *crew) role(name string, config any) (*child, error) {
	document, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return c.start(name, "bench", "role", name, string(document))
}

// serving starts a role that listens, and returns its address.
func (c *crew) serving(ctx context.Context, name string, config any) (*child, string, error) {
	p, err := c.role(name, config)
	if err != nil {
		return nil, "", err
	}
	addr, err := p.line(ctx, startTimeout, readyPrefix)
	return p, addr, err
}

// environment is the conductor's without klamm's own settings, which would
// change what is measured.
func environment() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "KLAMM_") {
			env = append(env, e)
		}
	}
	return env
}

// read hands on what the process prints until it ends or is killed.
func (p *child) read(out io.Reader) {
	defer close(p.lines)
	s := bufio.NewScanner(out)
	s.Buffer(nil, lineBytes)
	for s.Scan() {
		select {
		case p.lines <- s.Text():
		case <-p.unread:
			return
		}
	}
}

// line waits for a line that begins with prefix, passes over others, and
// returns what follows the prefix.
func (p *child) line(ctx context.Context, timeout time.Duration, prefix string) (string, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		select {
		case text, ok := <-p.lines:
			if !ok {
				p.kill()
				return "", fmt.Errorf("%s ended early (%s): %s", p.name, p.cmd.ProcessState, p.stderr.String())
			}
			if rest, found := strings.CutPrefix(text, prefix); found {
				return rest, nil
			}
		case <-timer.C:
			return "", fmt.Errorf("%s said nothing for %s: %s", p.name, timeout, p.stderr.String())
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// result waits for the JSON document that a role prints when it has done its
// work, and reads it into v.
func (p *child) result(ctx context.Context, timeout time.Duration, v any) error {
	text, err := p.line(ctx, timeout, resultPrefix)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("read the result of %s: %w", p.name, err)
	}
	return nil
}

func (p *child) pid() int { return p.cmd.Process.Pid }

// kill ends the process at once and waits for its end. It may be called more
// than once.
func (p *child) kill() {
	p.once.Do(func() {
		close(p.unread)
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
}

// leave asks the process to end in good order, so that it leaves its consumer
// group, and ends it at once after leaveTimeout.
func (p *child) leave() {
	defer p.kill()
	if p.cmd.Process.Signal(syscall.SIGTERM) != nil {
		return
	}
	timer := time.NewTimer(leaveTimeout)
	defer timer.Stop()
	for {
		select {
		case _, ok := <-p.lines:
			if !ok {
				return
			}
		case <-timer.C:
			return
		}
	}
}

// lastWords keeps the end of what is written to it.
type lastWords struct {
	mu   sync.Mutex // guards text
	text []byte
}

func (l *lastWords) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	if over := len(l.text) - stderrBytes; over > 0 {
		l.text = append(l.text[:0], l.text[over:]...)
	}
	return len(b), nil
}

func (l *lastWords) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if text := strings.TrimSpace(string(l.text)); text != "" {
		return text
	}
	return "no message"
}

// errStopped is a role's answer to the end of its context.
var errStopped = errors.New("stopped")
