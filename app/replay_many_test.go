package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker"
)

// dropped says which events have a source that the archive's pattern lets not pass.
func dropped(n int) bool { return n%5 == 4 }

// An archive of many events is replayed over two processes: once up to half, where it is
// cancelled, and once to its end, while one process after the other is started anew. The
// replays leave out a tenth at both ends.
func TestReplayOfManyEvents(t *testing.T) {
	archived, _ := strconv.Atoi(os.Getenv("KLAMM_TEST_EVENTS"))
	if archived < 1000 {
		t.Skip("it takes minutes: KLAMM_TEST_EVENTS=1000000 runs it")
	}
	shareBroker(t)
	settings := fmt.Sprintf("bus: {replay_rate: %d}", max(archived/50, 100))
	all := []*running{start(t, settings, ""), start(t, settings, "")}
	name := fmt.Sprintf("many-%d", time.Now().UnixNano())
	arn := func(rest string) string { return "arn:aws:events:us-east-1:000000000000:" + rest }
	do := func(operation string, body map[string]any) map[string]any {
		t.Helper()
		answer, err := all[0].events(operation, body)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	do("CreateEventBus", map[string]any{"Name": name})
	do("CreateArchive", map[string]any{"ArchiveName": name, "EventSourceArn": arn("event-bus/" + name), "EventPattern": `{"source":["kept"]}`})
	// Both rules ask for what comes from a replay, and only one of them is chosen.
	for _, rule := range []string{"chosen", "other"} {
		do("PutRule", map[string]any{"Name": rule, "EventBusName": name, "EventPattern": `{"replay-name":[{"exists":true}]}`})
		do("PutTargets", map[string]any{"Rule": rule, "EventBusName": name, "Targets": []map[string]any{{"Id": "t", "Arn": "arn:klamm:kafka:::topic/" + name + "-" + rule}}})
	}

	total, begun := archived*5/4, time.Now()
	putMany(t, all, name, total)
	t.Logf("%d events were put in %s", total, time.Since(begun))
	within(t, "the archive has what its pattern lets through", func() bool {
		return do("DescribeArchive", map[string]any{"ArchiveName": name})["EventCount"] == float64(archived)
	})

	first, last := total/10, total-total/10
	wanted := 0
	for n := first; n < last; n++ {
		if !dropped(n) {
			wanted++
		}
	}
	replay := func(which string) {
		do("StartReplay", map[string]any{"ReplayName": name + which, "EventSourceArn": arn("archive/" + name), "EventStartTime": first, "EventEndTime": last,
			"Destination": map[string]any{"Arn": arn("event-bus/" + name), "FilterArns": []string{arn("rule/" + name + "/chosen")}}})
	}
	// Deliveries may be far behind what was put on the bus.
	past := func(which string, part float64) bool {
		at, _ := do("DescribeReplay", map[string]any{"ReplayName": name + which})["EventLastReplayedTime"].(float64)
		return at >= float64(first)+part*float64(last-first)
	}
	ended := func(which, state string) {
		t.Helper()
		within(t, which+" ends", func() bool {
			now := do("DescribeReplay", map[string]any{"ReplayName": name + which})["State"]
			return now != "STARTING" && now != "RUNNING" && now != "CANCELLING"
		})
		if d := do("DescribeReplay", map[string]any{"ReplayName": name + which}); d["State"] != state {
			t.Fatalf("got %v, want the state %s", d, state)
		}
	}

	seen := watch(t, name)
	replay("half")
	within(t, "half of it is replayed", func() bool { return past("half", 0.5) })
	do("CancelReplay", map[string]any{"ReplayName": name + "half"})
	ended("half", "CANCELLED")

	begun = time.Now()
	replay("whole")
	for i := range all {
		within(t, "it goes on", func() bool { return past("whole", float64(i+1)/3) })
		all[i].stop()
		all[i] = start(t, settings, "")
	}
	ended("whole", "COMPLETED")
	within(t, "all is delivered", func() bool { return seen.unique("whole") >= wanted })
	t.Logf("%d events were replayed in %s, %d of them twice; %d before it was cancelled", wanted, time.Since(begun), seen.twice("whole"), seen.unique("half"))
	if seen.unique("half") >= wanted {
		t.Error("all was replayed, although it was cancelled half-way")
	}
	seen.check(t, first, last)
}

// within polls a condition that may take long to come.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within ten minutes", what)
		}
	}
}

