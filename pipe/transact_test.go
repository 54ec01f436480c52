package pipe_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
	topictarget "github.com/klamm-gateway/klamm/target/topic"
	"github.com/klamm-gateway/klamm/transform"
)

// moving is a pipe that writes from one topic to another in transactions.
func moving(from, to string) catalog.Pipe {
	def := quick(from)
	def.Target = catalog.Target{Kind: "topic", Config: json.RawMessage(fmt.Sprintf(`{"name":%q,"transactional":true}`, to))}
	return def
}

func topicRunner(c *kafka.Cluster, further map[string]*kafka.Cluster, log *slog.Logger, def catalog.Pipe) (*pipe.Runner, error) {
	egress, _ := target.NewEgress(nil, true)
	return pipe.New(pipe.Config{
		Cluster: c, Clusters: further, Transport: egress.Transport(), Egress: egress, Metrics: pipe.NewMetrics(prometheus.NewRegistry()), Log: log,
		Grace: 5 * time.Second, Kinds: []target.Kind{topictarget.Kind()},
	}, []catalog.Pipe{def})
}

// runTopic runs a pipe with a topic as its target.
func runTopic(t *testing.T, c *kafka.Cluster, further map[string]*kafka.Cluster, def catalog.Pipe) (r *pipe.Runner, stop func()) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	r, err := topicRunner(c, further, log, def)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			<-done
		}
	}
	t.Cleanup(stop)
	return r, stop
}

