package throttle

import (
	"hash/maphash"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// mostBuckets bounds the buckets of a Set; beyond it those that were not asked
// for longest are dropped, and begin full again.
const mostBuckets = 1_000_000

// A Call is what rules look at. What is not known is empty.
type Call struct {
	Route     string // by its RouteName
	Stage     string
	Op        string // "produce", "consume" or "other"
	Topic     string
	Group     string // the consumer group
	Partition int32  // negative: none
	Principal string
	Groups    []string // of the principal
	APIKey    string   // the key's name, not the key
	Plans     []string // the usage plans that the call counts in
	Source    netip.Addr
	Subject   string // of the client certificate
	Header    func(name string) string
	Claim     func(name string) string
	Stream    bool // it stays open: Server-Sent Events, WebSocket
	Message   bool // one of many in a request that stays open: it counts as a request
}

// A Unit is what a bucket holds.
type Unit int

// The units.
const (
	Requests Unit = iota
	Records
	Bytes
	Concurrency
	Streams
)

var units = [...]string{"requests", "records", "bytes", "concurrency", "streams"}

func (u Unit) String() string { return units[u] }

// amount says whether calls have different amounts of it.
func (u Unit) amount() bool { return u == Records || u == Bytes }

// A Stage of a call is when it is asked about. A rule that names a topic, a group
// or an operation applies to operations; records and bytes are always those of an
// operation. A rule whose buckets are for addresses alone, and that asks for nothing
// that only a known caller has, counts requests before anybody looks at credentials.
// Any other rule applies to requests.
type Stage int

// The stages.
const (
	OfAddress   Stage = iota // a request has come
	OfRequest                // its caller is known
	OfOperation              // it is known what is to be done to which topic or group
	stages
)

// A Set is rules with their buckets. It is safe for concurrent use.
type Set struct {
	*room
	stages [stages]index
	rules  []*rule
}

// A room is what a Set has in common with those that replace it.
type room struct {
	buckets *store
	under   counters // way
	seeds   [2]maphash.Seed
	start   time.Time
	now     func() time.Time
	held    atomic.Int64
	evicted atomic.Int64
	numbers atomic.Int64 // of the rules that were made
}

// count is what has become of the calls of a rule.
type count struct{ rejected, delayed, would atomic.Int64 }

// A limit is one bucket's worth of a rule.
type limit struct {
	rule *rule
	unit Unit
	rate rate
	most int    // of Concurrency and Streams
	name string // in the fields of an answer
}

type rule struct {
	at       int   // in the configuration
	number   int64 // its buckets are known by it
	spec     Rule
	key      []func(*Call) string
	from, to time.Time
	limits   [stages][]limit // by stage
	count    *count
}

// New makes a set of rules. The rules have passed Validate.
func New(rules []Rule) *Set {
	c := &room{start: time.Now(), now: time.Now, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
	c.buckets = newStore(mostBuckets, func() { c.evicted.Add(1) })
	return c.set(rules, nil)
}

// Next makes a set of rules that replaces s. A rule that is as it was keeps its
// buckets, what is under way and what was counted; one that is not begins anew. Both
// sets may be used at the same time.
func (s *Set) Next(rules []Rule) *Set { return s.room.set(rules, s.rules) }

// set makes a set of rules, of which some may be like earlier ones.
func (c *room) set(rules []Rule, earlier []*rule) *Set {
	s := &Set{room: c}
	was := map[string][]*rule{}
	for _, r := range earlier {
		was[r.spec.Name] = append(was[r.spec.Name], r)
	}
	for i, spec := range rules {
		r := &rule{at: i, spec: spec}
		r.spec.Match.Route = RouteName(spec.Match.Route)
		if spec.Active != nil {
			r.from, r.to, _ = spec.Active.times()
		}
		if r.spec.DelayMax == 0 {
			r.spec.DelayMax = 250 * time.Millisecond
		}
		named := was[spec.Name]
		if i := slices.IndexFunc(named, func(o *rule) bool { return reflect.DeepEqual(o.spec, r.spec) }); i >= 0 {
			r.number, r.count = named[i].number, named[i].count
			was[spec.Name] = slices.Delete(named, i, i+1)
		} else {
			r.number, r.count = c.numbers.Add(1), &count{}
		}
		for _, k := range spec.Key {
			r.key = append(r.key, part(k))
		}
		r.divide()
		for stage := range r.limits {
			if len(r.limits[stage]) > 0 {
				s.stages[stage].add(r)
			}
		}
		s.rules = append(s.rules, r)
	}
	return s
}

// Divides says whether a rule has buckets for parts of a call of this kind, as
// "partition".
func (s *Set) Divides(key string) bool {
	return slices.ContainsFunc(s.rules, func(r *rule) bool { return slices.Contains(r.spec.Key, key) })
}

// Asks says whether any rule applies at a stage.
func (s *Set) Asks(stage Stage) bool {
	for _, r := range s.rules {
		if len(r.limits[stage]) > 0 {
			return true
		}
	}
	return false
}

// divide makes the limits of a rule.
func (r *rule) divide() {
	m := &r.spec
	first := OfRequest
	if m.Match.Topic != "" || m.Match.Group != "" || m.Match.Op != "" || slices.ContainsFunc(m.Key, ofOperation) {
		first = OfOperation
	}
	requests := first
	if first == OfRequest && m.ofAddress() {
		requests = OfAddress
	}
	several := 0
	add := func(stage Stage, l limit) {
		l.rule, l.name = r, m.Name
		if several++; several > 1 {
			l.name += "-" + l.unit.String()
		}
		r.limits[stage] = append(r.limits[stage], l)
	}
	if m.Requests != nil {
		add(requests, limit{unit: Requests, rate: rate{m.Requests.Rate, burst(m.Requests.Burst, m.Requests.Rate)}})
	}
	if m.Records != nil {
		add(OfOperation, limit{unit: Records, rate: rate{m.Records.Rate, burst(m.Records.Burst, m.Records.Rate)}})
	}
	if m.Bytes != nil {
		add(OfOperation, limit{unit: Bytes, rate: rate{float64(m.Bytes.Rate), burst(float64(m.Bytes.Burst), float64(m.Bytes.Rate))}})
	}
	if m.Concurrency > 0 {
		add(first, limit{unit: Concurrency, most: m.Concurrency})
	}
	if m.Streams > 0 {
		add(first, limit{unit: Streams, most: m.Streams})
	}
}

// ofAddress says whether a rule can be applied to whom nobody knows yet: what has a
// bucket of its own must be an address, since a caller can make up anything else.
func (r *Rule) ofAddress() bool {
	m, addresses := &r.Match, 0
	for _, k := range r.Key {
		switch k {
		case "source_ip", "ip_prefix":
			addresses++
		case "route", "stage":
		default:
			return false
		}
	}
	return addresses > 0 && m.Principal == "" && len(m.GroupsAny) == 0 && m.Plan == ""
}

// ofOperation says whether a part of a key is known only with the operation.
func ofOperation(k string) bool { return k == "topic" || k == "group" || k == "partition" }

func burst(burst, perSecond float64) float64 {
	if burst == 0 {
		burst = perSecond
	}
	return math.Max(burst, 1)
}

// part returns what reads a part of a bucket's key off a call.
func part(k string) func(*Call) string {
	switch k {
	case "principal":
		return func(c *Call) string { return c.Principal }
	case "api_key":
		return func(c *Call) string { return c.APIKey }
	case "source_ip":
		return func(c *Call) string { return network(c.Source, 32, 64) }
	case "ip_prefix":
		return func(c *Call) string { return network(c.Source, 24, 48) }
	case "topic":
		return func(c *Call) string { return c.Topic }
	case "group":
		return func(c *Call) string { return c.Group }
	case "route":
		return func(c *Call) string { return c.Route }
	case "stage":
		return func(c *Call) string { return c.Stage }
	case "partition":
		return func(c *Call) string { return strconv.Itoa(int(c.Partition)) }
	case "client_cert_subject":
		return func(c *Call) string { return c.Subject }
	}
	from, name, _ := strings.Cut(k, ":")
	return func(c *Call) string {
		read := c.Header
		if from == "claim" {
			read = c.Claim
		}
		if read == nil {
			return ""
		}
		return read(name)
	}
}

// network returns the part of an address that one caller cannot change at will.
func network(a netip.Addr, four, six int) string {
	if !a.IsValid() {
		return ""
	}
	a = a.Unmap()
	bits := four
	if a.Is6() {
		bits = six
	}
	p, _ := a.Prefix(bits) // fits the address
	return p.String()
}

// hash makes the key of a bucket.
func (s *Set) hash(l *limit, c *Call) key {
	var room [256]byte
	b := append(room[:0], byte(l.unit))
	b = strconv.AppendInt(b, l.rule.number, 10)
	for _, read := range l.rule.key {
		text := read(c)
		b = append(strconv.AppendInt(append(b, 0), int64(len(text)), 10), ':')
		b = append(b, text...)
	}
	return key{maphash.Bytes(s.seeds[0], b), maphash.Bytes(s.seeds[1], b)}
}

// applies says whether a rule is for a call.
func (r *rule) applies(c *Call, now time.Time) bool {
	m := &r.spec.Match
	switch {
	case !m.applies(c):
		return false
	case !r.from.IsZero() && now.Before(r.from), !r.to.IsZero() && !now.Before(r.to):
		return false
	}
	return true
}

// applies says whether a call is meant.
func (m *Match) applies(c *Call) bool {
	switch {
	case m.Route != "" && m.Route != c.Route, m.Stage != "" && m.Stage != c.Stage, m.Op != "" && m.Op != c.Op:
		return false
	case m.Topic != "" && !glob(m.Topic, c.Topic), m.Group != "" && !glob(m.Group, c.Group), m.Principal != "" && !glob(m.Principal, c.Principal):
		return false
	case len(m.GroupsAny) > 0 && !slices.ContainsFunc(m.GroupsAny, func(g string) bool { return slices.Contains(c.Groups, g) }):
		return false
	case m.Plan != "" && !slices.Contains(c.Plans, m.Plan):
		return false
	}
	return true
}

// glob matches text with a pattern in which "*" stands for any characters.
func glob(pattern, text string) bool {
	first, rest, ok := strings.Cut(pattern, "*")
	if !ok {
		return pattern == text
	}
	if text, ok = strings.CutPrefix(text, first); !ok {
		return false
	}
	for {
		next, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(text, rest)
		}
		i := strings.Index(text, next)
		if i < 0 {
			return false
		}
		text, rest = text[i+len(next):], after
	}
}
