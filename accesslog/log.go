package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A Config is the access_log section of the configuration file. Without a file there
// is no access log.
type Config struct {
	// Format is json (the default), clf, csv, xml, emf, which is json with the metrics of
	// API Gateway in CloudWatch's embedded metric format, or emf_detailed, whose metrics are
	// by method and resource too.
	Format string `yaml:"format"`
	// Template is a format of your own: a line of text with $context variables,
	// whose values are escaped as format says. It has up to 3 KiB.
	Template string `yaml:"template"`
	// File is where the lines go: the path of a file, which may be moved away at any
	// time, or stdout or stderr.
	File string `yaml:"file"`
}

// Enabled says whether there is an access log.
func (c Config) Enabled() bool { return c.File != "" }

// Validate reports each problem with the field it lies in.
func (c Config) Validate(report func(path, problem string)) {
	if c == (Config{}) {
		return
	}
	if c.File == "" {
		report("file", "want the path of a file, stdout or stderr")
	}
	if _, err := Compile(c.Format, ""); err != nil {
		report("format", err.Error())
	} else if _, err := Compile(c.Format, c.Template); err != nil {
		report("template", err.Error())
	}
}

const (
	// queueBytes bounds the lines that wait to be written. What finds it full is
	// dropped and counted: a log must not stop the traffic.
	queueBytes = 8 << 20
	// writeEvery is how long a line may wait for others.
	writeEvery = 50 * time.Millisecond
	// closeWithin bounds the writing of the last lines.
	closeWithin = 2 * time.Second
)

// Metrics are the access log's Prometheus series.
type Metrics struct{ lost prometheus.Counter }

// NewMetrics makes the access log's series and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{lost: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "klamm_accesslog_lost_total", Help: "Lines of the access log that could not be written.",
	})}
	r.MustRegister(m.lost)
	return m
}

// A Log writes entries in the background. It is safe for concurrent use.
//
// Write appends lines to the buffer; the writer takes the whole buffer and leaves
// an empty one, so that both ever work on memory of their own.
type Log struct {
	format  *Format
	path    string
	metrics *Metrics
	log     *slog.Logger
	wake    chan struct{} // has one token: there may be lines
	closing chan struct{}
	done    chan struct{} // closed when the last line is written

	mu     sync.Mutex // guards what follows, and format
	lines  []byte
	next   *place // where to go on; nil: where it is
	count  int    // of the lines
	closed bool

	// Only the writer uses what follows.
	file    *os.File
	partial bool // the last line was not written as a whole
	failing bool
}

// Open opens the log that cfg asks for; it has to be closed.
func Open(cfg Config, metrics *Metrics, log *slog.Logger) (*Log, error) {
	format, err := Compile(cfg.Format, cfg.Template)
	if err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	l := &Log{format: format, metrics: metrics, log: log, wake: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{})}
	at, err := placeOf(cfg.File)
	if err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	l.path, l.file = at.path, at.file
	go l.write()
	return l, nil
}

// Write logs an entry, which it does not keep. It never waits for the disk: what
// the writer cannot keep up with is counted and lost.
func (l *Log) Write(e *Entry) {
	l.mu.Lock()
	if l.closed || len(l.lines) > queueBytes {
		l.mu.Unlock()
		l.metrics.lost.Inc()
		return
	}
	l.lines = l.format.Append(l.lines, e)
	l.count++
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// A place is where lines go.
type place struct {
	path string // "": a standard stream, which is file
	file *os.File
}

func (p *place) close() {
	if p.path != "" {
		_ = p.file.Close()
	}
}

func placeOf(name string) (*place, error) {
	switch name {
	case "stdout":
		return &place{file: os.Stdout}, nil
	case "stderr":
		return &place{file: os.Stderr}, nil
	}
	file, err := openFile(name)
	return &place{name, file}, err
}

// Change prepares the log for another configuration, which counts from the commit on.
// abort gives it up instead. An error leaves everything as it is.
func (l *Log) Change(cfg Config) (commit, abort func(), err error) {
	format, err := Compile(cfg.Format, cfg.Template)
	if err != nil {
		return nil, nil, fmt.Errorf("access log: %w", err)
	}
	at, err := placeOf(cfg.File)
	if err != nil {
		return nil, nil, fmt.Errorf("access log: %w", err)
	}
	return func() {
		l.mu.Lock()
		before := l.next
		l.format, l.next = format, at
		l.mu.Unlock()
		if before != nil {
			before.close()
		}
	}, at.close, nil
}

// Close writes what is left and closes the file; it returns within two seconds.
func (l *Log) Close() {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.mu.Unlock()
	if first {
		close(l.closing)
	}
	select {
	case <-l.done:
	case <-time.After(closeWithin):
	}
}

// write is the writer; it ends with Close.
func (l *Log) write() {
	defer close(l.done)
	var spare []byte
	for more := true; more; {
		select {
		case <-l.wake:
			select {
			case <-time.After(writeEvery):
			case <-l.closing:
				more = false
			}
		case <-l.closing:
			more = false
		}
		l.mu.Lock()
		lines, count, at := l.lines, l.count, l.next
		l.lines, l.count, l.next = spare[:0], 0, nil
		l.mu.Unlock()
		if at != nil {
			l.move(at)
		}
		l.append(lines, count)
		if spare = lines; cap(spare) > queueBytes/8 {
			spare = nil // after a burst
		}
	}
	if l.path != "" && l.file != nil {
		_ = l.file.Close()
	}
}

// move goes on in another place.
func (l *Log) move(at *place) {
	if l.path != "" && l.file != nil {
		_ = l.file.Close()
	}
	l.path, l.file, l.partial = at.path, at.file, false
}

// append writes lines; what it cannot write is counted.
func (l *Log) append(lines []byte, count int) {
	if count == 0 {
		return
	}
	if err := l.reopen(); err != nil {
		l.failed(err, count)
		return
	}
	if l.partial { // what was begun on a full disk is no line
		lines = append([]byte{'\n'}, lines...)
	}
	n, err := l.file.Write(lines)
	if err != nil {
		l.partial = n > 0 && lines[n-1] != '\n' || l.partial && n == 0
		l.failed(err, count-min(count, bytes.Count(lines[:n], []byte{'\n'})))
		return
	}
	l.partial = false
	if l.failing {
		l.failing = false
		l.log.Info("the access log is written again")
	}
}

func (l *Log) failed(err error, lost int) {
	l.metrics.lost.Add(float64(lost))
	if !l.failing {
		l.log.Error("the access log cannot be written; lines are lost", "err", err)
	}
	l.failing = true
}

// reopen makes the file anew if it was moved away or removed.
func (l *Log) reopen() error {
	if l.path == "" {
		return nil
	}
	if l.file != nil {
		at, err := os.Stat(l.path)
		if err == nil {
			if own, e := l.file.Stat(); e == nil && os.SameFile(at, own) {
				return nil
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil // it is not known; go on with what there is
		}
		_ = l.file.Close()
		l.file, l.partial = nil, false
	}
	return l.open()
}

func (l *Log) open() (err error) {
	l.file, err = openFile(l.path)
	return err
}

func openFile(path string) (*os.File, error) {
	return os.OpenFile(filepath.Clean(path), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
}
