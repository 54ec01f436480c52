package kafka_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

func writer(t *testing.T, c *kafka.Cluster, id string) *kafka.Writer {
	t.Helper()
	w, err := c.Writer(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// follower follows a new topic.
func follower(t *testing.T, c *kafka.Cluster) (*kafka.Follower, string) {
	t.Helper()
	name := unique(t)
	if err := c.CreateTopic(t.Context(), kafka.NewTopic{Name: name, Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	topic, err := c.Topic(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := c.Follow(topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f, name
}

func write(t *testing.T, w *kafka.Writer, topic string, values ...string) {
	t.Helper()
	var records []*kgo.Record
	for _, v := range values {
		records = append(records, &kgo.Record{Topic: topic, Value: []byte(v)})
	}
	if err := w.Write(t.Context(), records...); err != nil {
		t.Fatal(err)
	}
	for i, r := range records {
		if r.Offset != records[0].Offset+int64(i) {
			t.Errorf("record %d has offset %d after %d", i, r.Offset, records[0].Offset)
		}
	}
}

// read reads up to the stable end.
func read(t *testing.T, f *kafka.Follower) []string {
	t.Helper()
	end, err := f.Stable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var values []string
	for {
		records, next, err := f.Next(ctx, 100*time.Millisecond)
		if ctx.Err() != nil {
			t.Fatalf("read %v: %v", values, err)
		}
		for _, r := range records {
			values = append(values, string(r.Value))
		}
		if err == nil && next >= end {
			return values
		}
	}
}

func TestWriterIsFencedByTheNext(t *testing.T) {
	c := cluster(t)
	f, topic := follower(t, c)
	first := writer(t, c, topic)
	write(t, first, topic, "a", "b")
	if got := read(t, f); got != nil {
		t.Errorf("read %v of an open transaction", got)
	}
	if err := first.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(t, first, topic, "aborted")
	if err := first.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(t, first, topic, "left open")
	second := writer(t, c, topic)
	write(t, second, topic, "c")
	if err := first.Commit(t.Context()); !errors.Is(err, kafka.ErrUnconfirmed) || !errors.Is(err, kafka.ErrFenced) {
		t.Errorf("commit of a fenced writer: %v, want ErrUnconfirmed and ErrFenced", err)
	}
	if err := second.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	third := writer(t, c, topic)
	if err := second.Write(t.Context(), &kgo.Record{Topic: topic, Value: []byte("late")}); !errors.Is(err, kafka.ErrFenced) {
		t.Errorf("write of a fenced writer: %v, want ErrFenced", err)
	}
	write(t, third, topic, "d")
	if err := third.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for end := time.Now().Add(time.Minute); len(got) < 4 && time.Now().Before(end); {
		got = slices.Concat(got, read(t, f))
	}
	if diff := cmp.Diff([]string{"a", "b", "c", "d"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestWriterWithoutABroker(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := open(t, "127.0.0.1:1").Writer(ctx, "id"); err == nil || time.Since(start) > 30*time.Second {
		t.Errorf("got %v after %s", err, time.Since(start))
	}
}

func TestFollowerOfATopicThatIsCreatedAnew(t *testing.T) {
	c := cluster(t)
	f, topic := follower(t, c)
	produce(t, c, topic, 0, "old")
	if diff := cmp.Diff([]string{"old"}, read(t, f)); diff != "" {
		t.Error(diff)
	}
	f.MoveTo(7)
	if _, _, err := f.Next(t.Context(), 0); !errors.Is(err, kerr.OffsetOutOfRange) {
		t.Errorf("beyond the end: %v, want OFFSET_OUT_OF_RANGE", err)
	}
	f.MoveTo(1)
	if err := c.DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	if err := c.CreateTopic(t.Context(), kafka.NewTopic{Name: topic, Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; {
		_, _, err := f.Next(t.Context(), 100*time.Millisecond)
		if errors.Is(err, kafka.ErrTopicGone) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("got %v, want ErrTopicGone", err)
		}
	}
}

// TestHold looks at a transactional id from before it was ever used until somebody
// else has taken it.
func TestHold(t *testing.T) {
	c := cluster(t)
	_, topic := follower(t, c)
	id := "hold-" + topic
	is := func(when string, want ...kafka.Hold) {
		t.Helper()
		hold, err := c.Hold(t.Context(), id)
		for end := time.Now().Add(30 * time.Second); kerr.IsRetriable(err) && time.Now().Before(end); {
			time.Sleep(50 * time.Millisecond) // a young cluster
			hold, err = c.Hold(t.Context(), id)
		}
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(want, hold) {
			t.Errorf("%s it is %d, want one of %d", when, hold, want)
		}
	}
	is("before it was used", kafka.Free)
	w := writer(t, c, id)
	is("when it was taken", kafka.Taken)
	write(t, w, topic, "a")
	is("while a transaction is open", kafka.Busy)
	if err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if hold, err := c.Hold(t.Context(), id); err != nil || hold != kafka.Busy {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the transaction does not end")
		}
	}
	// The embedded broker does not tell an id whose transaction has ended from one that
	// was taken.
	is("after a transaction", kafka.Free, kafka.Taken)
	writer(t, c, id)
	is("when it was taken again", kafka.Taken)
}