// contents reads the committed records of a topic, by partition.
func contents(t *testing.T, c *kafka.Cluster, name string) map[int32][]*kgo.Record {
	t.Helper()
	all := map[int32][]*kgo.Record{}
	info, err := c.Topic(t.Context(), name)
	if err != nil {
		return all
	}
	ranges, err := c.Ranges(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range slices.Sorted(maps.Keys(ranges)) {
		for at := ranges[p].Start; at < ranges[p].End; {
			records, next, err := c.Read(t.Context(), info, p, at, kafka.Limits{Records: 5000, Bytes: 8 << 20, Committed: true})
			if err != nil {
				t.Fatal(err)
			}
			if next <= at {
				break
			}
			all[p], at = append(all[p], records...), next
		}
	}
	return all
}

func count(all map[int32][]*kgo.Record) (n int) {
	for _, records := range all {
		n += len(records)
	}
	return n
}

// once checks that every record is there once, and those of each key in order.
func once(t *testing.T, all map[int32][]*kgo.Record, want int) {
	t.Helper()
	seen := map[string]int{}
	for _, records := range all {
		last := map[string]string{}
		for _, r := range records {
			v := string(r.Value)
			seen[v]++
			if v < last[string(r.Key)] {
				t.Errorf("key %s: %s after %s", r.Key, v, last[string(r.Key)])
			}
			last[string(r.Key)] = v
		}
	}
	for v, n := range seen {
		if n != 1 {
			t.Errorf("record %s is there %d times", v, n)
		}
	}
	if len(seen) != want {
		t.Errorf("%d records, want %d", len(seen), want)
	}
}

// makeTopic is topic for a test that needs several.
func makeTopic(t *testing.T, c *kafka.Cluster, what string, partitions int32) string {
	t.Helper()
	name := fmt.Sprintf("%s-%s-%d", t.Name(), what, time.Now().UnixNano())
	if err := c.EnsureTopic(t.Context(), name, partitions, nil); err != nil {
		t.Fatal(err)
	}
	return name
}

// number writes records with their number as value.
func number(t *testing.T, c *kafka.Cluster, topic string, from, to int) {
	t.Helper()
	var records []*kgo.Record
	for i := from; i < to; i++ {
		records = append(records, &kgo.Record{Topic: topic, Partition: -1, Key: fmt.Appendf(nil, "k%d", i%37), Value: fmt.Appendf(nil, "%08d", i)})
	}
	if err := c.Produce(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func TestTransactionsWriteEachRecordOnce(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	from, to := makeTopic(t, c, "from", 4), makeTopic(t, c, "to", 3)
	def := moving(from, to)
	number(t, c, from, 0, 5000)
	r, stop := runTopic(t, c, nil, def)
	eventually(t, "everything committed", func() bool { return committed(t, c, from, from) == 5000 })
	eventually(t, "everything can be read", func() bool { return count(contents(t, c, to)) >= 5000 })
	once(t, contents(t, c, to), 5000)
	// Others come and go meanwhile.
	for i := range 3 {
		number(t, c, from, 5000+2000*i, 7000+2000*i)
		_, leave := runTopic(t, c, nil, def)
		eventually(t, "two read", func() bool { s, err := r.Status(t.Context(), def.Name); return err == nil && s.Consumers == 2 })
		stop()
		r, stop = runTopic(t, c, nil, def)
		leave()
	}
	eventually(t, "everything committed", func() bool { return committed(t, c, from, from) == 11000 })
	eventually(t, "everything can be read", func() bool { return count(contents(t, c, to)) >= 11000 })
	once(t, contents(t, c, to), 11000)
}

// What the filter drops and what cannot be written does not hold up the rest.
func TestTransactionsGiveUpWhatTheTopicRefuses(t *testing.T) {
	c := cluster(t)
	from, to := makeTopic(t, c, "from", 1), fmt.Sprintf("to-%d", time.Now().UnixNano())
	small := "20000"
	if err := c.EnsureTopic(t.Context(), to, 2, map[string]*string{"max.message.bytes": &small}); err != nil {
		t.Fatal(err)
	}
	def := moving(from, to)
	def.Filter = json.RawMessage(`{"value":{"n":[{"exists":true}]}}`)
	def.Transform = &transform.Spec{Template: `{"n":<$.value.n>,"pad":<$.value.pad>}`}
	noise := make([]byte, 60_000) // that no compression makes smaller
	for i := range noise {
		noise[i] = "0123456789abcdefghijklmnopqrstuvwxyz"[rand.IntN(36)]
	}
	var records []*kgo.Record
	for i := range 300 {
		value := fmt.Sprintf(`{"n":%d,"pad":""}`, i)
		switch {
		case i%100 == 7:
			value = fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, noise)
		case i%3 == 1:
			value = `{"other":1}`
		}
		records = append(records, &kgo.Record{Topic: from, Partition: 0, Key: []byte("k"), Value: []byte(value)})
	}
	if err := c.Produce(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	r, _ := runTopic(t, c, nil, def)
	eventually(t, "everything committed", func() bool { return committed(t, c, from, from) == 300 })
	eventually(t, "198 records are written", func() bool { return count(contents(t, c, to)) == 198 })
	if letters := lettersOf(t, r, def.Name); len(letters) != 3 || letters[0].Offset != 7 || !strings.Contains(letters[0].Reason, "MESSAGE_TOO_LARGE") {
		t.Errorf("letters: %+v", letters)
	}
}

func TestAnotherCluster(t *testing.T) {
	c := cluster(t)
	t.Setenv("KLAMM_TEST_BROKERS", "")
	other := cluster(t)
	from := makeTopic(t, c, "from", 2)
	def := quick(from)
	def.Target = catalog.Target{Kind: "topic", Config: json.RawMessage(`{"name":"copy","cluster":"other"}`)}
	number(t, c, from, 0, 500)
	if _, err := topicRunner(c, nil, slog.New(slog.DiscardHandler), def); err == nil || !strings.Contains(err.Error(), `no cluster "other"`) {
		t.Errorf("a cluster that is not there: %v", err)
	}
	runTopic(t, c, map[string]*kafka.Cluster{"other": other}, def)
	eventually(t, "everything committed", func() bool { return committed(t, c, from, from) == 500 })
	once(t, contents(t, other, "copy"), 500)
}

// childEnv tells the test binary that it is a process that is going to be killed:
// brokers, source and target.
const childEnv = "KLAMM_TEST_TRANSACTING"

func TestMain(m *testing.M) {
	if args := strings.Split(os.Getenv(childEnv), " "); len(args) == 3 {
		c, err := kafka.Open(kafka.Config{Brokers: strings.Split(args[0], ",")}, slog.New(slog.DiscardHandler))
		if err == nil {
			var r *pipe.Runner
			if r, err = topicRunner(c, nil, slog.New(slog.NewTextHandler(os.Stderr, nil)), moving(args[1], args[2])); err == nil {
				fmt.Println("running")
				r.Run(context.Background())
			}
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Most of the tests wait: for timers of Kafka, for groups, for pauses between attempts.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// TestKilledTransactions kills processes in the middle of their transactions. Who
// reads committed records sees each record once.
func TestKilledTransactions(t *testing.T) {
	long(t, "waits for groups to miss members")
	t.Parallel()
	c := cluster(t)
	from, to := makeTopic(t, c, "from", 4), makeTopic(t, c, "to", 3)
	const n = 24_000
	spawn := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(c.Brokers(), ",")+" "+from+" "+to)
		if testing.Verbose() {
			cmd.Stderr = os.Stderr
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		if line, _, err := bufio.NewReader(out).ReadLine(); err != nil || string(line) != "running" {
			t.Fatalf("the process says %q, %v", line, err)
		}
		return cmd
	}
	kill := func(cmd *exec.Cmd) { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	written := 0
	more := func() {
		for end := min(written+n/6, n); written < end; written += 1000 {
			number(t, c, from, written, written+1000)
		}
	}
	more()
	running := []*exec.Cmd{spawn(), spawn(), spawn()}
	// The group misses who was killed after ten seconds, and the brokers abort an open
	// transaction after ten to twenty: two at a time wait together.
	for range 2 {
		before := committed(t, c, from, from)
		more()
		eventually(t, "progress", func() bool { return committed(t, c, from, from) > before })
		kill(running[0])
		kill(running[1])
		running = append(running[2:], spawn(), spawn())
	}
	more()
	eventually(t, "everything committed", func() bool { return committed(t, c, from, from) == int64(written) })
	// What a killed process has left open is aborted after a while; until then
	// nobody sees what lies behind it.
	eventually(t, "everything can be read", func() bool { return count(contents(t, c, to)) >= written })
	once(t, contents(t, c, to), written)
	t.Logf("%d records, 4 processes killed", written)
}

// long skips a test that takes half a minute of waiting, unless it runs against a
// real cluster (make test-kafka) or KLAMM_TEST_LONG asks for it.
func long(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("KLAMM_TEST_BROKERS") == "" && os.Getenv("KLAMM_TEST_LONG") == "" {
		t.Skip(why + "; set KLAMM_TEST_LONG=1")
	}
}
