package gate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klamm-gateway/klamm/throttle"
)

// plans count what the holders of API keys use (gateway-policies.md 3.3). Whatever
// uses a quota is counted here first, and put into the counters that all processes
// share by an exchange (limit_exchange.go): every ten seconds, and at once where a
// process has used up its share of what was left.
//
//	limit = used by all, in the table | not exchanged yet, here | left
//
// A process may have as much not exchanged as is left, divided by the number of
// processes. So what they use without knowing of each other stays within the limit,
// except while an exchange is on its way. Quotas whose mode is strict have no shares
// (limit_strict.go).
type plans struct {
	list []*plan
	keys map[string][]*plan // of the file, by the name of the key
	ex   exchange
	now  func() time.Time
	// users are the Limits that are not closed.
	users atomic.Int64

	mu       sync.Mutex // guards what follows
	counters map[counterKey]*counter
}

type plan struct {
	UsagePlan
	stages map[string]bool // nil: all
}

type counterKey struct {
	plan *plan
	key  string // the name of the API key
}

// A counter is what a key has used of its quota in one period.
type counter struct {
	counterKey
	period  time.Time
	used    int64     // by all processes, as far as it was exchanged
	later   bool      // it is not the key's first period
	waiting int64     // used here and not exchanged
	sending int64     // being exchanged
	demands []*demand // calls that wait to be counted, of a strict quota
}

// spent is what a request has used.
type spent struct {
	*counter
	period time.Time
	n      int64
}

func newPlanList(list []UsagePlan) *plans {
	p := &plans{keys: map[string][]*plan{}, now: time.Now, counters: map[counterKey]*counter{}}
	p.users.Store(1)
	for _, u := range list {
		one := &plan{UsagePlan: u}
		for _, s := range u.Stages {
			if one.stages == nil {
				one.stages = map[string]bool{}
			}
			one.stages[s] = true
		}
		p.list = append(p.list, one)
		for _, k := range u.Keys {
			p.keys[k] = append(p.keys[k], one)
		}
	}
	return p
}

// are says whether these are the plans of a list.
func (p *plans) are(list []UsagePlan) bool {
	return slices.EqualFunc(p.list, list, func(one *plan, u UsagePlan) bool { return reflect.DeepEqual(one.UsagePlan, u) })
}

// of returns the names of the plans that a call counts in.
func (p *plans) of(who *Principal, stage string) (names []string) {
	for _, one := range p.having(who.keyName(), who.KeyID, who.Plans) {
		if one.stages == nil || one.stages[stage] {
			names = append(names, one.Name)
		}
	}
	return names
}

// having lists the plans of a key: those that name it and those that it names.
func (p *plans) having(name, id string, named []string) []*plan {
	if id == "" {
		return nil
	}
	list := p.keys[name]
	if name != id || len(named) > 0 {
		list = slices.Clone(list)
		for _, one := range p.list {
			if !slices.Contains(list, one) && (slices.Contains(one.Keys, id) || slices.Contains(named, one.Name)) {
				list = append(list, one)
			}
		}
	}
	return list
}

// counting calls with the counters that a unit of the visit's key counts in.
func (v *Visit) counting(unit string, with func(*counter) error) error {
	if v.limits.plans == nil || len(v.call.Plans) == 0 {
		return nil
	}
	p := v.limits.plans
	for _, one := range p.list {
		if one.Quota == nil || one.Quota.unit() != unit || !slices.Contains(v.call.Plans, one.Name) {
			continue
		}
		p.mu.Lock()
		c := p.counter(counterKey{one, v.call.APIKey})
		p.mu.Unlock()
		if err := with(c); err != nil {
			return err
		}
	}
	return nil
}

// spend uses n units of the key's quotas. Where a quota has not so many left, it uses
// nothing.
func (v *Visit) spend(ctx context.Context, unit string, n int64) error {
	if n == 0 {
		return nil
	}
	return v.counting(unit, func(c *counter) error {
		period, err := v.limits.plans.spend(ctx, c, n)
		if err == nil {
			v.note(c, period, n)
			return nil
		}
		if limited, ok := err.(*Limited); ok { //nolint:errorlint // it is never wrapped there
			err = v.limit(limited)
		}
		v.refund()
		return err
	})
}

