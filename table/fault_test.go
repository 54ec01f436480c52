package table

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-gateway/klamm/broker"
	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/waittest"
)

// faulty starts a broker whose inside the test can reach.
func faulty(t *testing.T) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.Ports(0), kfake.NumBrokers(1), kfake.DataDir(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestUnknownOutcomes loses the answers to commits: of some that were done and of
// some that were not. Nothing is done twice, and nothing is left out.
func TestUnknownOutcomes(t *testing.T) {
	c := faulty(t)
	inner, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	var passing atomic.Bool
	var commits, done, ignored int
	c.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		end := req.(*kmsg.EndTxnRequest)
		if passing.Load() || !end.Commit {
			return nil, nil, false
		}
		resp := end.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = kerr.UnknownServerError.Code
		commits++
		switch commits % 3 {
		case 0:
			return nil, nil, false
		case 1:
			ignored++
			return resp, nil, true
		}
		done++
		passing.Store(true)
		c.SleepControl(func() {
			copied := *end
			if got, err := copied.RequestWith(context.Background(), inner); err != nil || got.ErrorCode != 0 {
				t.Errorf("commit: %v %v", got, err)
			}
		})
		passing.Store(false)
		return resp, nil, true
	})
	topic := unique(t)
	one, two := open(t, c.ListenAddrs(), topic, Options{}), open(t, c.ListenAddrs(), topic, Options{})
	const times = 60
	for i := range times {
		if err := increment(t.Context(), []*Table{one, two}[i/2%2]); err != nil {
			t.Fatal(err)
		}
	}
	if err := one.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e, _ := one.Get("n"); len(e.Value) != times {
		t.Errorf("counted %d, want %d", len(e.Value), times)
	}
	t.Logf("%d commits, %d answers lost after and %d before the deed", commits, done, ignored)
	if done == 0 || ignored == 0 {
		t.Error("no answer was lost")
	}
}

// Somebody else has overwritten what a lost answer was about.
func TestUnknownOutcomeThatWasOverwritten(t *testing.T) {
	c := faulty(t)
	topic := unique(t)
	one, two := open(t, c.ListenAddrs(), topic, Options{}), open(t, c.ListenAddrs(), topic, Options{})
	first := put(t, one, "k", "1", Absent)
	inner, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	var began, passing atomic.Bool
	c.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		end := req.(*kmsg.EndTxnRequest)
		if passing.Load() || !end.Commit || !began.CompareAndSwap(false, true) {
			return nil, nil, false
		}
		passing.Store(true)
		c.SleepControl(func() {
			copied := *end
			if _, err := copied.RequestWith(context.Background(), inner); err != nil {
				t.Error(err)
			}
			if _, err := two.Put(context.Background(), "k", []byte("3"), Any); err != nil {
				t.Error(err)
			}
		})
		resp := end.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = kerr.UnknownServerError.Code
		return resp, nil, true
	})
	// The version that is expected is overwritten by this very write, so to do it
	// again after the lost answer would be a conflict.
	if _, err := one.Put(t.Context(), "k", []byte("2"), first.Version); err != nil {
		t.Errorf("got %v, want success", err)
	}
	if e, _ := one.Get("k"); string(e.Value) != "3" {
		t.Errorf("got %s, want what came after", e.Value)
	}
}

