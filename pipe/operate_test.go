package pipe_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
)

func nobody(pipe.Progress) {}

// quick is a delivery that does not wait long between attempts, under a name of
// the test's own: what pipes remember is shared by all tests of a cluster.
func quick(topic string) catalog.Pipe {
	return catalog.Pipe{Name: topic[len(topic)-19:], Topics: []string{topic}, Group: topic, Start: "earliest",
		Delivery: catalog.Delivery{DeadLetter: topic + "-dead", Backoff: catalog.Backoff{Min: time.Millisecond, Max: 5 * time.Millisecond}}}
}

func lettersOf(t testing.TB, r *pipe.Runner, name string) (all []pipe.Letter) {
	t.Helper()
	for l, err := range r.Letters(t.Context(), name) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

func TestVanishedOffsetsHaltAPipe(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	name := topic(t, c, 2)
	l := &ledger{}
	def := quick(name)
	fill(t, c, name, 100, 10, []byte("1"))
	_, stop := l.start(t, c, def)
	eventually(t, "everything committed", func() bool { return committed(t, c, name, name) == 100 })
	stop()
	if _, err := c.Admin().DeleteGroups(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	fill(t, c, name, 50, 10, []byte("2"))
	r, stop := l.start(t, c, def)
	halted := func() bool {
		s, err := r.Status(t.Context(), def.Name)
		return err == nil && s.State == pipe.Halted && strings.Contains(s.Reason, "vanished")
	}
	eventually(t, "the pipe has halted", halted)
	if n := len(l.taken()); n != 100 {
		t.Fatalf("%d deliveries, want the 100 from before: nothing may be replayed silently", n)
	}
	stop() // and a restart changes nothing
	r, _ = l.start(t, c, def)
	eventually(t, "the pipe has halted again", halted)
	if n := len(l.taken()); n != 100 {
		t.Fatalf("%d deliveries after a restart", n)
	}
	if _, err := r.Seek(t.Context(), def.Name, "nowhere", false); !errors.Is(err, pipe.ErrBadRequest) {
		t.Errorf("a seek to nowhere: %v", err)
	}
	moves, err := r.Seek(t.Context(), def.Name, "earliest", true)
	if err != nil || len(moves) != 2 || moves[0].From != -1 || moves[0].To != 0 {
		t.Errorf("dry run: %+v, %v", moves, err)
	}
	if _, err := r.Seek(t.Context(), def.Name, "earliest", false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "everything from the beginning", func() bool { return len(l.taken()) == 250 })
}

func TestAPipeThatBeganWithoutRecordsDoesNotHalt(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 3)
	l := &ledger{}
	def := quick(name)
	def.Start = "latest"
	for range 3 {
		r, stop := l.start(t, c, def)
		eventually(t, "a member", func() bool { s, err := r.Status(t.Context(), def.Name); return err == nil && s.Members == 1 })
		if s, _ := r.Status(t.Context(), def.Name); s.State != pipe.Running {
			t.Fatal(s)
		}
		stop()
	}
	if err := c.GrowTopic(t.Context(), name, 5); err != nil {
		t.Fatal(err)
	}
	fill(t, c, name, 100, 50, []byte("1"))
	l.start(t, c, def)
	eventually(t, "partitions that came later, from their beginning", func() bool { return committed(t, c, name, name) == 100 })
	check(t, l.taken(), 100)
}

// TestManyPipesAreAskedAboutTogether compares what is said of pipes together and of each.
func TestManyPipesAreAskedAboutTogether(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 2)
	l := &ledger{}
	fill(t, c, name, 20, 5, []byte("1"))
	read := quick(name)
	read.Group += "-read"
	r, _ := l.start(t, c, read)
	stopped, lacking := quick(name), quick(name)
	stopped.Name, stopped.Group, stopped.Paused = stopped.Name+"-stopped", name+"-stopped", true
	lacking.Name, lacking.Group, lacking.Topics = lacking.Name+"-lacking", name+"-lacking", []string{name, name + "-none"}
	for _, def := range []catalog.Pipe{stopped, lacking} {
		def.Target = catalog.Target{Kind: "ledger"}
		r.Set(def)
	}
	names := []string{lacking.Name, "nobody", read.Name, stopped.Name}
	if got, want := r.Names(), []string{read.Name, lacking.Name, stopped.Name}; !slices.Equal(got, want) {
		t.Errorf("names %v, want %v", got, want)
	}
	var all []pipe.Status
	eventually(t, "two pipes have read everything", func() bool {
		var err error
		all, err = r.ListOf(t.Context(), names)
		return err == nil && len(all) == 3 && all[0].Lag == 0 && all[0].Members == 1 && all[1].Lag == 0 && all[1].Members == 1
	})
	for i, want := range []struct {
		pipe, state, missing string
		lag                  int64
	}{{lacking.Name, pipe.Running, name + "-none", 0}, {read.Name, pipe.Running, "", 0}, {stopped.Name, pipe.Paused, "", 20}} {
		got := all[i]
		if got.Pipe != want.pipe || got.State != want.state || strings.Join(got.Missing, " ") != want.missing || got.Lag != want.lag || len(got.Partitions) != 2 {
			t.Errorf("together: %+v, want %+v", got, want)
		}
		eventually(t, "alone it is the same", func() bool {
			together, err := r.ListOf(t.Context(), []string{want.pipe})
			alone, failed := r.Status(t.Context(), want.pipe)
			return err == nil && failed == nil && len(together) == 1 && reflect.DeepEqual(together[0], alone)
		})
	}
	r.Remove(stopped.Name)
	if got, want := r.Names(), []string{read.Name, lacking.Name}; !slices.Equal(got, want) {
		t.Errorf("names %v, want %v", got, want)
	}
}

