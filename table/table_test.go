package table

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker"
	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/waittest"
)

// embedded starts an embedded broker on a directory, for tests that end it themselves.
func embedded(t testing.TB, dir string) *broker.Broker {
	t.Helper()
	b, err := broker.Start(t.Context(), broker.Config{Listen: "127.0.0.1:0", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func cluster(t testing.TB, brokers []string) *kafka.Cluster {
	t.Helper()
	c, err := kafka.Open(kafka.Config{Brokers: brokers}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func unique(t testing.TB) string {
	return strings.ReplaceAll(fmt.Sprintf("%s-%d", t.Name(), time.Now().UnixNano()), "/", "-")
}

// open opens a table as a process of its own would.
func open(t testing.TB, brokers []string, topic string, opts Options) *Table {
	t.Helper()
	table, err := Open(t.Context(), cluster(t, brokers), topic, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(table.Close)
	return table
}

func put(t testing.TB, table *Table, key, value string, expect Version) Entry {
	t.Helper()
	e, err := table.Put(t.Context(), key, []byte(value), expect)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// content is what a table holds, as text.
func content(table *Table) []string {
	var all []string
	for e := range table.All() {
		all = append(all, e.Key+"="+string(e.Value))
	}
	return all
}

func TestPutGetListDelete(t *testing.T) {
	b, topic := brokertest.Brokers(t), unique(t)
	one := open(t, b, topic, Options{})
	first := put(t, one, "rule/b", "1", Absent)
	put(t, one, "rule/a", "2", Any)
	put(t, one, "bus/x", "3", Any)
	put(t, one, "rule/empty", "", Any)
	second := put(t, one, "rule/b", "4", first.Version)
	if got, ok := one.Get("rule/b"); !ok || !cmp.Equal(got, second) || second.Version <= first.Version {
		t.Errorf("get: %v %v, want %v", got, ok, second)
	}
	if got, ok := one.Get("rule/empty"); !ok || got.Value == nil {
		t.Errorf("an empty value: %v %v", got, ok)
	}
	if age := time.Since(second.Time); age < -time.Second || age > time.Minute {
		t.Errorf("written %s ago", age)
	}
	for name, expect := range map[string]Version{"old version": first.Version, "absent": Absent, "version to come": second.Version + 1000} {
		if _, err := one.Put(t.Context(), "rule/b", nil, expect); !errors.Is(err, ErrConflict) {
			t.Errorf("put, %s: %v, want ErrConflict", name, err)
		}
		if err := one.Delete(t.Context(), "rule/b", expect); !errors.Is(err, ErrConflict) {
			t.Errorf("delete, %s: %v, want ErrConflict", name, err)
		}
	}
	if err := one.Delete(t.Context(), "rule/a", Any); err != nil {
		t.Error(err)
	}
	if err := one.Delete(t.Context(), "nothing", Any); err != nil {
		t.Error(err)
	}
	if err := one.Delete(t.Context(), "nothing", 7); !errors.Is(err, ErrConflict) {
		t.Errorf("delete what is not there: %v, want ErrConflict", err)
	}
	want := []string{"bus/x=3", "rule/b=4", "rule/empty="}
	if diff := cmp.Diff(want, content(one)); diff != "" {
		t.Errorf("content: %s", diff)
	}
	var keys []string
	for _, e := range one.List("rule/") {
		keys = append(keys, e.Key)
	}
	if diff := cmp.Diff([]string{"rule/b", "rule/empty"}, keys); diff != "" {
		t.Errorf("rules: %s", diff)
	}
	two := open(t, b, topic, Options{})
	if diff := cmp.Diff(want, content(two)); diff != "" {
		t.Errorf("content of another process: %s", diff)
	}
	if got, _ := two.Get("rule/b"); !cmp.Equal(got, second) {
		t.Errorf("another process has %v, want %v", got, second)
	}
	// What one has just written, the other one may build on although it may not
	// have seen it yet.
	third := put(t, two, "rule/b", "5", second.Version)
	fourth := put(t, one, "rule/b", "6", third.Version)
	if err := two.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, _ := two.Get("rule/b"); !cmp.Equal(got, fourth) {
		t.Errorf("after Sync another process has %v, want %v", got, fourth)
	}
	for _, table := range []*Table{one, two} {
		if err := table.Health(); err != nil {
			t.Error(err)
		}
	}
}

// A process that has the id as far as it knows, but has not heard of what another
// one has written, refuses nothing on what it remembers.
func TestRefusalsAreNotFoundedOnOldNews(t *testing.T) {
	b, topic := brokertest.Brokers(t), unique(t)
	one, two := open(t, b, topic, Options{}), open(t, b, topic, Options{})
	put(t, one, "k", "1", Absent)
	one.watching.order.Lock() // the copy stands still
	second := put(t, two, "k", "2", Any)
	answers := make(chan error, 2)
	go func() {
		_, err := one.Put(t.Context(), "k", []byte("3"), second.Version)
		answers <- err
	}()
	go func() {
		answers <- one.Update(t.Context(), func(tx *Tx) error {
			if e, _ := tx.Get("k"); string(e.Value) == "1" {
				return errors.New("old news")
			}
			return nil
		})
	}()
	early := 0
	select {
	case err := <-answers:
		early++
		t.Errorf("answered with %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	one.watching.order.Unlock()
	for range 2 - early {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
}

func TestLimits(t *testing.T) {
	table := open(t, brokertest.Brokers(t), unique(t), Options{})
	for _, c := range []struct {
		name       string
		key, value int
		want       error
	}{
		{"no key", 0, 1, ErrInvalid},
		{"key too long", MaxKeyBytes + 1, 1, ErrInvalid},
		{"value too long", 1, MaxValueBytes + 1, ErrInvalid},
		{"both as long as they may be", MaxKeyBytes, MaxValueBytes, nil},
	} {
		value := bytes.Repeat([]byte{0xff, 0, 7}, c.value/3+1)[:c.value]
		e, err := table.Put(t.Context(), strings.Repeat("k", c.key), value, Any)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if err == nil && !bytes.Equal(e.Value, value) {
			t.Errorf("%s: the value has changed", c.name)
		}
	}
	err := table.Update(t.Context(), func(tx *Tx) error {
		for i := range 3 {
			tx.Put(fmt.Sprint(i), make([]byte, MaxUpdateBytes/3))
		}
		return nil
	})
	if !errors.Is(err, ErrInvalid) {
		t.Errorf("update: %v, want ErrInvalid", err)
	}
	if got := len(table.List("")); got != 1 {
		t.Errorf("%d entries, want 1", got)
	}
	err = table.Update(t.Context(), func(tx *Tx) error {
		for i := range 20_000 {
			tx.Put(fmt.Sprint("many/", i), nil)
		}
		return nil
	})
	if got := len(table.List("many/")); err != nil || got != 20_000 {
		t.Errorf("%d entries, %v; want 20000", got, err)
	}
}

func TestUpdateIsAllOrNothing(t *testing.T) {
	b, topic := brokertest.Brokers(t), unique(t)
	table := open(t, b, topic, Options{})
	put(t, table, "a", "1", Any)
	put(t, table, "b", "1", Any)
	refused := errors.New("refused")
	err := table.Update(t.Context(), func(tx *Tx) error {
		tx.Put("a", []byte("2"))
		tx.Delete("b")
		return refused
	})
	if !errors.Is(err, refused) || err.Error() != "refused" {
		t.Errorf("got %v, want the function's error", err)
	}
	if diff := cmp.Diff([]string{"a=1", "b=1"}, content(table)); diff != "" {
		t.Errorf("after an error: %s", diff)
	}
	err = table.Update(t.Context(), func(tx *Tx) error {
		tx.Put("c", []byte("3"))
		tx.Put("a", []byte("2"))
		tx.Put("a", []byte("4"))
		tx.Delete("b")
		tx.Delete("never")
		var seen []string
		for _, e := range tx.List("") {
			seen = append(seen, fmt.Sprintf("%s=%s@%d", e.Key, e.Value, e.Version))
		}
		if diff := cmp.Diff([]string{"a=4@0", "c=3@0"}, seen); diff != "" {
			t.Errorf("within: %s", diff)
		}
		if _, ok := tx.Get("b"); ok {
			t.Error("within: b is still there")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a=4", "c=3"}
	if diff := cmp.Diff(want, content(table)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, content(open(t, b, topic, Options{}))); diff != "" {
		t.Errorf("opened again: %s", diff)
	}
}

// Two processes add to one counter as fast as they can.
func TestNoIncrementIsLost(t *testing.T) {
	b, topic := brokertest.Brokers(t), unique(t)
	const writers, each = 4, 25
	var wg sync.WaitGroup
	tables := []*Table{open(t, b, topic, Options{}), open(t, b, topic, Options{})}
	start := time.Now()
	for i := range writers {
		wg.Go(func() {
			for range each {
				if err := increment(t.Context(), tables[i%2]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d increments in %s", writers*each, time.Since(start))
	for i, table := range tables {
		if err := table.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if e, _ := table.Get("n"); len(e.Value) != writers*each {
			t.Errorf("process %d counts %d, want %d", i, len(e.Value), writers*each)
		}
	}
}

// increment makes the value of n one byte longer.
func increment(ctx context.Context, table *Table) error {
	return table.Update(ctx, func(tx *Tx) error {
		e, _ := tx.Get("n")
		tx.Put("n", append(slices.Clone(e.Value), '.'))
		return nil
	})
}

func TestWatchSeesEveryChangeInOrder(t *testing.T) {
	b, topic := brokertest.Brokers(t), unique(t)
	one, two := open(t, b, topic, Options{}), open(t, b, topic, Options{})
	put(t, one, "before", "0", Any)
	type seen struct {
		at      time.Time
		changes []Change
	}
	calls := make(chan seen, 100)
	stop := one.Watch(func(changes []Change) { calls <- seen{time.Now(), changes} })
	next := func() seen {
		t.Helper()
		select {
		case s := <-calls:
			return s
		case <-time.After(time.Minute):
			t.Fatal("no call of the watcher")
			return seen{}
		}
	}
	if got := next().changes; len(got) != 1 || got[0].Key != "before" || got[0].Deleted {
		t.Errorf("at first: %v, want what there is", got)
	}
	var got, want []string
	for i := range 10 {
		table := []*Table{one, two}[i%2]
		put(t, table, "k", fmt.Sprint(i), Any)
		written := time.Now()
		s := next()
		if late := s.at.Sub(written); late > 30*time.Second {
			t.Errorf("change %d came after %s", i, late)
		}
		got, want = append(got, string(s.changes[0].Value)), append(want, fmt.Sprint(i))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes: %s", diff)
	}
	if err := two.Update(t.Context(), func(tx *Tx) error { tx.Delete("k"); tx.Delete("before"); tx.Put("new", nil); return nil }); err != nil {
		t.Fatal(err)
	}
	var last []string
	for _, c := range next().changes {
		last = append(last, fmt.Sprint(c.Key, c.Deleted))
	}
	if diff := cmp.Diff([]string{"ktrue", "beforetrue", "newfalse"}, last); diff != "" {
		t.Errorf("an update in one call: %s", diff)
	}
	stop()
	put(t, one, "k", "after", Any)
	one.Close()
	if len(calls) > 0 {
		t.Errorf("called after stop with %v", (<-calls).changes)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	table := open(t, brokertest.Brokers(t), unique(t), Options{})
	put(t, table, "k", "v", Any)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for {
				_, err := table.Put(t.Context(), fmt.Sprint("w", i), nil, Any)
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					t.Errorf("writer %d: %v, want ErrClosed", i, err)
					return
				}
			}
		})
	}
	waittest.Until(t, "writers write", func() bool { return len(table.List("w")) == 20 })
	start := time.Now()
	table.Close()
	table.Close()
	wg.Wait()
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
	if _, ok := table.Get("k"); !ok {
		t.Error("Get does not answer any more")
	}
	for name, err := range map[string]error{"health": table.Health(), "sync": table.Sync(t.Context()), "delete": table.Delete(t.Context(), "k", Any)} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", name, err)
		}
	}
	called := false
	table.Watch(func(c []Change) { called = len(c) == 21 })()
	if !called {
		t.Error("a watcher that comes late does not see what there was")
	}
}

// A writer that has written and not committed is killed, or only slow.
func TestAnAbandonedTransactionIsNeverSeen(t *testing.T) {
	b, topic := brokertest.Brokers(t), unique(t)
	table := open(t, b, topic, Options{})
	put(t, table, "k", "kept", Any)
	w, err := cluster(t, b).Writer(t.Context(), "klamm.table."+topic)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Write(t.Context(), &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte("half")}); err != nil {
		t.Fatal(err)
	}
	other := open(t, b, topic, Options{})
	if diff := cmp.Diff([]string{"k=kept"}, content(other)); diff != "" {
		t.Errorf("opened while the transaction is open: %s", diff)
	}
	start := time.Now()
	put(t, table, "k2", "v", Absent)
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("the next writer waited for %s", took)
	}
	if err := w.Commit(t.Context()); !errors.Is(err, kafka.ErrUnconfirmed) {
		t.Errorf("late commit: %v, want ErrUnconfirmed", err)
	}
	if err := other.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, table := range []*Table{table, other, open(t, b, topic, Options{})} {
		if diff := cmp.Diff([]string{"k=kept", "k2=v"}, content(table)); diff != "" {
			t.Error(diff)
		}
	}
}
