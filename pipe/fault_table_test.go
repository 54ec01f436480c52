package pipe_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/kafka"
	_ "github.com/klamm-gateway/klamm/nametest"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/webhook"
)

// A fault is a way in which a webhook fails, for good, and what docs/pipes.md says
// becomes of the record.
type fault struct {
	name    string
	url     func(s *faulty) string // nil: answered by answer
	answer  func(w http.ResponseWriter, req *http.Request)
	batch   int           // records, in one batch; 0: one record
	tries   int           // attempts, of three allowed
	least   time.Duration // between attempts, at least; 0: what backoff says
	status  string        // of the dead letter; empty: there was no answer
	letters int           // dead letters
}

func status(code int, header ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

var faults = []fault{
	{name: "no-address", url: func(*faulty) string { return "http://no-such-host.invalid" }, tries: 3, letters: 1},
	{name: "refused", url: func(*faulty) string { return "http://" + closedPort }, tries: 3, letters: 1},
	{name: "reset", answer: func(w http.ResponseWriter, _ *http.Request) {
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		}
	}, tries: 3, letters: 1},
	{name: "tls", url: func(s *faulty) string { return s.secure.URL }, tries: 3, letters: 1},
	{name: "timeout", answer: func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }, tries: 3, letters: 1},
	{name: "301", answer: status(301, "Location", "/elsewhere"), tries: 1, status: "301", letters: 1},
	{name: "400", answer: status(400), tries: 1, status: "400", letters: 1},
	{name: "404", answer: status(404), tries: 1, status: "404", letters: 1},
	{name: "408", answer: status(408), tries: 3, status: "408", letters: 1},
	{name: "409", answer: status(409), tries: 1, status: "409", letters: 1},
	{name: "410", answer: status(410), tries: 1, status: "410", letters: 1},
	{name: "425", answer: status(425), tries: 3, status: "425", letters: 1},
	{name: "429", answer: status(429), tries: 3, status: "429", letters: 1},
	{name: "429-retry-after", answer: status(429, "Retry-After", "2"), tries: 3, least: 2 * time.Second, status: "429", letters: 1},
	{name: "500", answer: status(500), tries: 3, status: "500", letters: 1},
	{name: "500-retry-after", answer: status(500, "Retry-After", "60"), tries: 3, status: "500", letters: 1},
	{name: "503", answer: status(503), tries: 3, status: "503", letters: 1},
	{name: "503-retry-after", answer: status(503, "Retry-After", "2"), tries: 3, least: 2 * time.Second, status: "503", letters: 1},
	{name: "half", answer: half, batch: 4, tries: 3, status: "200", letters: 2},
}

// half accepts of a batch all records but the second and the fourth.
func half(w http.ResponseWriter, req *http.Request) {
	var failed []string
	topic := req.Header.Get("Klamm-Topic")
	for _, offset := range []int64{1, 3} {
		failed = append(failed, fmt.Sprintf(`{"itemIdentifier":"%s-0-%d"}`, topic, offset))
	}
	_, _ = fmt.Fprintf(w, `{"batchItemFailures":[%s]}`, strings.Join(failed, ","))
}

// A faulty is where the faults happen: sockets that are as bad as real ones.
type faulty struct{ plain, secure *httptest.Server }

func newFaulty(t *testing.T) *faulty {
	answer := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		for _, f := range faults {
			if req.URL.Path == "/"+f.name && f.answer != nil {
				f.answer(w, req)
				return
			}
		}
		t.Errorf("a request nobody should make: %s", req.URL)
	})
	s := &faulty{plain: httptest.NewServer(answer), secure: httptest.NewUnstartedServer(answer)}
	s.secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.secure.StartTLS() // with a certificate that nobody trusts
	t.Cleanup(s.plain.Close)
	t.Cleanup(s.secure.Close)
	return s
}

