package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/klamm-gateway/klamm/function"
)

// FunctionOptions say how functions are measured. Start from DefaultFunctions.
type FunctionOptions struct {
	// Calls is how many invocations a round has, 10 to 1,000,000.
	Calls int
	// Rounds is how often each side is measured, in turn, 1 to 100.
	Rounds int
	// Records is how many records of 330 bytes an event has that stands for a batch,
	// 1 to 10,000.
	Records int
	// Starts is how often a function is started cold, 1 to 1,000.
	Starts int
	// Resident is how many idle instances are watched, 0 to 1,000, for Seconds.
	Resident, Seconds int
	// Directory, Runtime and Handler are a function of yours that is started cold, too;
	// Clients are where its runtime client lies. Empty: there is none.
	Directory, Runtime, Handler string
	Clients                     []string
	// Drain is how many records a pipe and an event source mapping deliver to functions, in
	// comparison with a pipe to a webhook: 0, not at all, to 100,000,000. Brokers are where;
	// nil is an embedded broker.
	Drain   int
	Brokers []string
	// Executable is the klamm that plays the function; empty is the running program.
	Executable string
	// Progress is told what is being done, a line at a time; nil is silent.
	Progress io.Writer
}

// DefaultFunctions returns the options of klamm bench function without flags.
func DefaultFunctions() FunctionOptions {
	return FunctionOptions{Calls: 3000, Rounds: 5, Records: 100, Starts: 20, Resident: 100, Seconds: 10, Drain: 300_000}
}

// Validate returns ErrOptions, with the name of the flag, for the first option
// that is out of its range.
func (o FunctionOptions) Validate() error {
	for _, v := range []struct {
		flag        string
		value       int
		least, most int
	}{
		{"calls", o.Calls, 10, 1_000_000}, {"rounds", o.Rounds, 1, 100}, {"records", o.Records, 1, 10_000}, {"starts", o.Starts, 1, 1000},
		{"resident", o.Resident, 0, 1000}, {"seconds", o.Seconds, 1, 600}, {"drain", o.Drain, 0, 100_000_000},
	} {
		if v.value < v.least || v.value > v.most {
			return fmt.Errorf("%w: --%s %d: want %d to %d", ErrOptions, v.flag, v.value, v.least, v.most)
		}
	}
	if o.Directory != "" && !function.KnownRuntime(o.Runtime) {
		return fmt.Errorf("%w: --runtime %q: want provided.al2023, python3.13, nodejs22.x or the like", ErrOptions, o.Runtime)
	}
	return nil
}

// A FunctionReport is what it costs to run functions. Its JSON form is stable for
// scripts.
type FunctionReport struct {
	Machine Machine       `json:"machine"`
	Calls   []FunctionRow `json:"calls"`
	Starts  []ColdStart   `json:"cold_starts"`
	Drains  []Drain       `json:"drains,omitempty"`
	Idle    *IdleCost     `json:"idle,omitempty"`
}

// A FunctionRow compares invocations of a resident function that does nothing with
// requests to an HTTP server that does nothing, both in processes of their own. Times
// are medians of rounds, in microseconds.
type FunctionRow struct {
	Title  string  `json:"title"`
	Direct float64 `json:"direct_p50_us"`
	Invoke float64 `json:"invoke_p50_us"`
	Adds   float64 `json:"adds_us"` // the median of the rounds' differences
	// Share is how many invocations are made in the time of one request, one after
	// the other: 1 is as fast.
	Share float64 `json:"share"`
}

// A ColdStart is how long a function takes from nothing to its first answer, in
// milliseconds.
type ColdStart struct {
	Title  string  `json:"title"`
	Median float64 `json:"median_ms"`
	Worst  float64 `json:"worst_ms"`
}

// An IdleCost is the CPU time that idle instances and their host take.
type IdleCost struct {
	Instances int     `json:"instances"`
	Host      float64 `json:"host_cpu_percent"`
	Programs  float64 `json:"programs_cpu_percent"`
}

