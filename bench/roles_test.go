package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// play runs a role in this process and returns a function that waits for a line
// it prints. The role ends with the test, and must end well.
func play(t *testing.T, name string, config any) (line func(prefix string) string) {
	t.Helper()
	document, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	in, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := Role(ctx, name, string(document), out)
		_ = out.CloseWithError(err)
		ended <- err
	}()
	lines := bufio.NewScanner(in)
	t.Cleanup(func() {
		cancel()
		_ = in.Close()
		select {
		case err := <-ended:
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(time.Minute):
			t.Errorf("%s does not end", name)
		}
	})
	return func(prefix string) string {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("%s ended early: %v", name, lines.Err())
		}
		rest, ok := strings.CutPrefix(lines.Text(), prefix)
		if !ok {
			t.Fatalf("%s says %q, want %q...", name, lines.Text(), prefix)
		}
		return rest
	}
}

func figures(t *testing.T, line string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), v); err != nil {
		t.Fatalf("result %q: %v", line, err)
	}
}

func needLinux(t *testing.T) {
	t.Helper()
	if !supported {
		t.Skip("CPU time is read from /proc")
	}
}

// startConductor is a conductor with an embedded broker and nothing else.
func startConductor(t *testing.T) *conductor {
	t.Helper()
	addrs := play(t, "broker", brokerRole{Dir: t.TempDir()})(readyPrefix)
	c := &conductor{Options: Default(), run: "test-"}
	c.Options.Brokers = strings.Split(addrs, ",")
	if err := c.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.client.Close)
	return c
}

