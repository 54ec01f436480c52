package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// drainBatch is how many records a request or an invocation has, at most.
	drainBatch = 100
	// drainBytes is the length of a record's value.
	drainBytes = 1000
	// drainTimeout bounds how long a side may take for its records.
	drainTimeout = 10 * time.Minute
	// klammReady begins the line that klamm prints when it serves; its address follows.
	klammReady = "klamm ready: http="
)

// A Drain is how fast klamm delivers what waits in a topic, in batches, to somebody who
// does nothing. Figures are medians of rounds.
type Drain struct {
	Title            string  `json:"title"`
	RecordsPerSecond float64 `json:"records_per_second"`
	MBPerSecond      float64 `json:"mb_per_second"`
	// OfWebhook is the share of what a webhook gets in the same rounds.
	OfWebhook float64 `json:"of_webhook"`
}

// A drained side is one of those that are compared.
type drained struct {
	title string
	// config is klamm's, for a group; mapped says that an event source mapping is made
	// beside it.
	config func(topic, group string) string
	mapped bool
	rates  []float64
}

// drains measures a pipe to a webhook, one to a function, and an event source mapping, in
// turn.
func (f *functionBench) drains(ctx context.Context, r *FunctionReport) error {
	if f.Drain == 0 || !supported {
		return nil
	}
	o := Default()
	o.Brokers, o.Executable, o.Progress = f.Brokers, f.executable, f.Progress
	c, err := o.assemble(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	topic := c.run + "drain"
	f.say("function: producing %s records of %d bytes", thousands(float64(f.Drain)), drainBytes)
	if err := c.createTopic(ctx, topic); err != nil {
		return err
	}
	if err := c.fill(ctx, fillRole{Brokers: c.brokers, Topic: topic, Count: int64(f.Drain), Size: drainBytes}); err != nil {
		return err
	}
	hook, addr, err := c.crew.serving(ctx, "yardstick-function", struct{}{})
	if err != nil {
		return err
	}
	defer hook.kill()
	pipe := func(target string) func(string, string) string {
		return func(topic, group string) string {
			return fmt.Sprintf("egress: {allow: [127.0.0.0/8]}\nfunctions: [%s]\npipes:\n  - name: bench\n    topics: [%s]\n    group: %s\n    start: earliest\n    target: %s\n    delivery: {timeout: 1m, order: partition, batch: {records: %d, bytes: 16MiB, wait: 0s, format: json}}\n",
				f.nothing(), topic, group, target, drainBatch)
		}
	}
	sides := []*drained{
		{title: "pipe to a webhook", config: pipe(fmt.Sprintf("{webhook: {url: \"http://%s/\"}}", addr))},
		{title: "pipe to a function", config: pipe("{function: {name: nothing}}")},
		{title: "mapping to a function, one poller", mapped: true, config: func(string, string) string { return "functions: [" + f.nothing() + "]\n" }},
	}
	for round := range f.Rounds {
		for _, s := range sides {
			rate, err := f.drain(ctx, c, s, topic, fmt.Sprintf("%s-%d", topic, time.Now().UnixNano()))
			if err != nil {
				return fmt.Errorf("%s: %w", s.title, err)
			}
			f.say("function: %s: round %d of %d: %s records/s", s.title, round+1, f.Rounds, thousands(rate))
			s.rates = append(s.rates, rate)
		}
	}
	for _, s := range sides {
		var shares []float64
		for i, rate := range s.rates {
			shares = append(shares, rate/sides[0].rates[i])
		}
		r.Drains = append(r.Drains, Drain{s.title, median(s.rates), median(s.rates) * drainBytes / 1e6, median(shares)})
	}
	return nil
}

// nothing defines the function that does nothing.
func (f *functionBench) nothing() string {
	return fmt.Sprintf("{name: nothing, directory: %q, runtime: provided.al2023, handler: bootstrap, memory: 1024, timeout: 1m}", f.code)
}

// drain lets a side deliver everything, and returns how many records it does a second.
func (f *functionBench) drain(ctx context.Context, c *conductor, s *drained, topic, group string) (float64, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, drainTimeout, fmt.Errorf("not done within %s", drainTimeout))
	defer cancel()
	file := filepath.Join(c.crew.dir, "drain.yaml")
	if err := os.WriteFile(file, []byte(s.config(topic, group)), 0o600); err != nil {
		return 0, err
	}
	klamm, err := c.spawnKlamm(file)
	if err != nil {
		return 0, err
	}
	defer c.endGroup(group)
	defer klamm.leave()
	if s.mapped {
		line, err := klamm.line(ctx, startTimeout, klammReady)
		if err != nil {
			return 0, err
		}
		remove, err := c.mapping(ctx, "http://"+strings.Fields(line)[0], topic, group)
		if err != nil {
			return 0, err
		}
		defer remove()
	}
	// The first commit that is seen is where counting begins: before it, processes start
	// and groups gather.
	var begun time.Time
	var first int64
	for {
		done := c.progressOf(ctx, topic, group)
		switch {
		case begun.IsZero() && done > 0:
			begun, first = time.Now(), done
		case done == int64(f.Drain) && done > first:
			return float64(done-first) / time.Since(begun).Seconds(), nil
		case done == int64(f.Drain):
			return 0, fmt.Errorf("%d records are too few to see how fast they are delivered: give more with --drain", f.Drain)
		}
		if !pause(ctx, 10*time.Millisecond) {
			return 0, context.Cause(ctx)
		}
	}
}

// progressOf returns how many records of a topic a group has committed.
func (c *conductor) progressOf(ctx context.Context, topic, group string) (done int64) {
	offsets, err := c.admin.FetchOffsets(ctx, group)
	if err != nil {
		return 0
	}
	for _, o := range offsets[topic] {
		done += max(o.At, 0)
	}
	return done
}

// mapping makes an event source mapping, and returns what deletes it.
func (c *conductor) mapping(ctx context.Context, klamm, topic, group string) (remove func(), err error) {
	const path = "/2015-03-31/event-source-mappings"
	body, err := json.Marshal(map[string]any{
		"FunctionName": "nothing", "Topics": []string{topic}, "StartingPosition": "TRIM_HORIZON", "BatchSize": drainBatch, "MaximumBatchingWindowInSeconds": 0,
		"SelfManagedEventSource":            map[string]any{"Endpoints": map[string]any{"KAFKA_BOOTSTRAP_SERVERS": c.brokers}},
		"SelfManagedKafkaEventSourceConfig": map[string]any{"ConsumerGroupId": group},
		"ProvisionedPollerConfig":           map[string]any{"MinimumPollers": 1, "MaximumPollers": 1},
	})
	if err != nil {
		return nil, err
	}
	var made struct{ UUID string }
	call := func(ctx context.Context, method, path string, body []byte, into any) error {
		req, err := http.NewRequestWithContext(ctx, method, klamm+path, bytes.NewReader(body))
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			return err
		}
		if resp.StatusCode > 299 {
			return fmt.Errorf("klamm answers %s: %.500s", resp.Status, text)
		}
		return json.Unmarshal(text, into)
	}
	if err := call(ctx, http.MethodPost, path, body, &made); err != nil {
		return nil, fmt.Errorf("make the mapping: %w", err)
	}
	return func() {
		// The run's own context may have ended. On an embedded broker it goes with it.
		ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
		defer cancel()
		for pause(ctx, 100*time.Millisecond) {
			var gone any
			err := call(ctx, http.MethodDelete, path+"/"+made.UUID, nil, &gone)
			if err == nil || !strings.Contains(err.Error(), "400") {
				return // it may still be enabling itself
			}
		}
	}, nil
}
