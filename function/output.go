package function

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Bounds of what a program may write.
const (
	maxLine   = 64 << 10 // longer lines are divided, in bytes
	lineRate  = 1 << 20  // bytes a second that reach the log
	lineBurst = 4 << 20
)

// An output reads what a process writes: it keeps the end of it for the caller and
// passes lines on to the log, as fast as is bearable. The program itself is never
// slowed down by its own flood: what is too much is counted and left out.
type output struct {
	function string
	emit     func(Line)
	reading  *os.File    // nil: nothing was started
	busy     atomic.Bool // from before bytes leave the pipe until they are kept
	ended    chan struct{}

	mu      sync.Mutex
	id      string
	ring    []byte
	budget  float64
	filled  time.Time
	dropped int64
}

func newOutput(function string, emit func(Line)) *output {
	return &output{function: function, emit: emit, budget: lineBurst, filled: time.Now()}
}

// pipe returns the writing end for a process; close it when the process has it.
func (o *output) pipe() (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	raw, err := r.SyscallConn()
	if err != nil {
		_, _ = r.Close(), w.Close()
		return nil, err
	}
	o.reading, o.ended = r, make(chan struct{})
	go o.read(raw)
	return w, nil
}

// begin says that what comes now belongs to an invocation. What was written before
// belongs to the one before, and is waited for, at most for the given time.
func (o *output) begin(id string, most time.Duration) {
	o.settle(most)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.id, o.ring = id, o.ring[:0]
}

// tail returns the end of what was written since begin, at most 4 KiB.
func (o *output) tail() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.ring)
}

// read takes in a pipe until its end.
func (o *output) read(raw syscall.RawConn) {
	defer close(o.ended)
	buf := make([]byte, 32<<10)
	var line []byte
	for {
		n, err := o.take(raw, buf)
		if n > 0 {
			o.keep(buf[:n])
			line = o.lines(line, buf[:n])
		}
		if err != nil && len(line) > 0 {
			o.pass(line)
		}
		o.busy.Store(false)
		if err != nil {
			return
		}
	}
}

// take reads what there is in the pipe, and leaves the output busy.
func (o *output) take(raw syscall.RawConn, buf []byte) (n int, err error) {
	waited := raw.Read(func(fd uintptr) bool {
		o.busy.Store(true)
		for {
			if n, err = syscall.Read(int(fd), buf); !errors.Is(err, syscall.EINTR) {
				break
			}
		}
		if errors.Is(err, syscall.EAGAIN) {
			o.busy.Store(false)
			return false
		}
		return true
	})
	switch {
	case waited != nil:
		return 0, waited
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// keep adds to the end that a caller may see.
func (o *output) keep(b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(b) >= maxLogTail {
		o.ring = append(o.ring[:0], b[len(b)-maxLogTail:]...)
		return
	}
	if over := len(o.ring) + len(b) - maxLogTail; over > 0 {
		o.ring = append(o.ring[:0], o.ring[over:]...)
	}
	o.ring = append(o.ring, b...)
}

// lines passes complete lines on and returns the beginning of the next.
func (o *output) lines(line, b []byte) []byte {
	for {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			line = append(line, b...)
			for len(line) >= maxLine {
				o.pass(line[:maxLine])
				line = append(line[:0], line[maxLine:]...)
			}
			return line
		}
		if len(line) > 0 {
			line = append(line, b[:end]...)
			o.pass(line)
			line = line[:0]
		} else {
			o.pass(b[:end])
		}
		b = b[end+1:]
	}
}

// pass hands a line to the log unless there was too much.
func (o *output) pass(line []byte) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	now := time.Now()
	o.mu.Lock()
	o.budget = min(lineBurst, o.budget+now.Sub(o.filled).Seconds()*lineRate)
	o.filled = now
	cost := float64(len(line) + 1)
	if o.budget < cost {
		o.dropped += int64(cost)
		o.mu.Unlock()
		return
	}
	o.budget -= cost
	dropped, id := o.dropped, o.id
	o.dropped = 0
	o.mu.Unlock()
	if dropped > 0 {
		o.emit(Line{Function: o.function, ID: id, Time: now, Text: fmt.Appendf(nil, "[%d bytes of output were left out: more than 1 MiB a second]", dropped)})
	}
	o.emit(Line{Function: o.function, ID: id, Time: now, Text: line})
}

// settle waits until what the process has written so far has been read, at most
// for the given time.
func (o *output) settle(most time.Duration) {
	if o.reading == nil {
		return
	}
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if unread(o.reading) == 0 && !o.busy.Load() {
			return
		}
	}
}

// close ends the reader, also where a child of the process still holds the
// writing end.
func (o *output) close() {
	if o.reading == nil {
		return
	}
	_ = o.reading.SetReadDeadline(time.Now())
	<-o.ended
	_ = o.reading.Close()
}
