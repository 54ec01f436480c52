package pipe

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/event"
)

// ailingFlow returns a flow that belongs to the test, which holds its mutex.
func ailingFlow(t *testing.T, inFlight int) *flow {
	t.Helper()
	f := &flow{runner: &Runner{}, governor: newGovernor(inFlight), metrics: NewMetrics(prometheus.NewRegistry()).of("p")}
	f.mu.Lock()
	t.Cleanup(func() {
		f.ready, f.addresses = queue{}, addresses{} // timers find nothing to deliver
		f.mu.Unlock()
	})
	return f
}

func batchTo(address uint64) *batch {
	return &batch{part: &partition{}, items: []*item{{address: address}}}
}

func TestAilingAddressesGetAQuarter(t *testing.T) {
	f := ailingFlow(t, 8)
	now := time.Unix(1000, 0)
	for address := range uint64(10) {
		f.learnAddress(batchTo(address+1), overloaded, time.Millisecond, now)
	}
	if got := len(f.addresses.ailing); got != 10 || f.runner.endpoints.addresses.Load() != 10 {
		t.Fatalf("%d addresses are ailing, want 10", got)
	}
	var going []*batch
	for address := range uint64(10) {
		if b := batchTo(address + 1); !f.holdsBack(b) {
			going = append(going, b)
		}
	}
	if len(going) != 2 || len(f.addresses.confined) != 8 {
		t.Fatalf("%d attempts at ailing addresses and %d wait, want 2 and 8", len(going), len(f.addresses.confined))
	}
	if f.holdsBack(batchTo(99)) || f.holdsBack(batchTo(0)) {
		t.Error("an address that is well was held back")
	}
	f.learnAddress(going[0], overloaded, time.Millisecond, now)
	if f.ready.len() != 1 || f.addresses.underway != 1 {
		t.Errorf("when one has ended %d are ready and %d under way, want 1 and 1", f.ready.len(), f.addresses.underway)
	}
	// One that is well again, and all that wait for it.
	f.learnAddress(batchTo(5), well, time.Millisecond, now)
	if f.addresses.ailing[5] != nil || f.ready.len() != 2 || len(f.addresses.confined) != 6 {
		t.Errorf("after a success %d are ready and %d wait, want 2 and 6", f.ready.len(), len(f.addresses.confined))
	}
	f.mu.Unlock()
	f.forgetAddresses()
	f.mu.Lock()
	if got := f.runner.endpoints.addresses.Load(); got != 0 {
		t.Errorf("%d addresses are remembered at the end", got)
	}
}

func TestAnAddressIsProbed(t *testing.T) {
	f := ailingFlow(t, 64)
	now := time.Now()
	for range openAfter {
		f.learnAddress(batchTo(7), silent, time.Second, now)
	}
	a := f.addresses.ailing[7]
	if !a.open {
		t.Fatal("the breaker of the address is closed")
	}
	parked := batchTo(7)
	if !f.holdsBack(parked) || len(a.parked) != 1 {
		t.Fatal("before its time a batch was tried")
	}
	a.probeAt = time.Now().Add(-1)
	probe := batchTo(7)
	if f.holdsBack(probe) || probe.probes != ofAddress || !a.probing {
		t.Fatal("no probe was made when it was time")
	}
	if b := batchTo(7); !f.holdsBack(b) || len(a.parked) != 2 {
		t.Fatal("two probes at once")
	}
	f.learnAddress(probe, silent, time.Second, now)
	if a.probing || a.pause != 2*probeFirst {
		t.Errorf("after a failed probe the pause is %s, probing %v", a.pause, a.probing)
	}
	f.learnAddress(batchTo(7), refused, time.Millisecond, now)
	if len(f.addresses.ailing) != 0 || f.ready.len() != 2 {
		t.Errorf("an answer leaves %d ailing and %d ready, want 0 and 2", len(f.addresses.ailing), f.ready.len())
	}
}

func TestSlowIsWhatTakesMuchLongerThanUsual(t *testing.T) {
	for _, c := range []struct {
		name  string
		usual time.Duration
		took  time.Duration
		want  bool
	}{
		{"all are slow", 3 * time.Second, 4 * time.Second, false},
		{"one is", 10 * time.Millisecond, 2 * time.Second, true},
		{"much longer, but short", time.Millisecond, 500 * time.Millisecond, false},
		{"the first of all", 0, 10 * time.Second, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := ailingFlow(t, 8)
			f.addresses.usual = c.usual
			if got := f.slow(well, c.took, true); got != c.want {
				t.Errorf("slow is %v, want %v", got, c.want)
			}
		})
	}
}

// However many addresses fail, what is remembered is bounded.
func TestAddressesAreBounded(t *testing.T) {
	f := ailingFlow(t, 8)
	now := time.Unix(1000, 0)
	for address := range uint64(mostAddresses + 1000) {
		f.learnAddress(batchTo(address+1), overloaded, time.Millisecond, now)
	}
	if got := len(f.addresses.ailing); got != mostAddresses || f.runner.endpoints.addresses.Load() != mostAddresses {
		t.Errorf("%d addresses are remembered, want %d", got, mostAddresses)
	}
}

// All flows that deliver to an endpoint share its probes, and take turns.
func TestFlowsShareTheProbesOfAnEndpoint(t *testing.T) {
	now := time.Now()
	all := &endpoints{}
	a, b := ailingFlow(t, 8), ailingFlow(t, 8)
	a.log, b.log = slog.New(slog.DiscardHandler), slog.New(slog.DiscardHandler)
	a.target, b.target = located("http://h:1"), located("http://h:1")
	a.endpoint, b.endpoint = all.of(a), all.of(b)
	p := a.endpoint
	if p != b.endpoint || len(p.flows) != 2 {
		t.Fatalf("two flows have %v and %v", a.endpoint, b.endpoint)
	}
	poison := batchTo(0)
	for range 2 * openAfter {
		p.learn(a, poison, unreachable, now, nil)
	}
	if a.down() {
		t.Fatal("one batch has taken the endpoint down")
	}
	p.learn(b, batchTo(0), overloaded, now, nil)
	for i := range openAfter {
		if b.down() {
			t.Fatalf("down after %d batches", i)
		}
		p.learn([]*flow{a, b}[i%2], batchTo(0), unreachable, now, nil)
	}
	if !a.down() || !b.down() {
		t.Fatal("the endpoint is not down")
	}
	for _, f := range []*flow{a, b} {
		f.offer(batchTo(0))
	}
	if a.probe(now) != nil {
		t.Error("a probe before its time")
	}
	then := now.Add(probeFirst)
	probe := a.probe(then)
	if probe == nil || probe.probes != ofEndpoint || b.probe(then) != nil {
		t.Fatal("want one probe, of one flow")
	}
	p.learn(a, probe, silent, then, nil)
	if a.down() || b.down() || p.troubled.Load() {
		t.Error("there was a connection, and the endpoint is still down")
	}
	all.leave(a)
	all.leave(b)
	if len(all.all) != 0 {
		t.Error("an endpoint without flows is remembered")
	}
}

// located is a target at an endpoint.
type located string

func (l located) Endpoint() string                            { return string(l) }
func (located) Deliver(context.Context, []*event.Event) error { return nil }
func (located) Close() error                                  { return nil }