// closedPort is an address of this machine at which nobody listens. (A port that was
// given back could be somebody else's a moment later.)
const closedPort = "127.0.0.1:1"

// pipes makes a topic with its records, and a pipe, for each fault.
func (s *faulty) pipes(t *testing.T, c *kafka.Cluster, wait catalog.Backoff) (defs []catalog.Pipe) {
	t.Helper()
	for _, f := range faults {
		from := topic(t, c, 1)
		n := max(f.batch, 1)
		fill(t, c, from, n, n, []byte(`{"a":1}`))
		url := s.plain.URL
		if f.url != nil {
			url = f.url(s)
		}
		hook, err := json.Marshal(webhook.Config{URL: url + "/" + f.name, Partial: f.batch > 1})
		if err != nil {
			t.Fatal(err)
		}
		d := catalog.Delivery{Attempts: 3, Timeout: 30 * time.Second, Backoff: wait, Log: "none"}
		if f.status == "" { // others have an answer, however long this machine takes
			d.Timeout = time.Second
		}
		if f.batch > 1 {
			d.Batch = catalog.Batch{Records: f.batch, Wait: 300 * time.Millisecond}
		}
		defs = append(defs, catalog.Pipe{Name: from, Topics: []string{from}, Start: "earliest", Target: catalog.Target{Kind: "webhook", Config: hook}, Delivery: d})
	}
	return defs
}

// A try is one attempt as it leaves klamm.
type try struct {
	Fault, Number, ID string
	Begun, Ended      time.Time
}

// A witness writes down every attempt, whatever comes of it.
type witness struct {
	http.RoundTripper
	mu  sync.Mutex
	out io.Writer
}

func (w *witness) RoundTrip(req *http.Request) (*http.Response, error) {
	a := try{Fault: strings.TrimPrefix(req.URL.Path, "/"), Number: req.Header.Get("Klamm-Attempt"), ID: req.Header.Get("Klamm-Delivery-Id"), Begun: time.Now()}
	resp, err := w.RoundTripper.RoundTrip(req)
	a.Ended = time.Now()
	line, _ := json.Marshal(a)
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = fmt.Fprintf(w.out, "%s\n", line)
	return resp, err
}

// runFaults runs pipes until ctx ends, with a witness that writes to out.
func runFaults(ctx context.Context, brokers []string, defs []catalog.Pipe, out io.Writer) error {
	c, err := kafka.Open(kafka.Config{Brokers: brokers}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer c.Close()
	egress, err := target.NewEgress([]string{"127.0.0.0/8"}, false)
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	r, err := pipe.New(pipe.Config{
		Cluster: c, Kinds: []target.Kind{webhook.Kind()}, Transport: &witness{RoundTripper: egress.Transport(), out: out}, Egress: egress,
		Metrics: pipe.NewMetrics(prometheus.NewRegistry()), Log: log, Grace: 5 * time.Second,
	}, defs)
	if err != nil {
		return err
	}
	r.Run(ctx)
	return nil
}

// tries collects what a witness writes. It is safe for concurrent use.
type tries struct {
	mu  sync.Mutex
	all map[string][]try // by fault, in order
}

func (s *tries) read(from io.Reader) {
	for lines := bufio.NewScanner(from); lines.Scan(); {
		var a try
		if json.Unmarshal(lines.Bytes(), &a) == nil && a.Fault != "" {
			s.mu.Lock()
			if s.all == nil {
				s.all = map[string][]try{}
			}
			s.all[a.Fault] = append(s.all[a.Fault], a)
			s.mu.Unlock()
		}
	}
}

func (s *tries) of(fault string) []try {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all[fault])
}

// lastLife returns the attempts since a record was delivered from the beginning. A machine
// that does much else can hold a process up for so long that it loses its partitions; then
// it delivers again what it has not committed.
func lastLife(t *testing.T, got []try) []try {
	t.Helper()
	last := 0
	for i, a := range got {
		if a.Number == "1" {
			last = i
		}
	}
	if last > 0 {
		t.Logf("%d attempts before the partition was lost", last)
	}
	return got[last:]
}

