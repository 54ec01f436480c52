// Package log is the target that keeps events as a log: in a topic of its own
// that klamm logs shows (interface.md 6), in a file, or on standard output.
//
// A topic is written by the topic target, which this package is given; only its
// name is made here (name.go). For files and standard output one goroutine owns
// what is written to (writer.go): it takes what concurrent deliveries have
// handed in, writes it at once, asks for one fsync, and answers all of them. So
// an fsync is shared by everybody who waits for it, and a disk that hangs costs
// a delivery no more than its time. How a file is opened, synced and rotated is
// in file.go.
package log

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/scan"
	"github.com/klamm-gateway/klamm/target"
)

// Config is the configuration of a log target. Exactly one of Name, File and
// Stdout is set.
type Config struct {
	// Name is the name of the log, which is kept in the topic klamm.log.NAME: up
	// to 512 letters, digits, '.', '_', '-', '/' and '#'. Records keep their key
	// and headers.
	Name string `yaml:"name" json:"name,omitempty"`
	// File is the path of a file to append to, a JSON line for each record. Its
	// directory must exist. A record counts as delivered when it is on the disk.
	File string `yaml:"file" json:"file,omitempty"`
	// Stdout writes a JSON line for each record to standard output.
	Stdout bool `yaml:"stdout" json:"stdout,omitempty"`
	// RotateSize is the size beyond which the file is renamed to FILE.1 and a new
	// one begun, FILE.1 becoming FILE.2 and so on; the default is 100MiB.
	RotateSize int64 `yaml:"rotate_size" unit:"bytes" json:"rotate_size,omitempty"`
	// RotateKeep is how many renamed files are kept; the oldest is removed. The
	// default is 10.
	RotateKeep int `yaml:"rotate_keep" json:"rotate_keep,omitempty"`
	// Headers are the names of the headers that records keep in a topic; nil: all.
	Headers []string `yaml:"-" json:"headers,omitzero"`
}

const (
	defaultSize = 100 << 20
	minSize     = 4 << 10
	defaultKeep = 10
	maxKeep     = 1000
	maxPath     = 4096
)

// Kind returns the log kind. Logs that have a name are written by targets of
// topics, the kind that writes to Kafka topics.
func Kind(topics target.Kind) target.Kind { return kind(topics, os.Stdout) }

func kind(topics target.Kind, stdout *os.File) target.Kind {
	return target.Kind{Name: "log", Config: func() target.Config { return &Config{} }, Open: func(raw json.RawMessage, env target.Env) (target.Target, error) {
		var c Config
		if err := json.Unmarshal(raw, &c); err != nil {
			return nil, fmt.Errorf("log: %w", err)
		}
		var problem error
		c.Validate(func(path, text string) {
			if problem == nil {
				problem = fmt.Errorf("log: %s: %s", path, text)
			}
		})
		if problem != nil {
			return nil, problem
		}
		if c.Name != "" {
			config := map[string]any{"name": Topic(c.Name)}
			if c.Headers != nil {
				config["headers"] = c.Headers
			}
			topic, err := json.Marshal(config)
			if err != nil {
				return nil, fmt.Errorf("log %s: %w", c.Name, err)
			}
			return topics.Open(topic, env)
		}
		if c.Stdout {
			return &lines{name: "standard output", pipe: env.Pipe, writer: newWriter(stream{stdout})}, nil
		}
		f := &file{path: c.File, size: c.RotateSize, keep: c.RotateKeep}
		if f.size == 0 {
			f.size = defaultSize
		}
		if f.keep == 0 {
			f.keep = defaultKeep
		}
		return &lines{name: c.File, pipe: env.Pipe, writer: newWriter(f)}, nil
	}}
}

// Validate reports each problem with the field it lies in.
func (c *Config) Validate(report func(path, problem string)) {
	n := 0
	if c.Name != "" {
		n++
		if !valid(c.Name) {
			report("name", "want the name of a log: up to 512 letters, digits, '.', '_', '-', '/' and '#'")
		}
	}
	if c.File != "" {
		n++
		if len(c.File) > maxPath || strings.ContainsFunc(c.File, func(r rune) bool { return r < ' ' || r == 0x7f }) || filepath.Base(c.File) == "." ||
			strings.HasSuffix(c.File, "/") || strings.HasSuffix(c.File, "..") {
			report("file", "want the path of a file, such as /var/log/klamm/orders.log")
		}
	}
	if c.Stdout {
		n++
	}
	if n != 1 {
		report("", "want exactly one of name: NAME, file: PATH and stdout: true")
	}
	if c.File == "" && c.RotateSize != 0 {
		report("rotate_size", "goes with file; a topic is bounded by its retention")
	} else if c.RotateSize != 0 && c.RotateSize < minSize {
		report("rotate_size", "want at least 4KiB")
	}
	if c.File == "" && c.RotateKeep != 0 {
		report("rotate_keep", "goes with file; a topic is bounded by its retention")
	} else if c.RotateKeep < 0 || c.RotateKeep > maxKeep {
		report("rotate_keep", fmt.Sprintf("want a number from 1 to %d, or 0 for the default, %d", maxKeep, defaultKeep))
	}
}

// lines is the target that writes a line for each event.
type lines struct {
	name   string
	pipe   string
	writer *writer
}

// Deliver returns when the lines of all events are written; in a file they are
// on the disk then.
func (l *lines) Deliver(ctx context.Context, events []*event.Event) error {
	size := 0
	for _, e := range events {
		size += len(e.Record.Key) + len(e.Payload()) + 256
	}
	text := make([]byte, 0, size)
	for _, e := range events {
		text = l.appendLine(text, e)
	}
	if err := l.writer.write(ctx, text); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("it was not written in time")
		}
		return fmt.Errorf("append to %s: %w", l.name, err)
	}
	return nil
}

// Close waits for what is being written, for at most a few seconds.
func (l *lines) Close() error {
	if err := l.writer.close(); err != nil {
		return fmt.Errorf("close %s: %w", l.name, err)
	}
	return nil
}

// beside are the fields of a line beside the value, which is what the pipe
// delivers and not what the record has.
var beside = event.Fields{Topic: true, Partition: true, Offset: true, Timestamp: true, Key: true, Headers: true}

// appendLine appends an event as a JSON document on a line of its own.
func (l *lines) appendLine(dst []byte, e *event.Event) []byte {
	start := len(dst)
	dst = append(dst, `{"pipe":`...)
	dst = scan.AppendString(dst, l.pipe)
	comma := len(dst)
	dst, _, _ = event.AppendDocument(dst, e.Seen(), beside)
	dst[comma] = ','
	dst = append(dst[:len(dst)-1], `,"value":`...)
	dst = append(e.AppendJSON(dst), '}')
	// A key or value may be JSON of several lines.
	return append(dst[:start+len(scan.Compact(dst[start:]))], '\n')
}
