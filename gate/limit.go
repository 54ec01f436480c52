package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/throttle"
)

// Limits hold callers to rates and quotas (gateway-policies.md 3). They are safe for
// concurrent use. Nil limits nobody.
type Limits struct {
	set      *throttle.Set
	plans    *plans // nil: there are none
	fields   RateLimit
	address  bool // something is asked before authentication
	division bool // partitions have buckets of their own
	closed   atomic.Bool
}

// NewLimits returns limits, or nil if cfg has none. The counters of quotas are kept
// in the cluster.
func NewLimits(cfg LimitsConfig, cluster *kafka.Cluster, metrics prometheus.Registerer, log *slog.Logger) *Limits {
	rules := cfg.rules()
	if len(rules) == 0 && len(cfg.Plans) == 0 {
		return nil
	}
	l := &Limits{set: throttle.New(rules), fields: cfg.Fields}
	l.address, l.division = l.set.Asks(throttle.OfAddress), l.set.Divides("partition")
	if len(cfg.Plans) > 0 {
		l.plans = newPlans(cfg.Plans, cluster, exchangeEvery, metrics, log)
	}
	metrics.MustRegister(limitMetrics{l.set})
	return l
}

// settlePatience is how long the limits that replace others wait for what these have
// counted. What is not written by then is written when they are closed.
const settlePatience = 3 * time.Second

// Next returns limits that replace l, or nil if cfg has none. Rules that are as they
// were keep what callers have used, and so do usage plans. Where these are others, Next
// waits for the cluster, a few seconds at most. Both have to be closed.
func (l *Limits) Next(ctx context.Context, cfg LimitsConfig, cluster *kafka.Cluster, metrics prometheus.Registerer, log *slog.Logger) *Limits {
	rules := cfg.rules()
	if l == nil || len(rules) == 0 && len(cfg.Plans) == 0 {
		return NewLimits(cfg, cluster, metrics, log)
	}
	next := &Limits{set: l.set.Next(rules), fields: cfg.Fields}
	next.address, next.division = next.set.Asks(throttle.OfAddress), next.set.Divides("partition")
	switch {
	case len(cfg.Plans) == 0:
	case l.plans != nil && l.plans.are(cfg.Plans):
		next.plans = l.plans
		next.plans.users.Add(1)
		metrics.MustRegister(next.plans.ex.failed)
	default:
		if err := l.settle(ctx, settlePatience); err != nil {
			log.Warn("what was used of quotas last is counted late by the limits that are read again", "err", err)
		}
		next.plans = newPlans(cfg.Plans, cluster, exchangeEvery, metrics, log)
	}
	metrics.MustRegister(limitMetrics{next.set})
	return next
}

// settle writes what has been used of quotas until now, so that limits which are made
// afterwards, to replace these, know of it.
func (l *Limits) settle(ctx context.Context, patience time.Duration) error {
	if l.plans == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return l.plans.flush(ctx)
}

// Close writes the counters of quotas, within a few seconds, and ends all that runs,
// unless there are others that go on with it.
func (l *Limits) Close() {
	if l != nil && l.plans != nil && !l.closed.Swap(true) && l.plans.users.Add(-1) == 0 {
		l.plans.close()
	}
}

// A Limited is the error of a call that is too much for a limit. It is one of kind
// Throttled.
type Limited struct {
	// Limit is the name of the limit or usage plan.
	Limit string
	// Quota says that a quota is used up; otherwise the call came too soon.
	Quota bool
	// Unit is what there was too much of: requests, records, bytes, concurrency or
	// streams. Shared says that the limit is everybody's together.
	Unit   string
	Shared bool
	// Wait is until the call may pass, at least a second, in whole ones.
	Wait time.Duration

	message string
	state   throttle.State // of a quota
}

func (e *Limited) Error() string { return e.message }

// Unwrap makes it an Error.
func (e *Limited) Unwrap() error { return &Error{Throttled, e.message} }

// A Visit is one HTTP request as limits see it. It is attached to the principal that
// its calls are made for. It has to Leave. A nil Visit is never refused anything.
type Visit struct {
	limits *Limits
	toll   *throttle.Visit
	call   throttle.Call // what is known of the request as a whole

	mu       sync.Mutex // guards what follows
	admitted []reading
	spent    []spent
	limited  *Limited // the last refusal
}

// reading is what a request reads and need not ask for again: an answer is not cut
// in the middle.
type reading struct {
	topic, group string
	partition    int32
}

// RouteName returns the name of a route for Visit, for the pattern of net/http that
// it has.
func RouteName(pattern string) string { return throttle.RouteName(pattern) }

