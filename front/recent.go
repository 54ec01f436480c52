package front

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/shape"
)

const (
	// mostRecent bounds the requests that are remembered, and mostASecond how many of
	// those that were refused in one second are.
	mostRecent  = 2000
	mostASecond = 200
	// longestRecentText bounds what a client has chosen.
	longestRecentText = 300
	mostViolations    = 5
)

// A Recent remembers requests for people to look at: those that were refused or have
// failed, and of the others one each second, so that a good one costs no more than a
// look at a clock that was read already. It knows nothing of credentials, queries and
// bodies. The zero value remembers nothing yet; a nil one never does. It is safe for
// concurrent use.
type Recent struct {
	good    atomic.Int64 // the second of the last good one
	second  atomic.Int64 // the second of the last bad one
	bad     atomic.Int64 // how many there were in it
	skipped atomic.Int64

	mu   sync.Mutex // guards what follows
	ring []Seen
	next uint64 // number of the next one
}

// A Seen is what is remembered of a request.
type Seen struct {
	// Number grows with each one that is remembered.
	Number    uint64    `json:"number"`
	Time      time.Time `json:"time"`
	RequestID string    `json:"request_id"`
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	API       string    `json:"api,omitempty"`   // the dialect
	Route     string    `json:"route,omitempty"` // the pattern
	Stage     string    `json:"stage,omitempty"`
	Topic     string    `json:"topic,omitempty"`
	Status    int       `json:"status"` // 0: the connection was cut
	Millis    float64   `json:"ms"`
	Principal string    `json:"principal,omitempty"`
	Scheme    string    `json:"scheme,omitempty"`
	KeyID     string    `json:"key_id,omitempty"`
	Source    string    `json:"source,omitempty"`
	Sent      int64     `json:"bytes_sent"`
	// Kind is what API Gateway calls such a refusal, as in THROTTLED; empty: it was
	// served.
	Kind   string `json:"kind,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Limit is the limit, usage plan or rule of the firewall that has turned it away.
	Limit string `json:"limit,omitempty"`
	// Action, Resource, Policy, Statement and Sid say what was not allowed, and by
	// which statement, counted from 1; 0: none has allowed it.
	Action    string `json:"action,omitempty"`
	Resource  string `json:"resource,omitempty"`
	Policy    string `json:"policy,omitempty"`
	Statement int    `json:"statement,omitempty"`
	Sid       string `json:"sid,omitempty"`
	// Violations are where the request or its records break a rule, the first five.
	Violations []SeenViolation `json:"violations,omitempty"`
}

// A SeenViolation is one place where a request breaks a rule.
type SeenViolation struct {
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

// note remembers a request that is over, if it is one of those.
func (k *Recent) note(x *exchange, took time.Duration) {
	if k == nil {
		return
	}
	now := x.start.Unix()
	if x.err == nil && x.status > 0 && x.status < http.StatusBadRequest {
		last := k.good.Load()
		if last >= now || x.dialect == nil || x.dialect.Unstaged || !k.good.CompareAndSwap(last, now) {
			return // what klamm is operated by would be most of them
		}
	} else if !k.room(now) {
		k.skipped.Add(1)
		return
	}
	seen := x.seen(took)
	k.mu.Lock()
	defer k.mu.Unlock()
	seen.Number = k.next + 1
	k.next++
	if len(k.ring) < mostRecent {
		k.ring = append(k.ring, seen)
		return
	}
	k.ring[(seen.Number-1)%mostRecent] = seen
}

// room says whether one more bad request is remembered in this second.
func (k *Recent) room(now int64) bool {
	if last := k.second.Load(); last < now && k.second.CompareAndSwap(last, now) {
		k.bad.Store(0)
	}
	return k.bad.Add(1) <= mostASecond
}

// A RecentQuery says which requests somebody wants to see. Empty fields are all.
type RecentQuery struct {
	// Status is such as 403 or 4xx; failed is all that were not served.
	Status string
	// Principal and Topic are whole names; Route is a part of the API's name, the
	// route or the path.
	Principal, Topic, Route string
	// Before and After bound the numbers; 0 does not.
	Before, After uint64
	// Limit is how many there may be.
	Limit int
}

// Select returns requests, the latest first, and whether these are all that are
// remembered.
func (k *Recent) Select(q RecentQuery) (list []Seen, complete bool) {
	list = []Seen{}
	if k == nil {
		return list, true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range len(k.ring) {
		one := &k.ring[(k.next-1-uint64(i))%mostRecent]
		if q.After > 0 && one.Number <= q.After {
			break
		}
		if q.Before > 0 && one.Number >= q.Before || !q.wants(one) {
			continue
		}
		if len(list) == q.Limit {
			return list, false
		}
		list = append(list, *one)
	}
	return list, true
}

// Counts returns how many requests were remembered since the process began, how many
// can be at a time, and how many that were refused were not, since there were too many
// in one second.
func (k *Recent) Counts() (all uint64, most int, skipped int64) {
	if k == nil {
		return 0, 0, 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.next, mostRecent, k.skipped.Load()
}

func (q *RecentQuery) wants(one *Seen) bool {
	switch {
	case q.Principal != "" && one.Principal != q.Principal, q.Topic != "" && one.Topic != q.Topic:
		return false
	case q.Route != "" && !strings.Contains(one.API+" "+one.Method+" "+one.Route+" "+one.Path, q.Route):
		return false
	}
	code := [3]byte{'0' + byte(one.Status/100), '0' + byte(one.Status/10%10), '0' + byte(one.Status%10)}
	switch {
	case q.Status == "":
		return true
	case q.Status == "failed":
		return one.Status >= http.StatusBadRequest || one.Status == 0
	case strings.HasSuffix(q.Status, "xx"):
		return q.Status[0] == code[0]
	}
	return q.Status == string(code[:])
}

// seen is what is remembered of an exchange.
func (x *exchange) seen(took time.Duration) Seen {
	s := Seen{
		Time: x.start.UTC(), RequestID: x.id, Method: shortText(x.request.Method), Path: shortText(x.path), Route: x.pattern(), Stage: x.stage, Status: x.status,
		Millis: float64(took.Microseconds()) / 1000, Source: x.server.sourceOf(x.request), Sent: x.sent,
	}
	if x.dialect != nil {
		s.API = x.dialect.Name
	}
	if x.known {
		s.Principal, s.Scheme, s.KeyID = x.who.Name, x.who.Scheme, x.who.KeyID
		if x.who.Source.IsValid() {
			s.Source = x.who.Source.String()
		}
	}
	s.Topic = x.trail.Deed().Topic
	if s.Topic == "" {
		s.Topic = topicIn(s.Route, x.request.URL.Path)
	}
	if x.err != nil {
		s.because(x.err, x.errorType())
	}
	return s
}

// because tells why a request was not served; kind is the type of the error.
func (s *Seen) because(err error, kind string) {
	s.Kind = kind
	if s.Reason = shortText(reasonOf(err)); gate.Classify(err) == gate.Internal && !known(err) {
		s.Reason = "an unexpected error; the log has the details, with this request's id"
	}
	var blocked *Blocked
	var limited *gate.Limited
	var invalid *gate.Invalidity
	var wrong *shape.Mismatch
	switch {
	case errors.As(err, &blocked):
		s.Limit = blocked.Rule
	case errors.As(err, &limited):
		s.Limit = limited.Limit
	case errors.As(err, &invalid):
		for _, v := range invalid.Violations[:min(len(invalid.Violations), mostViolations)] {
			s.Violations = append(s.Violations, SeenViolation{shortText(v.In("#/records/" + strconv.Itoa(v.Record))), shortText(v.Detail)})
		}
	case errors.As(err, &wrong):
		for _, e := range wrong.Entries[:min(len(wrong.Entries), mostViolations)] {
			at := e.Pointer
			if e.In != "" {
				at = e.In + " " + e.Name
			}
			s.Violations = append(s.Violations, SeenViolation{shortText(at), shortText(e.Detail)})
		}
	}
	if d := gate.DenialOf(err); d != nil {
		s.Action, s.Resource = string(d.Action), shortText(d.Resource)
		s.Policy, s.Statement, s.Sid = d.Decision.Policy, d.Decision.Statement, d.Decision.Sid
		if d.Decision.Reason != "" {
			s.Reason = shortText(d.Decision.Reason)
		}
	}
}

// topicIn finds the topic that a path names, by its route.
func topicIn(pattern, path string) string {
	parts, names := strings.Split(pattern, "/"), strings.Split(path, "/")
	for i, p := range parts {
		if (p == "{topic}" || p == "{topic_name}") && i < len(names) {
			// A stage may stand before the path; the route counts from its end.
			if from := len(names) - len(parts); from > 0 && i+from < len(names) && !slices.Contains(parts, "{path...}") {
				i += from
			}
			return shortText(names[i])
		}
	}
	return ""
}

func shortText(s string) string {
	if len(s) > longestRecentText {
		return strings.ToValidUTF8(s[:longestRecentText], "") + "…"
	}
	return strings.ToValidUTF8(s, "�")
}
