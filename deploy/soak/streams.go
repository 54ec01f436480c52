package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// streams is the proof that clients of Server-Sent Events which break off and come
// back anywhere see each event once, in the order of its partition.
type streams struct {
	*house
	events     int // of all topics
	topics     int
	clients    int
	partitions int
	breaks     int // events after which a client breaks off, on average; 0: it does not
	rate       int // events written in a second; 0: as fast as it goes

	seen, broken, gaps, repeats, refused atomic.Int64
	first                                sync.Map
}

func streamsFlags(flags *flag.FlagSet, h *house) func(context.Context, *table) error {
	s := &streams{house: h}
	flags.IntVar(&s.events, "events", 1_000_000, "events of all topics")
	flags.IntVar(&s.topics, "topics", 5, "topics")
	flags.IntVar(&s.clients, "clients", 50, "clients, each of one topic")
	flags.IntVar(&s.partitions, "partitions", 6, "partitions of a topic")
	flags.IntVar(&s.breaks, "breaks", 10_000, "events after which a client breaks off, on average; 0: never")
	flags.IntVar(&s.rate, "rate", 20_000, "events written in a second; 0: as fast as it goes")
	return func(ctx context.Context, t *table) error {
		if s.topics < 1 || s.clients < s.topics || s.partitions < 1 || s.events < s.topics*s.partitions || s.breaks < 0 || s.rate < 0 {
			return errSmall
		}
		return s.run(ctx, t)
	}
}

func (s *streams) run(ctx context.Context, t *table) error {
	if err := s.fill(ctx); err != nil {
		return err
	}
	topics := make([]string, s.topics)
	for i := range topics {
		var err error
		if topics[i], err = s.topic(ctx, int32(s.partitions)); err != nil {
			return err
		}
	}
	each := s.events / s.topics
	s.say("%d processes, %d clients, %d topics with %d events each", s.count, s.clients, s.topics, each)
	begun := time.Now()
	var all sync.WaitGroup
	failed := make(chan error, s.clients)
	listening, stop := context.WithCancel(ctx)
	defer stop()
	for i := range s.clients {
		all.Go(func() {
			if err := s.listen(listening, topics[i%s.topics], each, rand.New(rand.NewPCG(1, uint64(i)))); err != nil {
				failed <- err
			}
		})
	}
	err := s.fillTopics(ctx, topics, each)
	if err != nil {
		stop()
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	progress := time.NewTicker(10 * time.Second)
	defer progress.Stop()
	for waiting := true; waiting; {
		select {
		case <-done:
			waiting = false
		case <-progress.C:
			s.say("%d of %d events seen, %d streams broken off", s.seen.Load(), s.clients*each, s.broken.Load())
		}
	}
	close(failed)
	for e := range failed {
		if err == nil {
			err = e
		}
	}
	if err != nil {
		return err
	}
	took := time.Since(begun)
	t.tell("events written", each*s.topics)
	t.want("events seen", s.seen.Load(), fmt.Sprint(s.clients*each), s.seen.Load() == int64(s.clients*each))
	t.tell("events a second", int(float64(s.seen.Load())/took.Seconds()))
	t.tell("streams that were broken off", s.broken.Load())
	t.none("events that were left out", int(s.gaps.Load()))
	t.none("events that came again, or late", int(s.repeats.Load()))
	t.none("streams that were refused", int(s.refused.Load()))
	s.first.Range(func(what, _ any) bool {
		t.want("found", what, "", false)
		return true
	})
	return nil
}

// fillTopics writes the events, to all topics and partitions in turn.
func (s *streams) fillTopics(ctx context.Context, topics []string, each int) error {
	const batch = 1000
	begun, written := time.Now(), 0
	for from := 0; from < each; from += batch {
		var records []*kgo.Record
		for n := from; n < min(from+batch, each); n++ {
			for _, topic := range topics {
				records = append(records, &kgo.Record{Topic: topic, Partition: int32(n % s.partitions), Value: fmt.Appendf(nil, `{"n":%d,"text":"the quick brown fox jumps over the lazy dog"}`, n)})
			}
		}
		if err := s.write(ctx, records); err != nil {
			return err
		}
		written += len(records)
		if s.rate > 0 {
			if err := pause(ctx, time.Until(begun.Add(time.Duration(written)*time.Second/time.Duration(s.rate)))); err != nil {
				return err
			}
		}
	}
	return nil
}

// listen is a client: it follows a topic from its beginning until it has seen all.
func (s *streams) listen(ctx context.Context, topic string, events int, random *rand.Rand) error {
	l := &listener{streams: s, next: make([]int64, s.partitions)}
	for l.seen < events {
		leave := events
		if s.breaks > 0 {
			leave = 1 + random.IntN(2*s.breaks)
		}
		if err := l.connect(ctx, topic, min(events, l.seen+leave)); err != nil {
			return err
		}
		if l.seen < events {
			s.broken.Add(1)
		}
	}
	return nil
}

// A listener is what a client knows.
type listener struct {
	*streams
	id   string  // of the last event
	next []int64 // the offset that has to come, by partition
	seen int
}

// connect follows a topic until enough was seen, or the stream ends.
func (l *listener) connect(ctx context.Context, topic string, enough int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.house.next().url+"/stream/"+topic+"?from=earliest", http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	if l.id != "" {
		req.Header.Set("Last-Event-ID", l.id)
	}
	streaming := &http.Client{Transport: l.client.Transport} // without a time limit
	resp, err := streaming.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		l.refused.Add(1)
		l.first.LoadOrStore(err.Error(), true)
		return pause(ctx, time.Second)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		l.refused.Add(1)
		l.first.LoadOrStore(resp.Status, true)
		return pause(ctx, time.Second)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	id, name, data := "", "", []byte(nil)
	for lines.Scan() {
		line := lines.Bytes()
		switch {
		case len(line) == 0:
			if id != "" {
				l.id = id
			}
			if data != nil {
				l.event(name, data)
			}
			id, name, data = "", "", nil
			if l.seen >= enough {
				return nil
			}
		case bytes.HasPrefix(line, []byte("id: ")):
			id = string(line[4:])
		case bytes.HasPrefix(line, []byte("event: ")):
			name = string(line[7:])
		case bytes.HasPrefix(line, []byte("data: ")):
			data = append(data, line[6:]...)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil // the stream has ended; come again
}

// event notes an event.
func (l *listener) event(name string, data []byte) {
	partition, here := number(data, `,"partition":`)
	offset, there := number(data, `,"offset":`)
	if name != "record" || !here || !there || partition >= int64(len(l.next)) {
		l.first.LoadOrStore(fmt.Sprintf("event %s: %.200s", name, data), true)
		return
	}
	switch want := l.next[partition]; {
	case offset > want:
		l.gaps.Add(offset - want)
	case offset < want:
		l.repeats.Add(1)
		return
	}
	l.next[partition] = offset + 1
	l.seen++
	l.streams.seen.Add(1)
}

// number returns the number behind the first occurrence of a text.
func number(data []byte, after string) (int64, bool) {
	_, rest, ok := bytes.Cut(data, []byte(after))
	end := bytes.IndexByte(rest, ',')
	if !ok || end < 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(string(rest[:end]), 10, 64)
	return n, err == nil && n >= 0
}