// check compares the attempts of one process with the table. Waits may be longer
// than documented, since the machine may be busy, but never shorter.
func (f fault) check(t *testing.T, got []try, wait catalog.Backoff) {
	t.Helper()
	const late = 30 * time.Second
	got = lastLife(t, got)
	if len(got) != f.tries {
		t.Fatalf("got %d attempts, want %d", len(got), f.tries)
	}
	for i, a := range got {
		// The delivery id of a batch is that of its first record, which may have
		// been accepted.
		if a.Number != fmt.Sprint(i+1) || a.ID == "" || a.ID != got[0].ID && f.batch == 0 {
			t.Errorf("attempt %d: Klamm-Attempt is %q, delivery id %q after %q", i+1, a.Number, a.ID, got[0].ID)
		}
		if i == 0 {
			continue
		}
		most := min(wait.Min<<(i-1), wait.Max)
		least := max(most/2, f.least)
		if waited := a.Begun.Sub(got[i-1].Ended); waited < least || waited > max(most, f.least)+late {
			t.Errorf("attempt %d came after %s, want %s to %s", i+1, waited, least, max(most, f.least))
		}
	}
}

// checkLetters compares what is in the dead-letter topic of a pipe with the table.
func (f fault) checkLetters(t *testing.T, c *kafka.Cluster, def catalog.Pipe) {
	t.Helper()
	letters := faultLetters(t, c, def, f.letters)
	if len(letters) != f.letters {
		t.Fatalf("got %d dead letters, want %d", len(letters), f.letters)
	}
	for _, r := range letters {
		if got := header(r, "klamm.attempts"); got != fmt.Sprint(f.tries) {
			t.Errorf("dead letter says %s attempts, want %d", got, f.tries)
		}
		if got := header(r, "klamm.status"); got != f.status {
			t.Errorf("dead letter says status %q, want %q", got, f.status)
		}
		if header(r, "klamm.reason") == "" || header(r, "klamm.topic") != def.Topics[0] || string(r.Value) != `{"a":1}` {
			t.Errorf("dead letter is %q with %v", r.Value, r.Headers)
		}
	}
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// faultLetters returns the dead letters of a pipe when there are as many as wanted.
func faultLetters(t *testing.T, c *kafka.Cluster, def catalog.Pipe, want int) (all []*kgo.Record) {
	t.Helper()
	def = def.WithDefaults()
	eventually(t, fmt.Sprintf("%d dead letters of %s", want, def.Name), func() bool {
		all = nil
		ranges, err := c.Ranges(t.Context(), def.Delivery.DeadLetter)
		if err != nil {
			return false
		}
		for p, r := range ranges {
			for at := r.Start; at < r.End; {
				records, err := c.Fetch(t.Context(), def.Delivery.DeadLetter, p, at, kafka.Limits{Records: 100, Bytes: 64 << 20, Wait: time.Second})
				if err != nil || len(records) == 0 {
					return false
				}
				all = append(all, records...)
				at = records[len(records)-1].Offset + 1
			}
		}
		return len(all) >= want
	})
	slices.SortStableFunc(all, func(a, b *kgo.Record) int { return cmp.Compare(header(a, "klamm.offset"), header(b, "klamm.offset")) })
	// One record has two letters if its partition was lost before the first was committed.
	return slices.CompactFunc(all, func(a, b *kgo.Record) bool { return header(a, "klamm.offset") == header(b, "klamm.offset") })
}

// done says whether everything that a pipe had to read is committed.
func done(t *testing.T, c *kafka.Cluster, def catalog.Pipe) bool {
	lags, err := c.Lags(t.Context(), def.WithDefaults().Group)
	return err == nil && len(lags) == 1 && lags[0].End > 0 && lags[0].Behind() == 0
}

func TestFaultTable(t *testing.T) {
	c := cluster(t)
	wait := catalog.Backoff{Min: 300 * time.Millisecond, Max: 500 * time.Millisecond}
	defs := newFaulty(t).pipes(t, c, wait)
	ctx, cancel := context.WithCancel(context.Background())
	seen := &tries{}
	in, out := io.Pipe()
	var running sync.WaitGroup
	running.Go(func() { seen.read(in) })
	running.Go(func() {
		if err := runFaults(ctx, c.Brokers(), defs, out); err != nil {
			t.Error(err)
		}
		_ = out.Close()
	})
	for i, f := range faults {
		eventually(t, f.name+" is settled", func() bool { return done(t, c, defs[i]) })
	}
	cancel()
	running.Wait()
	for i, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			f.check(t, seen.of(f.name), wait)
			f.checkLetters(t, c, defs[i])
		})
	}
}