func TestPauseAndSeek(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	name := topic(t, c, 1)
	l := &ledger{}
	def := quick(name)
	fill(t, c, name, 20, 5, []byte("1"))
	r, _ := l.start(t, c, def)
	other, _ := l.start(t, c, def) // in another process
	eventually(t, "everything committed", func() bool { return committed(t, c, name, name) == 20 })
	if _, err := r.Seek(t.Context(), def.Name, "earliest", false); !errors.Is(err, pipe.ErrNotPaused) {
		t.Errorf("a seek under a running pipe: %v", err)
	}
	if err := other.Pause(t.Context(), def.Name, "maintenance"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both have stopped", func() bool { s, _ := r.Status(t.Context(), def.Name); return s.State == pipe.Paused && s.Members == 0 })
	fill(t, c, name, 10, 5, []byte("2"))
	moves, err := r.Seek(t.Context(), def.Name, name+"/0=15", false)
	if err != nil || len(moves) != 1 || moves[0] != (pipe.Move{Topic: name, Partition: 0, From: 20, To: 15, Records: 5}) {
		t.Fatalf("%+v, %v", moves, err)
	}
	if s, err := r.Status(t.Context(), def.Name); err != nil || s.Lag != 15 || s.Reason != "maintenance" || s.State != pipe.Paused {
		t.Errorf("%+v, %v", s, err)
	}
	if n := len(l.taken()); n != 20 {
		t.Fatalf("%d deliveries while paused", n-20)
	}
	if err := r.Resume(t.Context(), def.Name); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the rest", func() bool { return committed(t, c, name, name) == 30 && len(l.taken()) == 35 })
	if err := r.Pause(t.Context(), "nobody", ""); !errors.Is(err, pipe.ErrNoPipe) {
		t.Error(err)
	}
}

func TestLettersAreRedrivenOnce(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 2)
	var well atomic.Bool
	l := &ledger{answer: func(events []*event.Event) error {
		if !well.Load() && strings.HasPrefix(string(events[0].Record.Value), "bad") {
			return &target.Failure{Status: 422, Response: []byte("no"), Final: true, Err: errors.New("HTTP status 422")}
		}
		return nil
	}}
	def := quick(name)
	for i := range 40 {
		kind := "good"
		if i%2 == 1 {
			kind = "bad"
		}
		if err := c.Produce(t.Context(), &kgo.Record{Topic: name, Partition: -1, Key: fmt.Appendf(nil, "k%d", i%4), Value: fmt.Append(nil, kind, i),
			Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}}}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	r, _ := l.start(t, c, def)
	eventually(t, "everything committed", func() bool { return committed(t, c, name, name) == 40 })
	letters := lettersOf(t, r, def.Name)
	if len(letters) != 20 || letters[0].Status != 422 || letters[0].Response != "no" || letters[0].Attempts != 1 || letters[0].Topic != name || letters[0].Reason == "" {
		t.Fatalf("%d letters, the first %+v", len(letters), letters[0])
	}
	p, err := r.Redrive(t.Context(), def.Name, nil, nobody)
	if err != nil || p.Records != 20 || p.DeadLettered != 20 {
		t.Errorf("redriven while the target still refuses: %+v, %v", p, err)
	}
	again := lettersOf(t, r, def.Name)
	if len(again) != 20 || again[0].ID == letters[0].ID {
		t.Errorf("%d letters after a redrive that failed, the first %q", len(again), again[0].ID)
	}
	if n, err := r.Discard(t.Context(), def.Name, []string{again[3].ID, again[4].ID}); n != 2 || err != nil {
		t.Errorf("discarded %d: %v", n, err)
	}
	well.Store(true)
	if p, err = r.Redrive(t.Context(), def.Name, []string{again[0].ID}, nobody); err != nil || p.Delivered != 1 {
		t.Errorf("one redriven: %+v, %v", p, err)
	}
	if p, err = r.Redrive(t.Context(), def.Name, nil, nobody); err != nil || p.Delivered != 17 {
		t.Errorf("the rest redriven: %+v, %v", p, err)
	}
	if left := lettersOf(t, r, def.Name); len(left) != 0 {
		t.Errorf("%d letters are left: %+v", len(left), left)
	}
	if repeated := check(t, l.taken(), 38); repeated != 0 {
		t.Errorf("%d delivered twice", repeated)
	}
	if _, err := r.Redrive(t.Context(), def.Name, []string{"x"}, nobody); !errors.Is(err, pipe.ErrBadRequest) {
		t.Error(err)
	}
}

