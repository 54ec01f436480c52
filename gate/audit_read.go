package gate

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/kafka"
)

const (
	// auditKept is how many of the last lines are kept in memory.
	auditKept = 1000
	// auditScanned bounds the records that are read of each partition of the audit
	// topic for one answer, and auditBytes their size.
	auditScanned = 5000
	auditBytes   = 8 << 20
	auditSpan    = 24 * time.Hour
)

// An auditRing is the last lines of the audit log. The zero value is empty. It is safe
// for concurrent use.
type auditRing struct {
	mu    sync.Mutex // guards what follows
	lines []auditLine
	next  int // where the next one goes, once it is full
}

func (r *auditRing) add(line auditLine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.lines) < auditKept {
		r.lines = append(r.lines, line)
		return
	}
	r.lines[r.next] = line
	r.next = (r.next + 1) % auditKept
}

func (r *auditRing) all() (lines []auditLine, full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines), len(r.lines) == auditKept
}

// An AuditQuery says which lines of the audit log somebody wants to see.
type AuditQuery struct {
	// From and Before bound the time; the zero time does not, but a topic is read from a
	// day ago on then.
	From, Before time.Time
	// Who is a part of the caller's name or address, and Act of the action, the
	// resource, the path or the decision. Empty: all.
	Who, Act string
	// Limit is how many lines there may be.
	Limit int
}

// An AuditAnswer is lines of the audit log, the latest first.
type AuditAnswer struct {
	// Source says where they are from: the topic, or the memory of this process, which
	// has the last thousand.
	Source string `json:"source"`
	Topic  string `json:"topic,omitempty"`
	Lines  []any  `json:"lines"`
	// Complete says that no line is missing of those asked for.
	Complete bool `json:"complete"`
	// From is how far back was looked; Next is Before of the question that goes on from
	// here; both may be missing.
	From *time.Time `json:"from,omitempty"`
	Next *time.Time `json:"next,omitempty"`
}

// Audited returns lines of the audit log. The caller needs klamm:AdminRead on the
// cluster.
func (g *Gate) Audited(ctx context.Context, who Principal, q AuditQuery) (AuditAnswer, error) {
	if err := g.allow(ctx, who, AdminRead, "cluster", ""); err != nil {
		return AuditAnswer{}, err
	}
	a := g.audit
	if a == nil {
		return AuditAnswer{Source: "memory", Lines: []any{}, Complete: true}, nil
	}
	if a.topic == "" {
		lines, full := a.recent.all()
		return answerAudit(AuditAnswer{Source: "memory", Complete: !full}, lines, q), nil
	}
	if q.From.IsZero() {
		q.From = time.Now().Add(-auditSpan)
	}
	lines, complete, err := a.read(ctx, q)
	from := q.From.UTC()
	return answerAudit(AuditAnswer{Source: "topic", Topic: a.topic, Complete: complete, From: &from}, lines, q), err
}

// answerAudit picks, sorts and cuts lines.
func answerAudit(a AuditAnswer, lines []auditLine, q AuditQuery) AuditAnswer {
	lines = slices.DeleteFunc(lines, func(l auditLine) bool { return !q.wants(&l) })
	slices.SortStableFunc(lines, func(x, y auditLine) int { return cmp.Compare(y.Time.UnixNano(), x.Time.UnixNano()) })
	a.Lines = []any{}
	for i := range lines {
		if len(a.Lines) == q.Limit {
			at := lines[i-1].Time
			a.Next, a.Complete = &at, false
			break
		}
		a.Lines = append(a.Lines, lines[i])
	}
	return a
}

func (q *AuditQuery) wants(l *auditLine) bool {
	switch {
	case !q.From.IsZero() && l.Time.Before(q.From), !q.Before.IsZero() && !l.Time.Before(q.Before):
		return false
	case q.Who != "" && !strings.Contains(l.Principal, q.Who) && !strings.Contains(l.Source, q.Who):
		return false
	}
	return q.Act == "" || strings.Contains(l.Decision+" "+l.Action+" "+l.Resource+" "+l.Method+" "+l.Path, q.Act)
}

// read reads the topic: of each partition the last lines since a time. It is false if
// there are more of these than are read.
func (a *Audit) read(ctx context.Context, q AuditQuery) (lines []auditLine, complete bool, err error) {
	t, err := a.source.Topic(ctx, a.topic)
	if err != nil {
		return nil, false, &Error{Unavailable, "the topic of the audit log cannot be read: " + err.Error()}
	}
	from, err := a.source.OffsetsAfter(ctx, a.topic, q.From.UnixMilli())
	if err != nil {
		return nil, false, err
	}
	to, err := a.source.Ranges(ctx, a.topic)
	if err != nil {
		return nil, false, err
	}
	if !q.Before.IsZero() {
		// A line is written a moment after its time.
		until, err := a.source.OffsetsAfter(ctx, a.topic, q.Before.Add(time.Minute).UnixMilli())
		if err != nil {
			return nil, false, err
		}
		for p, r := range to {
			if end, ok := until[p]; ok && end >= 0 {
				r.End = min(r.End, end)
				to[p] = r
			}
		}
	}
	complete = true
	for p, r := range to {
		start := r.End
		if at, ok := from[p]; ok && at >= 0 {
			start = min(max(at, r.Start), r.End)
		}
		if r.End-start > auditScanned {
			start, complete = r.End-auditScanned, false
		}
		for start < r.End {
			records, next, err := a.source.Read(ctx, t, p, start, kafka.Limits{Records: int(r.End - start), Bytes: auditBytes})
			if err != nil {
				return nil, false, err
			}
			for _, rec := range records {
				var l auditLine
				if json.Unmarshal(rec.Value, &l) == nil {
					lines = append(lines, l)
				}
			}
			if next <= start {
				break
			}
			start = next
		}
	}
	return lines, complete, nil
}
