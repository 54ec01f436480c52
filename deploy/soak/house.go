package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

// A house is several klamm processes on one cluster.
type house struct {
	klamm   string // the program
	count   int    // of processes at first
	config  string // further lines of each process's configuration
	keep    string // a directory for configurations and logs that stays; "": one that does not
	brokers []string
	out     io.Writer // for the progress and the table

	begun   time.Time
	dir     string
	cluster *kafka.Cluster
	client  *http.Client

	turn    atomic.Uint64 // of the balancer
	mu      sync.Mutex    // guards what follows
	all     []*process    // in service, oldest first
	ended   []*process    // not in service any more; still running or not
	numbers int           // of processes that were started
}

// A process is one klamm.
type process struct {
	name string
	url  string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// open makes the directory and connects to the cluster.
func (h *house) open() (err error) {
	h.begun = time.Now()
	h.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	if h.keep != "" {
		h.dir, err = h.keep, os.MkdirAll(h.keep, 0o700)
	} else {
		h.dir, err = os.MkdirTemp("", "klamm-soak-")
	}
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	// What brokers say while they are busy is no news.
	patient := kafka.Producing{MetadataTimeoutMs: 60_000} // the proof is of reads
	h.cluster, err = kafka.Open(kafka.Config{Brokers: h.brokers, Producing: patient}, slog.New(slog.DiscardHandler))
	return err
}

// fill starts the first processes.
func (h *house) fill(ctx context.Context) error {
	for range h.count {
		if _, err := h.start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// close kills what still runs and removes the directory that nobody asked to keep.
func (h *house) close() {
	h.mu.Lock()
	all := append(append([]*process{}, h.all...), h.ended...)
	h.mu.Unlock()
	for _, p := range all {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	if h.cluster != nil {
		h.cluster.Close()
	}
	if h.keep == "" {
		_ = os.RemoveAll(h.dir)
	}
}

// say prints a line of progress.
func (h *house) say(format string, args ...any) {
	fmt.Fprintf(h.out, "%7.1f s  %s\n", time.Since(h.begun).Seconds(), fmt.Sprintf(format, args...))
}

// start starts one more klamm and returns when it serves.
func (h *house) start(ctx context.Context) (*process, error) {
	h.mu.Lock()
	h.numbers++
	p := &process{name: fmt.Sprintf("klamm-%d", h.numbers), done: make(chan struct{})}
	h.mu.Unlock()
	file := filepath.Join(h.dir, p.name+".yaml")
	text := fmt.Sprintf("listen: 127.0.0.1:0\nkafka: {brokers: [\"%s\"]}\n%s", strings.Join(h.brokers, `", "`), h.config)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write klamm's configuration: %w", err)
	}
	log, err := os.Create(filepath.Join(h.dir, p.name+".log"))
	if err != nil {
		return nil, fmt.Errorf("make klamm's log: %w", err)
	}
	defer func() { _ = log.Close() }()
	p.cmd = exec.CommandContext(ctx, h.klamm, "serve", "--config", file)
	p.cmd.Stderr = log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start klamm: %w", err)
	}
	ready := make(chan string, 1)
	go func() { // ends with the process
		defer close(p.done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if address, ok := strings.CutPrefix(lines.Text(), "klamm ready: http="); ok {
				address, _, _ = strings.Cut(address, " ")
				ready <- address
			}
		}
		close(ready)
		_ = p.cmd.Wait()
	}()
	address, ok := <-ready
	if !ok {
		text, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("%s did not become ready:\n%s", p.name, text)
	}
	p.url = "http://" + address
	h.mu.Lock()
	h.all = append(h.all, p)
	h.mu.Unlock()
	return p, nil
}

// drainFor is how long calls under way go on when a process was taken out of service.
const drainFor = time.Second

// end ends the oldest process: it is killed, or taken out of service, drained and
// stopped in good order, as balancers do.
func (h *house) end(kill bool) *process {
	h.mu.Lock()
	p := h.all[0]
	h.all, h.ended = h.all[1:], append(h.ended, p)
	h.mu.Unlock()
	if kill {
		_ = p.cmd.Process.Kill()
	} else {
		time.Sleep(drainFor)
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	<-p.done
	return p
}

// next is the process that a balancer without affinity chooses.
func (h *house) next() *process {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all[int(h.turn.Add(1)%uint64(len(h.all)))]
}

// An answer is what a process said to a call; status 0: it did not.
type answer struct {
	by     string // the process that was asked
	status int
	body   string
	took   time.Duration
}

const (
	mediaV2   = "application/vnd.kafka.v2+json"
	mediaJSON = "application/vnd.kafka.json.v2+json"
)

// call makes a call to the next process; a read may have a token.
func (h *house) call(ctx context.Context, method, path, accept, body, token string) answer {
	start, to := time.Now(), h.next()
	broken := func(err error) answer { return answer{by: to.name, body: err.Error(), took: time.Since(start)} }
	req, err := http.NewRequestWithContext(ctx, method, to.url+path, strings.NewReader(body))
	if err != nil {
		return broken(err)
	}
	req.Header.Set("Accept", accept)
	if body != "" {
		req.Header.Set("Content-Type", mediaV2)
	}
	if token != "" {
		req.Header.Set("Klamm-Read", token)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return broken(err)
	}
	defer func() { _ = resp.Body.Close() }()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		return broken(err)
	}
	return answer{to.name, resp.StatusCode, string(said), time.Since(start)}
}

// topic creates a topic of the proof's own and returns its name.
func (h *house) topic(ctx context.Context, partitions int32, settings ...kafka.Setting) (string, error) {
	name := fmt.Sprintf("soak-%d", time.Now().UnixNano())
	if err := h.cluster.CreateTopic(ctx, kafka.NewTopic{Name: name, Partitions: partitions, Settings: settings}); err != nil {
		return "", err
	}
	// A cluster of several nodes answers before all of them know the topic.
	for ctx.Err() == nil {
		if _, err := h.cluster.Ranges(ctx, name); err == nil {
			return name, nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return "", err
		}
	}
	return "", context.Cause(ctx)
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// write writes records and returns when all are written.
func (h *house) write(ctx context.Context, records []*kgo.Record) error {
	for len(records) > 0 {
		some := records[:min(len(records), 2000)]
		records = records[len(some):]
		if err := h.cluster.Produce(ctx, some...).FirstErr(); err != nil {
			return fmt.Errorf("write records: %w", err)
		}
	}
	return nil
}

// cpu returns what the processes in service have spent on the CPU since they were
// started, to a hundredth of a second.
func (h *house) cpu() (time.Duration, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	sum := time.Duration(0)
	for _, p := range h.all {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "stat"))
		if err != nil {
			return 0, fmt.Errorf("read what %s spends, which needs Linux: %w", p.name, err)
		}
		// The name, in parentheses, may hold anything.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) < 13 {
			return 0, errors.New("/proc/PID/stat is not as it was")
		}
		for _, f := range fields[11:13] { // in user mode and in the kernel's
			ticks, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return 0, err
			}
			sum += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return sum, nil
}