func TestDeliveryLog(t *testing.T) {
	c := cluster(t)
	for _, mode := range []string{"all", "failed", "none"} {
		t.Run(mode, func(t *testing.T) {
			name := topic(t, c, 1)
			l := &ledger{answer: func(events []*event.Event) error {
				if e := events[0]; string(e.Record.Value) == "two" && e.Attempt < 3 {
					return &target.Failure{Status: 503, Response: []byte("later"), Err: errors.New("HTTP status 503")}
				}
				return nil
			}}
			def := quick(name)
			def.Delivery.Log = mode
			def.Name = mode + def.Name
			r, _ := l.start(t, c, def)
			for _, v := range []string{"one", "two"} {
				if err := c.Produce(t.Context(), &kgo.Record{Topic: name, Partition: 0, Key: []byte("k"), Value: []byte(v)}).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "everything committed", func() bool { return committed(t, c, name, name) == 2 })
			want := map[string]int{"all": 2, "failed": 1, "none": 0}[mode]
			var got []pipe.Delivery
			eventually(t, "the log", func() bool {
				var err error
				if got, err = r.Deliveries(t.Context(), def.Name, time.Now().Add(-time.Hour), "", 10); err != nil {
					t.Fatal(err)
				}
				return len(got) == want && (want == 0 || got[0].Outcome == "delivered")
			})
			if want == 0 {
				return
			}
			d, attempts, err := r.Delivery(t.Context(), got[0].ID)
			if err != nil {
				t.Fatal(err)
			}
			if d.Offset != 1 || d.Attempts != 3 || len(attempts) != map[string]int{"all": 3, "failed": 2}[mode] || attempts[0].Status != 503 || attempts[0].Response != "later" || attempts[0].Next.IsZero() {
				t.Errorf("%+v %+v", d, attempts)
			}
			before := len(l.taken())
			if p, err := r.Retry(t.Context(), d.ID); err != nil || p.Delivered != 1 {
				t.Errorf("retry: %+v, %v", p, err)
			}
			if n := len(l.taken()) - before; n != 1 {
				t.Errorf("%d deliveries by a retry", n)
			}
			if _, err := r.Retry(t.Context(), strings.Replace(d.ID, ":1:", ":999:", 1)); !errors.Is(err, pipe.ErrNoDelivery) {
				t.Errorf("retry of a record that is not there: %v", err)
			}
			if _, _, err := r.Delivery(t.Context(), "x"); !errors.Is(err, pipe.ErrNoDelivery) {
				t.Error(err)
			}
		})
	}
}

