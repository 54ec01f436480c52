package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/app"
	"github.com/klamm-gateway/klamm/broker"
	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/target/all"
)

// TestMain lets the test's program be a klamm that can be killed.
func TestMain(m *testing.M) {
	if isFunction() {
		fmt.Fprintln(os.Stderr, playFunction())
		os.Exit(1)
	}
	if len(os.Args) == 2 && os.Args[1] == "guard" {
		function.Guard(os.Stdin)
		return
	}
	if file := os.Getenv("CHAOS_TEST_SERVE"); file != "" {
		if err := serve(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// Most of the tests wait: for timers of Kafka, for groups, for pauses between attempts.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func serve(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	cfg, problems := config.Load(text, all.Kinds())
	if len(problems) > 0 {
		return fmt.Errorf("%v", problems)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	opts := app.Options{Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Guard: []string{self, "guard"}, Ready: func(address string, _ []string) {
		fmt.Fprintf(os.Stderr, "klamm ready: http=%s\n", address)
	}}
	if file := os.Getenv(clockOfTest); file != "" {
		opts.Now = func() time.Time { return shifted(file) }
	}
	a, err := app.New(ctx, cfg, opts)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// testStage is a stage on an embedded broker.
func testStage(t *testing.T) (*stage, *bytes.Buffer) {
	t.Helper()
	b, err := broker.Start(t.Context(), broker.Config{Listen: "127.0.0.1:0", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	s := &stage{brokers: b.Addrs(), out: &out, klamm: func(config string) *exec.Cmd {
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), "CHAOS_TEST_SERVE="+config)
		return cmd
	}}
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s, &out
}

func TestRecordsSurviveRebalances(t *testing.T) {
	t.Parallel()
	s, out := testStage(t)
	r := &records{stage: s, total: 2_000, keys: 100, size: 200, partitions: 4, klamms: 2, inFlight: 16, backlog: 1_000, refuse: 200, rebalances: 2, seed: 1}
	if holds, err := r.run(t.Context()); !holds || err != nil {
		t.Fatalf("holds: %t, error: %v\n%s", holds, err, out)
	}
	if !strings.Contains(out.String(), "rebalance: all lose everything") {
		t.Errorf("the table does not show the event:\n%s", out)
	}
}

func TestRecordsSurviveAKill(t *testing.T) {
	if testing.Short() {
		t.Skip("a killed member is missed after ten seconds")
	}
	t.Parallel()
	s, out := testStage(t)
	r := &records{stage: s, total: 3_000, keys: 100, size: 200, partitions: 4, klamms: 2, inFlight: 16, backlog: 1_000, refuse: 200, kills: 1, seed: 1}
	if holds, err := r.run(t.Context()); !holds || err != nil {
		t.Fatalf("holds: %t, error: %v\n%s", holds, err, out)
	}
}

func TestPlan(t *testing.T) {
	p := plan(10, 20, true, 7)
	count := map[kind]int{}
	for _, k := range p {
		count[k]++
	}
	if len(p) != 32 || count[kill] != 10 || count[cooperative] != 10 || count[eager] != 10 || count[lose] != 1 || count[bringBack] != 1 {
		t.Errorf("%d events: %v", len(p), count)
	}
	if lost, back := slices.Index(p, lose), slices.Index(p, bringBack); lost != 15 || back != 18 {
		t.Errorf("a broker is lost in event %d and returns in event %d", lost, back)
	}
	if !slices.Equal(p, plan(10, 20, true, 7)) || slices.Equal(p, plan(10, 20, true, 8)) {
		t.Error("the seed does not give the order")
	}
}

func TestSamples(t *testing.T) {
	var s samples
	at := func(tenth int) time.Time { return time.Unix(1_000, int64(tenth)*int64(100*time.Millisecond)) }
	if s.between(at(0), at(9)) != 0 {
		t.Error("something arrived before anything was noted")
	}
	for i := range 10 {
		s.add(at(i), i*10)
	}
	for _, c := range []struct{ from, to, want int }{{0, 9, 90}, {2, 5, 30}, {-5, 3, 30}, {7, 50, 20}, {4, 4, 0}, {5, 4, 0}} {
		if got := s.between(at(c.from), at(c.to)); got != c.want {
			t.Errorf("between %d and %d: got %d, want %d", c.from, c.to, got, c.want)
		}
	}
	if got := s.between(at(2).Add(time.Millisecond), at(5).Add(time.Millisecond)); got != 40 {
		t.Errorf("between samples: got %d, want 40", got)
	}
}

// A proof must fail when its target passes over records.
func TestTheProofFindsWhatIsBroken(t *testing.T) {
	var out bytes.Buffer
	s := &stage{out: &out, begun: time.Now()}
	for _, c := range []struct {
		name   string
		arrive func(r *records, send func(n int))
		says   string
	}{
		{"lost", func(r *records, send func(int)) {
			for n := range r.total - 1 {
				send(n)
			}
		}, "lost 1 "},
		{"out of order", func(r *records, send func(int)) {
			for n := range r.total {
				send((n + r.keys) % r.total)
			}
		}, "out of order 10 "},
		{"repeated beyond the bound", func(r *records, send func(int)) {
			for n := range 2 * r.total {
				send(n % r.total)
			}
		}, "repeated 100 beyond a bound"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out.Reset()
			r := &records{stage: s, total: 100, keys: 10, size: 50, events: []event{{kind: calm, bound: 5}}, ledger: newLedger(100, 10, 50)}
			url, stop, err := listen(http.HandlerFunc(r.receive))
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			c.arrive(r, func(n int) {
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(value(n, 50)))
				req.Header.Set("Klamm-Key", string(key(n, 10)))
				req.Header.Set("Klamm-Delivery-Id", fmt.Sprint("d", n))
				req.Header.Set("Klamm-Partition", "0")
				req.Header.Set("Klamm-Offset", strconv.Itoa(n))
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
			})
			if r.report() || !strings.Contains(strings.Join(strings.Fields(out.String()), " "), c.says) || !strings.Contains(out.String(), "BROKEN") {
				t.Errorf("want %q and BROKEN:\n%s", c.says, &out)
			}
		})
	}
}

func TestBacklogStaysOutOfMemory(t *testing.T) {
	t.Parallel()
	s, out := testStage(t)
	// The test's own program is larger than klamm.
	b := &backlog{stage: s, bytes: 20e6, size: 10_000, partitions: 4, watch: 300 * time.Millisecond, most: 400e6, mostBack: 800e6}
	if holds, err := b.run(t.Context()); !holds || err != nil {
		t.Fatalf("holds: %t, error: %v\n%s", holds, err, out)
	}
	b = &backlog{stage: s}
	if b.report([]phase{{"is down", 99, 98}, {"is back", 99, 100}}, 1, 1) || !b.report([]phase{{"is down", 99, 99}}, 1, 1) {
		t.Error("the report does not find a phase with too much memory")
	}
}

func TestDeadEndpointsStopNobody(t *testing.T) {
	t.Parallel()
	s, out := testStage(t)
	e := &endpoints{stage: s, count: 50, partitions: 4, rate: 200, lasting: time.Second, inFlight: 64}
	r, err := e.round(t.Context(), 5)
	if err != nil || r.missing != 0 || r.healthy != 180 || r.memory == 0 {
		t.Fatalf("%+v, error: %v\n%s", r, err, out)
	}
}

func TestReportOfEndpoints(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for _, c := range []struct {
		name  string
		some  round
		holds bool
	}{
		{"the same", round{p99: ms(100), memory: 50e6}, true},
		{"within", round{p99: ms(130), memory: 69e6}, true},
		{"slower", round{p99: ms(131), memory: 50e6}, false},
		{"larger", round{p99: ms(100), memory: 71e6}, false},
		{"one missing", round{p99: ms(100), memory: 50e6, missing: 1}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := &endpoints{stage: &stage{out: &bytes.Buffer{}}, growth: 20e6}
			if got := e.report([]round{{p99: ms(100), memory: 50e6}}, []round{c.some}); got != c.holds {
				t.Errorf("holds: got %t, want %t", got, c.holds)
			}
		})
	}
}
