package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A house is a broker and the klamm processes on it.
type house struct {
	options
	dir     string
	brokers string
	all     []*process
	number  int
}

// A process is one klamm, or the broker.
type process struct {
	addr  string // of HTTP
	kafka string
	cmd   *exec.Cmd
	done  chan struct{} // closed when it has ended
}

// open starts the broker.
func open(ctx context.Context, o options) (*house, error) {
	dir, err := os.MkdirTemp("", "klamm-siege-")
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	h := &house{options: o, dir: dir}
	p, err := h.start(ctx, "dev", "--listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data"))
	if err != nil {
		h.close()
		return nil, err
	}
	h.brokers = p.kafka
	return h, nil
}

// close kills what still runs and removes the directory.
func (h *house) close() {
	for _, p := range h.all {
		p.kill()
	}
	_ = os.RemoveAll(h.dir)
}

// kill ends a process at once.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// serve starts a klamm with these lines of configuration.
func (h *house) serve(ctx context.Context, config string) (*process, error) {
	h.number++
	file := filepath.Join(h.dir, fmt.Sprintf("klamm-%d.yaml", h.number))
	text := fmt.Sprintf("listen: 127.0.0.1:0\nkafka: {brokers: [\"%s\"]}\n%s", strings.ReplaceAll(h.brokers, ",", `", "`), config)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write klamm's configuration: %w", err)
	}
	return h.start(ctx, "serve", "--config", file)
}

// start starts a process and returns when it is ready.
func (h *house) start(ctx context.Context, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, h.klamm, args...), done: make(chan struct{})}
	log, err := os.CreateTemp(h.dir, args[0]+"-*.log")
	if err != nil {
		return nil, fmt.Errorf("make klamm's log: %w", err)
	}
	defer func() { _ = log.Close() }()
	p.cmd.Stderr = log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start klamm: %w", err)
	}
	h.all = append(h.all, p)
	ready := make(chan string, 1)
	go func() { // ends with the process
		defer close(p.done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if rest, ok := strings.CutPrefix(lines.Text(), "klamm ready: http="); ok {
				ready <- rest
			}
		}
		close(ready)
		_ = p.cmd.Wait()
	}()
	select {
	case rest, ok := <-ready:
		if !ok {
			text, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("klamm %s did not become ready:\n%s", args[0], text)
		}
		p.addr, p.kafka, _ = strings.Cut(rest, " kafka=")
		return p, nil
	case <-time.After(time.Minute):
		return nil, errors.New("klamm is not ready within a minute")
	}
}

// freePort returns a port that nobody listens on now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// memory returns the resident set of a process in MiB.
func (p *process) memory() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()) >> 20
}
