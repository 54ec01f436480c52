package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A process has the series that samples are made of.
type process struct {
	*prometheus.Registry
	requests, records, attempts *prometheus.CounterVec
	seconds                     *prometheus.HistogramVec
	took                        *prometheus.HistogramVec
}

func newProcess() *process {
	counter := func(name string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: "x"}, labels)
	}
	buckets := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	p := &process{
		Registry: prometheus.NewRegistry(), requests: counter(httpRequests, "api", "stage", "route", "method", "code"),
		records: counter(pipeRecords, "pipe", "outcome"), attempts: counter(pipeAttempts, "pipe", "outcome"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: httpSeconds, Help: "x", Buckets: buckets}, []string{"api", "stage"}),
		took:    prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: pipeSeconds, Help: "x", Buckets: buckets}, []string{"pipe"}),
	}
	p.MustRegister(p.requests, p.records, p.attempts, p.seconds, p.took)
	return p
}

func (p *process) answer(code string, n float64) {
	p.requests.WithLabelValues("confluent/v2", "$default", "/topics", "GET", code).Add(n)
}

// A clock moves a keeper on.
type clock struct {
	t *testing.T
	k *Keeper
	p *process
}

func (c clock) at(d time.Duration) {
	c.t.Helper()
	if err := c.k.sample(c.k.began.Add(d)); err != nil {
		c.t.Fatal(err)
	}
}

func newClock(t *testing.T) clock {
	p := newProcess()
	return clock{t, New(Config{Gather: p, Log: slog.New(slog.DiscardHandler)}), p}
}

// last are the last points of a series.
func (c clock) last(n int, name, pipe string, span time.Duration) []string {
	c.t.Helper()
	a, err := c.k.Tell([]string{name}, pipe, span)
	if err != nil {
		c.t.Fatal(err)
	}
	points := a.Series[0].Points
	var out []string
	for _, v := range points[len(points)-n:] {
		out = append(out, fmt.Sprintf("%.4g", v))
	}
	return out
}

func (c clock) want(name, pipe string, span time.Duration, want ...string) {
	c.t.Helper()
	if got := c.last(len(want), name, pipe, span); fmt.Sprint(got) != fmt.Sprint(want) {
		c.t.Errorf("%s %s of %v: got %v, want %v", name, pipe, span, got, want)
	}
}

func TestRates(t *testing.T) {
	c := newClock(t)
	c.p.answer("200", 100)
	c.at(0)
	c.p.answer("200", 50)
	c.p.answer("429", 10)
	c.p.answer("403", 5)
	c.p.answer("0", 5)
	c.p.requests.WithLabelValues("klamm", "$default", "/klamm/v1/status", "GET", "200").Add(1000)
	c.at(5 * time.Second)
	c.want(RequestsGood, "", Hour, "NaN", "NaN", "10")
	c.want(RequestsBad, "", Hour, "NaN", "NaN", "3")
	c.want(RequestsFail, "", Hour, "NaN", "1")
	c.want(Throttled, "", Hour, "NaN", "2")
	c.p.answer("200", 60)
	c.at(20 * time.Second) // a sample that took long holds for the time since the last one
	c.want(RequestsGood, "", Hour, "NaN", "10", "4", "4", "4")
	c.at(200 * time.Second) // but not for ever
	got := c.last(40, RequestsGood, "", Hour)
	if got[39] != "0" || got[28] != "0" || got[27] != "NaN" {
		t.Errorf("after a pause: %v", got)
	}
}

