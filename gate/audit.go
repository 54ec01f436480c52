package gate

import (
	"bytes"
	"encoding/json"
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

// AuditConfig is the audit section of the configuration file.
type AuditConfig struct {
	// File gets a line of JSON for every refusal and every administrative act.
	File string `yaml:"file"`
}

const (
	// auditQueue bounds the lines that wait to be written. What finds it full is
	// dropped and counted: an audit log must not stop the traffic.
	auditQueue = 4096
	// auditEvery is how long a line may wait for others.
	auditEvery = 100 * time.Millisecond
	// longestAuditText bounds what callers can put into a line, in bytes.
	longestAuditText = 1024
)

// An Audit writes the audit log. A file that was moved away is made anew, so that it
// can be rotated without telling klamm; a disk that is full costs lines, which are
// counted, and nothing else.
type Audit struct {
	path  string
	log   *slog.Logger
	lines chan []byte
	lost  prometheus.Counter
	done  chan struct{} // closed when the last line is written

	mu     sync.Mutex // guards closed, and lines against being closed while it is sent to
	closed bool

	// Only the writer uses what follows.
	file    *os.File
	partial bool // the last line was not written as a whole
	failing bool
}

// NewAudit opens the log. The audit has to be closed.
func NewAudit(cfg AuditConfig, metrics prometheus.Registerer, log *slog.Logger) (*Audit, error) {
	a := &Audit{path: cfg.File, log: log, lines: make(chan []byte, auditQueue), done: make(chan struct{}), lost: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "klamm_gate_audit_lost_total", Help: "Lines of the audit log that could not be written.",
	})}
	if err := a.open(); err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	if metrics != nil {
		metrics.MustRegister(a.lost)
	}
	go a.write()
	return a, nil
}

// Close writes what is left and closes the file.
func (a *Audit) Close() {
	a.mu.Lock()
	if !a.closed {
		a.closed = true
		close(a.lines)
	}
	a.mu.Unlock()
	<-a.done
}

// An auditLine is one line. Nothing in it comes from credentials or records.
type auditLine struct {
	Time      time.Time `json:"time"`
	Decision  string    `json:"decision"` // allow, deny or unauthenticated
	Principal string    `json:"principal,omitempty"`
	Scheme    string    `json:"scheme,omitempty"`
	Source    string    `json:"source,omitempty"`
	Action    string    `json:"action,omitempty"`
	Resource  string    `json:"resource,omitempty"`
	Policy    string    `json:"policy,omitempty"`
	Statement int       `json:"statement,omitempty"`
	Sid       string    `json:"sid,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	RequestID string    `json:"request_id,omitempty"`
	Method    string    `json:"method,omitempty"`
	Path      string    `json:"path,omitempty"`
}

// administrative are the actions whose every use is in the audit log.
var administrative = map[Action]bool{
	CreateTopic: true, DeleteTopic: true, AlterTopic: true, AlterConfigs: true, AlterCluster: true, AlterClusterConfigs: true,
	DeleteGroup: true, AdminWrite: true,
}

// refused notes that a call was refused, by a policy or because policies could not
// be asked.
func (a *Audit) refused(c *Call, err error) {
	line := a.about(c)
	line.Decision = "deny"
	if d := DenialOf(err); d != nil {
		line.Action, line.Resource = string(d.Action), d.Resource
		line.Policy, line.Statement, line.Sid, line.Reason = d.Decision.Policy, d.Decision.Statement, d.Decision.Sid, d.Decision.Reason
	} else {
		line.Reason = auditText(err.Error())
	}
	a.put(line)
}

// allowed notes that a call may be made.
func (a *Audit) allowed(c *Call) {
	line := a.about(c)
	line.Decision = "allow"
	line.Policy, line.Statement, line.Sid = c.decision.Policy, c.decision.Statement, c.decision.Sid
	a.put(line)
}

func (a *Audit) turnedAway(r *Request, source, reason string) {
	line := auditLine{Decision: "unauthenticated", Source: source, Reason: auditText(reason)}
	line.within(r)
	a.put(line)
}

func (a *Audit) about(c *Call) auditLine {
	p := &c.Principal
	line := auditLine{Principal: p.Name, Scheme: p.Scheme, Action: string(c.Action), Resource: auditText(c.Resource.Kind + ":" + c.Resource.Name)}
	if p.Source.IsValid() {
		line.Source = p.Source.String()
	}
	if p.request != nil {
		line.within(p.request)
	}
	return line
}

func (l *auditLine) within(r *Request) {
	l.RequestID, l.Method, l.Path = auditText(r.ID), auditText(r.Method), auditText(r.Path)
}

// auditText bounds what a caller has chosen.
func auditText(s string) string {
	if len(s) > longestAuditText {
		s = s[:longestAuditText] + "..."
	}
	return s
}

// put hands a line to the writer.
func (a *Audit) put(line auditLine) {
	line.Time = time.Now().UTC()
	text, err := json.Marshal(line)
	if err != nil {
		a.lost.Inc()
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		a.lost.Inc()
		return
	}
	select {
	case a.lines <- append(text, '\n'):
	default:
		a.lost.Inc()
	}
}

// write is the writer. It ends when the lines do.
func (a *Audit) write() {
	defer close(a.done)
	for line := range a.lines {
		batch := append([][]byte(nil), line)
		for end := time.After(auditEvery); ; {
			more, ok := a.next(end)
			if !ok {
				break
			}
			batch = append(batch, more)
		}
		a.append(batch)
	}
	if a.file != nil {
		_ = a.file.Close()
	}
}

// next returns a line that comes before the end.
func (a *Audit) next(end <-chan time.Time) ([]byte, bool) {
	select {
	case line, ok := <-a.lines:
		return line, ok
	case <-end:
		return nil, false
	}
}

// append writes lines to the file. A line that was cut off is ended first, so that
// it does not spoil the next one.
func (a *Audit) append(batch [][]byte) {
	err := a.reopen()
	if err == nil {
		text := bytes.Join(batch, nil)
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
func (a *Audit) reopen() error {
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

func (a *Audit) open() (err error) {
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