// Visit begins a request's way. Its route is by RouteName; stage is the one that it
// came through, or empty; stream says that its answer has no end of its own.
func (l *Limits) Visit(route, stage string, source netip.Addr, header http.Header, stream bool) *Visit {
	if l == nil {
		return nil
	}
	if stage == "" {
		stage = DefaultStage
	}
	return &Visit{limits: l, toll: l.set.Visit(), call: throttle.Call{
		Route: route, Stage: stage, Source: source, Partition: -1, Stream: stream, Header: header.Get,
	}}
}

// Arrive asks for the request before anybody looks at its credentials.
func (v *Visit) Arrive(ctx context.Context) error {
	if v == nil || !v.limits.address {
		return nil
	}
	return v.refused(v.toll.Take(ctx, &v.call, throttle.OfAddress, 0, 0))
}

// Enter asks for the request of a caller, and returns the caller as one whose calls
// are made for it. A request that another klamm process has passed on was asked for
// there: only what it does counts here.
func (v *Visit) Enter(ctx context.Context, who Principal, passedOn bool) (Principal, error) {
	if v == nil {
		return who, nil
	}
	v.identify(&who)
	who.visit = v
	if passedOn {
		return who, nil
	}
	if err := v.spend(ctx, quotaRequests, 1); err != nil {
		return who, err
	}
	return who, v.refused(v.toll.Take(ctx, &v.call, throttle.OfRequest, 0, 0))
}

// identify notes whose request it is.
func (v *Visit) identify(who *Principal) {
	c := &v.call
	c.Principal, c.Groups, c.APIKey = who.Name, who.Groups, who.keyName()
	if who.Source.IsValid() {
		c.Source = who.Source
	}
	if who.Certificate != nil {
		c.Subject = who.Certificate.SubjectDN
	}
	if claims := who.Claims; claims != nil {
		c.Claim = func(name string) string { return claimText(claims[name]) }
	}
	if v.limits.plans != nil {
		c.Plans = v.limits.plans.of(who, c.Stage)
	}
}

// keyName is what the limits of an API key go by: all keys of one name are one.
func (p *Principal) keyName() string {
	if p.KeyName != "" {
		return p.KeyName
	}
	return p.KeyID
}

// claimText is the value of a claim as a text.
func claimText(value any) string {
	switch c := value.(type) {
	case nil:
		return ""
	case string:
		return c
	case json.Number, bool:
		return fmt.Sprint(c)
	}
	b, _ := json.Marshal(value) // it came from JSON
	return string(b)
}

// of returns what a call does to a topic or group as limits see it.
func (v *Visit) of(op, topic, group string, partition int32) throttle.Call {
	c := v.call
	c.Op, c.Topic, c.Group, c.Partition = op, topic, group, partition
	return c
}

// produce asks for records that are to be written. A message is one of many that a
// request sends one after another.
func (v *Visit) produce(ctx context.Context, topic string, message bool, records ...*kgo.Record) error {
	if v == nil {
		return nil
	}
	partition := int32(-1)
	if len(records) > 0 && v.limits.division {
		partition = records[0].Partition
	}
	c, n := v.of("produce", topic, "", partition), bytesOf(records...)
	c.Message = message
	if err := v.refused(v.toll.Take(ctx, &c, throttle.OfOperation, len(records), n)); err != nil {
		return err
	}
	if v.limits.plans == nil {
		return nil
	}
	if err := v.spend(ctx, quotaRecords, int64(len(records))); err != nil {
		return err
	}
	return v.spend(ctx, quotaBytes, int64(n))
}

// bytesOf is how many bytes records have: of their keys, values and headers.
func bytesOf(records ...*kgo.Record) int {
	n := 0
	for _, r := range records {
		n += len(r.Key) + len(r.Value)
		for _, h := range r.Headers {
			n += len(h.Key) + len(h.Value)
		}
	}
	return n
}