func TestBrokerAwayAndRestart(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address, dir := l.Addr().String(), t.TempDir()
	_ = l.Close()
	start := func() *broker.Broker {
		t.Helper()
		b, err := broker.Start(t.Context(), broker.Config{Listen: address, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		return b
	}
	b, topic := start(), unique(t)
	table := open(t, []string{address}, topic, Options{})
	put(t, table, "gone", "1", Any)
	kept := put(t, table, "kept", "2", Any)
	if err := table.Delete(t.Context(), "gone", Any); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if got, ok := table.Get("kept"); !ok || !cmp.Equal(got, kept) {
		t.Errorf("without a broker: %v, want %v", got, kept)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = table.Put(ctx, "kept", []byte("3"), Any)
	if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnknown) || took > 30*time.Second {
		t.Errorf("put without a broker: %v after %s, want the error of its context, and nothing written", err, took)
	}
	if err := table.Sync(ctx); err == nil {
		t.Error("sync without a broker succeeds")
	}
	start()
	after := put(t, table, "kept", "4", kept.Version)
	if after.Version <= kept.Version {
		t.Errorf("version %d after %d", after.Version, kept.Version)
	}
	for _, table := range []*Table{table, open(t, []string{address}, topic, Options{})} {
		if diff := cmp.Diff([]string{"kept=4"}, content(table)); diff != "" {
			t.Errorf("after the restart: %s", diff)
		}
		waittest.Until(t, "healthy again", func() bool { return table.Health() == nil })
	}
}

func TestTopicCreatedAnew(t *testing.T) {
	t.Parallel()
	lost(t, func(c *kafka.Cluster, topic string) {
		if err := c.DeleteTopic(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
		compact := "compact"
		if err := c.CreateTopic(t.Context(), kafka.NewTopic{Name: topic, Partitions: 1, Settings: []kafka.Setting{{Name: "cleanup.policy", Value: &compact}}}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTopicDeleted(t *testing.T) {
	t.Parallel()
	lost(t, func(c *kafka.Cluster, topic string) {
		if err := c.DeleteTopic(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
	})
}

// lost checks what a table does when something happens to its topic.
func lost(t *testing.T, happens func(*kafka.Cluster, string)) {
	t.Helper()
	b, topic := brokertest.Brokers(t), unique(t)
	alarms := make(chan error, 10)
	c := cluster(t, b)
	table, err := Open(t.Context(), c, topic, Options{Alarm: func(err error) { alarms <- err }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(table.Close)
	put(t, table, "k", "v", Any)
	happens(c, topic)
	_, err = table.Put(t.Context(), "k", []byte("w"), Any)
	if err == nil {
		t.Error("put into another topic succeeds")
	}
	select {
	case err := <-alarms:
		if !errors.Is(err, ErrLost) {
			t.Errorf("alarm: %v, want ErrLost", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("no alarm")
	}
	if err := table.Health(); !errors.Is(err, ErrLost) {
		t.Errorf("health: %v, want ErrLost", err)
	}
	if _, err := table.Put(t.Context(), "k", []byte("w"), Any); !errors.Is(err, ErrLost) {
		t.Errorf("put: %v, want ErrLost", err)
	}
	if diff := cmp.Diff([]string{"k=v"}, content(table)); diff != "" {
		t.Errorf("content: %s", diff)
	}
	if len(alarms) > 0 {
		t.Error("a second alarm")
	}
}

func TestUnfitTopic(t *testing.T) {
	b := brokertest.Brokers(t)
	c := cluster(t, b)
	for _, unfit := range []struct {
		name       string
		partitions int32
		policy     string
	}{{"two partitions", 2, "compact"}, {"deletes", 1, "delete"}, {"does both", 1, "compact,delete"}} {
		topic := unique(t) + strings.ReplaceAll(unfit.name, " ", "-")
		if err := c.CreateTopic(t.Context(), kafka.NewTopic{Name: topic, Partitions: unfit.partitions, Settings: []kafka.Setting{{Name: "cleanup.policy", Value: &unfit.policy}}}); err != nil {
			t.Fatal(err)
		}
		if table, err := Open(t.Context(), c, topic, Options{}); !errors.Is(err, errUnfit) {
			t.Errorf("%s: %v, want that it is unfit", unfit.name, err)
			if err == nil {
				table.Close()
			}
		}
	}
}

func TestOpenWithoutABroker(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, cluster(t, []string{"127.0.0.1:1"}), "t", Options{}); err == nil {
		t.Error("opened without a broker")
	}
}

// TestCompaction has the broker remove what was overwritten, while tables follow
// and before one is opened.
func TestCompaction(t *testing.T) {
	b, compact := compacting(t)
	topic := unique(t)
	one, two := open(t, b, topic, Options{}), open(t, b, topic, Options{})
	put(t, one, "old", "kept", Any)
	put(t, one, "gone", "1", Any)
	if err := one.Delete(t.Context(), "gone", Any); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		for i := range 50 {
			put(t, []*Table{one, two}[i/10%2], fmt.Sprint("k", i%5), fmt.Sprint(round, "-", i), Any)
		}
		compact(topic)
		want := []string{fmt.Sprintf("k0=%d-45", round), fmt.Sprintf("k1=%d-46", round), fmt.Sprintf("k2=%d-47", round),
			fmt.Sprintf("k3=%d-48", round), fmt.Sprintf("k4=%d-49", round), "old=kept"}
		for _, table := range []*Table{one, two, open(t, b, topic, Options{})} {
			if err := table.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, content(table)); diff != "" {
				t.Errorf("round %d: %s", round, diff)
			}
		}
		e, _ := two.Get("old")
		if again := put(t, two, "old", "kept", e.Version); again.Version <= e.Version {
			t.Errorf("version %d after %d", again.Version, e.Version)
		}
	}
}

// compacting returns brokers and how to make them compact a topic now.
func compacting(t *testing.T) (addresses []string, compact func(topic string)) {
	t.Helper()
	if os.Getenv("KLAMM_TEST_BROKERS") == "" {
		c := faulty(t)
		return c.ListenAddrs(), func(topic string) {
			records := c.PartitionInfo(topic, 0).NumBytes
			c.Compact()
			if left := c.PartitionInfo(topic, 0).NumBytes; left >= records {
				t.Errorf("%d bytes after compaction, %d before", left, records)
			}
		}
	}
	b := brokertest.Brokers(t)
	c := cluster(t, b)
	return b, func(topic string) {
		// A segment is closed by the first write after its time, and what is closed
		// is compacted when the cleaner comes by, every 15 s by default.
		settings := map[string]string{"segment.ms": "100", "min.compaction.lag.ms": "0", "min.cleanable.dirty.ratio": "0.001"}
		var changes []kafka.SettingChange
		for name, value := range settings {
			changes = append(changes, kafka.SettingChange{Name: name, Value: &value})
		}
		if err := c.Alter(t.Context(), kafka.OfTopic, topic, changes, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
		table := open(t, b, topic, Options{})
		e, _ := table.Get("k4")
		put(t, table, "k4", string(e.Value), Any)
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(500 * time.Millisecond) {
			records, err := c.Fetch(t.Context(), topic, 0, 0, kafka.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			keys := map[string]int{}
			for _, r := range records {
				keys[string(r.Key)]++
			}
			if keys["k0"] <= 2 {
				t.Logf("compacted to %d records", len(records))
				return
			}
			if time.Now().After(end) {
				t.Fatalf("not compacted: %v", keys)
			}
		}
	}
}

// A table that cannot go on where it was reads everything again, and finds what
// has been deleted and compacted away meanwhile.
func TestOutOfTouch(t *testing.T) {
	c := faulty(t)
	topic := unique(t)
	table := open(t, c.ListenAddrs(), topic, Options{})
	put(t, table, "a", "1", Any)
	put(t, table, "b", "1", Any)
	var seen []string
	changes := make(chan []Change, 10)
	table.Watch(func(c []Change) { changes <- c })
	<-changes
	// What a broker does with tombstones after delete.retention.ms, and what the
	// table has not heard of since.
	table.state.mu.Lock()
	table.state.entries["ghost"] = stored{version: 1}
	table.state.keys = append(table.state.keys, "ghost")
	delete(table.state.entries, "b")
	table.state.keys = slices.DeleteFunc(table.state.keys, func(k string) bool { return k == "b" })
	table.state.mu.Unlock()
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Err: kerr.OffsetOutOfRange})
	for _, c := range <-changes {
		seen = append(seen, fmt.Sprint(c.Key, c.Deleted))
	}
	if diff := cmp.Diff([]string{"bfalse", "ghosttrue"}, seen); diff != "" {
		t.Errorf("watchers: %s", diff)
	}
	if diff := cmp.Diff([]string{"a=1", "b=1"}, content(table)); diff != "" {
		t.Error(diff)
	}
}

// TestOneBatch checks that a transaction is one batch, however many records it
// has: the embedded broker's compaction does not know of open transactions, and
// leaves only the last batch of the log alone.
func TestOneBatch(t *testing.T) {
	c := faulty(t)
	table := open(t, c.ListenAddrs(), unique(t), Options{})
	var requests, batches atomic.Int32
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		requests.Add(1)
		for _, topic := range req.(*kmsg.ProduceRequest).Topics {
			for _, p := range topic.Partitions {
				for rest := p.Records; len(rest) > 12; rest = rest[12+binary.BigEndian.Uint32(rest[8:]):] {
					batches.Add(1)
				}
			}
		}
		return nil, nil, false
	})
	for name, change := range map[string]func(*Tx){
		"many": func(tx *Tx) {
			for i := range 20_000 {
				tx.Put(fmt.Sprint(i), nil)
			}
		},
		"long": func(tx *Tx) { tx.Put(strings.Repeat("k", MaxKeyBytes), make([]byte, MaxValueBytes)) },
		"both": func(tx *Tx) {
			for i := range 1000 {
				tx.Put(fmt.Sprint(i), []byte(strings.Repeat("v", 900)))
			}
		},
	} {
		requests.Store(0)
		batches.Store(0)
		if err := table.Update(t.Context(), func(tx *Tx) error { change(tx); return nil }); err != nil {
			t.Fatal(name, err)
		}
		if r, b := requests.Load(), batches.Load(); r != 1 || b != 1 {
			t.Errorf("%s: %d requests with %d batches, want one", name, r, b)
		}
	}
}

// While somebody else, who knows nothing of tables, has a transaction open in the
// topic, nobody can see what is committed behind it. Nothing is lost to that.
func TestForeignTransaction(t *testing.T) {
	b, topic := brokertest.Brokers(t), unique(t)
	one, two := open(t, b, topic, Options{}), open(t, b, topic, Options{})
	if err := increment(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	w, err := cluster(t, b).Writer(t.Context(), unique(t))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Write(t.Context(), &kgo.Record{Topic: topic, Key: []byte("foreign"), Value: []byte("half")}); err != nil {
		t.Fatal(err)
	}
	answers := make(chan error, 2)
	for _, table := range []*Table{one, two} {
		go func() { answers <- increment(t.Context(), table) }()
	}
	select {
	case err := <-answers:
		t.Errorf("an increment that nobody can see is answered with %v", err)
	case <-time.After(500 * time.Millisecond):
	}
	if err := w.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if err := one.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e, _ := one.Get("n"); len(e.Value) != 3 {
		t.Errorf("counted %d, want 3", len(e.Value))
	}
}

// TestKilledBroker copies the broker's directory while tables are written and
// starts from the copy, which is what a kill leaves, again and again: with
// compaction before, and with a transaction open.
func TestKilledBroker(t *testing.T) {
	dir, topic := t.TempDir(), unique(t)
	c, err := kfake.NewCluster(kfake.Ports(0), kfake.NumBrokers(1), kfake.ClusterID("klamm-embedded"), kfake.DataDir(filepath.Join(dir, "broker")))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	addresses := c.ListenAddrs()
	var want []string
	for round := range 4 {
		one, two := open(t, addresses, topic, Options{}), open(t, addresses, topic, Options{})
		if diff := cmp.Diff(want, content(one)); diff != "" {
			t.Fatalf("round %d: %s", round, diff)
		}
		for i := range 20 {
			put(t, []*Table{one, two}[i/5%2], fmt.Sprint("k", i%4), fmt.Sprint(round, "-", i), Any)
		}
		if err := increment(t.Context(), two); err != nil {
			t.Fatal(err)
		}
		if err := one.Delete(t.Context(), "k0", Any); err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			c.Compact()
		}
		w, err := cluster(t, addresses).Writer(t.Context(), "klamm.table."+topic)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(t.Context(), &kgo.Record{Topic: topic, Key: []byte("a"), Value: []byte("never")}); err != nil {
			t.Fatal(err)
		}
		if err := one.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		want = content(one)
		if last := want[len(want)-1]; last != "n="+strings.Repeat(".", round+1) {
			t.Errorf("round %d: counted %q", round, last)
		}
		if diff := cmp.Diff(want, content(open(t, addresses, topic, Options{}))); diff != "" {
			t.Errorf("round %d, opened from the beginning: %s", round, diff)
		}
		image := t.TempDir()
		if err := os.CopyFS(image, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		for _, closes := range []interface{ Close() }{w, one, two} {
			closes.Close()
		}
		dir, addresses = image, embedded(t, image).Addrs()
	}
}

func TestPanicBelongsToItsCaller(t *testing.T) {
	table := open(t, brokertest.Brokers(t), unique(t), Options{})
	func() {
		defer func() {
			if got := recover(); got != "mine" {
				t.Errorf("recovered %v, want mine", got)
			}
		}()
		_ = table.Update(t.Context(), func(*Tx) error { panic("mine") })
	}()
	put(t, table, "k", "v", Absent)
}
