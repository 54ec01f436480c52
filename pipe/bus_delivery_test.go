package pipe_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
)

// letters waits for n records of a topic, of which there may be several partitions.
func (b *busWorld) letters(topic string, n int) (all []*kgo.Record) {
	b.t.Helper()
	eventually(b.t, fmt.Sprintf("topic %s has %d records", topic, n), func() bool {
		all = nil
		ranges, err := b.cluster.Ranges(b.t.Context(), topic)
		if err != nil {
			return false
		}
		for p, r := range ranges {
			for at := r.Start; at < r.End; {
				records, err := b.cluster.Fetch(b.t.Context(), topic, p, at, kafka.Limits{})
				if err != nil || len(records) == 0 {
					return false
				}
				all = append(all, records...)
				at = records[len(records)-1].Offset + 1
			}
		}
		return len(all) >= n
	})
	return all
}

func headers(r *kgo.Record) map[string]string {
	all := map[string]string{}
	for _, h := range r.Headers {
		all[h.Key] = string(h.Value)
	}
	return all
}

// quickly has a target tried again soon.
func quickly(def catalog.Pipe, attempts int) catalog.Pipe {
	def.Delivery.Attempts = attempts
	def.Delivery.Backoff = catalog.Backoff{Min: 2 * time.Millisecond, Max: 5 * time.Millisecond}
	sub := *def.Bus
	sub.DeadLetter = "dead-" + def.Bus.Target + "-" + def.Bus.Bus
	def.Bus = &sub
	return def
}

func TestEventsThatAreGivenUp(t *testing.T) {
	t.Parallel()
	b := newBusWorld(t, 1)
	status := func(code int, final bool) func(*event.Event) error {
		return func(*event.Event) error {
			return &target.Failure{Status: code, Final: final, Err: fmt.Errorf("answered %d", code)}
		}
	}
	cases := map[string]struct {
		answer   func(*event.Event) error
		attempts int
		hops     bool
		input    *catalog.Input
		want     map[string]string
	}{
		"gone":    {answer: status(410, true), attempts: 3, want: map[string]string{"ERROR_CODE": "NO_RESOURCE", "ERROR_MESSAGE": "answered 410", "RETRY_ATTEMPTS": "0"}},
		"refuse":  {answer: status(403, true), attempts: 3, want: map[string]string{"ERROR_CODE": "NO_PERMISSIONS", "ERROR_MESSAGE": "answered 403", "RETRY_ATTEMPTS": "0"}},
		"broken":  {answer: status(500, false), attempts: 3, want: map[string]string{"ERROR_CODE": "ERROR_FROM_TARGET", "ERROR_MESSAGE": "answered 500", "RETRY_ATTEMPTS": "2", "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts"}},
		"once":    {answer: status(503, false), attempts: 1, want: map[string]string{"ERROR_CODE": "ERROR_FROM_TARGET", "ERROR_MESSAGE": "answered 503", "RETRY_ATTEMPTS": "0"}},
		"busy":    {answer: status(429, false), attempts: 2, want: map[string]string{"ERROR_CODE": "THROTTLING", "ERROR_MESSAGE": "answered 429", "RETRY_ATTEMPTS": "1", "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts"}},
		"slow":    {answer: func(*event.Event) error { return context.DeadlineExceeded }, attempts: 2, want: map[string]string{"ERROR_CODE": "TIMEOUT", "ERROR_MESSAGE": "context deadline exceeded", "RETRY_ATTEMPTS": "1", "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts"}},
		"no-host": {answer: func(*event.Event) error { return &target.Failure{Unreachable: true, Err: errors.New("no host")} }, attempts: 2, want: map[string]string{"ERROR_CODE": "CONNECTION_FAILURE", "ERROR_MESSAGE": "no host", "RETRY_ATTEMPTS": "1", "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts"}},
		"no-topic": {answer: func(*event.Event) error { return target.Permanent(kerr.UnknownTopicOrPartition) }, attempts: 2, want: map[string]string{"ERROR_CODE": "NO_RESOURCE",
			"ERROR_MESSAGE": kerr.UnknownTopicOrPartition.Error(), "RETRY_ATTEMPTS": "0"}},
	}
	r, registry, _ := b.processWith(b.cluster)
	for name, c := range cases {
		b.answer(name, c.answer)
		def := quickly(b.target("r-"+name, name, ofOrders), c.attempts)
		b.begin(r, def, "")
		r.Set(def)
	}
	b.send(1, "orders")
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b.t = t
			got := b.letters("dead-"+name+"-"+b.bus, 1)
			c.want["RULE_ARN"], c.want["TARGET_ARN"] = "arn:rule/r-"+name, "arn:target/"+name
			if diff := cmp.Diff(c.want, headers(got[0])); diff != "" || len(got) != 1 {
				t.Errorf("%d letters, headers differ:\n%s", len(got), diff)
			}
			if !strings.Contains(string(got[0].Value), `"source":"orders"`) || string(got[0].Key) != "event-1" {
				t.Errorf("the letter is %s: %s, want the event as it was received", got[0].Key, got[0].Value)
			}
		})
	}
	b.t = t
	eventually(t, "its offset is committed", func() bool { return b.shared() == 1 })
	if got := counted(t, registry, "klamm_bus_failed_invocations_total", "r-broken"); got != 1 {
		t.Errorf("failed invocations: %v, want 1", got)
	}
	if got := counted(t, registry, "klamm_bus_retry_invocation_attempts_total", "r-broken"); got != 2 {
		t.Errorf("retries: %v, want 2", got)
	}
	if got := counted(t, registry, "klamm_bus_invocations_sent_to_dlq_total", "r-broken"); got != 1 {
		t.Errorf("sent to the dead-letter topic: %v, want 1", got)
	}
}

