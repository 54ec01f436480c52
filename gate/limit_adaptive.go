package gate

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/throttle"
)

// Adaptive is the adaptive section of the configuration file.
type Adaptive struct {
	// Produce is the most calls that write records at once, 8 to 100000; from there
	// klamm finds out how many the brokers take without becoming slow, and answers 503
	// to the others. The default, 0, protects nothing.
	Produce int `yaml:"produce"`
	// Consume is the same for calls that read records and do not wait for new ones.
	Consume int `yaml:"consume"`
	// Classes give calls a class, by the first that fits: critical calls may use the
	// whole of what there is, normal ones, which is the default, nine tenths, and bulk
	// ones seven tenths.
	Classes []throttle.ClassRule `yaml:"classes"`
}

// Validate reports each problem with the field it lies in.
func (a Adaptive) Validate(report func(path, problem string)) {
	for _, f := range []struct {
		name string
		n    int
	}{{"produce", a.Produce}, {"consume", a.Consume}} {
		if f.n != 0 && (f.n < 8 || f.n > 100_000) {
			report(f.name, "want a number from 8 to 100000, or 0")
		}
	}
	if len(a.Classes) > 0 && a.Produce == 0 && a.Consume == 0 {
		report("classes", "has a meaning only with produce or consume")
	}
}

// An Overloaded is the error of a call that the cluster cannot take now. It is one of
// kind Unavailable.
type Overloaded struct {
	// Wait is until it may be worth trying again, at least a second, in whole ones.
	Wait    time.Duration
	message string
}

func (e *Overloaded) Error() string { return e.message }

// Unwrap makes it an Error.
func (e *Overloaded) Unwrap() error { return &Error{Unavailable, e.message} }

// A Protection keeps a cluster healthy when more is asked of it than it can do
// (gateway-policies.md 3.6). It is safe for concurrent use; nil protects nothing.
type Protection struct {
	now     atomic.Pointer[protecting]
	crowded atomic.Int64 // calls that were refused since too much waits to be written
}

// protecting is what a protection does now.
type protecting struct {
	most    [2]int                // by kind
	limits  [2]*throttle.Adaptive // by kind; nil: not protected
	classes *throttle.Classes
}

// The kinds of calls that have a limit of their own.
const (
	producing = iota
	consuming
)

var kindsOfCalls = [...]string{"produce", "consume"}

// NewProtection returns a protection, which may protect nothing yet.
func NewProtection(cfg Adaptive, metrics prometheus.Registerer) *Protection {
	p := &Protection{}
	p.Change(cfg)
	metrics.MustRegister(adaptiveMetrics{p})
	return p
}

// Change makes other settings count for calls from now on. A limit whose most stays
// what it was keeps what it has found out.
func (p *Protection) Change(cfg Adaptive) {
	was, next := p.now.Load(), &protecting{most: [2]int{cfg.Produce, cfg.Consume}, classes: throttle.NewClasses(cfg.Classes)}
	for kind, most := range next.most {
		switch {
		case most == 0:
		case was != nil && was.most[kind] == most:
			next.limits[kind] = was.limits[kind]
		default:
			next.limits[kind] = throttle.NewAdaptive(most, time.Now)
		}
	}
	p.now.Store(next)
}

// Protect makes the gate protect its cluster. It has to be called before the gate is
// used.
func (g *Gate) Protect(p *Protection) { g.protection = p }

// Pause says that a broker has asked for a pause; see kafka.Cluster.WatchPauses. Calls
// for the broker wait for it besides, and longer ones than a second are refused.
func (p *Protection) Pause(time.Duration) {
	if p == nil {
		return
	}
	for _, a := range p.now.Load().limits {
		if a != nil {
			a.Paused()
		}
	}
}

// admitted is a call that was let in. The zero value was never asked for.
type admitted struct {
	limit *throttle.Adaptive
	begun time.Time
}

// admitAfter lets a call in, or waits for a moment until it may come; its brokers may have
// asked for a pause.
func (p *Protection) admitAfter(ctx context.Context, kind int, who *Principal, topic string, pause func() time.Duration) (admitted, error) {
	if p == nil {
		return admitted{}, nil
	}
	now := p.now.Load()
	limit := now.limits[kind]
	if limit == nil {
		return admitted{}, nil
	}
	call := throttle.Call{Principal: who.Name, Groups: who.Groups}
	if who.visit != nil {
		call = who.visit.call
	}
	call.Op, call.Topic = kindsOfCalls[kind], topic
	err := limit.Enter(ctx, now.classes.Of(&call), pause())
	var overload *throttle.Overload
	if errors.As(err, &overload) {
		return admitted{}, &Overloaded{max(time.Duration(math.Ceil(overload.Wait.Seconds()))*time.Second, time.Second), overload.Reason}
	}
	return admitted{limit, time.Now()}, err
}

// crowdedWait is what is said of when to come again where too much waits to be written.
const crowdedWait = time.Second

