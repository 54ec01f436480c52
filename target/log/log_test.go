package log

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
	"github.com/klamm-gateway/klamm/target/topic"
)

// line is what a reader sees of a line.
type line struct {
	Pipe      string              `json:"pipe"`
	Topic     string              `json:"topic"`
	Partition int                 `json:"partition"`
	Offset    int64               `json:"offset"`
	Timestamp int64               `json:"timestamp"`
	Key       json.RawMessage     `json:"key"`
	Headers   map[string][]string `json:"headers"`
	Value     json.RawMessage     `json:"value"`
}

func read(t testing.TB, path string) (all []line) {
	t.Helper()
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	for one := range strings.Lines(string(text)) {
		var l line
		if err := json.Unmarshal([]byte(one), &l); err != nil {
			t.Fatalf("%q: %v", one, err)
		}
		all = append(all, l)
	}
	return all
}

func values(lines []line) (all []string) {
	for _, l := range lines {
		all = append(all, string(l.Value))
	}
	return all
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.log")
	away := path + ".away"
	// A directory in the file's place refuses it.
	block := func(blocked bool) {
		if blocked {
			_ = os.Rename(path, away)
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
			return
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		_ = os.Rename(away, path)
	}
	targettest.Run(t, targettest.Subject{
		Kind: Kind(topic.Kind()), Config: Config{File: path}, Received: func() []string { return values(read(t, path)) }, Fail: block, Stall: block,
	})
}

// A console is a pipe in the place of standard output, with a reader that can be
// stopped.
type console struct {
	*os.File
	t       *testing.T
	mu      sync.Mutex
	lines   []string
	stalled chan struct{}
	waiting bool // the reader has seen that it is stopped
}

func newConsole(t *testing.T) *console {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c := &console{File: w, t: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for text := bufio.NewReader(r); ; {
			one, err := text.ReadString('\n')
			if err != nil {
				return
			}
			c.mu.Lock()
			stalled := c.stalled
			c.waiting = stalled != nil
			if one != "fill\n" {
				c.lines = append(c.lines, one)
			}
			c.mu.Unlock()
			if stalled != nil {
				<-stalled
			}
		}
	}()
	t.Cleanup(func() {
		_ = w.Close()
		<-done
		_ = r.Close()
	})
	return c
}

func (c *console) received() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, one := range c.lines {
		var l line
		_ = json.Unmarshal([]byte(one), &l)
		all = append(all, string(l.Value))
	}
	return all
}

