package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// sse measures Server-Sent Events: what is produced goes out to each of many
// clients at once. Every side is a process of its own in each round, so that its
// memory is that of these clients.
func (c *conductor) sse(ctx context.Context) ([]Case, error) {
	result := Case{
		Door: "front", Name: "sse", Title: fmt.Sprintf("events pushed to %s clients, %d records/s each", thousands(float64(c.SSEClients)), c.SSERate),
	}
	contenders := []contender{
		{"yardstick", true, func(ctx context.Context, topic string) (loadResult, error) {
			bare, addr, err := c.crew.serving(ctx, "yardstick-sse", sseYardstick{Brokers: c.brokers, Topic: topic})
			if err != nil {
				return loadResult{}, err
			}
			defer bare.kill()
			return c.events(ctx, bare, addr, topic)
		}},
		{"klamm", false, func(ctx context.Context, topic string) (loadResult, error) {
			klamm, addr, err := c.startKlamm(ctx, "")
			if err != nil {
				return loadResult{}, err
			}
			defer klamm.kill()
			return c.events(ctx, klamm, addr, topic)
		}},
	}
	result, err := c.rounds(ctx, result, contenders, func(ctx context.Context, topic string, side contender) (Figures, error) {
		if err := c.createTopic(ctx, topic); err != nil {
			return Figures{}, err
		}
		defer c.deleteTopic(ctx, topic)
		r, err := side.work(ctx, topic)
		if err == nil {
			c.progress("front: %s: an idle client takes %.1f KiB", side.name, float64(r.Figures.IdleBytes)/1024)
		}
		return r.Figures, err
	})
	return []Case{result}, err
}

// events lets clients listen to a server.
func (c *conductor) events(ctx context.Context, server *child, addr, topic string) (loadResult, error) {
	config := sseRole{
		Stretch: c.stretch(), Addr: addr, Brokers: c.brokers, Topic: topic, Clients: c.SSEClients, PerSecond: c.SSERate,
		Partitions: c.Partitions, Size: c.ValueBytes, PID: server.pid(),
	}
	r, err := c.perform(ctx, "load-sse", config, config.Stretch.timeout()+sseLag)
	if err != nil {
		return r, err
	}
	r.Figures.PeakBytes, err = peakMemory(server.pid())
	return r, err
}

// sseLag is how long the last events may take, and how long clients may take to
// connect.
const sseLag = 3 * time.Minute

// sseRole configures the clients of event streams, and who produces for them.
type sseRole struct {
	Stretch    stretch  `json:"stretch"`
	Addr       string   `json:"addr"`
	Brokers    []string `json:"brokers"`
	Topic      string   `json:"topic"`
	Clients    int      `json:"clients"`
	PerSecond  int      `json:"per_second"` // records
	Partitions int      `json:"partitions"`
	Size       int      `json:"size"` // of a document, in bytes
	PID        int      `json:"pid"`  // of the server
}

func runSSE(ctx context.Context, c sseRole, out io.Writer) error {
	if c.Clients < 1 || c.PerSecond < 1 || c.Partitions < 1 || c.Size < minDocument || c.Size > maxDocument {
		return fmt.Errorf("%w: nothing to push", ErrRole)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	before, err := residentMemory(c.PID)
	if err != nil {
		return err
	}
	clients, err := c.connect(ctx)
	if err != nil {
		return err
	}
	// What connecting took is not what an idle client takes: a process that has been idle
	// for ten seconds gives it back.
	if !pause(ctx, 22*time.Second) {
		return context.Cause(ctx)
	}
	after, err := residentMemory(c.PID)
	if err != nil {
		return err
	}
	begin := time.Now().Add(c.Stretch.Warm)
	end := begin.Add(c.Stretch.Measure)
	var listening sync.WaitGroup
	for _, l := range clients {
		l.begin, l.end = begin, end
		listening.Go(func() {
			if err := l.listen(); ctx.Err() == nil {
				cancel(fmt.Errorf("stream of %s: %w", c.Addr, err))
			}
		})
	}
	defer listening.Wait()
	defer func() {
		for _, l := range clients {
			_ = l.body.Close()
		}
	}()
	result := loadResult{Figures: Figures{Seconds: c.Stretch.Measure.Seconds(), IdleBytes: (after - before) / int64(c.Clients)}}
	cpu, produced, err := c.produce(ctx, begin, end)
	if err != nil {
		return err
	}
	if err := c.await(ctx, clients, produced); err != nil {
		return err
	}
	var times latencies
	for _, l := range clients {
		result.Figures.Records += int64(len(l.times))
		result.Acknowledged += l.seen.Load()
		times = append(times, l.times...)
	}
	result.Figures.Bytes = result.Figures.Records * int64(c.Size)
	result.Figures.P50Micros = float64(times.quantile(0.50)) / float64(time.Microsecond)
	result.Figures.P99Micros = float64(times.quantile(0.99)) / float64(time.Microsecond)
	result.Figures.settle(cpu)
	return printResult(out, result)
}

// connect connects the clients, some at a time.
func (c sseRole) connect(ctx context.Context) ([]*listener, error) {
	clients := make([]*listener, c.Clients)
	next := atomic.Int64{}
	errs := make([]error, 32)
	transport := &http.Transport{MaxIdleConnsPerHost: -1, ReadBufferSize: 8 << 10, WriteBufferSize: 1 << 10}
	var all sync.WaitGroup
	for w := range errs {
		all.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if n >= c.Clients || errs[w] != nil {
					return
				}
				clients[n], errs[w] = c.dial(ctx, transport)
			}
		})
	}
	all.Wait()
	return clients, errors.Join(errs...)
}