// consume asks for a read. Where only the records and bytes of earlier answers are in
// its way, and it would pass soon enough, it waits.
func (v *Visit) consume(ctx context.Context, topic, group string, partition int32, patience time.Duration) error {
	if v == nil {
		return nil
	}
	if !v.limits.division {
		partition = -1
	}
	at := reading{topic, group, partition}
	v.mu.Lock()
	admitted := slices.Contains(v.admitted, at)
	v.mu.Unlock()
	if admitted {
		return nil
	}
	c := v.of("consume", topic, group, partition)
	for end := time.Now().Add(patience); !c.Stream; {
		wait := v.toll.Charge(&c, 0, 0)
		if wait == 0 || wait > time.Until(end) {
			break
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
	if err := v.refused(v.toll.Take(ctx, &c, throttle.OfOperation, 0, 0)); err != nil {
		return err
	}
	if v.limits.plans != nil {
		if err := v.left(ctx, quotaRecords, quotaBytes); err != nil {
			return err
		}
	}
	v.mu.Lock()
	v.admitted = append(v.admitted, at)
	v.mu.Unlock()
	return nil
}

// consumed counts what a read has returned, and says for how long nothing more
// should be read.
func (v *Visit) consumed(topic, group string, partition int32, records ...*kgo.Record) time.Duration {
	if v == nil || len(records) == 0 {
		return 0
	}
	if !v.limits.division {
		partition = -1
	}
	c, n := v.of("consume", topic, group, partition), bytesOf(records...)
	if v.limits.plans != nil {
		v.count(quotaRecords, int64(len(records)))
		v.count(quotaBytes, int64(n))
	}
	return v.toll.Charge(&c, len(records), n)
}

// other asks for a call that neither writes nor reads records.
func (v *Visit) other(ctx context.Context, kind, name string) error {
	if v == nil {
		return nil
	}
	c := v.of("other", "", "", -1)
	switch kind {
	case "topic":
		c.Topic = name
	case "group":
		c.Group = name
	}
	return v.refused(v.toll.Take(ctx, &c, throttle.OfOperation, 0, 0))
}

// refused makes an error of a refusal.
func (v *Visit) refused(r *throttle.Refusal) error {
	if r == nil {
		return nil
	}
	return v.limit(&Limited{Limit: r.Rule, Unit: r.Unit.String(), Shared: r.Shared, Wait: time.Duration(r.RetryAfter()) * time.Second, message: r.Error()})
}

// limit keeps a refusal for the header of the answer.
func (v *Visit) limit(e *Limited) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.limited = e
	return e
}

// Failed says with which error the request has ended, and with which status it is told.
// What it has spent of a quota is given back if that is klamm's own refusal: a 4xx for
// anything but what brokers have said (gateway-policies.md 3.3).
func (v *Visit) Failed(err error, status int) {
	if v == nil || v.limits.plans == nil || err == nil || status < 400 || status > 499 {
		return
	}
	var broker *kerr.Error
	if DenialOf(err) != nil || !errors.As(err, &broker) {
		v.refund()
	}
}

// Leave says that the request is over. It may be called more than once.
func (v *Visit) Leave() {
	if v != nil {
		v.toll.Leave()
	}
}

// Header puts what the caller may know of its limits into the header of an answer
// with this status (gateway-policies.md 3.5).
func (v *Visit) Header(h http.Header, status int) {
	if v == nil || status == http.StatusSwitchingProtocols {
		return
	}
	states, cfg := v.toll.States(), v.limits.fields
	if status == http.StatusTooManyRequests {
		v.mu.Lock()
		e := v.limited
		v.mu.Unlock()
		if e != nil {
			h["Retry-After"] = []string{strconv.Itoa(retryAfter(e.Wait, v.limits.fields.jitter))}
			if e.Quota {
				states = append([]throttle.State{e.state}, states...)
			}
		}
	} else if cfg.Headers != "always" {
		states = lowOf(states)
	}
	if len(states) == 0 {
		return
	}
	policy, limit := throttle.Fields(states, cfg.ExposePartition)
	h["Ratelimit-Policy"], h["Ratelimit"] = []string{policy}, []string{limit}
	if cfg.Legacy {
		st := tightest(states)
		h["X-Ratelimit-Limit"] = []string{strconv.FormatInt(st.Quota, 10)}
		h["X-Ratelimit-Remaining"] = []string{strconv.FormatInt(st.Remaining, 10)}
		h["X-Ratelimit-Reset"] = []string{strconv.FormatInt(st.Reset, 10)}
	}
}

// lowOf leaves out the states of buckets that are more than a quarter full.
func lowOf(states []throttle.State) []throttle.State {
	var low []throttle.State
	for _, st := range states {
		if st.Low() {
			low = append(low, st)
		}
	}
	return low
}

// tightest is the state of which least is left.
func tightest(states []throttle.State) throttle.State {
	least := states[0]
	for _, st := range states[1:] {
		if float64(st.Remaining)*float64(least.Quota) < float64(least.Remaining)*float64(st.Quota) {
			least = st
		}
	}
	return least
}

// retryAfter is a wait in seconds with up to a tenth more, so that not all who were
// refused come back at once.
func retryAfter(wait time.Duration, jitter func(n int) int) int {
	seconds := max(int((wait+time.Second-1)/time.Second), 1)
	return seconds + jitter(seconds/10+1)
}
