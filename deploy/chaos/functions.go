package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// functions is the proof that functions lose nothing: a pipe and an event source mapping
// hand the same records to functions in batches, and in the middle of batches functions
// and klamms are killed with SIGKILL. Every record is to be processed by both, in order
// within its partition, and no process may be left of a klamm that is gone.
type functions struct {
	*stage
	total      int
	size       int // of a value
	partitions int
	klamms     int
	batch      int           // records in a batch, at most
	takes      time.Duration // what a batch takes a function
	kills      int           // of klamms
	shots      int           // at functions
	seed       uint64

	control control
	ways    map[string]*ledger // by the name of the function
	aim     chan chan int      // takes one who wants the process of the next function that is in the middle of a batch

	mu    sync.Mutex
	crews map[string]map[int]string // by klamm: its functions' processes and theirs, with when they were started
}

const (
	byPipe    = "by-pipe"
	byMapping = "by-mapping"
)

func functionsFlags(flags *flag.FlagSet, s *stage) func(context.Context) (bool, error) {
	f := &functions{stage: s}
	flags.IntVar(&f.total, "records", 200_000, "how many records")
	flags.IntVar(&f.size, "size", 200, "bytes of a value")
	flags.IntVar(&f.partitions, "partitions", 8, "partitions of the topic")
	flags.IntVar(&f.klamms, "klamms", 3, "klamm processes")
	flags.IntVar(&f.batch, "batch", 100, "records in a batch")
	flags.DurationVar(&f.takes, "takes", 20*time.Millisecond, "how long a function takes for a batch")
	flags.IntVar(&f.kills, "kills", 5, "how often a klamm is killed")
	flags.IntVar(&f.shots, "shots", 20, "how often a function is killed")
	flags.Uint64Var(&f.seed, "seed", uint64(time.Now().Unix()), "of the order of events")
	return func(ctx context.Context) (bool, error) {
		if f.total < 1 || f.size < 24 || f.partitions < 1 || f.klamms < 1 || f.batch < 2 || f.batch > 10_000 || f.takes < 0 || f.kills < 0 || f.shots < 0 {
			return false, errors.New("a number is out of range")
		}
		return f.run(ctx)
	}
}

// run returns whether the proof holds.
func (f *functions) run(ctx context.Context) (bool, error) {
	// A key for each partition: order is kept within a partition.
	f.ways = map[string]*ledger{byPipe: newLedger(f.total, f.partitions, f.size), byMapping: newLedger(f.total, f.partitions, f.size)}
	f.aim, f.crews = make(chan chan int), map[string]map[int]string{}
	url, stop, err := listen(http.HandlerFunc(f.receive))
	if err != nil {
		return false, err
	}
	defer stop()
	topic, err := f.topic(ctx, int32(f.partitions))
	if err != nil {
		return false, err
	}
	code, err := f.code()
	if err != nil {
		return false, err
	}
	for n := range f.klamms {
		if _, err := f.start(f.configuration(topic, url, code, fmt.Sprintf("klamm-%d", n+1))); err != nil {
			return false, err
		}
	}
	if err := f.until(ctx, "every klamm is ready", patience, func() bool {
		return !slices.ContainsFunc(f.processes, func(p *process) bool { return p.address() == "" })
	}); err != nil {
		return false, err
	}
	if err := f.mapping(ctx, topic); err != nil {
		return false, err
	}
	f.say("%d klamms; %d records, %d partitions, seed %d", f.klamms, f.total, f.partitions, f.seed)
	if err := f.write(ctx, topic); err != nil {
		return false, err
	}
	err = f.goThrough(ctx)
	if err != nil {
		f.say("stopped: %v", err)
	}
	for _, p := range f.processes {
		p.kill()
	}
	left := 0
	for _, p := range f.processes {
		left += f.orphans(ctx, p.name)
	}
	return f.report(left) && err == nil, err
}

// code makes the directory of the function, which is this program.
func (f *functions) code() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(f.dir, "code")
	if err := os.Mkdir(dir, 0o750); err != nil {
		return "", err
	}
	return dir, os.Symlink(self, filepath.Join(dir, "bootstrap"))
}

// configuration is what a klamm runs.
func (f *functions) configuration(topic, url, code, klamm string) string {
	text := "functions:\n"
	for _, name := range []string{byPipe, byMapping} {
		// A test's program is larger than klamm.
		text += fmt.Sprintf("  - {name: %s, directory: %q, runtime: provided.al2023, handler: bootstrap, memory: 2048, timeout: 2m, environment: {CHAOS_COUNT: %q, CHAOS_TAKES_MS: %q}}\n",
			name, code, fmt.Sprintf("%s/%s/%s", url, name, klamm), strconv.FormatInt(f.takes.Milliseconds(), 10))
	}
	return text + fmt.Sprintf(`function_runtime: {directory: %[4]q, init_timeout: 1m}
pipes:
  - name: chaos
    topics: [%[1]s]
    group: %[1]s
    start: earliest
    target: {function: {name: %[2]s}}
    delivery: {order: partition, in_flight: 64, timeout: 3m, backoff: {min: 20ms, max: 1s}, batch: {records: %[3]d, wait: 50ms}}
`, topic, byPipe, f.batch, filepath.Join(f.dir, "run-"+klamm))
}