func counted(t *testing.T, registry *prometheus.Registry, name, rule string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "rule" && l.GetValue() == rule {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	return 0
}

// TestEventsThatCannotBeDelivered go to the dead-letter topic without an attempt, or
// nowhere.
func TestEventsThatCannotBeDelivered(t *testing.T) {
	b := newBusWorld(t, 1)
	r, registry, _ := b.processWith(b.cluster)
	kept, dropped := quickly(b.target("kept", "kept", ofOrders), 3), b.target("dropped", "dropped", ofOrders)
	odd := quickly(b.target("odd", "odd", `{"source":["odd"]}`), 3)
	odd.Bus.Input = &catalog.Input{Template: `{"n": "<n>"}`, Paths: map[string]string{"n": "$.detail"}}
	for _, def := range []catalog.Pipe{kept, dropped, odd} {
		b.begin(r, def, "")
		r.Set(def)
	}
	b.send(1, "orders", event.HeaderBusHops+"=5")
	b.send(1, "orders", event.HeaderBusHops+"=6")
	b.send(1, "odd")
	b.await("kept", 1)
	b.await("dropped", 1)
	got := b.letters("dead-kept-"+b.bus, 1)
	if h := headers(got[0]); len(got) != 1 || string(got[0].Key) != "event-2" || h["RETRY_ATTEMPTS"] != "0" {
		t.Errorf("%d letters, %s: %v", len(got), got[0].Key, h)
	}
	if got := b.letters("dead-odd-"+b.bus, 1); headers(got[0])["ERROR_CODE"] != "INVALID_JSON" {
		t.Errorf("the template's result: %v", headers(got[0]))
	}
	eventually(t, "all offsets are committed", func() bool { return b.shared() == 3 })
	for _, rule := range []string{"kept", "dropped"} {
		if got := counted(t, registry, "klamm_bus_dead_letter_invocations_total", rule); got != 1 {
			t.Errorf("rule %s: %v calls were not made, want 1", rule, got)
		}
	}
}

// TestEventsWaitElsewhere has a target ask for a long wait: no offset waits for it, nor do
// other events, and it survives a restart with its attempts and its age.
func TestEventsWaitElsewhere(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for 16 seconds")
	}
	t.Parallel()
	b := newBusWorld(t, 1)
	def := b.target("r", "picky", ofOrders)
	b.answer("picky", func(e *event.Event) error {
		if string(e.Record.Key) == "event-1" && e.Attempt == 1 {
			return target.RetryAfter(errors.New("later"), 16*time.Second)
		}
		if string(e.Record.Key) == "event-1" && (e.Attempt != 2 || len(e.Record.Headers) != 1 || e.Record.Headers[0].Key != "mine") {
			t.Errorf("attempt %d with headers %v, want 2 and those of the event alone", e.Attempt, e.Record.Headers)
		}
		return nil
	})
	r, stop := b.process()
	b.begin(r, def, "")
	r.Set(def)
	b.send(1, "orders", "mine=1")
	b.send(50, "orders")
	b.await("picky", 50)
	eventually(t, "no offset waits for it", func() bool { return b.shared() == 51 && len(b.own(def)) == 0 })
	retries := "klamm.retry." + b.bus
	stray := &kgo.Record{Topic: retries, Partition: -1, Value: []byte("{"), Headers: []kgo.RecordHeader{{Key: "klamm-retry-attempts", Value: []byte("x")}}}
	if err := b.cluster.Produce(t.Context(), stray).FirstErr(); err != nil {
		t.Fatal(err)
	}
	stop()
	b.process(def)
	b.await("picky", 51)
	eventually(t, "the retries are committed", func() bool {
		return committed(t, b.cluster, "klamm-bus-"+b.bus, retries) == 2
	})
	if _, again := b.has("picky"); again != 0 {
		t.Errorf("%d events were delivered twice", again)
	}
}