// count uses n units that are used already.
func (v *Visit) count(unit string, n int64) {
	_ = v.counting(unit, func(c *counter) error {
		p := v.limits.plans
		p.mu.Lock()
		defer p.mu.Unlock()
		p.roll(c)
		c.waiting += n
		if c.plan.Quota.strict() {
			p.ex.kick()
		}
		return nil
	})
}

// left asks whether something is left of the key's quotas.
func (v *Visit) left(ctx context.Context, units ...string) error {
	for _, unit := range units {
		err := v.counting(unit, func(c *counter) error {
			p := v.limits.plans
			if err := p.ex.await(ctx); err != nil {
				return err
			}
			if c.plan.Quota.strict() {
				if err := p.freshen(ctx, c); err != nil {
					return err
				}
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.roll(c)
			if c.total() < c.limit() {
				return nil
			}
			return c.exceeded(p.now())
		})
		if limited, ok := err.(*Limited); ok { //nolint:errorlint // it is never wrapped there
			return v.limit(limited)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *Visit) note(c *counter, period time.Time, n int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.spent = append(v.spent, spent{c, period, n})
}

// refund gives back what the visit has spent of quotas that do that.
func (v *Visit) refund() {
	v.mu.Lock()
	list := v.spent
	v.spent = nil
	v.mu.Unlock()
	p := v.limits.plans
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range list {
		if s.plan.Quota.refunds() && s.counter.period.Equal(s.period) {
			s.waiting -= s.n
			if s.plan.Quota.strict() {
				p.ex.kick()
			}
		}
	}
}

// counter returns the counter of a key, for whoever has the lock.
func (p *plans) counter(k counterKey) *counter {
	c := p.counters[k]
	if c == nil {
		c = &counter{counterKey: k}
		p.counters[k] = c
		p.roll(c)
	}
	return c
}

// roll begins a new period where the old one is over, for whoever has the lock. What
// was not exchanged of the old one is nobody's any more.
func (p *plans) roll(c *counter) {
	if start := c.plan.Quota.start(p.now()); !start.Equal(c.period) {
		c.period, c.waiting, c.sending = start, 0, 0
		p.read(c)
	}
}

// read takes over what the table says of a counter, for whoever has the lock.
func (p *plans) read(c *counter) {
	u, ok := p.ex.get(c.name())
	u = u.as(c.plan.Quota.kind(), c.period.Unix())
	c.used, c.later = 0, ok && u.Later
	switch {
	case ok && u.Period == c.period.Unix():
		c.used = u.Used
	case ok && u.Period < c.period.Unix():
		c.later = true
	}
}

func (c *counter) limit() int64 { return c.plan.Quota.limit(c.later) }

func (c *counter) total() int64 { return c.used + c.sending + c.waiting }

// share is how much may be used here before it is exchanged.
func (c *counter) share(processes int64) int64 { return max((c.limit()-c.used)/processes, 1) }

// exceeded is the refusal of a call that a quota has nothing left for.
func (c *counter) exceeded(now time.Time) *Limited {
	q := c.plan.Quota
	end := q.end(c.period)
	state := throttle.State{
		Name: c.plan.Name + "-quota", Unit: q.fieldUnit(), Quota: c.limit(), Window: int64(end.Sub(c.period) / time.Second), Remaining: max(c.limit()-c.total(), 0),
	}
	if state.Remaining == 0 {
		state.Reset = max(int64((end.Sub(now)+time.Second-1)/time.Second), 1)
	}
	return &Limited{state: state, Limit: c.plan.Name, Quota: true, Unit: q.unit(), Wait: max(end.Sub(now), time.Second),
		message: fmt.Sprintf("Limit Exceeded: the quota of %d %s a %s of usage plan %q is used up until %s", q.Limit, q.unit(), q.Period, c.plan.Name, end.UTC().Format(time.RFC3339))}
}

// spend uses n units, in which period it says. It waits for an exchange where the
// share of this process is used up, and at first for the counters to be read.
func (p *plans) spend(ctx context.Context, c *counter, n int64) (time.Time, error) {
	for {
		if err := p.ex.await(ctx); err != nil {
			return time.Time{}, err
		}
		if c.plan.Quota.strict() {
			return p.demand(ctx, c, n)
		}
		p.mu.Lock()
		p.roll(c)
		if c.total()+n > c.limit() {
			limited := c.exceeded(p.now())
			p.mu.Unlock()
			return time.Time{}, limited
		}
		own := c.waiting + c.sending
		if own <= 0 || own+n <= c.share(p.ex.processes.Load()) || p.ex.ctx.Err() != nil { // or they are being replaced
			c.waiting += n
			period := c.period
			p.mu.Unlock()
			return period, nil
		}
		done := p.ex.next()
		p.mu.Unlock()
		if err := p.ex.ask(ctx, done); err != nil {
			return time.Time{}, err
		}
	}
}

// A Usage is what one API key has used of a usage plan's quota in the present period.
type Usage struct {
	Plan   string    `json:"plan"`
	Key    string    `json:"key"`
	Unit   string    `json:"unit"`
	Period string    `json:"period"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Used   int64     `json:"used"`
	Limit  int64     `json:"limit"`
	Left   int64     `json:"left"`
}

// Usage returns what is used of the quotas of one plan, or of all where plan is empty,
// by plan and key. It knows of other processes what they have exchanged, which is
// never older than some ten seconds. Keys that have used nothing yet are listed where
// the plan names them. A plan that does not exist is one of kind NotFound.
func (l *Limits) Usage(ctx context.Context, plan string) ([]Usage, error) {
	list := []Usage{}
	if l == nil || l.plans == nil {
		if plan != "" {
			return nil, &Error{NotFound, fmt.Sprintf("there is no usage plan %q", plan)}
		}
		return list, nil
	}
	p := l.plans
	if err := p.ex.await(ctx); err != nil {
		return nil, err
	}
	known := false
	for _, one := range p.list {
		if plan != "" && plan != one.Name {
			continue
		}
		known = true
		if one.Quota != nil {
			list = append(list, p.usageOf(one)...)
		}
	}
	if !known && plan != "" {
		return nil, &Error{NotFound, fmt.Sprintf("there is no usage plan %q", plan)}
	}
	return list, nil
}

// usageOf lists the keys of a plan.
func (p *plans) usageOf(one *plan) (list []Usage) {
	keys := slices.Clone(one.Keys)
	for _, u := range p.ex.of(one.Name) {
		keys = append(keys, u.Key)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for k := range p.counters {
		if k.plan == one {
			keys = append(keys, k.key)
		}
	}
	slices.Sort(keys)
	for _, key := range slices.Compact(keys) {
		c := p.counters[counterKey{one, key}]
		if c == nil {
			c = &counter{counterKey: counterKey{one, key}} // to look at it must not make it stay
		}
		p.roll(c)
		list = append(list, Usage{
			Plan: one.Name, Key: key, Unit: one.Quota.unit(), Period: one.Quota.Period, From: c.period.UTC(), To: one.Quota.end(c.period).UTC(),
			Used: max(c.total(), 0), Limit: c.limit(), Left: max(c.limit()-c.total(), 0),
		})
	}
	return list
}

// usage is an entry of the table.
type usage struct {
	Key    string `json:"key"`
	Period int64  `json:"period"` // its beginning, in Unix seconds
	Used   int64  `json:"used"`
	Later  bool   `json:"later,omitempty"` // it is not the key's first period
	Kind   string `json:"kind,omitempty"`  // of period; empty: written by an older release
}

// usagePrefix begins the keys of counters in the table.
const usagePrefix = "usage/"

// name is the key of a counter in the table.
func (c *counter) name() string {
	key := c.key
	if len(key) > 800 || strings.ContainsRune(key, 0) {
		sum := sha256.Sum256([]byte(key))
		key = "sha256:" + hex.EncodeToString(sum[:])
	}
	return usagePrefix + c.plan.Name + "/" + key
}

// as is a counter of the table for a quota whose periods are of a kind and which is in a
// period now. Where the plan has had others when it was written, as days before there
// were months, what was used since the period began counts in it. Without that, a period
// that begins earlier than the one that is known would look as if it were over.
func (u usage) as(kind string, period int64) usage {
	if u.Kind != "" && u.Kind != kind && u.Period > period {
		u.Period = period
	}
	return u
}

// plus is a counter of the table after n more units were used in a period. Nothing is
// left of a period that is over.
func (u usage) plus(key, kind string, period, n int64, known bool) usage {
	u = u.as(kind, period)
	switch {
	case !known:
		u = usage{Key: key, Period: period}
	case u.Period < period:
		u = usage{Key: key, Period: period, Later: true}
	case u.Period > period:
		return u
	}
	u.Kind, u.Used = kind, max(u.Used+n, 0)
	return u
}

func decodeUsage(value []byte) (u usage, ok bool) {
	return u, json.Unmarshal(value, &u) == nil
}
