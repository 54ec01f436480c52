package pipe_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
)

// A clerk is a function behind an event source mapping that writes down its events.
type clerk struct {
	mu     sync.Mutex
	events []string
	// answer says what it does with the values of an event; nil: it is well.
	answer func(values []string) (function.Outcome, error)
}

type mappingEvent struct {
	Source    string                     `json:"eventSource"`
	ARN       string                     `json:"eventSourceArn"`
	Bootstrap string                     `json:"bootstrapServers"`
	Records   map[string][]mappingRecord `json:"records"`
}

type mappingRecord struct {
	Offset int64
	Value  *string
}

// values are those of an event's records, in order.
func valuesOf(t testing.TB, payload string) (values []string) {
	t.Helper()
	var e mappingEvent
	if err := json.Unmarshal([]byte(payload), &e); err != nil {
		t.Fatalf("%v in %s", err, payload)
	}
	for _, records := range e.Records {
		for _, r := range records {
			value, err := base64.StdEncoding.DecodeString(*r.Value)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, string(value))
		}
	}
	return values
}

func (c *clerk) calls() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.events)
}

// sent are the values of each call.
func (c *clerk) sent(t testing.TB) (all [][]string) {
	for _, payload := range c.calls() {
		all = append(all, valuesOf(t, payload))
	}
	return all
}

// run runs a mapping until the test ends.
func (c *clerk) run(t *testing.T, cluster *kafka.Cluster, topic string, change func(*catalog.Pipe)) (*pipe.Runner, catalog.Pipe, *prometheus.Registry) {
	t.Helper()
	egress, _ := target.NewEgress(nil, true)
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	def := catalog.Pipe{
		Name: catalog.MappingPipe(topic), Topics: []string{topic}, Group: "group-" + topic, Start: "earliest",
		Delivery: catalog.Delivery{Timeout: time.Minute, Order: catalog.OrderPartition, InFlight: 100, Log: "none", Batch: catalog.Batch{Records: 100, Wait: 50 * time.Millisecond}},
		Envelope: &catalog.Envelope{Mapping: topic, Function: "clerk", FunctionARN: "arn:clerk", EventSource: "aws:kafka", SourceARN: "arn:cluster", Bootstrap: "one:1,two:2"},
	}
	if change != nil {
		change(&def)
	}
	registry := prometheus.NewRegistry()
	r, err := pipe.New(pipe.Config{
		Cluster: cluster, Transport: egress.Transport(), Egress: egress, Metrics: pipe.NewMetrics(registry), Log: log, Grace: 5 * time.Second,
		Invoke: func(_ context.Context, _ string, in function.Invocation) (function.Outcome, error) {
			c.mu.Lock()
			c.events = append(c.events, string(in.Payload))
			c.mu.Unlock()
			if c.answer == nil {
				return function.Outcome{ID: in.ID}, nil
			}
			return c.answer(valuesOf(t, string(in.Payload)))
		},
	}, []catalog.Pipe{def})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return r, def, registry
}