// stall stops the reader and fills the pipe, so that writing to it blocks.
func (c *console) stall(stalled bool) {
	c.mu.Lock()
	if !stalled {
		close(c.stalled)
		c.stalled = nil
		c.mu.Unlock()
		return
	}
	c.stalled = make(chan struct{})
	c.mu.Unlock()
	for waiting := false; !waiting; {
		_, _ = c.Write([]byte("fill\n"))
		c.mu.Lock()
		waiting = c.waiting
		c.mu.Unlock()
	}
	// The descriptor does not block: an error is a pipe without room.
	pipe, err := c.SyscallConn()
	if err == nil {
		err = pipe.Write(func(fd uintptr) bool {
			for err := error(nil); err == nil || errors.Is(err, syscall.EINTR); {
				_, err = syscall.Write(int(fd), []byte("fill\n"))
			}
			return true
		})
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func TestStdout(t *testing.T) {
	c := newConsole(t)
	k := kind(topic.Kind(), c.File)
	tg, err := k.Open([]byte(`{"stdout":true}`), targettest.Env(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := tg.Deliver(t.Context(), []*event.Event{targettest.Event(int64(i), "k", fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
	}
	await(t, func() bool { return cmp.Equal(c.received(), []string{"0", "1", "2"}) })
	c.stall(true)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := tg.Deliver(ctx, []*event.Event{targettest.Event(4, "k", "4")}); err == nil || target.FailureOf(err).Final {
		t.Errorf("got %v from a reader that does not read", err)
	}
	c.stall(false)
	if err := tg.Deliver(t.Context(), []*event.Event{targettest.Event(5, "k", "5")}); err != nil {
		t.Error(err)
	}
	if err := tg.Close(); err != nil {
		t.Error(err)
	}
	if err := tg.Deliver(t.Context(), []*event.Event{targettest.Event(6, "k", "6")}); err == nil {
		t.Error("a closed target accepts events")
	}
	goleak.VerifyNone(t, goleak.IgnoreCurrent())
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(end) {
			t.Fatal("it did not come")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestTopicHasRecordsAsTheyAre(t *testing.T) {
	var got []*kgo.Record
	env := targettest.Env(t, "json")
	env.Produce = func(_ context.Context, rs ...*kgo.Record) (results kgo.ProduceResults) {
		for _, r := range rs {
			got = append(got, r)
			results = append(results, kgo.ProduceResult{Record: r})
		}
		return results
	}
	tg, err := Kind(topic.Kind()).Open([]byte(`{"name":"/klamm/orders"}`), env)
	if err != nil {
		t.Fatal(err)
	}
	e := targettest.Event(1, "k", "text, not JSON")
	e.Record.Headers = []kgo.RecordHeader{{Key: "a", Value: []byte("1")}}
	if err := tg.Deliver(t.Context(), []*event.Event{e}); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Topic != "klamm.log..klamm.orders" || string(got[0].Value) != "text, not JSON" || string(got[0].Key) != "k" || got[0].Headers[0].Key != "a" {
		t.Errorf("wrote %+v", got)
	}
}

func TestTopicNames(t *testing.T) {
	long := strings.Repeat("x", 512)
	seen := map[string]string{}
	for _, test := range []struct{ in, want string }{
		{"orders", "klamm.log.orders"},
		{"app.orders_1-a", "klamm.log.app.orders_1-a"},
		{"/aws/events/orders", "klamm.log..aws.events.orders"},
		{"a/b", "klamm.log...a.b-c14cddc033f64b9dea80ea675cf280a0"},
		{"a.b", "klamm.log.a.b"},
		{"a#b", "klamm.log...a.b-"},
		{".aws.events.orders", "klamm.log....aws.events.orders-"},
		{"/aws.events.orders", "klamm.log....aws.events.orders-"},
		{"/aws/events/orders/", "klamm.log....aws.events.orders.-"},
		{"//aws/events/orders", "klamm.log.....aws.events.orders-"},
		{"..a.b-c14cddc033f64b9dea80ea675cf280a0", "klamm.log.....a.b-c14cddc033f64b9dea80ea675cf280a0-"},
		{strings.Repeat("y", 239), "klamm.log." + strings.Repeat("y", 239)},
		{strings.Repeat("y", 240), "klamm.log..." + strings.Repeat("y", 180) + "-"},
		{long, "klamm.log..." + long[:180] + "-"},
		{long[1:], "klamm.log..." + long[:180] + "-"},
	} {
		got := Topic(test.in)
		// A want that ends in a dash stands for any hash behind it.
		if got != test.want && (!strings.HasSuffix(test.want, "-") || !strings.HasPrefix(got, test.want)) {
			t.Errorf("Topic(%q) is %q, want %q", test.in, got, test.want)
		}
		if len(got) > 249 || !legal(got) {
			t.Errorf("Topic(%q) is %q, which no topic can have", test.in, got)
		}
		if other, twice := seen[got]; twice {
			t.Errorf("%q and %q share %s", test.in, other, got)
		}
		seen[got] = test.in
	}
}

// FuzzTopicNames holds that no two names share a topic.
func FuzzTopicNames(f *testing.F) {
	f.Add("a/b", "a.b")
	f.Add("/a", ".a")
	f.Fuzz(func(t *testing.T, a, b string) {
		got := Topic(a)
		if len(got) > 249 || !legal(got) {
			t.Errorf("Topic(%q) is %q", a, got)
		}
		if a != b && got == Topic(b) {
			t.Errorf("%q and %q share %q", a, b, got)
		}
	})
}

func TestLines(t *testing.T) {
	for _, test := range []struct {
		name string
		in   event.Event
		want string
	}{
		{"json", event.Event{Record: &kgo.Record{Topic: "t", Partition: 2, Offset: 7, Timestamp: time.UnixMilli(1000), Key: []byte("k"), Value: []byte("{\"a\": 1,\n \"b\":\r\n2}")}},
			`{"pipe":"p","topic":"t","partition":2,"offset":7,"timestamp":1000,"key":"k","headers":{},"value":{"a":1,"b":2}}`},
		{"what the pipe made", event.Event{Body: []byte(`{"n":1}`), Record: &kgo.Record{Topic: "t", Timestamp: time.UnixMilli(0), Key: []byte("[1,\n2]"), Value: []byte("x")}},
			`{"pipe":"p","topic":"t","partition":0,"offset":0,"timestamp":0,"key":[1,2],"headers":{},"value":{"n":1}}`},
		{"text, bytes and headers", event.Event{Record: &kgo.Record{Topic: "t", Timestamp: time.UnixMilli(0), Value: []byte("a\nb"), Headers: []kgo.RecordHeader{{Key: "h\n", Value: []byte("\xff")}}}},
			`{"pipe":"p","topic":"t","partition":0,"offset":0,"timestamp":0,"key":null,"headers":{"h\n":["/w=="]},"value":"a\nb"}`},
		{"a tombstone", event.Event{Record: &kgo.Record{Topic: "t", Timestamp: time.UnixMilli(0)}},
			`{"pipe":"p","topic":"t","partition":0,"offset":0,"timestamp":0,"key":null,"headers":{},"value":null}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := (&lines{pipe: "p"}).appendLine([]byte("before\n"), &test.in)
			if diff := cmp.Diff("before\n"+test.want+"\n", string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConfigProblems(t *testing.T) {
	for _, test := range []struct {
		name string
		in   Config
		want []string
	}{
		{"nothing", Config{}, []string{""}},
		{"two", Config{Name: "a", Stdout: true}, []string{""}},
		{"a bad name", Config{Name: "a b"}, []string{"name"}},
		{"a long name", Config{Name: strings.Repeat("a", 513)}, []string{"name"}},
		{"a directory", Config{File: "/tmp/"}, []string{"file"}},
		{"a control character", Config{File: "/tmp/a\nb"}, []string{"file"}},
		{"rotation of a topic", Config{Name: "a", RotateSize: 1 << 20, RotateKeep: 1}, []string{"rotate_size", "rotate_keep"}},
		{"small and negative", Config{File: "a", RotateSize: 1, RotateKeep: -1}, []string{"rotate_size", "rotate_keep"}},
		{"a log group", Config{Name: "/aws/a#b_c-d.e"}, nil},
		{"all of a file", Config{File: "a.log", RotateSize: 4096, RotateKeep: 1}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			test.in.Validate(func(path, _ string) { got = append(got, path) })
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