// playFor plays a role on a topic of its own until it has measured something: a
// machine that does much else may need longer.
func (c *conductor) playFor(t *testing.T, name string, config func(short stretch, topic string) any) (topic string, r loadResult) {
	t.Helper()
	for measure := 200 * time.Millisecond; ; measure *= 4 {
		topic = fmt.Sprintf("%s-%s-%s", strings.ReplaceAll(t.Name(), "/", "-"), name, measure)
		if err := c.createTopic(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
		figures(t, play(t, name, config(stretch{Warm: 20 * time.Millisecond, Measure: measure}, topic))(resultPrefix), &r)
		if r.Figures.P50Micros > 0 || measure > 3*time.Second {
			return topic, r
		}
	}
}

func TestFrontRolesCountWhatTheTopicHolds(t *testing.T) {
	needLinux(t)
	c := startConductor(t)
	yardstick := play(t, "yardstick-front", frontYardstick{Brokers: c.brokers})(readyPrefix)
	for _, side := range []struct {
		name   string
		config func(short stretch, topic string) any
		each   int64
	}{
		{"load", func(short stretch, topic string) any {
			return loadRole{Stretch: short, Addr: yardstick, Topic: topic, Media: mediaPlain, Records: 1, Size: 1024, Connections: 4, PID: os.Getpid()}
		}, 1},
		{"load", func(short stretch, topic string) any {
			return loadRole{Stretch: short, Addr: yardstick, Topic: topic, Media: mediaLines, Records: 10, Size: 1024, Connections: 4, PID: os.Getpid()}
		}, 10},
		{"yardstick-native", func(short stretch, topic string) any {
			return nativeYardstick{Stretch: short, Brokers: c.brokers, Topic: topic, Records: 10, Size: 1024, Connections: 4}
		}, 10},
	} {
		t.Run(side.name, func(t *testing.T) {
			topic, r := c.playFor(t, side.name, side.config)
			f := r.Figures
			if f.Records < side.each || f.Records != f.Requests*side.each || f.Bytes != f.Records*1024 || f.P50Micros <= 0 || f.P99Micros < f.P50Micros {
				t.Errorf("figures: %+v", f)
			}
			if r.Acknowledged < f.Records {
				t.Errorf("%d acknowledged, %d measured", r.Acknowledged, f.Records)
			}
			if err := c.produced(t.Context(), topic, r.Acknowledged); err != nil {
				t.Error(err)
			}
			if err := c.produced(t.Context(), topic, r.Acknowledged+1); err == nil {
				t.Error("a lost record goes unnoticed")
			}
		})
	}
}

func TestBusRolesPassOnWhatIsPut(t *testing.T) {
	needLinux(t)
	c := startConductor(t)
	if err := c.createTopic(t.Context(), "put"); err != nil {
		t.Fatal(err)
	}
	const count = 200
	sink := play(t, "sink", sinkRole{Backlog: count, Live: []int64{count}, Size: 1024})
	url := sink(readyPrefix)
	yardstick := play(t, "yardstick-bus", busYardstick{Front: frontYardstick{Brokers: c.brokers}, Pipe: pipeYardstick{Brokers: c.brokers, Topics: []string{"put"}, Group: "put", URL: "http://" + url + "/records", Batch: 1, InFlight: 4}})
	in := yardstick(readyPrefix)
	if err := tellServer(t.Context(), url, os.Getpid()); err != nil {
		t.Fatal(err)
	}
	for first := range int64(2) {
		put := play(t, "put", putRole{Addr: in, Media: mediaPlain, Topic: "put", First: first * count, Count: count, Size: 1024, PerSecond: first * 2_000, Connections: 4})
		if got := put(resultPrefix); got != itoa(count) {
			t.Errorf("put %s, want %d", got, count)
		}
		var f Figures
		if err := json.Unmarshal([]byte(sink(resultPrefix)), &f); err != nil || f.Records != count || f.Requests != count || first == 1 && f.P99Micros <= 0 {
			t.Errorf("%+v, %v", f, err)
		}
	}
}

func TestPipeRolesDeliverAndCommit(t *testing.T) {
	needLinux(t)
	c := startConductor(t)
	for _, batch := range []int{1, 100} {
		h := haul{
			backlogTopic: "backlog-" + itoa(batch), liveTopic: "live-" + itoa(batch), backlog: 2000, live: 50, batch: batch, group: "group-" + itoa(batch),
		}
		for _, topic := range []string{h.backlogTopic, h.liveTopic} {
			if err := c.createTopic(t.Context(), topic); err != nil {
				t.Fatal(err)
			}
		}
		play(t, "fill", fillRole{Brokers: c.brokers, Topic: h.backlogTopic, Count: h.backlog, Size: 1024})(resultPrefix)
		sink := play(t, "sink", sinkRole{Backlog: h.backlog, Live: []int64{h.live, 10}, Size: 1024})
		addr := sink(readyPrefix)
		play(t, "yardstick-pipe", pipeYardstick{
			Brokers: c.brokers, Topics: []string{h.backlogTopic, h.liveTopic}, Group: h.group, URL: "http://" + addr + "/records", Batch: batch, InFlight: 8,
		})(readyPrefix)
		if err := tellServer(t.Context(), addr, os.Getpid()); err != nil {
			t.Fatal(err)
		}
		var backlog, live Figures
		figures(t, sink(resultPrefix), &backlog)
		play(t, "fill", fillRole{Brokers: c.brokers, Topic: h.liveTopic, First: h.backlog, Count: h.live, Size: 1024, PerSecond: 500})(resultPrefix)
		figures(t, sink(resultPrefix), &live)
		var more Figures
		play(t, "fill", fillRole{Brokers: c.brokers, Topic: h.liveTopic, First: h.backlog + h.live, Count: 10, Size: 1024, PerSecond: 500})(resultPrefix)
		figures(t, sink(resultPrefix), &more)
		if more.Records != 10 || more.Seconds <= 0 || more.RecordsPerSecond <= 0 {
			t.Errorf("batches of %d, the second live stretch: %+v", batch, more)
		}
		h.live += more.Records
		if backlog.Records != h.backlog || backlog.Bytes != h.backlog*1024 || backlog.Repeated != 0 || backlog.RecordsPerSecond <= 0 {
			t.Errorf("batches of %d, backlog: %+v", batch, backlog)
		}
		if batch > 1 && backlog.Requests > h.backlog/10 {
			t.Errorf("%d requests for %d records in batches of %d", backlog.Requests, h.backlog, batch)
		}
		if live.Records != 50 || live.P50Micros <= 0 || live.P50Micros > live.P99Micros {
			t.Errorf("batches of %d, live: %+v", batch, live)
		}
		if err := c.committed(t.Context(), h); err != nil {
			t.Error(err)
		}
	}
}

func TestSinkRefusesWhatWasNotProduced(t *testing.T) {
	needLinux(t)
	s, err := newSink(sinkRole{Backlog: 2, Live: []int64{1, 2}, Size: 300}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	s.pid = os.Getpid()
	doc := func(seq int64) []byte { return appendDocument(nil, seq, time.Now(), 300) }
	for _, step := range []struct {
		name     string
		body     []byte
		ok       bool
		records  int64
		repeated int64
	}{
		{"the second", doc(1), true, 1, 0},
		{"once more", doc(1), true, 1, 1},
		{"a number that was not produced", doc(5), false, 1, 1},
		{"another text", []byte(`{"seq":1}`), false, 1, 1},
		{"the first", doc(0), true, 2, 1},
		{"live", doc(2), true, 2, 1},
		{"of the next stretch", doc(4), true, 2, 1},
	} {
		err := s.take(step.body, time.Now())
		if (err == nil) != step.ok || s.backlog.Records != step.records || s.backlog.Repeated != step.repeated {
			t.Errorf("%s: %v, %+v", step.name, err, s.backlog)
		}
	}
	if s.live[0].Records != 1 || s.live[1].Records != 1 {
		t.Errorf("live: %+v", s.live)
	}
}

func TestRoleRefusesWhatRunWouldNotAsk(t *testing.T) {
	for _, c := range []struct{ name, role, config string }{
		{"no such role", "conductor", "{}"},
		{"no JSON", "sink", "sink"},
		{"unknown member", "sink", `{"size":300,"color":"red"}`},
		{"documents too short", "sink", `{"backlog":1,"live":[1],"size":3}`},
		{"less than no live documents", "sink", `{"backlog":10,"live":[-1],"size":300}`},
		{"too many documents", "sink", `{"backlog":1,"live":[4294967296],"size":300}`},
		{"no connections", "load", `{"records":1}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := Role(t.Context(), c.role, c.config, io.Discard); !errors.Is(err, ErrRole) {
				t.Errorf("got %v, want ErrRole", err)
			}
		})
	}
}
