package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// pipeYardstick configures the bare program for the back door: what one would
// write with kgo and net/http to post records and commit what was accepted. It
// retries nothing.
type pipeYardstick struct {
	Brokers  []string `json:"brokers"`
	Topics   []string `json:"topics"`
	Group    string   `json:"group"`
	URL      string   `json:"url"`
	Batch    int      `json:"batch"`     // records in one request; more than one are a JSON array
	InFlight int      `json:"in_flight"` // requests at once
}

func runPipeYardstick(ctx context.Context, c pipeYardstick, out io.Writer) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(c.Brokers...),
		kgo.ConsumerGroup(c.Group),
		kgo.ConsumeTopics(c.Topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(time.Second),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	p := &poster{
		url:    c.URL,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: c.InFlight}, Timeout: requestTimeout},
		marked: progress{mark: func(r *kgo.Record) { client.MarkCommitRecords(r) }},
	}
	chunks := make(chan *chunk)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel(nil)
	for range c.InFlight {
		workers.Go(func() {
			for {
				select {
				case ch := <-chunks:
					if err := p.post(ctx, ch); err != nil {
						cancel(err)
						return
					}
				case <-ctx.Done():
					return
				}
			}
		})
	}
	if err := printReady(out, "-"); err != nil {
		return err
	}
	for {
		fetches := client.PollRecords(ctx, 10_000)
		if ctx.Err() != nil {
			if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
				return err
			}
			return errStopped
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("poll: %w", err)
		}
		fetches.EachPartition(func(part kgo.FetchTopicPartition) {
			for rest := part.Records; len(rest) > 0; {
				n := min(c.Batch, len(rest))
				ch := p.marked.begin(rest[:n])
				rest = rest[n:]
				select {
				case chunks <- ch:
				case <-ctx.Done():
					return
				}
			}
		})
	}
}

type poster struct {
	url    string
	client *http.Client
	marked progress
}

func (p *poster) post(ctx context.Context, ch *chunk) error {
	body := ch.records[0].Value
	if len(ch.records) > 1 {
		size := 2
		for _, r := range ch.records {
			size += len(r.Value) + 1
		}
		body = append(make([]byte, 0, size), '[')
		for i, r := range ch.records {
			if i > 0 {
				body = append(body, ',')
			}
			body = append(body, r.Value...)
		}
		body = append(body, ']')
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("post to %s: status %d", p.url, resp.StatusCode)
	}
	if err == nil {
		p.marked.end(ch)
	}
	return err
}

// A chunk is consecutive records of one partition that travel together.
type chunk struct {
	records []*kgo.Record
	done    bool
}

// progress marks records for the commit in the order of their offsets, however
// their chunks end.
//
//	open: [done] [done] [ -- ] [done]     the first two are marked, the last waits
type progress struct {
	mark func(*kgo.Record)

	mu   sync.Mutex // guards open and the done of chunks
	open map[place][]*chunk
}

type place struct {
	topic     string
	partition int32
}

func (p *progress) begin(records []*kgo.Record) *chunk {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open == nil {
		p.open = make(map[place][]*chunk)
	}
	ch := &chunk{records: records}
	at := place{records[0].Topic, records[0].Partition}
	p.open[at] = append(p.open[at], ch)
	return ch
}

func (p *progress) end(ch *chunk) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ch.done = true
	at := place{ch.records[0].Topic, ch.records[0].Partition}
	open := p.open[at]
	var last *kgo.Record
	for len(open) > 0 && open[0].done {
		last = open[0].records[len(open[0].records)-1]
		open = open[1:]
	}
	p.open[at] = open
	if last != nil {
		p.mark(last)
	}
}