// mapping makes the event source mapping and waits until it is enabled.
func (f *functions) mapping(ctx context.Context, topic string) error {
	var m struct{ UUID, State string }
	ask := doc{"FunctionName": byMapping, "Topics": []string{topic}, "StartingPosition": "TRIM_HORIZON", "BatchSize": f.batch,
		"SelfManagedEventSource":            doc{"Endpoints": doc{"KAFKA_BOOTSTRAP_SERVERS": f.brokers}},
		"SelfManagedKafkaEventSourceConfig": doc{"ConsumerGroupId": topic + "-mapping"}}
	const path = "/2015-03-31/event-source-mappings"
	status, text := f.control.ask(ctx, f.processes[0].address(), http.MethodPost, path, "", ask, nil)
	if status != http.StatusAccepted || json.Unmarshal([]byte(text), &m) != nil {
		return fmt.Errorf("make the mapping: %d %s", status, text)
	}
	return f.until(ctx, "the mapping is enabled", patience, func() bool {
		f.control.ask(ctx, f.processes[0].address(), http.MethodGet, path+"/"+m.UUID, "", nil, &m)
		return m.State == "Enabled"
	})
}

// write writes all the records, each to the partition that its number says.
func (f *functions) write(ctx context.Context, topic string) error {
	client, err := f.writer(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer client.Close()
	var failed atomic.Pointer[error]
	for n := range f.total {
		client.Produce(ctx, &kgo.Record{Topic: topic, Partition: int32(n % f.partitions), Key: key(n, f.partitions), Value: value(n, f.size)}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return fmt.Errorf("write the records: %w", err)
	}
	if err := failed.Load(); err != nil {
		return fmt.Errorf("write the records: %w", *err)
	}
	return nil
}

// A part is what a function says before and in the middle of a batch.
type part struct {
	PIDs   []int    // its own, and that of the child that it has started
	Values []string // of the records that it has processed now
	Half   bool     // there are more in the batch
}

// receive enters what a function has processed.
func (f *functions) receive(w http.ResponseWriter, r *http.Request) {
	var p part
	fields := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(fields) != 2 || f.ways[fields[0]] == nil || json.NewDecoder(io.LimitReader(r.Body, 64<<20)).Decode(&p) != nil {
		w.WriteHeader(http.StatusBadRequest) // or half a request: its function is gone
		return
	}
	f.see(fields[1], p.PIDs)
	l := f.ways[fields[0]]
	for _, v := range p.Values {
		a := arrival{value: []byte(v), id: "one"}
		if n, ok := l.number(a.value); ok {
			a.key = key(n, f.partitions)
		}
		l.note(a)
	}
	if !p.Half || len(p.PIDs) == 0 {
		return
	}
	select {
	case wants := <-f.aim:
		wants <- p.PIDs[0]
		<-r.Context().Done() // until it is killed; or the klamm, and it with it
	default:
	}
}

// see enters the processes of a klamm.
func (f *functions) see(klamm string, pids []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, pid := range pids {
		if f.crews[klamm] == nil {
			f.crews[klamm] = map[int]string{}
		}
		if started := startOf(pid); started != "" {
			f.crews[klamm][pid] = started
		}
	}
}

// orphans returns how many processes of a klamm that was killed are left after a while.
func (f *functions) orphans(ctx context.Context, klamm string) (left int) {
	f.mu.Lock()
	crew := f.crews[klamm]
	delete(f.crews, klamm)
	f.mu.Unlock()
	// Those of another klamm that ends by itself meanwhile are no matter of this.
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left = 0
		for pid, started := range crew {
			if startOf(pid) == started {
				left++
			}
		}
		if left == 0 || time.Now().After(end) || ctx.Err() != nil {
			return left
		}
	}
}

// startOf returns when a process was started, by the system's count; empty: there is no
// such process, or it has ended.
func startOf(pid int) string {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 || strings.ContainsAny(fields[0], "ZX") {
		return ""
	}
	return fields[19]
}

// goThrough kills, each time after its share of the records, and waits for the end.
func (f *functions) goThrough(ctx context.Context) error {
	random := rand.New(rand.NewPCG(f.seed, 0))
	order := slices.Concat(slices.Repeat([]bool{true}, f.kills), slices.Repeat([]bool{false}, f.shots))
	random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for i, whole := range order {
		if err := f.reached(ctx, 2*f.total*(i+1)/(len(order)+2)); err != nil {
			return err
		}
		for _, l := range f.ways {
			l.begin(nil)
		}
		pid, err := f.target(ctx)
		if err != nil {
			return err
		}
		if !whole {
			f.say("%d of %d processed; event %d of %d: kill -9 of a function in the middle of a batch", f.processed(), 2*f.total, i+1, len(order))
			_ = syscall.Kill(pid, syscall.SIGKILL)
			continue
		}
		p := f.owner(pid)
		f.say("%d of %d processed; event %d of %d: kill -9 of %s in the middle of a batch", f.processed(), 2*f.total, i+1, len(order), p.name)
		p.kill()
		if left := f.orphans(ctx, p.name); left > 0 {
			return fmt.Errorf("%d processes of functions are left of %s, which was killed", left, p.name)
		}
		if err := p.start(); err != nil {
			return err
		}
	}
	if err := f.reached(ctx, 2*f.total); err != nil {
		return err
	}
	// What is repeated late shall be seen.
	return f.until(ctx, "nothing comes any more", patience, func() bool {
		for _, l := range f.ways {
			if _, _, latest := l.standing(); time.Since(latest) < 2*time.Second {
				return false
			}
		}
		return true
	})
}

// target returns the process of a function that is in the middle of a batch, and stays
// there until it is killed.
func (f *functions) target(ctx context.Context) (int, error) {
	found := make(chan int, 1)
	select {
	case f.aim <- found:
		return <-found, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-time.After(patience):
		return 0, fmt.Errorf("no function was in the middle of a batch for %s", patience)
	}
}

// owner returns the klamm of a function's process.
func (f *functions) owner(pid int) *process {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.processes {
		if f.crews[p.name][pid] != "" {
			return p
		}
	}
	return f.processes[0]
}

func (f *functions) processed() (all int) {
	for _, l := range f.ways {
		arrived, _, _ := l.standing()
		all += arrived
	}
	return all
}

// reached waits until so many records were processed, as long as there is progress.
func (f *functions) reached(ctx context.Context, n int) error {
	for before := f.processed(); before < n; before = f.processed() {
		if err := f.until(ctx, fmt.Sprintf("after %d of %d another record is processed", before, 2*f.total), patience, func() bool { return f.processed() > before }); err != nil {
			return err
		}
	}
	return nil
}

// report prints the table of what was found, and returns whether the proof holds.
func (f *functions) report(left int) bool {
	w := tabwriter.NewWriter(f.out, 0, 0, 2, ' ', 0)
	pipe, mapping := f.ways[byPipe].close(), f.ways[byMapping].close()
	fmt.Fprintf(w, "\n\tpipe\tmapping\t\nrecords\t%d\t%d\t\n", pipe.records, mapping.records)
	fmt.Fprintf(w, "lost\t%d\t%d\tmust be 0\n", pipe.lost, mapping.lost)
	fmt.Fprintf(w, "out of order\t%d\t%d\tmust be 0\n", pipe.disorder, mapping.disorder)
	fmt.Fprintf(w, "not as written\t%d\t%d\tmust be 0\n", pipe.wrong, mapping.wrong)
	fmt.Fprintf(w, "repeated\t%d\t%d\t%d kills of a klamm, %d of a function, in batches of %d\n", pipe.repeated(), mapping.repeated(), f.kills, f.shots, f.batch)
	fmt.Fprintf(w, "processes left\t%d\t\tmust be 0\n", left)
	fmt.Fprintf(w, "time\t%.0f s\t\t\n", time.Since(f.begun).Seconds())
	_ = w.Flush()
	for _, v := range []verdict{pipe, mapping} {
		if v.first != "" {
			fmt.Fprintf(f.out, "found first: %s\n", v.first)
		}
	}
	holds := pipe.holds() && mapping.holds() && left == 0
	fmt.Fprintf(f.out, "%s\n", outcome(holds))
	return holds
}

// errEvent says that an event is of neither of the two kinds that the function knows.
var errEvent = errors.New("neither records of a mapping nor an array of values")

// valuesOf returns the values of the records in a function's event.
func valuesOf(event []byte) ([]string, error) {
	var values []string
	if json.Unmarshal(event, &values) == nil {
		return values, nil
	}
	var one string // a batch of one
	if json.Unmarshal(event, &one) == nil {
		return []string{one}, nil
	}
	var m struct {
		Records map[string][]struct{ Value []byte }
	}
	if err := json.Unmarshal(event, &m); err != nil || m.Records == nil {
		return nil, errEvent
	}
	for _, records := range m.Records {
		for _, r := range records {
			values = append(values, string(r.Value))
		}
	}
	return values, nil
}