// putMany puts events whose times are the seconds from 0 on.
func putMany(t *testing.T, all []*running, bus string, total int) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for {
				n := int(next.Add(10)) - 10
				if n >= total {
					return
				}
				var entries []map[string]any
				for i := n; i < min(n+10, total); i++ {
					source := "kept"
					if dropped(i) {
						source = "dropped"
					}
					entries = append(entries, map[string]any{"Source": source, "DetailType": "t", "EventBusName": bus, "Time": i, "Detail": fmt.Sprintf(`{"n":%d}`, i)})
				}
				answer, err := all[w%len(all)].events("PutEvents", map[string]any{"Entries": entries})
				if err != nil || answer["FailedEntryCount"] != 0.0 {
					t.Errorf("put from %d on: %v, %v", n, answer, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// events calls an operation of event buses.
func (r *running) events(operation string, body map[string]any) (map[string]any, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, r.url, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "AWSEvents."+operation)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer := map[string]any{}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %d %v", operation, resp.StatusCode, answer)
	}
	return answer, nil
}

// A watcher counts what the targets of two rules get.
type watcher struct {
	name string

	mu     sync.Mutex // guards what follows
	counts map[string]map[int]int
	wrong  []string
}

// watch reads the topics of both targets until the test ends.
func watch(t *testing.T, name string) *watcher {
	t.Helper()
	w := &watcher{name: name, counts: map[string]map[int]int{}}
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(os.Getenv("KLAMM_TEST_BROKERS"), ",")...), kgo.ConsumeTopics(name+"-chosen", name+"-other"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(w.take)
		}
	}()
	t.Cleanup(func() { cancel(); <-done; client.Close() })
	return w
}

func (w *watcher) take(r *kgo.Record) {
	var e struct {
		Source string
		Replay string `json:"replay-name"`
		Detail struct{ N int }
	}
	err := json.Unmarshal(r.Value, &e)
	which, ours := strings.CutPrefix(e.Replay, w.name)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil || !ours || r.Topic != w.name+"-chosen" || e.Source != "kept" {
		if len(w.wrong) < 10 {
			w.wrong = append(w.wrong, r.Topic+": "+string(r.Value))
		}
		return
	}
	if w.counts[which] == nil {
		w.counts[which] = map[int]int{}
	}
	w.counts[which][e.Detail.N]++
}

// unique is how many events a replay has brought so far.
func (w *watcher) unique(which string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.counts[which])
}

// twice is how many have come more often than once.
func (w *watcher) twice(which string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.counts[which] {
		n += min(k-1, 1)
	}
	return n
}

// check says what came that was not to come.
func (w *watcher) check(t *testing.T, first, last int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, text := range w.wrong {
		t.Error("this was not to be delivered: " + text)
	}
	for which, counts := range w.counts {
		for n := range counts {
			if n < first || n >= last || dropped(n) {
				t.Errorf("%s: event %d is not in the span, or not in the archive", which, n)
			}
		}
	}
}

// shareBroker gives all processes of a test the same brokers, where no real ones are given.
func shareBroker(t *testing.T) {
	t.Helper()
	if os.Getenv("KLAMM_TEST_BROKERS") != "" {
		return
	}
	b, err := broker.Start(t.Context(), broker.Config{Listen: "127.0.0.1:0", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	t.Setenv("KLAMM_TEST_BROKERS", strings.Join(b.Addrs(), ","))
}
