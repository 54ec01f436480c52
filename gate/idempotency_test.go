package gate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/table"
)

// replica is the gate and the claims of a process.
func replica(t testing.TB, brokers []string, cfg Idempotency) (*Gate, *Claims) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	cluster, err := kafka.Open(kafka.Config{Brokers: brokers}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	claims := NewClaims(cluster, cfg, prometheus.NewRegistry(), log)
	t.Cleanup(claims.Close)
	return New(cluster), claims
}

// counted is how many requests had an outcome.
func counted(t *testing.T, c *Claims, outcome string) float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(c.metrics.requests)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if m.GetLabel()[0].GetValue() == outcome {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// freshName is a name that no test before has used on these brokers.
func freshName(t testing.TB) string {
	return strings.ReplaceAll(fmt.Sprintf("%s-%d", t.Name(), rand.Uint64()), "/", "-")
}

var created = Answer{Status: 201, Header: http.Header{"Content-Type": {"text/plain"}}, Body: []byte("made")}

func TestTheFirstUnderAKeyIsHeardEverywhere(t *testing.T) {
	brokers := brokertest.Brokers(t)
	_, one := replica(t, brokers, Idempotency{})
	_, two := replica(t, brokers, Idempotency{})
	scope := []string{freshName(t)}
	first := one.New(scope, "k", time.Hour)
	first.Identify([32]byte{1})
	if err := first.begin(t.Context()); err != nil || first.begin(t.Context()) != nil || !first.Begun() {
		t.Fatalf("the first: %v", err)
	}
	same := func(c *Claims, print byte) *Claim {
		claim := c.New(scope, "k", time.Hour)
		claim.Identify([32]byte{print})
		return claim
	}
	for i, c := range []*Claims{one, two} {
		if err := same(c, 1).begin(t.Context()); !errors.Is(err, ErrRunning) {
			t.Errorf("replica %d, while it runs: %v", i, err)
		}
		if err := same(c, 2).begin(t.Context()); !errors.Is(err, ErrReused) {
			t.Errorf("replica %d, another request while it runs: %v", i, err)
		}
	}
	if err := one.New(scope, "other", time.Hour).begin(t.Context()); err != nil {
		t.Errorf("another key: %v", err)
	}
	if err := one.New([]string{freshName(t)}, "k", time.Hour).begin(t.Context()); err != nil {
		t.Errorf("another scope: %v", err)
	}
	if err := first.Finish(created); err != nil {
		t.Fatal(err)
	}
	_, three := replica(t, brokers, Idempotency{}) // as after a restart
	for i, c := range []*Claims{two, one, three} {
		again := same(c, 1)
		if err := again.begin(t.Context()); !errors.Is(err, ErrRepeated) || !errors.Is(again.Refused(), ErrRepeated) {
			t.Errorf("replica %d, afterwards: %v", i, err)
		}
		if diff := cmp.Diff(created, again.Earlier()); diff != "" {
			t.Errorf("replica %d (-want +got):\n%s", i, diff)
		}
		if err := same(c, 2).begin(t.Context()); !errors.Is(err, ErrReused) {
			t.Errorf("replica %d, another request afterwards: %v", i, err)
		}
	}
	if n := counted(t, two, "repeated"); n != 1 {
		t.Errorf("counted %v repetitions", n)
	}
}

func TestOneOfManyIsFirst(t *testing.T) {
	brokers := brokertest.Brokers(t)
	_, one := replica(t, brokers, Idempotency{})
	_, two := replica(t, brokers, Idempotency{})
	for round := range 3 {
		key := freshName(t)
		var firsts atomic.Int32
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				c := []*Claims{one, two}[i%2]
				err := c.New(nil, key, time.Hour).begin(t.Context())
				if err == nil {
					firsts.Add(1)
				} else if !errors.Is(err, ErrRunning) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := firsts.Load(); n != 1 {
			t.Errorf("round %d: %d were first", round, n)
		}
	}
}

func TestWhatIsKept(t *testing.T) {
	_, claims := replica(t, brokertest.Brokers(t), Idempotency{})
	written, denied := kgo.ProduceResult{}, kgo.ProduceResult{Err: kerr.TopicAuthorizationFailed}
	lost := kgo.ProduceResult{Err: kafka.ErrNotAcknowledged}
	for _, c := range []struct {
		name    string
		status  int
		results kgo.ProduceResults
		want    error // of a repetition
	}{
		{"success", 200, kgo.ProduceResults{written}, ErrRepeated},
		{"no outcome known", 202, nil, ErrRepeated},
		{"refusal", 404, nil, ErrRepeated},
		{"refusal of every record within a success", 200, kgo.ProduceResults{denied}, ErrRepeated},
		{"some written", 200, kgo.ProduceResults{written, lost}, ErrRepeated},
		{"none written within a success", 200, kgo.ProduceResults{lost, denied}, nil},
		{"too many requests", 429, nil, nil},
		{"unavailable", 503, kgo.ProduceResults{lost}, nil},
		{"broken", 500, kgo.ProduceResults{written}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := freshName(t)
			first := claims.New(nil, key, time.Hour)
			if err := first.begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			first.note(c.results)
			if err := first.Finish(Answer{Status: c.status}); err != nil {
				t.Fatal(err)
			}
			if err := first.Abandon(); err != nil {
				t.Error(err)
			}
			if err := claims.New(nil, key, time.Hour).begin(t.Context()); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestKeysExpire(t *testing.T) {
	_, claims := replica(t, brokertest.Brokers(t), Idempotency{})
	// A process that has died while it was at it.
	dead := claims.New(nil, freshName(t), time.Hour)
	l, err := claims.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.table.Put(t.Context(), dead.key, appendKept(nil, kept{owner: [16]byte{1}, expires: time.Now().Add(300 * time.Millisecond)}), table.Any); err != nil {
		t.Fatal(err)
	}
	answered := claims.New(nil, freshName(t), 300*time.Millisecond)
	if err := errors.Join(answered.begin(t.Context()), answered.Finish(created)); err != nil {
		t.Fatal(err)
	}
	broken := claims.New(nil, freshName(t), time.Hour)
	if _, err := l.table.Put(t.Context(), broken.key, []byte("what is this"), table.Any); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*Claim{"running": dead, "done": answered, "of another version": broken} {
		for end := time.Now().Add(time.Minute); ; {
			again := &Claim{claims: claims, key: c.key, ttl: time.Hour, owner: [16]byte{2}}
			if err := again.begin(t.Context()); err == nil {
				break
			} else if time.Now().After(end) {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func TestExpiredKeysAreRemoved(t *testing.T) {
	_, claims := replica(t, brokertest.Brokers(t), Idempotency{})
	scope := freshName(t)
	for i := range 5 {
		c := claims.New([]string{scope}, fmt.Sprint(i), time.Millisecond)
		if err := errors.Join(c.begin(t.Context()), c.Finish(created)); err != nil {
			t.Fatal(err)
		}
	}
	held := claims.New([]string{scope}, "held", time.Hour)
	if err := errors.Join(held.begin(t.Context()), held.Finish(created)); err != nil {
		t.Fatal(err)
	}
	l, err := claims.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; {
		select {
		case l.tidy <- struct{}{}:
		default:
		}
		_, there := l.table.Get(held.key)
		_, gone := l.table.Get(claims.New([]string{scope}, "4", 0).key)
		if there && !gone {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the one that is held: %v, the last that has expired: %v", there, gone)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestWhatGoesBeforeItsTime looks at a full ledger.
func TestWhatGoesBeforeItsTime(t *testing.T) {
	now := time.Now()
	l := &ledger{cfg: Idempotency{Keys: 100, Bytes: 1000}, all: map[string]account{}, tidy: make(chan struct{}, 1)}
	add := func(from, to int, age time.Duration, done bool) {
		for i := from; i < to; i++ {
			l.all[fmt.Sprintf("%03d", i)] = account{expires: now.Add(time.Hour), written: now.Add(-age - time.Duration(100-i)*time.Second), bytes: 1, done: done}
			l.bytes++
		}
	}
	keys := func(all []aged) (names []string) {
		for _, a := range all {
			names = append(names, a.key)
		}
		return names
	}
	add(0, 85, time.Hour, true)
	if expired, evicted := l.due(now); len(expired)+len(evicted) > 0 || l.full() {
		t.Errorf("with room left: %v %v", expired, evicted)
	}
	add(85, 100, 0, true)
	if !l.full() || len(l.tidy) != 1 {
		t.Error("not full")
	}
	_, evicted := l.due(now)
	if got := keys(evicted); len(got) != 20 || got[0] != "000" || got[19] != "019" {
		t.Errorf("evicted %v", got)
	}
	for i := range 15 { // expired ones make the room
		a := l.all[fmt.Sprintf("%03d", i)]
		a.expires = now
		l.all[fmt.Sprintf("%03d", i)] = a
	}
	expired, evicted := l.due(now)
	if len(expired) != 15 || len(evicted) != 0 {
		t.Errorf("expired %v, evicted %v", keys(expired), keys(evicted))
	}
	clear(l.all)
	l.bytes = 0
	add(0, 50, 0, true)            // too young
	add(50, 100, time.Hour, false) // still running
	if _, evicted := l.due(now); len(evicted) > 0 {
		t.Errorf("evicted %v", keys(evicted))
	}
	l.all["big"] = account{expires: now.Add(time.Hour), written: now.Add(-time.Hour), bytes: 950, done: true}
	clear(l.all)
	l.bytes = 950
	l.all["big"] = account{expires: now.Add(time.Hour), written: now.Add(-time.Hour), bytes: 950, done: true}
	if _, evicted := l.due(now); len(evicted) != 1 {
		t.Errorf("evicted %v", keys(evicted))
	}
}

func TestNoNewKeyWhereThereIsNoRoom(t *testing.T) {
	_, claims := replica(t, brokertest.Brokers(t), Idempotency{})
	first := claims.New(nil, freshName(t), time.Hour)
	if err := errors.Join(first.begin(t.Context()), first.Finish(created)); err != nil {
		t.Fatal(err)
	}
	claims.ledger.mu.Lock()
	claims.ledger.cfg.Keys = 1
	claims.ledger.mu.Unlock()
	if err := claims.New(nil, freshName(t), time.Hour).begin(t.Context()); !errors.Is(err, errManyClaims) || Classify(err) != Unavailable {
		t.Errorf("got %v", err)
	}
	if n := counted(t, claims, "refused"); n != 1 {
		t.Errorf("counted %v", n)
	}
	again := &Claim{claims: claims, key: first.key, ttl: time.Hour}
	if err := again.begin(t.Context()); !errors.Is(err, ErrRepeated) {
		t.Errorf("one that is known: %v", err)
	}
}

func TestWithoutABroker(t *testing.T) {
	_, claims := replica(t, []string{"127.0.0.1:1"}, Idempotency{})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	c := claims.New(nil, "k", time.Hour)
	if err := c.begin(ctx); Classify(err) != Unavailable || c.Begun() {
		t.Errorf("got %v", err)
	}
	if err := c.Finish(created); err != nil {
		t.Errorf("finish: %v", err)
	}
	start := time.Now()
	claims.Close()
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("closing took %s", took)
	}
	if err := claims.New(nil, "k", time.Hour).begin(t.Context()); Classify(err) != Unavailable {
		t.Errorf("after closing: %v", err)
	}
}

func TestTheTopicIsDeleted(t *testing.T) {
	if os.Getenv("KLAMM_TEST_BROKERS") != "" {
		t.Skip("the topic belongs to other tests too")
	}
	t.Parallel()
	g, claims := replica(t, brokertest.Brokers(t), Idempotency{})
	c := claims.New(nil, "k", time.Hour)
	if err := errors.Join(c.begin(t.Context()), c.Finish(created)); err != nil {
		t.Fatal(err)
	}
	if err := g.cluster.DeleteTopic(t.Context(), idempotencyTopic); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; {
		err := claims.New(nil, freshName(t), time.Hour).begin(t.Context())
		if err == nil {
			break
		}
		if Classify(err) != Unavailable || time.Now().After(end) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// refuseAll is a policy that lets nobody write.
type refuseAll struct{}

func (refuseAll) Check(context.Context, *Call) error { return &Error{Denied, "no"} }

func TestOperationsBeginTheirClaims(t *testing.T) {
	brokers := brokertest.Brokers(t)
	g, claims := replica(t, brokers, Idempotency{})
	closed := New(g.cluster, refuseAll{})
	topic := freshName(t)
	for name, write := range map[string]func(*Gate, Principal) error{
		"produce": func(g *Gate, who Principal) error {
			_, err := g.Produce(t.Context(), who, topic, []*kgo.Record{{Value: []byte("x"), Partition: -1}})
			return err
		},
		"send": func(g *Gate, who Principal) error {
			done := make(chan error, 1)
			if err := g.Send(t.Context(), who, &kgo.Record{Topic: topic, Value: []byte("x"), Partition: -1}, func(err error) { done <- err }); err != nil {
				return err
			}
			return <-done
		},
		"send all": func(g *Gate, who Principal) error {
			done := make(chan struct{})
			if err := g.SendAll(t.Context(), who, topic, []*kgo.Record{{Value: []byte("x"), Partition: -1}}, func() { close(done) }); err != nil {
				return err
			}
			<-done
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			key := freshName(t)
			denied := claims.New(nil, key, time.Hour)
			if err := write(closed, Anonymous.Under(denied)); Classify(err) != Denied || denied.Begun() {
				t.Errorf("a policy comes first: %v", err)
			}
			first := claims.New(nil, key, time.Hour)
			if err := write(g, Anonymous.Under(first)); err != nil || !first.Begun() {
				t.Fatal(err)
			}
			if err := first.Finish(created); err != nil {
				t.Fatal(err)
			}
			if err := write(g, Anonymous.Under(claims.New(nil, key, time.Hour))); !errors.Is(err, ErrRepeated) {
				t.Errorf("again: %v", err)
			}
		})
	}
	end, err := g.cluster.Ranges(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	for _, r := range end {
		n += r.End
	}
	if n != 3 {
		t.Errorf("%d records", n)
	}
}

func TestIdempotencyIsValidated(t *testing.T) {
	for _, c := range []struct {
		in   Idempotency
		want []string
	}{
		{Idempotency{}, nil},
		{Idempotency{TTL: time.Second, Scope: []string{"route"}, Keys: 100, Bytes: 1 << 20}, nil},
		{Idempotency{TTL: time.Millisecond, Scope: []string{"route", "topic", "route"}, Keys: 1, Bytes: 1}, []string{"ttl", "scope[1]", "scope[2]", "keys", "bytes"}},
	} {
		var got []string
		c.in.Validate(func(path, _ string) { got = append(got, path) })
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.in, diff)
		}
	}
}

func TestAnswersAreKept(t *testing.T) {
	noise := make([]byte, maxKeptBody+1)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for _, c := range []struct {
		name string
		in   Answer
		want Answer
	}{
		{"small", created, created},
		{"no body", Answer{Status: 204}, Answer{Status: 204, Body: []byte{}}},
		{"compressed", Answer{Status: 200, Body: bytes.Repeat([]byte("offset"), 10_000)}, Answer{Status: 200, Body: bytes.Repeat([]byte("offset"), 10_000)}},
		{"too large", Answer{Status: 200, Body: noise}, Answer{Status: 200, Body: []byte{}, Dropped: true}},
		{"headers too large", Answer{Status: 200, Header: http.Header{"X": {strings.Repeat("x", maxKeptHeader)}}}, Answer{Status: 200, Body: []byte{}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := appendAnswer(appendKept(nil, kept{done: true}), c.in)
			if len(b) > headSize+4+maxKeptHeader+maxKeptBody {
				t.Errorf("%d bytes", len(b))
			}
			k, ok := readKept(b)
			got, err := k.answer()
			if !ok || err != nil {
				t.Fatal(ok, err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%.500s", diff)
			}
		})
	}
}

func FuzzKept(f *testing.F) {
	f.Add(appendAnswer(appendKept(nil, kept{done: true, expires: time.UnixMilli(1), owner: [16]byte{1}}), created))
	f.Add(appendAnswer(appendKept(nil, kept{}), Answer{Status: 200, Body: bytes.Repeat([]byte("offset"), 1000)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, ok := readKept(b)
		if !ok {
			return
		}
		if again := append(appendKept(nil, k), k.rest...); !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
		a, err := k.answer()
		if err != nil {
			return
		}
		back, ok := readKept(appendAnswer(appendKept(nil, k), a))
		got, err := back.answer()
		if !ok || err != nil || got.Status != a.Status || !got.Dropped && !bytes.Equal(got.Body, a.Body) {
			t.Errorf("%+v became %+v, %v", a, got, err)
		}
	})
}