func (c sseRole) dial(ctx context.Context, transport *http.Transport) (*listener, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Addr+"/stream/"+c.Topic, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("GET /stream/%s: status %d, want 200", c.Topic, resp.StatusCode)
	}
	l := &listener{body: resp.Body, in: bufio.NewReaderSize(resp.Body, 8<<10), size: c.Size, next: make([]int64, c.Partitions)}
	// The stream has begun with its first line: nothing is missed from then on.
	if _, err := l.in.ReadSlice('\n'); err != nil {
		return nil, fmt.Errorf("stream of %s: %w", c.Addr, err)
	}
	return l, nil
}

// produce writes documents at the rate until the end, and returns the server's CPU
// time between begin and end and how many there were.
func (c sseRole) produce(ctx context.Context, begin, end time.Time) (cpu time.Duration, produced int64, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		return 0, 0, err
	}
	defer client.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	start, started := time.Now(), time.Duration(-1)
	for {
		if !pause(ctx, time.Until(start.Add(time.Duration(produced)*time.Second/time.Duration(c.PerSecond)))) {
			return 0, 0, context.Cause(ctx)
		}
		now := time.Now()
		if started < 0 && !now.Before(begin) {
			if started, err = cpuTime(c.PID); err != nil {
				return 0, 0, err
			}
		}
		if !now.Before(end) {
			break
		}
		value := appendDocument(make([]byte, 0, c.Size), produced, now, c.Size)
		client.Produce(ctx, &kgo.Record{Topic: c.Topic, Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				cancel(fmt.Errorf("produce to topic %q: %w", c.Topic, err))
			}
		})
		produced++
	}
	ended, err := cpuTime(c.PID)
	if err != nil {
		return 0, 0, err
	}
	if err := client.Flush(ctx); err != nil {
		return 0, 0, context.Cause(ctx)
	}
	return ended - started, produced, nil
}

// await waits until every client has seen everything.
func (c sseRole) await(ctx context.Context, clients []*listener, produced int64) error {
	for deadline := time.Now().Add(sseLag); ; {
		behind := 0
		for _, l := range clients {
			if l.seen.Load() < produced {
				behind++
			}
		}
		if behind == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d clients of %s have not seen all of %d records after %s", behind, c.Addr, produced, sseLag)
		}
		if !pause(ctx, 20*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}

// A listener is one client of a stream. It verifies that every record of each
// partition comes once and in order.
type listener struct {
	body       io.ReadCloser
	in         *bufio.Reader
	size       int
	begin, end time.Time

	next  []int64   // offset that is to come, by partition
	times latencies // of what came within begin and end
	seen  atomic.Int64
}

// listen reads until the stream ends and says why; it never returns nil.
func (l *listener) listen() error {
	for long := []byte(nil); ; {
		line, err := l.in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, line...)
			continue
		}
		if err != nil {
			return err
		}
		if len(long) > 0 {
			line = append(long, line...)
			long = line[:0]
		}
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			if err := l.event(data); err != nil {
				return err
			}
		}
	}
}

// event takes in the data of one event.
func (l *listener) event(data []byte) error {
	now := time.Now()
	partition, rest, ok := numberAfter(data, `"partition":`)
	offset, rest, ok2 := numberAfter(rest, `"offset":`)
	_, value, ok3 := bytes.Cut(rest, []byte(`"value":`))
	if !ok || !ok2 || !ok3 || int(partition) >= len(l.next) || len(value) < l.size {
		return fmt.Errorf("not the data of an event: %.200q", data)
	}
	if offset != l.next[partition] {
		return fmt.Errorf("partition %d has offset %d, want %d", partition, offset, l.next[partition])
	}
	_, at, err := readDocument(value[:l.size], l.size)
	if err != nil {
		return err
	}
	l.next[partition]++
	if now.After(l.begin) && now.Before(l.end) {
		l.times.add(now.Sub(at))
	}
	l.seen.Add(1)
	return nil
}

// numberAfter returns the number that follows a name.
func numberAfter(b []byte, name string) (n int64, rest []byte, ok bool) {
	_, rest, ok = bytes.Cut(b, []byte(name))
	end := bytes.IndexAny(rest, ",}")
	if !ok || end < 0 {
		return 0, nil, false
	}
	n, err := strconv.ParseInt(string(rest[:end]), 10, 64)
	return n, rest[end:], err == nil && n >= 0
}

// residentMemory returns the resident set of a process, in bytes.
func residentMemory(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	_, rest, _ := bytes.Cut(status, []byte("VmRSS:"))
	line, _, ok := bytes.Cut(rest, []byte("kB"))
	kib, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("read the memory of process %d: no VmRSS", pid)
	}
	return kib << 10, nil
}
