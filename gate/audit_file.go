package gate

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
)

// An auditFile is a file that gets the audit log. One that was moved away is made
// anew, so that it can be rotated without telling klamm; a disk that is full costs
// lines. It is used by one goroutine.
type auditFile struct {
	path    string
	lost    prometheus.Counter
	log     *slog.Logger
	file    *os.File // nil: it is not open
	partial bool     // the last line was not written as a whole
	failing bool
}

func (a *auditFile) close() {
	if a.file != nil {
		_ = a.file.Close()
	}
}

// append writes lines to the file. A line that was cut off is ended first, so that
// it does not spoil the next one.
func (a *auditFile) append(batch []auditEntry) {
	err := a.reopen()
	if err == nil {
		var text []byte
		for _, entry := range batch {
			text = append(text, entry.text...)
		}
		if a.partial {
			text = append([]byte{'\n'}, text...)
		}
		var n int
		n, err = a.file.Write(text)
		if err == nil {
			a.partial, a.failing = false, false
			return
		}
		if n > 0 {
			a.partial = text[n-1] != '\n'
		}
		batch = batch[min(bytes.Count(text[:n], []byte{'\n'}), len(batch)):]
	}
	a.lost.Add(float64(len(batch)))
	if !a.failing {
		a.failing = true
		a.log.Error("the audit log cannot be written; lines are lost until it can", "file", a.path, "err", err)
	}
}

// reopen opens the file again if it is no longer where it was.
func (a *auditFile) reopen() error {
	if a.file != nil {
		there, err := os.Stat(a.path)
		if err == nil {
			ours, err := a.file.Stat()
			if err == nil && os.SameFile(there, ours) {
				return nil
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		_ = a.file.Close()
		a.file, a.partial = nil, false
	}
	return a.open()
}

func (a *auditFile) open() (err error) {
	a.file, err = os.OpenFile(filepath.Clean(a.path), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		a.file = nil // an *os.File that is nil
		return err
	}
	info, err := a.file.Stat()
	if err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		a.partial = !endsLine(a.path, info.Size())
	}
	return err
}

// endsLine says whether the last byte of a file ends a line: a process that was
// killed may have left half a line.
func endsLine(path string, size int64) bool {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return true
	}
	defer func() { _ = f.Close() }()
	var last [1]byte
	_, err = f.ReadAt(last[:], size-1)
	return err != nil || last[0] == '\n'
}