func TestPercentiles(t *testing.T) {
	c := newClock(t)
	c.at(0)
	for i := range 1000 {
		c.p.seconds.WithLabelValues("confluent/v2", "$default").Observe(float64(i) / 1000)
	}
	c.p.seconds.WithLabelValues("klamm", "$default").Observe(25)
	c.at(5 * time.Second)
	for name, want := range map[string]float64{LatencyP50: 0.5, LatencyP95: 0.95, LatencyP99: 0.99} {
		a, _ := c.k.Tell([]string{name}, "", Hour)
		points := a.Series[0].Points
		if got := float64(points[len(points)-1]); math.Abs(got-want) > 0.02 {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	c.at(10 * time.Second)
	c.want(LatencyP99, "", Hour, "NaN")
}

func TestDay(t *testing.T) {
	c := newClock(t)
	for i := range 36 { // three minutes: 1, 2 and 3 requests a second
		c.at(time.Duration(i) * step)
		c.p.answer("200", float64(5*(i/12+1)))
	}
	c.want(RequestsGood, "", Day, "NaN", "1", "1.917", "2.917")
	a, err := c.k.Tell(nil, "", Day)
	if err != nil || a.Step != 60 || a.Complete || len(a.Series) != len(ofProcess) || len(a.Series[0].Points) != 1440 {
		t.Errorf("%d s, complete %v, %d series, %v", a.Step, a.Complete, len(a.Series), err)
	}
	for i := range 800 { // more than an hour
		c.at(time.Duration(36+i) * step)
	}
	if a, _ := c.k.Tell(nil, "", Hour); !a.Complete || len(a.Series[0].Points) != 720 {
		t.Errorf("complete %v, %d points", a.Complete, len(a.Series[0].Points))
	}
}

func TestPipes(t *testing.T) {
	c := newClock(t)
	c.k.behind, c.k.behold = map[string]int64{"orders": 7}, c.k.began.Add(time.Hour)
	c.at(0)
	c.p.records.WithLabelValues("orders", "delivered").Add(40)
	c.p.records.WithLabelValues("orders", "filtered").Add(10)
	c.p.attempts.WithLabelValues("orders", "failed").Add(5)
	c.p.took.WithLabelValues("orders").Observe(0.05)
	c.at(5 * time.Second)
	c.want(Read, "orders", Hour, "NaN", "10")
	c.want(Delivered, "orders", Hour, "8")
	c.want(Failed, "orders", Hour, "1")
	c.want(Lag, "orders", Hour, "7")
	c.want(Delivered, "", Hour, "8")
	c.want(Lag, "", Hour, "7", "7")
	if _, err := c.k.Tell(nil, "nobody", Hour); !errors.Is(err, ErrNoPipe) {
		t.Errorf("an unknown pipe: %v", err)
	}
	for _, names := range [][]string{{"nothing"}, {Memory}} {
		if _, err := c.k.Tell(names, "orders", Hour); err == nil {
			t.Errorf("%v of a pipe", names)
		}
	}
	if _, err := c.k.Tell(nil, "", time.Minute); err == nil {
		t.Error("a minute")
	}
}

func TestBusiestPipesAreKept(t *testing.T) {
	c := newClock(t)
	for i := range mostPipes {
		c.p.records.WithLabelValues(fmt.Sprintf("idle-%d", i), "delivered").Add(1)
	}
	c.at(0)
	for i := range 1000 {
		c.p.records.WithLabelValues(fmt.Sprintf("late-%d", i), "delivered").Add(0)
	}
	c.at(5 * time.Second)
	c.p.records.WithLabelValues("late-500", "delivered").Add(10_000)
	c.at(10 * time.Second)
	c.p.records.WithLabelValues("late-500", "delivered").Add(10_000)
	c.at(15 * time.Second)
	c.want(Delivered, "late-500", Hour, "2000")
	if a, _ := c.k.Tell(nil, "", Hour); len(a.Pipes) != mostPipes || a.Most != mostPipes {
		t.Errorf("%d pipes", len(a.Pipes))
	}
}

func TestPointsAsJSON(t *testing.T) {
	text, err := json.Marshal(Points{1, nothing, 0.123456, 123456.7, 0})
	if err != nil || string(text) != "[1,null,0.1235,123457,0]" {
		t.Errorf("%s, %v", text, err)
	}
}

// TestSizeIsBounded has a keeper hold all that it ever can.
func TestSizeIsBounded(t *testing.T) {
	var before, after runtime.MemStats
	c := newClock(t)
	for i := range 3 * mostPipes {
		c.p.records.WithLabelValues(fmt.Sprintf("pipe-%d", i), "delivered").Add(1)
	}
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 3 {
		c.at(time.Duration(i) * step)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if n := int64(after.HeapAlloc) - int64(before.HeapAlloc); n > 5<<20 {
		t.Errorf("it takes %d bytes", n)
	}
	runtime.KeepAlive(c)
}

func TestTheDearerASampleTheLaterTheNext(t *testing.T) {
	for _, c := range []struct{ cost, age, want time.Duration }{
		{time.Millisecond, 2 * step, step},
		{time.Millisecond, 2*step + time.Second, step - time.Second},
		{10 * time.Millisecond, 2 * step, 10 * time.Second},
		{10 * time.Second, 2 * step, wideStep}, // the day has points all the same
	} {
		if got := pauseFor(c.cost, c.age); got != c.want {
			t.Errorf("%s after a sample that took %s, %s after the beginning, want %s", got, c.cost, c.age, c.want)
		}
	}
}

// BenchmarkSample is one sample of a process as klamm is with a hundred pipes.
func BenchmarkSample(b *testing.B) {
	p := newProcess()
	many := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "klamm_front_request_seconds", Help: "x"}, []string{"route"})
	p.MustRegister(many)
	for i := range 300 {
		many.WithLabelValues(fmt.Sprint(i)).Observe(1)
	}
	for i := range 100 {
		name := fmt.Sprintf("pipe-%d", i)
		for _, outcome := range []string{"delivered", "filtered", "dead_lettered"} {
			p.records.WithLabelValues(name, outcome).Add(1)
		}
		p.took.WithLabelValues(name).Observe(0.1)
	}
	k := New(Config{Gather: p, Log: slog.New(slog.DiscardHandler)})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := k.sample(k.began.Add(time.Duration(i) * step)); err != nil {
			b.Fatal(err)
		}
	}
}