func TestReplay(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 3)
	l := &ledger{}
	def := quick(name)
	def.Filter = []byte(`{"value":{"n":[{"numeric":[">=",0]}]}}`)
	base := time.Now().Add(-10 * time.Hour).Truncate(time.Second)
	for i := range 60 {
		n := i
		if i%6 == 5 {
			n = -1
		}
		r := &kgo.Record{Topic: name, Partition: -1, Key: fmt.Appendf(nil, "k%d", i%7), Value: fmt.Appendf(nil, `{"n":%d,"odd":%v}`, n, i%2 == 1), Timestamp: base.Add(time.Duration(i) * time.Minute)}
		if err := c.Produce(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	r, _ := l.start(t, c, def)
	eventually(t, "everything committed", func() bool { return committed(t, c, name, name) == 60 })
	if n := len(l.taken()); n != 50 {
		t.Fatalf("%d deliveries", n)
	}
	ask := pipe.Replay{Pipe: def.Name, From: base.Add(10 * time.Minute), To: base.Add(40 * time.Minute), Where: []byte(`{"value":{"odd":[true]}}`), DryRun: true}
	p, err := r.Replay(t.Context(), ask, nobody)
	if err != nil || p.Records != 10 || len(l.taken()) != 50 {
		t.Fatalf("dry run: %+v, %v", p, err)
	}
	ask.DryRun, ask.Rate = false, 100
	p, err = r.Replay(t.Context(), ask, nobody)
	if err != nil || p.Records != 10 || p.Delivered != 10 {
		t.Errorf("%+v, %v", p, err)
	}
	if n := len(l.taken()); n != 60 || committed(t, c, name, name) != 60 {
		t.Errorf("%d deliveries, committed %d", n, committed(t, c, name, name))
	}
	ask.From, ask.To = ask.To, ask.From
	if _, err := r.Replay(t.Context(), ask, nobody); !errors.Is(err, pipe.ErrBadRequest) {
		t.Error(err)
	}
}

// A tail that begins before the log exists misses nothing.
func TestTailFromBeforeTheFirstEntry(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 1)
	def := quick(name)
	def.Delivery.Log = "all"
	r, _ := (&ledger{}).start(t, c, def)
	seen := make(chan pipe.Logged, 10)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	begun := make(chan struct{})
	go func() {
		close(begun)
		done <- r.Tail(ctx, def.Name, func(l pipe.Logged) error { seen <- l; return nil })
	}()
	<-begun
	// It begins with a look for the log, and nobody can see it do so: who has looked a
	// hundred times meanwhile comes after it, however slow the machine is.
	for range 100 {
		if _, err := c.Topic(t.Context(), pipe.DeliveryTopic); err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	fill(t, c, name, 3, 1, []byte("1"))
	// Entries of several deliveries come in any order.
	offsets := map[int64]bool{}
	for len(offsets) < 3 {
		select {
		case l := <-seen:
			if offsets[l.Offset] || l.Attempt.Number != 1 || l.Outcome != "delivered" {
				t.Errorf("%+v", l)
			}
			offsets[l.Offset] = true
		case <-time.After(30 * time.Second):
			t.Fatalf("only entries of offsets %v were seen", offsets)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestAPipeSaysWhichTopicIsMissing has two topics, one of which is only made later.
func TestAPipeSaysWhichTopicIsMissing(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	there := topic(t, c, 1)
	later := there + "-later"
	l := &ledger{}
	def := quick(there)
	def.Topics = append(def.Topics, later)
	r, _ := l.start(t, c, def)
	status := func() pipe.Status {
		t.Helper()
		s, err := r.Status(t.Context(), def.Name)
		if err != nil {
			return pipe.Status{Reason: err.Error()}
		}
		return s
	}
	eventually(t, "the missing topic is told", func() bool { return len(status().Missing) > 0 })
	s := status()
	if want := "the topic " + later + " does not exist; it is read from its beginning when it is made"; s.State != pipe.Running || s.Reason != want || !slices.Equal(s.Missing, []string{later}) || len(s.Partitions) != 1 {
		t.Errorf("got %+v, want it to run and to say %q", s, want)
	}
	if err := c.EnsureTopic(t.Context(), later, 1, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both topics are there", func() bool { s := status(); return s.Reason == "" && len(s.Missing) == 0 && len(s.Partitions) == 2 })
}