// faultEnv has the test's program run pipes until it is killed, for
// TestFaultTableOverAKill.
const faultEnv = "KLAMM_TEST_FAULTS"

type faultWork struct {
	Brokers []string
	Pipes   []catalog.Pipe
}

// TestFaultProcess is the process that TestFaultTableOverAKill kills.
func TestFaultProcess(t *testing.T) {
	text := os.Getenv(faultEnv)
	if text == "" {
		t.Skip("runs as a process of another test")
	}
	var w faultWork
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // the parent is gone when there is nothing more to read
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := runFaults(ctx, w.Brokers, w.Pipes, os.Stdout); err != nil {
		t.Fatal(err)
	}
}

// spawnFaults starts a process that runs the pipes.
func spawnFaults(t *testing.T, c *kafka.Cluster, defs []catalog.Pipe) (seen *tries, kill func()) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	work, err := json.Marshal(faultWork{c.Brokers(), defs})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^TestFaultProcess$")
	cmd.Env = append(os.Environ(), faultEnv+"="+string(work))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(err, outErr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	seen = &tries{}
	read := make(chan struct{})
	go func() { // ends with the process
		defer close(read)
		seen.read(out)
	}()
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait()
		_ = stdin.Close()
	})
	t.Cleanup(kill)
	return seen, kill
}

// After a kill -9 in the middle, what was settled stays settled. What was between
// two attempts begins its attempts anew, as the table says, with the same delivery
// id.
func TestFaultTableOverAKill(t *testing.T) {
	long(t, "a killed member is missed after ten seconds")
	c := cluster(t)
	wait := catalog.Backoff{Min: 5 * time.Second, Max: 5 * time.Second}
	defs := newFaulty(t).pipes(t, c, wait)
	before, kill := spawnFaults(t, c, defs)
	for i, f := range faults {
		if f.tries == 1 {
			eventually(t, f.name+" is settled", func() bool { return done(t, c, defs[i]) })
		} else {
			eventually(t, f.name+" was tried", func() bool { return len(before.of(f.name)) > 0 })
		}
	}
	kill()
	for _, f := range faults {
		if n := len(before.of(f.name)); f.tries > 1 && n >= f.tries {
			t.Fatalf("%s: killed too late, after %d attempts", f.name, n)
		}
	}
	after, kill := spawnFaults(t, c, defs)
	for i, f := range faults {
		eventually(t, f.name+" is settled", func() bool { return done(t, c, defs[i]) })
	}
	kill()
	for i, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			first, second := before.of(f.name), after.of(f.name)
			if f.tries == 1 {
				f.check(t, first, wait)
				if len(second) > 0 {
					t.Errorf("%d attempts after it was settled", len(second))
				}
			} else {
				f.check(t, second, wait)
				if f.batch == 0 && first[0].ID != second[0].ID {
					t.Errorf("delivery id was %s and is %s", first[0].ID, second[0].ID)
				}
			}
			f.checkLetters(t, c, defs[i])
		})
	}
}