// write writes records with values to the first partition of a topic.
func write(t testing.TB, c *kafka.Cluster, topic string, values ...string) {
	t.Helper()
	records := make([]*kgo.Record, len(values))
	for i, v := range values {
		records[i] = &kgo.Record{Topic: topic, Partition: 0, Value: []byte(v)}
	}
	if err := c.Produce(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

var unhandled = function.Outcome{Error: function.Unhandled, Payload: []byte(`{"errorMessage":"no"}`)}

func TestMappingHandsOverRecordsExactly(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	name := topic(t, c, 1)
	at := time.UnixMilli(1760001122845)
	records := []*kgo.Record{
		{Topic: name, Key: []byte("k"), Value: []byte("v"), Timestamp: at, Headers: []kgo.RecordHeader{{Key: "a", Value: []byte{0, 127, 128, 255}}, {Key: "a", Value: []byte{}}, {Key: "b"}}},
		{Topic: name, Key: []byte{}, Timestamp: at},
		{Topic: name, Value: []byte{}, Timestamp: at},
	}
	if err := c.Produce(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	clerk := &clerk{}
	r, def, registry := clerk.run(t, c, name, nil)
	eventually(t, "committed", func() bool { return committed(t, c, def.Group, name) == 3 })
	record := func(offset int, rest string) string {
		return fmt.Sprintf(`{"topic":%q,"partition":0,"offset":%d,"timestamp":1760001122845,"timestampType":"CREATE_TIME"%s}`, name, offset, rest)
	}
	want := `{"eventSource":"aws:kafka","eventSourceArn":"arn:cluster","bootstrapServers":"one:1,two:2","records":{"` + name + `-0":[` +
		record(0, `,"key":"aw==","value":"dg==","headers":[{"a":[0,127,-128,-1]},{"a":[]},{"b":[]}]`) + "," +
		record(1, `,"key":"","headers":[]`) + "," + record(2, `,"value":"","headers":[]`) + `]}}`
	if diff := cmp.Diff([]string{want}, clerk.calls()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	eventually(t, "the result", func() bool {
		result, _ := r.Result(def.Name)
		return result == pipe.MappingResult{Reason: pipe.UserInitiated, Result: pipe.Processed}
	})
	for name, want := range map[string]float64{"polled": 3, "invoked": 3, "committed": 3, "dropped": 0} {
		if got := gathered(t, registry, "klamm_esm_"+name+"_event_count"); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// gathered is the value of the only series of a name.
func gathered(t testing.TB, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name && len(f.GetMetric()) == 1 {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no series %s", name)
	return 0
}

func TestMappingGivesUpIntoATopic(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	name, failures := topic(t, c, 1), topic(t, c, 1)
	write(t, c, name, "bad0", "bad1")
	clerk := &clerk{answer: func(values []string) (function.Outcome, error) {
		if values[0] == "fine" {
			return function.Outcome{}, nil
		}
		return unhandled, nil
	}}
	_, def, _ := clerk.run(t, c, name, func(p *catalog.Pipe) { p.Envelope.Attempts, p.Envelope.FailureTopic = 3, failures })
	eventually(t, "given up", func() bool { return committed(t, c, def.Group, name) == 2 })
	write(t, c, name, "fine")
	eventually(t, "gone on", func() bool { return committed(t, c, def.Group, name) == 3 })
	calls := clerk.calls()
	if len(calls) != 4 || calls[0] != calls[1] || calls[1] != calls[2] {
		t.Errorf("calls: %q, want the same three times, and one more", calls)
	}
	got, err := c.Fetch(t.Context(), failures, 0, 0, kafka.Limits{Records: 10, Wait: time.Second})
	if err != nil || len(got) != 2 {
		t.Fatalf("%d messages in the failure topic, %v, want 2", len(got), err)
	}
	for i, r := range got {
		var doc map[string]any
		if err := json.Unmarshal(r.Value, &doc); err != nil {
			t.Fatal(err)
		}
		request, info := doc["requestContext"].(map[string]any), doc["KafkaBatchInfo"].(map[string]any)
		if request["condition"] != "RetriesExhausted" || request["approximateInvokeCount"] != 3.0 || request["functionArn"] != "arn:clerk" || len(request["requestId"].(string)) != 36 {
			t.Errorf("requestContext: %v", request)
		}
		if diff := cmp.Diff(map[string]any{"statusCode": 200.0, "executedVersion": "$LATEST", "functionError": "Unhandled"}, doc["responseContext"]); diff != "" {
			t.Errorf("responseContext (-want +got):\n%s", diff)
		}
		if info["batchSize"] != 1.0 || info["recordInfo"].(map[string]any)["offset"] != strconv.Itoa(i) {
			t.Errorf("KafkaBatchInfo: %v", info)
		}
		payload, err := json.Marshal(doc["payload"])
		if err != nil {
			t.Fatal(err)
		}
		if values := valuesOf(t, string(payload)); !slices.Equal(values, []string{fmt.Sprintf("bad%d", i)}) {
			t.Errorf("payload has %q", values)
		}
	}
}

func TestMappingHalvesDownToTheRecordToBlame(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	name := topic(t, c, 1)
	write(t, c, name, "0", "1", "2", "3", "4", "bad", "6", "7")
	clerk := &clerk{answer: func(values []string) (function.Outcome, error) {
		if slices.Contains(values, "bad") {
			return unhandled, nil
		}
		return function.Outcome{}, nil
	}}
	_, def, registry := clerk.run(t, c, name, func(p *catalog.Pipe) { p.Envelope.Attempts, p.Delivery.Bisect = 2, true })
	eventually(t, "committed", func() bool { return committed(t, c, def.Group, name) == 8 })
	alone := 0
	var done []string
	for _, values := range clerk.sent(t) {
		switch {
		case slices.Equal(values, []string{"bad"}):
			alone++
		case !slices.Contains(values, "bad"):
			done = append(done, values...)
		}
	}
	if alone != 2 || !slices.Equal(done, []string{"0", "1", "2", "3", "4", "6", "7"}) {
		t.Errorf("alone %d times, want 2; done: %v", alone, done)
	}
	if got := gathered(t, registry, "klamm_esm_dropped_event_count"); got != 1 {
		t.Errorf("%v dropped, want 1", got)
	}
}

func TestMappingSendsAgainOnlyWhatIsReported(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	name := topic(t, c, 1)
	write(t, c, name, "a", "once", "b", "never", "c")
	seen := map[string]bool{}
	clerk := &clerk{}
	clerk.answer = func(values []string) (function.Outcome, error) {
		clerk.mu.Lock()
		defer clerk.mu.Unlock()
		report := ""
		for _, v := range values {
			if v == "never" || v == "once" && !seen[v] {
				seen[v] = true
				report += fmt.Sprintf(`,{"itemIdentifier":{"partition":"%s-0","offset":%d}}`, name, map[string]int{"once": 1, "never": 3}[v])
			}
		}
		if report == "" {
			return function.Outcome{Payload: []byte(`{"batchItemFailures":[]}`)}, nil
		}
		return function.Outcome{Payload: []byte(`{"batchItemFailures":[` + report[1:] + `]}`)}, nil
	}
	_, def, _ := clerk.run(t, c, name, func(p *catalog.Pipe) { p.Envelope.Attempts, p.Envelope.ReportFailures = 3, true })
	eventually(t, "committed", func() bool { return committed(t, c, def.Group, name) == 5 })
	if diff := cmp.Diff([][]string{{"a", "once", "b", "never", "c"}, {"once", "never"}, {"never"}}, clerk.sent(t)); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
}

func TestMappingPassesOverOldRecords(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	name := topic(t, c, 1)
	records := []*kgo.Record{
		{Topic: name, Value: []byte("old"), Timestamp: time.Now().Add(-time.Hour)}, {Topic: name, Value: []byte("young"), Timestamp: time.Now()},
		{Topic: name, Value: []byte("older"), Timestamp: time.Now().Add(-2 * time.Hour)},
	}
	if err := c.Produce(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	clerk := &clerk{}
	_, def, _ := clerk.run(t, c, name, func(p *catalog.Pipe) { p.Envelope.MaxAge = 10 * time.Minute })
	eventually(t, "committed", func() bool { return committed(t, c, def.Group, name) == 3 })
	if diff := cmp.Diff([][]string{{"young"}}, clerk.sent(t)); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
}

// TestMappingDoesNotCountCallsThatMiss has a function that is not reached, more often
// than it may be tried.
func TestMappingDoesNotCountCallsThatMiss(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	name := topic(t, c, 1)
	write(t, c, name, "a")
	misses := 0
	clerk := &clerk{}
	clerk.answer = func([]string) (function.Outcome, error) {
		clerk.mu.Lock()
		defer clerk.mu.Unlock()
		if misses++; misses <= 2 {
			return function.Outcome{}, function.ErrThrottled
		}
		return function.Outcome{}, nil
	}
	_, def, registry := clerk.run(t, c, name, func(p *catalog.Pipe) { p.Envelope.Attempts = 1 })
	eventually(t, "committed", func() bool { return committed(t, c, def.Group, name) == 1 })
	if got := gathered(t, registry, "klamm_esm_dropped_event_count"); got != 0 || len(clerk.calls()) != 3 {
		t.Errorf("%v dropped after %d calls, want 0 after 3", got, len(clerk.calls()))
	}
}

// TestMappingDoesNotCountWhatIsTooLarge has a function that takes one record at a time: that a
// batch was too large for it is no attempt, and no attempt more.
func TestMappingDoesNotCountWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	name := topic(t, c, 1)
	write(t, c, name, "a", "bad", "b", "c")
	clerk := &clerk{answer: func(values []string) (function.Outcome, error) {
		switch {
		case len(values) > 1:
			return function.Outcome{}, function.ErrTooLarge
		case values[0] == "bad":
			return unhandled, nil
		}
		return function.Outcome{}, nil
	}}
	_, def, registry := clerk.run(t, c, name, func(p *catalog.Pipe) { p.Envelope.Attempts = 1 })
	eventually(t, "committed", func() bool { return committed(t, c, def.Group, name) == 4 })
	var alone []string
	for _, values := range clerk.sent(t) {
		if len(values) == 1 {
			alone = append(alone, values[0])
		}
	}
	if diff := cmp.Diff([]string{"a", "bad", "b", "c"}, alone); diff != "" {
		t.Errorf("sent alone (-want +got):\n%s", diff)
	}
	if got := gathered(t, registry, "klamm_esm_dropped_event_count"); got != 1 {
		t.Errorf("%v dropped, want 1", got)
	}
}

// TestMappingSaysThatItsFunctionIsGone has a function that is removed and comes back.
func TestMappingSaysThatItsFunctionIsGone(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	name := topic(t, c, 1)
	write(t, c, name, "ab", "c")
	var there atomic.Bool
	clerk := &clerk{answer: func([]string) (function.Outcome, error) {
		if !there.Load() {
			return function.Outcome{}, fmt.Errorf("%w: clerk", function.ErrNotFound)
		}
		return function.Outcome{}, nil
	}}
	r, def, registry := clerk.run(t, c, name, nil)
	says := func(want pipe.MappingResult) {
		t.Helper()
		eventually(t, want.Reason+", "+want.Result, func() bool { got, _ := r.Result(def.Name); return got == want })
	}
	says(pipe.MappingResult{Reason: "FUNCTION_CONFIG_NOT_VALID", Result: "PROBLEM: Function call failed"})
	there.Store(true)
	says(pipe.MappingResult{Reason: pipe.UserInitiated, Result: pipe.Processed})
	if got := gathered(t, registry, "klamm_esm_event_poller_throughput_in_bytes"); got != 3 {
		t.Errorf("%v bytes read, want 3", got)
	}
	eventually(t, "a tenth of an event poller unit", func() bool {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(families, func(f *dto.MetricFamily) bool {
			return f.GetName() == "klamm_esm_event_poller_unit" && f.GetMetric()[0].GetGauge().GetValue() == 0.1
		})
	})
}

func TestMappingFilters(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	name := topic(t, c, 1)
	write(t, c, name, `{"n":1}`, `{"n":2}`, "text", "\xff", "5")
	for _, tc := range []struct {
		name    string
		drop    bool
		filters []string
		want    []string
	}{
		{"value", false, []string{`{"value":{"n":[2]}}`}, []string{`{"n":2}`, "text", "\xff", "5"}},
		{"mismatches dropped", true, []string{`{"value":{"n":[2]}}`}, []string{`{"n":2}`}},
		{"plain", false, []string{`{"value":["text"]}`}, []string{`{"n":1}`, `{"n":2}`, "text", "\xff"}},
		{"a number is a string", true, []string{`{"value":["5"]}`}, []string{"5"}},
		{"one of two", true, []string{`{"value":{"n":[1]}}`, `{"offset":[2]}`}, []string{`{"n":1}`, "text"}},
		{"none", false, []string{`{"topic":["other"]}`}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			clerk := &clerk{}
			_, def, _ := clerk.run(t, c, name, func(p *catalog.Pipe) {
				p.Group += "-" + tc.name
				p.Envelope.DropMismatched = tc.drop
				for _, f := range tc.filters {
					p.Envelope.Filters = append(p.Envelope.Filters, json.RawMessage(f))
				}
			})
			eventually(t, "committed", func() bool { return committed(t, c, def.Group, name) == 5 })
			var got []string
			for _, values := range clerk.sent(t) {
				got = append(got, values...)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("passed (-want +got):\n%s", diff)
			}
		})
	}
}

// TestMappingGoesOnWhereRetentionHasPassedItsOffset has a committed offset below the
// beginning of the log: from there on it reads, or, with LATEST, from the end.
func TestMappingGoesOnWhereRetentionHasPassedItsOffset(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	for start, want := range map[string][]string{"earliest": {"3", "4", "new"}, "latest": {"new"}} {
		t.Run(start, func(t *testing.T) {
			t.Parallel()
			name := topic(t, c, 1)
			write(t, c, name, "0", "1", "2", "3", "4")
			group := "group-" + name
			if err := c.CommitOffsets(t.Context(), group, []kafka.Commit{{TopicPartition: kafka.TopicPartition{Topic: name}, Offset: 1}}); err != nil {
				t.Fatal(err)
			}
			passed := kadm.Offsets{}
			passed.Add(kadm.Offset{Topic: name, At: 3})
			if _, err := c.Admin().DeleteRecords(t.Context(), passed); err != nil {
				t.Fatal(err)
			}
			clerk := &clerk{}
			_, def, registry := clerk.run(t, c, name, func(p *catalog.Pipe) { p.Start, p.Group = start, group })
			eventually(t, "the gap is seen", func() bool { return gathered(t, registry, "klamm_esm_gone_event_count") == 2 })
			write(t, c, name, "new")
			eventually(t, "committed", func() bool { return committed(t, c, def.Group, name) == 6 })
			var got []string
			for _, values := range clerk.sent(t) {
				got = append(got, values...)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
		})
	}
}

// TestMappingOfATopicThatIsMissing has a topic that is only made later.
func TestMappingOfATopicThatIsMissing(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	name := fmt.Sprintf("%s-%d", t.Name(), time.Now().UnixNano())
	clerk := &clerk{}
	r, def, _ := clerk.run(t, c, name, func(p *catalog.Pipe) { p.Start = "latest" })
	says := func(want pipe.MappingResult) {
		t.Helper()
		eventually(t, want.Reason+", "+want.Result, func() bool { got, _ := r.Result(def.Name); return got == want })
	}
	says(pipe.MappingResult{Reason: "ESM_CONFIG_NOT_VALID", Result: "PROBLEM: The topic does not exist."})
	if err := c.EnsureTopic(t.Context(), name, 1, nil); err != nil {
		t.Fatal(err)
	}
	write(t, c, name, "first")
	eventually(t, "the record is delivered", func() bool { return committed(t, c, def.Group, name) == 1 })
	says(pipe.MappingResult{Reason: pipe.UserInitiated, Result: pipe.Processed})
	if diff := cmp.Diff([][]string{{"first"}}, clerk.sent(t)); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
}