// TestEventsWaitForTheirDefinition has events wait elsewhere for a target that this
// process does not know yet, and others for one that is gone.
func TestEventsWaitForTheirDefinition(t *testing.T) {
	t.Parallel()
	b := newBusWorld(t, 1)
	known, unknown := b.target("known", "known", ofOrders), b.target("unknown", "unknown", ofOrders)
	r, _ := b.process()
	b.begin(r, known, "")
	r.Set(known)
	b.send(1, "orders")
	b.await("known", 1)
	retries := "klamm.retry." + b.bus
	wait := func(id string, def catalog.Pipe, at time.Time) {
		record := &kgo.Record{Topic: retries, Partition: 0, Key: []byte(id), Value: []byte(`{"source":"orders"}`), Timestamp: at, Headers: []kgo.RecordHeader{
			{Key: "klamm-retry-pipe", Value: []byte(def.Name)}, {Key: "klamm-retry-attempts", Value: []byte("3")}, {Key: "klamm-retry-due", Value: []byte("1")}}}
		if err := b.cluster.Produce(t.Context(), record).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	wait("gone", b.target("gone", "gone", ofOrders), time.Now().Add(-2*time.Minute))
	wait("first", unknown, time.Now())
	wait("second", known, time.Now())
	b.begin(r, unknown, "")
	r.Set(unknown)
	b.await("unknown", 1)
	b.await("known", 2)
	eventually(t, "the retries are committed", func() bool { return committed(t, b.cluster, "klamm-bus-"+b.bus, retries) == 3 })
}

// TestManyRules runs 1,000 rules of one bus: an event that matches three is delivered
// three times, and rules that come and go cost little.
func TestManyRules(t *testing.T) {
	b := newBusWorld(t, 2)
	var defs []catalog.Pipe
	for i := range 1_000 {
		defs = append(defs, b.target(fmt.Sprintf("r%d", i), fmt.Sprintf("t%d", i), fmt.Sprintf(`{"source":["s%d","s%d","s%d"]}`, i, (i+1)%1_000, (i+2)%1_000)))
	}
	r, stop := b.process(defs...)
	eventually(t, "all targets run", func() bool {
		for _, d := range defs {
			if l, err := r.Local(d.Name); err != nil || !l.Running {
				return false
			}
		}
		return r.OwnsBus(b.bus, "any key")
	})
	for i := range 20 {
		b.send(3, fmt.Sprintf("s%d", i*10))
	}
	for i := range 20 {
		for _, t := range []int{i * 10, (i*10 + 999) % 1_000, (i*10 + 998) % 1_000} {
			b.await(fmt.Sprintf("t%d", t), 3)
		}
	}
	eventually(t, "all offsets are committed", func() bool { return b.shared() == 60 })
	for i := range 500 {
		r.Remove(defs[i].Name)
	}
	b.send(1, "s10")
	b.send(1, "s700")
	b.await("t700", 1)
	if got, _ := b.has("t10"); got != 3 {
		t.Errorf("a rule that was removed has got %d events, want 3", got)
	}
	stop()
}

// TestOnlyOneOwnsAKey asks all processes who owns keys of a bus.
func TestOnlyOneOwnsAKey(t *testing.T) {
	t.Parallel()
	b := newBusWorld(t, 6)
	def := b.target("r", "t", ofOrders)
	var all []*pipe.Runner
	for range 3 {
		r, _ := b.process(def)
		all = append(all, r)
	}
	eventually(t, "each key has one owner, and each process some", func() bool {
		some := map[int]bool{}
		for k := range 60 {
			owners := 0
			for i, r := range all {
				if r.OwnsBus(b.bus, fmt.Sprintf("rule-%d", k)) {
					owners++
					some[i] = true
				}
			}
			if owners != 1 {
				return false
			}
		}
		return len(some) == 3
	})
	if all[0].OwnsBus("none", "key") {
		t.Error("a bus that there is not has an owner")
	}
}

// TestIdleTargetsCostLittle has 5,000 targets that nothing happens to.
func TestIdleTargetsCostLittle(t *testing.T) {
	const n, most = 5_000, 16 << 10
	b := newBusWorld(t, 1)
	r, _ := b.process(b.target("first", "first", ofOrders))
	eventually(t, "the bus is read", func() bool { return r.OwnsBus(b.bus, "key") })
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, goroutines := heap(), runtime.NumGoroutine()
	var last catalog.Pipe
	for i := range n {
		last = b.target(fmt.Sprintf("r%d", i), fmt.Sprintf("t%d", i), fmt.Sprintf(`{"source":["s%d"],"detail":{"state":["a","b"]}}`, i))
		r.Set(last)
	}
	eventually(t, "all targets run", func() bool { l, err := r.Local(last.Name); return err == nil && l.Running })
	each := (int64(heap()) - int64(before)) / n
	t.Logf("%d bytes each", each)
	if each > most {
		t.Errorf("an idle target costs %d bytes, want at most %d", each, most)
	}
	if more := runtime.NumGoroutine() - goroutines; more > n/10 {
		t.Errorf("%d idle targets cost %d goroutines", n, more)
	}
	runtime.KeepAlive(r)
}