// Functions measures what functions cost, in this process, which plays klamm's part.
// It ends all processes that it started and removes all files that it made.
func Functions(ctx context.Context, o FunctionOptions) (*FunctionReport, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Executable == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find the running program: %w", err)
		}
		o.Executable = self
	}
	c, err := newCrew(o.Executable)
	if err != nil {
		return nil, err
	}
	defer c.dismiss()
	f := &functionBench{FunctionOptions: o, crew: c}
	if err := f.write(); err != nil {
		return nil, err
	}
	r := &FunctionReport{Machine: thisMachine()}
	for _, part := range []func(context.Context, *FunctionReport) error{f.calls, f.starts, f.idle, f.drains} {
		if err := part(ctx, r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

type functionBench struct {
	FunctionOptions
	*crew
	code string // the directory of the program that does nothing
}

func (f *functionBench) say(format string, args ...any) {
	if f.Progress != nil {
		fmt.Fprintf(f.Progress, format+"\n", args...)
	}
}

// write makes the program: this one, in the role of a function.
func (f *functionBench) write() error {
	f.code = filepath.Join(f.dir, "code")
	if err := os.Mkdir(f.code, 0o750); err != nil {
		return err
	}
	quoted := "'" + strings.ReplaceAll(f.executable, "'", `'\''`) + "'"
	script := "#!/bin/sh\nexec " + quoted + " bench role function '{}'\n"
	return os.WriteFile(filepath.Join(f.code, "bootstrap"), []byte(script), 0o755) //nolint:gosec // it is to be executed
}

// host returns a host of functions. Its files go with the crew's.
func (f *functionBench) host() (*function.Host, error) {
	directory, err := os.MkdirTemp(f.dir, "run-")
	if err != nil {
		return nil, err
	}
	return function.New(function.Config{Directory: directory, Runtimes: f.Clients, Region: "us-east-1", InitTimeout: time.Minute, IdleTimeout: time.Hour, Log: slog.New(slog.DiscardHandler)})
}

func (f *functionBench) definition(name string) function.Definition {
	return function.Definition{Name: name, Runtime: "provided.al2023", Handler: "bootstrap", Directory: f.code, Timeout: time.Minute, Memory: 1024, Concurrency: 1}
}

// invoke calls a function, which must answer.
func invoke(ctx context.Context, h *function.Host, name string, payload []byte) error {
	out, err := h.Invoke(ctx, name, function.Invocation{Payload: payload, Wait: -1})
	if err == nil && out.Error != "" {
		err = fmt.Errorf("the function failed: %.200s", out.Payload)
	}
	return err
}

// calls measures a function that is there.
func (f *functionBench) calls(ctx context.Context, r *FunctionReport) error {
	_, addr, err := f.serving(ctx, "yardstick-function", struct{}{})
	if err != nil {
		return err
	}
	h, err := f.host()
	if err != nil {
		return err
	}
	defer closeHost(h)
	h.Set(f.definition("nothing"))
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	direct := func(payload []byte) error {
		q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/", bytes.NewReader(payload))
		if err != nil {
			return err
		}
		answer, err := transport.RoundTrip(q)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		return errors.Join(err, answer.Body.Close())
	}
	record := append(append([]byte(`{"topic":"t","partition":0,"offset":1,"value":"`), bytes.Repeat([]byte("x"), 280)...), `"}`...)
	batch := append(append([]byte("["), bytes.Repeat(append(record, ','), f.Records-1)...), append(record, ']')...)
	for _, c := range []struct {
		title   string
		payload []byte
	}{{"an event of 2 bytes", []byte("{}")}, {fmt.Sprintf("an event of %d records", f.Records), batch}} {
		f.say("function: %s", c.title)
		row := FunctionRow{Title: c.title}
		var directs, invokes, adds, shares []float64
		for range f.Rounds {
			d, dAll, err := f.round(func() error { return direct(c.payload) })
			if err != nil {
				return fmt.Errorf("request: %w", err)
			}
			i, iAll, err := f.round(func() error { return invoke(ctx, h, "nothing", c.payload) })
			if err != nil {
				return fmt.Errorf("invocation: %w", err)
			}
			directs, invokes, adds, shares = append(directs, d), append(invokes, i), append(adds, i-d), append(shares, dAll/iAll)
		}
		row.Direct, row.Invoke, row.Adds, row.Share = median(directs), median(invokes), median(adds), median(shares)
		r.Calls = append(r.Calls, row)
	}
	return nil
}

// round calls something again and again, after a few calls that do not count, and
// returns the median of the times and their sum, in microseconds.
func (f *functionBench) round(call func() error) (p50, all float64, err error) {
	for range max(5, f.Calls/20) {
		if err := call(); err != nil {
			return 0, 0, err
		}
	}
	var took latencies
	begun := time.Now()
	for range f.Calls {
		start := time.Now()
		if err := call(); err != nil {
			return 0, 0, err
		}
		took.add(time.Since(start))
	}
	return inMicros(took.quantile(0.5)), inMicros(time.Since(begun)), nil
}

func inMicros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// starts measures functions that are not there yet.
func (f *functionBench) starts(ctx context.Context, r *FunctionReport) error {
	all := []struct {
		title string
		def   function.Definition
	}{{"klamm itself as a Go bootstrap", f.definition("cold")}}
	if f.Directory != "" {
		def := f.definition("yours")
		def.Directory, def.Runtime, def.Handler = f.Directory, f.Runtime, f.Handler
		all = append(all, struct {
			title string
			def   function.Definition
		}{f.Runtime + " in " + f.Directory, def})
	}
	for _, one := range all {
		f.say("function: cold starts, %s", one.title)
		h, err := f.host()
		if err != nil {
			return err
		}
		var took latencies
		for range f.Starts {
			h.Set(one.def)
			start := time.Now()
			if err = invoke(ctx, h, one.def.Name, []byte("{}")); err != nil {
				break
			}
			took.add(time.Since(start))
			h.Remove(one.def.Name)
		}
		closeHost(h)
		if err != nil {
			return fmt.Errorf("%s: %w", one.title, err)
		}
		r.Starts = append(r.Starts, ColdStart{one.title, inMicros(took.quantile(0.5)) / 1000, inMicros(took.quantile(1)) / 1000})
	}
	return nil
}

// idle watches instances that have nothing to do.
func (f *functionBench) idle(ctx context.Context, r *FunctionReport) error {
	if f.Resident == 0 || !supported {
		return nil
	}
	f.say("function: %d idle instances for %d s", f.Resident, f.Seconds)
	h, err := f.host()
	if err != nil {
		return err
	}
	defer closeHost(h)
	for n := range f.Resident {
		name := fmt.Sprintf("idle-%d", n)
		h.Set(f.definition(name))
		if err := invoke(ctx, h, name, []byte("{}")); err != nil {
			return err
		}
	}
	children := programs(os.Getpid())
	before, err := cpuOf(children)
	if err != nil {
		return err
	}
	host, err := cpuTime(os.Getpid())
	if err != nil {
		return err
	}
	if !pause(ctx, time.Duration(f.Seconds)*time.Second) {
		return ctx.Err()
	}
	after, err := cpuOf(children)
	if err != nil {
		return err
	}
	hostAfter, err := cpuTime(os.Getpid())
	if err != nil {
		return err
	}
	percent := func(d time.Duration) float64 { return 100 * d.Seconds() / float64(f.Seconds) }
	r.Idle = &IdleCost{Instances: f.Resident, Host: percent(hostAfter - host), Programs: percent(after - before)}
	return nil
}

func cpuOf(pids []int) (sum time.Duration, err error) {
	for _, pid := range pids {
		one, err := cpuTime(pid)
		if err != nil {
			return 0, err
		}
		sum += one
	}
	return sum, nil
}

// closeHost ends a host and all its programs.
func closeHost(h *function.Host) {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	h.Close(ctx)
}

// WriteTable writes the report for people.
func (r *FunctionReport) WriteTable(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%d CPUs, %s/%s, %s\n\n", r.Machine.CPUs, r.Machine.OS, r.Machine.Arch, r.Machine.Go); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "resident function, p50\tHTTP request\tinvocation\tadds\tshare\t")
	for _, c := range r.Calls {
		fmt.Fprintf(t, "%s\t%.0f µs\t%.0f µs\t%.0f µs\t%.2f\t\n", c.Title, c.Direct, c.Invoke, c.Adds, c.Share)
	}
	fmt.Fprintln(t, "\t\t\t\t\t\ncold start to first answer\tmedian\tworst\t\t\t")
	for _, c := range r.Starts {
		fmt.Fprintf(t, "%s\t%.0f ms\t%.0f ms\t\t\t\n", c.Title, c.Median, c.Worst)
	}
	if i := r.Idle; i != nil {
		fmt.Fprintf(t, "\t\t\t\t\t\nidle\tklamm's part\tprograms\t\t\t\n%d instances\t%.2f %% CPU\t%.2f %% CPU\t\t\t\n", i.Instances, i.Host, i.Programs)
	}
	if len(r.Drains) > 0 {
		fmt.Fprintf(t, "\t\t\t\t\t\nbatches of %d, records of %d bytes\trecords/s\tMB/s\tof the webhook\t\t\n", drainBatch, drainBytes)
		for _, d := range r.Drains {
			fmt.Fprintf(t, "%s\t%s\t%.0f\t%.2f\t\t\n", d.Title, thousands(d.RecordsPerSecond), d.MBPerSecond, d.OfWebhook)
		}
	}
	return t.Flush()
}

// runFunctionYardstick is an HTTP server that does nothing.
func runFunctionYardstick(ctx context.Context, _ struct{}, out io.Writer) error {
	return serveHTTP(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "null")
	}), out)
}

// runFunction is a program for the Lambda Runtime API that does nothing: it answers
// null to every event, until klamm ends it.
func runFunction(ctx context.Context, _ struct{}, _ io.Writer) error {
	at := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	call := func(method, path, body string) (string, error) {
		q, err := http.NewRequestWithContext(ctx, method, at+path, strings.NewReader(body))
		if err != nil {
			return "", err
		}
		answer, err := http.DefaultClient.Do(q)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		return answer.Header.Get("Lambda-Runtime-Aws-Request-Id"), errors.Join(err, answer.Body.Close())
	}
	for {
		id, err := call(http.MethodGet, "next", "")
		if err == nil {
			_, err = call(http.MethodPost, id+"/response", "null")
		}
		if err != nil {
			return err
		}
	}
}
