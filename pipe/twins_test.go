package pipe_test

import (
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
)

// refusing is a ledger that refuses every record while it is told to.
func refusing() (*ledger, *atomic.Bool) {
	var refuse atomic.Bool
	refuse.Store(true)
	return &ledger{answer: func([]*event.Event) error {
		if refuse.Load() {
			return &target.Failure{Status: 422, Final: true, Err: errors.New("unwanted")}
		}
		return nil
	}}, &refuse
}

func TestARecordHasOneLetter(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 2)
	l, refuse := refusing()
	def := quick(name)
	fill(t, c, name, 6, 3, []byte("1"))
	r, _ := l.start(t, c, def)
	letters := func() []pipe.Letter { return lettersOf(t, r, def.Name) }
	eventually(t, "six letters", func() bool { return len(letters()) == 6 })
	first := letters()
	p, err := r.Replay(t.Context(), pipe.Replay{Pipe: def.Name, From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)}, nobody)
	if err != nil || p.DeadLettered != 6 {
		t.Fatalf("a replay that fails: %+v, %v", p, err)
	}
	second := letters()
	if len(second) != 6 {
		t.Fatalf("%d letters after a replay that failed, want 6: %+v", len(second), second)
	}
	for _, a := range first {
		for _, b := range second {
			if a.ID == b.ID {
				t.Errorf("letter %s is still listed, though there is a newer one", a.ID)
			}
		}
	}
	// A letter twice, as after a kill between writing and committing.
	info, err := c.Topic(t.Context(), def.Delivery.DeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for p, records := range contents(t, c, info.Name) {
			last := records[len(records)-1]
			if err := c.Produce(t.Context(), &kgo.Record{Topic: info.Name, Partition: p, Key: last.Key, Value: last.Value, Headers: last.Headers}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := len(letters()); n != 6 {
		t.Fatalf("%d letters with twins, want 6", n)
	}
	if n, err := r.Discard(t.Context(), def.Name, []string{letters()[0].ID}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n := len(letters()); n != 5 {
		t.Fatalf("%d letters after one was discarded", n)
	}
	refuse.Store(false)
	if p, err := r.Redrive(t.Context(), def.Name, nil, nobody); err != nil || p.Records != 5 || p.Delivered != 5 {
		t.Fatalf("redrive: %+v, %v", p, err)
	}
	if rest := letters(); len(rest) != 0 {
		t.Fatalf("left: %+v", rest)
	}
	check(t, l.taken(), 5)
}

func TestOneRedriveAtATime(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 1)
	l, refuse := refusing()
	unwanted := l.answer
	hold, held := make(chan struct{}), make(chan struct{}, 8)
	l.answer = func(e []*event.Event) error {
		if !refuse.Load() {
			held <- struct{}{}
			<-hold
		}
		return unwanted(e)
	}
	def := quick(name)
	fill(t, c, name, 4, 4, []byte("1"))
	r, _ := l.start(t, c, def)
	other, _ := l.start(t, c, def) // in another process
	eventually(t, "four letters", func() bool { return len(lettersOf(t, r, def.Name)) == 4 })
	refuse.Store(false)
	done := make(chan error, 1)
	go func() { _, err := r.Redrive(t.Context(), def.Name, nil, nobody); done <- err }()
	<-held
	if _, err := other.Redrive(t.Context(), def.Name, nil, nobody); !errors.Is(err, pipe.ErrBusy) {
		t.Errorf("a second redrive: %v", err)
	}
	close(hold)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if p, err := other.Redrive(t.Context(), def.Name, nil, nobody); err != nil || p.Records != 0 {
		t.Errorf("after it: %+v, %v", p, err)
	}
	if n := check(t, l.taken(), 4); n != 0 {
		t.Errorf("%d deliveries were repeated", n)
	}
}

func TestATargetThatKeepsFailingDisablesThePipe(t *testing.T) {
	for _, final := range []bool{true, false} {
		c := cluster(t)
		name := topic(t, c, 1)
		var well atomic.Bool
		l := &ledger{answer: func([]*event.Event) error {
			if well.Load() {
				return nil
			}
			return &target.Failure{Status: 403, Final: final, Err: errors.New("HTTP status 403")}
		}}
		def := quick(name)
		def.Delivery.DisableAfter = 100 * time.Millisecond
		r, _ := l.start(t, c, def)
		other, _ := l.start(t, c, def)
		stop := trickle(t, c, name, 5*time.Millisecond)
		eventually(t, "the pipe is disabled", func() bool {
			s, err := other.Status(t.Context(), def.Name)
			return err == nil && s.State == pipe.Disabled && s.Members == 0 && strings.Contains(s.Reason, "403")
		})
		if n := stop(); len(l.taken()) != 0 {
			t.Fatalf("%d of %d delivered", len(l.taken()), n)
		}
		var states []string
		read := func() {
			states = nil
			for _, records := range contents(t, c, pipe.EventTopic) {
				for _, record := range records {
					var change pipe.Change
					if json.Unmarshal(record.Value, &change) == nil && change.Pipe == def.Name && string(record.Key) == def.Name {
						states = append(states, change.State)
					}
				}
			}
		}
		eventually(t, "an event", func() bool { read(); return len(states) == 1 && states[0] == pipe.Disabled })
		well.Store(true)
		if err := other.Resume(t.Context(), def.Name); err != nil {
			t.Fatal(err)
		}
		fill(t, c, name, 10, 1, []byte("2"))
		eventually(t, "the pipe goes on", func() bool { return len(l.taken()) >= 10 })
		eventually(t, "a second event", func() bool { read(); return len(states) == 2 && states[1] == pipe.Running })
		if s, _ := r.Status(t.Context(), def.Name); s.State != pipe.Running {
			t.Errorf("state %s after resume", s.State)
		}
	}
}
