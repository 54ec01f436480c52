package gate

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/kafka"
)

// AuditConfig is the audit section of the configuration file.
type AuditConfig struct {
	// File gets a line of JSON for every refusal and every administrative act.
	File string `yaml:"file"`
	// Topic gets the same lines as records, with the caller's name as their key. It is
	// made if it is not there, with the brokers' own defaults.
	Topic string `yaml:"topic"`
}

// Validate reports each problem with the field it lies in.
func (c AuditConfig) Validate(report func(path, problem string)) {
	if c.Topic != "" && !kafka.ValidTopic(c.Topic) {
		report("topic", "want the name of a topic: up to 249 letters, digits, '.', '_' and '-'")
	}
}

const (
	// auditQueue bounds the lines that wait to be written to one place. What finds it
	// full is dropped and counted: an audit log must not stop the traffic.
	auditQueue = 4096
	// auditEvery is how long a line may wait for others.
	auditEvery = 100 * time.Millisecond
	// longestAuditText bounds what callers can put into a line, in bytes.
	longestAuditText = 1024
)

// An Audit writes the audit log, to a file, a topic or both, and keeps its last lines in
// memory. A place that takes no
// lines costs lines, which are counted, and nothing else. It is safe for concurrent
// use.
type Audit struct {
	lost prometheus.Counter

	topic  string         // that gets the lines; empty: none does
	recent auditRing      // the last lines
	source *kafka.Cluster // of the topic

	mu     sync.Mutex // guards closed, and the queues against being closed while they are sent to
	closed bool
	queues []*auditQueued
}

// auditQueued are the lines that wait to be written to one place.
type auditQueued struct {
	waiting chan auditEntry
	// write writes lines, oldest first. It is called by one goroutine.
	write func([]auditEntry)
	close func()        // called behind the last write
	hurry func()        // if not nil: has write come to an end soon
	done  chan struct{} // closed when all is written
}

// An auditEntry is a line as it is written, with its end.
type auditEntry struct {
	who  string
	text []byte
}

// NewAudit opens the log; without a place it is only in memory. The audit has to be closed, before
// the cluster is.
func NewAudit(cfg AuditConfig, cluster *kafka.Cluster, metrics prometheus.Registerer, log *slog.Logger) (*Audit, error) {
	a := &Audit{topic: cfg.Topic, source: cluster, lost: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "klamm_gate_audit_lost_total", Help: "Lines of the audit log that could not be written.",
	})}
	if cfg.File != "" {
		f := &auditFile{path: cfg.File, lost: a.lost, log: log}
		if err := f.open(); err != nil {
			return nil, fmt.Errorf("audit log: %w", err)
		}
		a.begin(f.append, f.close, nil)
	}
	if cfg.Topic != "" {
		t := newAuditTopic(cluster, cfg.Topic, a.lost, log)
		a.begin(t.write, t.close, t.hurry)
	}
	if metrics != nil {
		metrics.MustRegister(a.lost)
	}
	return a, nil
}

// begin begins to write to one more place.
func (a *Audit) begin(write func([]auditEntry), end, hurry func()) {
	q := &auditQueued{waiting: make(chan auditEntry, auditQueue), write: write, close: end, hurry: hurry, done: make(chan struct{})}
	a.queues = append(a.queues, q)
	go q.run()
}

// Close writes what is left, within about ten seconds, and ends.
func (a *Audit) Close() {
	a.mu.Lock()
	if !a.closed {
		a.closed = true
		for _, q := range a.queues {
			close(q.waiting)
			if q.hurry != nil {
				q.hurry()
			}
		}
	}
	a.mu.Unlock()
	for _, q := range a.queues {
		<-q.done
	}
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
	DeleteGroup: true, AdminWrite: true, CreateSchema: true, DeleteSchema: true, UpdateRegistry: true,
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
	a.recent.add(line)
	if len(a.queues) == 0 {
		return
	}
	text, err := json.Marshal(line)
	if err != nil {
		a.lost.Add(float64(len(a.queues)))
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, q := range a.queues {
		if a.closed {
			a.lost.Inc()
			continue
		}
		select {
		case q.waiting <- auditEntry{line.Principal, append(text, '\n')}:
		default:
			a.lost.Inc()
		}
	}
}

// run writes lines until there will be no more.
func (q *auditQueued) run() {
	defer close(q.done)
	defer q.close()
	for entry := range q.waiting {
		batch := append(make([]auditEntry, 0, 16), entry)
		for end := time.After(auditEvery); len(batch) < auditQueue; {
			more, ok := q.next(end)
			if !ok {
				break
			}
			batch = append(batch, more)
		}
		q.write(batch)
	}
}

// next returns a line that comes before the end.
func (q *auditQueued) next(end <-chan time.Time) (auditEntry, bool) {
	select {
	case entry, ok := <-q.waiting:
		return entry, ok
	case <-end:
		return auditEntry{}, false
	}
}