// write is admit for a call that writes records. It is refused at once where too many
// bytes wait for the brokers already, whatever the settings.
func (p *Protection) write(ctx context.Context, cluster *kafka.Cluster, who *Principal, topic string, records []*kgo.Record) (admitted, error) {
	if p == nil {
		return admitted{}, nil
	}
	if cluster.Crowded() {
		p.crowded.Add(1)
		return admitted{}, &Overloaded{crowdedWait, "too many records wait for the Kafka cluster already"}
	}
	return p.admitAfter(ctx, producing, who, topic, func() time.Duration { return cluster.PauseBefore(topic, records) })
}

// read is admit for a call that reads a partition. One that waits for new records takes
// as long as they do, and tells nothing about the cluster.
func (p *Protection) read(ctx context.Context, cluster *kafka.Cluster, who *Principal, topic kafka.Topic, partition int32, wait time.Duration) (admitted, error) {
	if wait > 0 {
		return admitted{}, nil
	}
	return p.admitAfter(ctx, consuming, who, topic.Name, func() time.Duration {
		for i := range topic.Partitions {
			if topic.Partitions[i].ID == partition {
				return cluster.PauseOf(topic.Partitions[i].Leader)
			}
		}
		return 0
	})
}

// wrote says that a call has ended with these results.
func (a admitted) wrote(results kgo.ProduceResults) {
	if a.limit == nil {
		return
	}
	outcome := throttle.Good
	for i := range results {
		if o := signOf(results[i].Err); o != throttle.Good && outcome != throttle.Failed {
			outcome = o
		}
	}
	a.limit.Leave(time.Since(a.begun), outcome)
}

// ending is done for a record, or all of a call, that ends later.
func (a admitted) ending(done func(error)) func(error) {
	if a.limit == nil {
		return done
	}
	return func(err error) {
		a.ended(err)
		done(err)
	}
}

// ended says that a call has ended with this error.
func (a admitted) ended(err error) {
	if a.limit != nil {
		a.limit.Leave(time.Since(a.begun), signOf(err))
	}
}

// signOf says what an error tells about the cluster.
func signOf(err error) throttle.Outcome {
	var broker *kerr.Error
	switch {
	case err == nil:
		return throttle.Good
	case errors.Is(err, context.Canceled):
		return throttle.Beside
	case errors.Is(err, kafka.ErrNotAcknowledged), errors.Is(err, kafka.ErrUnreachable), errors.Is(err, kafka.ErrOverloaded):
		return throttle.Failed
	case errors.As(err, &broker) && broker.Retriable && Classify(broker) != NotFound, errors.Is(err, kerr.ThrottlingQuotaExceeded):
		return throttle.Failed
	}
	return throttle.Beside
}

// adaptiveMetrics shows how a protection stands, as Prometheus series.
type adaptiveMetrics struct{ p *Protection }

var (
	adaptiveLimit    = prometheus.NewDesc("klamm_adaptive_limit", "Calls that are let in at once.", []string{"operation"}, nil)
	adaptiveInFlight = prometheus.NewDesc("klamm_adaptive_inflight", "Calls that go on now.", []string{"operation"}, nil)
	adaptiveQueue    = prometheus.NewDesc("klamm_adaptive_queue", "Calls that wait until they are let in.", []string{"operation"}, nil)
	adaptiveGradient = prometheus.NewDesc("klamm_adaptive_gradient", "By what the limit was multiplied last: 1 where calls are as fast as ever, 0.5 at least.", []string{"operation"}, nil)
	adaptiveOpen     = prometheus.NewDesc("klamm_adaptive_breaker_open", "1 while nobody is let in since nothing succeeds.", []string{"operation"}, nil)
	adaptiveCrowded  = prometheus.NewDesc("klamm_adaptive_crowded_total", "Calls that were answered 503 since too many bytes waited for the brokers.", nil, nil)
	adaptiveRejected = prometheus.NewDesc("klamm_adaptive_rejected_total", "Calls that were answered 503, by their class.", []string{"operation", "class"}, nil)
)

// Describe is part of prometheus.Collector.
func (m adaptiveMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{adaptiveLimit, adaptiveInFlight, adaptiveQueue, adaptiveGradient, adaptiveOpen, adaptiveCrowded, adaptiveRejected} {
		ch <- d
	}
}

// Collect is part of prometheus.Collector.
func (m adaptiveMetrics) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(adaptiveCrowded, prometheus.CounterValue, float64(m.p.crowded.Load()))
	for kind, a := range m.p.now.Load().limits {
		if a == nil {
			continue
		}
		s, name := a.Stats(), kindsOfCalls[kind]
		open := 0.0
		if s.Open {
			open = 1
		}
		for _, g := range []struct {
			desc  *prometheus.Desc
			value float64
		}{{adaptiveLimit, s.Limit}, {adaptiveInFlight, float64(s.InFlight)}, {adaptiveQueue, float64(s.Queue)}, {adaptiveGradient, s.Gradient}, {adaptiveOpen, open}} {
			ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, g.value, name)
		}
		for class, n := range s.Rejected {
			ch <- prometheus.MustNewConstMetric(adaptiveRejected, prometheus.CounterValue, float64(n), name, class)
		}
	}
}
