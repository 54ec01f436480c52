package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// A process is one klamm, which can be killed and started again. Its methods may
// be called by one goroutine at a time.
type process struct {
	name    string
	command func() *exec.Cmd // of a new start
	log     string           // file that standard output and error are added to

	mu      sync.Mutex // guards what follows
	cmd     *exec.Cmd
	ended   chan struct{} // closed when cmd has ended
	dropped bool          // that it ends is wanted
	failed  error         // it has ended although that was not wanted
	since   int           // where in the log the last start begins
}

// start starts the process.
func (p *process) start() error {
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", p.name, err)
	}
	defer func() { _ = out.Close() }()
	before, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("read the log of %s: %w", p.name, err)
	}
	cmd := p.command()
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = out, out, alone()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	ended := make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd, p.ended, p.dropped, p.since = cmd, ended, false, int(before)
	go func() { // ends with the process
		err := cmd.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.dropped {
			p.failed = fmt.Errorf("%s ended by itself: %v; the end of its log:\n%s", p.name, err, tail(p.log, 2_000))
		}
		close(ended)
	}()
	return nil
}

// kill ends the process with SIGKILL, and returns when it is gone.
func (p *process) kill() {
	p.mu.Lock()
	p.dropped = true
	cmd, ended := p.cmd, p.ended
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill()
	<-ended
}

// err says why the process is gone although it was not killed; nil: it is not.
func (p *process) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// memory returns the resident memory of the process in bytes.
func (p *process) memory() (int64, error) { return p.status("VmRSS:") }

// peak returns the most memory that was ever resident, in bytes.
func (p *process) peak() (int64, error) { return p.status("VmHWM:") }

// status returns a size from what Linux knows of the process.
func (p *process) status(field string) (int64, error) {
	p.mu.Lock()
	pid := p.cmd.Process.Pid
	p.mu.Unlock()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0, fmt.Errorf("read the memory of %s, which needs Linux: %w", p.name, err)
	}
	for line := range bytes.Lines(text) {
		if fields := bytes.Fields(line); len(fields) > 1 && string(fields[0]) == field {
			kib, err := strconv.ParseInt(string(fields[1]), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("read the memory of %s: no %s", p.name, field)
}

// tail returns the end of a file, and nothing if it cannot be read.
func tail(file string, bytes int) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return string(text[max(0, len(text)-bytes):])
}

// patience is how long things may take that usually take seconds.
const patience = 3 * time.Minute
