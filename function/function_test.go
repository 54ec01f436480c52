package function

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/waittest"
)

func TestInvoke(t *testing.T) {
	h := host(t, nil)
	for _, c := range []struct {
		name  string
		event any
		error string // "" or what the payload holds
		want  string // payload, or a part of the error
		log   string
	}{
		{"echo", map[string]any{"n": []any{1, nil, "é"}}, "", `{"n":[1,null,"é"]}`, ""},
		{"log", order{Do: "say", Text: "hello there"}, "", "1", "hello there\n"},
		{"failure", order{Do: "fail", Text: "boom"}, "E", "boom", ""},
		{"long failure", order{Do: "fail", Text: strings.Repeat("x", 2<<20)}, "E", strings.Repeat("x", 2<<20), ""},
		{"failure that is too long", order{Do: "fail at length", N: 7 << 20}, "Function.ResponseSizeTooLarge", "6291556", ""},
		{"exit", order{Do: "exit", N: 3}, "Runtime.ExitError", "exit status 3", ""},
		{"exit without a reason", order{Do: "exit"}, "Runtime.ExitError", "without providing a reason", ""},
		{"killed", order{Do: "kill"}, "Runtime.ExitError", "signal: killed", ""},
		{"answers twice", order{Do: "twice"}, "", "1", ""},
		{"still there", order{Do: "say", Text: "x"}, "", "1", ""},
		{"wrong id", order{Do: "other id"}, "", "400", ""},
		{"five MiB", order{Do: "big", N: 5 << 20}, "", strings.Repeat("x", 5<<20), ""},
		{"seven MiB", order{Do: "big", N: 7 << 20}, "Function.ResponseSizeTooLarge", "6291556", ""},
		{"stream", order{Do: "stream"}, "", "ab", ""},
		{"stream that fails", order{Do: "stream", Text: "Function.Odd"}, "Function.Odd", "after the beginning", ""},
		{"flood", order{Do: "flood", N: 2000}, "", "1", "the last line\n"},
		{"arn", order{Do: "header", Text: "Lambda-Runtime-Invoked-Function-Arn"}, "", "arn:aws:lambda:us-east-1:000000000000:function:f", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := ask(t, h, c.event)
			// Lines on their way are waited for, but not for as long as a slow machine takes.
			for end := time.Now().Add(time.Minute); !strings.HasSuffix(string(out.Log), c.log) && time.Now().Before(end); {
				out = ask(t, h, c.event)
			}
			switch {
			case c.error == "" && (out.Error != "" || string(out.Payload) != c.want):
				t.Errorf("got %q, %.200s", out.Error, out.Payload)
			case c.error != "":
				var doc struct{ ErrorMessage, ErrorType string }
				if err := json.Unmarshal(out.Payload, &doc); err != nil || out.Error != Unhandled || doc.ErrorType != c.error || !strings.Contains(doc.ErrorMessage, c.want) {
					t.Errorf("got %q, %s (%v)", out.Error, out.Payload, err)
				}
			}
			if !strings.HasSuffix(string(out.Log), c.log) || len(out.Log) > maxLogTail {
				t.Errorf("log %q", out.Log)
			}
			if len(out.ID) != 36 {
				t.Errorf("id %q", out.ID)
			}
		})
	}
}

func TestInvocationThatIsNotReached(t *testing.T) {
	h := host(t, nil)
	if _, err := h.Invoke(t.Context(), "nobody", Invocation{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	for _, c := range []struct {
		name   string
		change func(d *Definition)
		want   string
	}{
		{"no directory", func(d *Definition) { d.Directory += "/gone" }, "gone is not there"},
		{"no bootstrap", func(d *Definition) { d.Directory = t.TempDir() }, "no bootstrap"},
		{"no runtime client", func(d *Definition) { d.Runtime = "nodejs22.x" }, "aws-lambda-ric"},
		{"no program", func(d *Definition) {
			d.Directory = t.TempDir()
			_ = os.WriteFile(filepath.Join(d.Directory, "bootstrap"), []byte("\x00\x01 no program"), 0o755)
		}, "exec format error"},
		{"not executable", func(d *Definition) {
			d.Directory = t.TempDir()
			_ = os.WriteFile(filepath.Join(d.Directory, "bootstrap"), []byte("#!/bin/sh\n"), 0o644)
		}, "not executable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := host(t, func(_ *Config, d *Definition) { c.change(d) })
			for range 2 { // the second meets the back-off of the first
				_, err := h.Invoke(t.Context(), "f", Invocation{})
				var start *StartError
				if !errors.As(err, &start) || start.Type != "Runtime.InvalidEntrypoint" || !strings.Contains(start.Reason, c.want) {
					if c.want == "aws-lambda-ric" && err != nil && strings.Contains(err.Error(), "node is not in the PATH") {
						t.Skip("no Node")
					}
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

func TestProgramThatDoesNotStart(t *testing.T) {
	for _, c := range []struct{ handler, want string }{
		{"leave", "exit status 4"}, {"refuse", "Runtime.ImportModuleError"}, {"silent", "Task timed out after 1.00 seconds"},
	} {
		t.Run(c.handler, func(t *testing.T) {
			h := host(t, func(cfg *Config, d *Definition) {
				if d.Handler = c.handler; d.Handler == "silent" {
					cfg.InitTimeout, d.Timeout = 500*time.Millisecond, time.Second
				}
			})
			for range 2 {
				out := ask(t, h, 1)
				if out.Error != Unhandled || !strings.Contains(string(out.Payload), c.want) {
					t.Errorf("got %q, %s", out.Error, out.Payload)
				}
				if c.handler == "leave" && !strings.Contains(string(out.Log), "sorry") {
					t.Errorf("log %q", out.Log)
				}
			}
			// Who waits is told of another start, not of the old one, when its time has come.
			p := h.functions["f"].engine.(*pool)
			starts := func() (failures int, again time.Time) {
				p.mu.Lock()
				defer p.mu.Unlock()
				return p.failures, p.again
			}
			before, again := starts()
			out, err := h.Invoke(t.Context(), "f", Invocation{Wait: -1})
			if now := time.Now(); err != nil || out.Error != Unhandled || now.Before(again) {
				t.Errorf("got %v, %s, %s too early", err, out.Payload, again.Sub(now))
			}
			if after, _ := starts(); after != before+1 {
				t.Errorf("%d starts, want one", after-before)
			}
		})
	}
}

// A start that takes too long is made once more in the time of the call that waits for
// it, and what it takes is no longer there for the call itself.
func TestSlowStartIsRepeatedWithinTheCall(t *testing.T) {
	starts := filepath.Join(t.TempDir(), "starts")
	h := host(t, func(cfg *Config, d *Definition) {
		cfg.InitTimeout, d.Handler, d.Environment = 3*time.Second, "slow once", map[string]string{"STARTS": starts}
	})
	began := time.Now()
	out := ask(t, h, order{Do: "header", Text: "Lambda-Runtime-Deadline-Ms"})
	first, err := strconv.ParseInt(string(out.Payload), 10, 64)
	if err != nil || out.Error != "" {
		t.Fatalf("got %q, %s", out.Error, out.Payload)
	}
	if n, _ := os.ReadFile(starts); string(n) != "xx" {
		t.Errorf("starts %q, want two", n)
	}
	if out.Init < 3*time.Second || time.UnixMilli(first).Sub(began) > time.Since(began)+2*time.Minute-100*time.Millisecond {
		t.Errorf("init %s, time limit %s after the call", out.Init, time.UnixMilli(first).Sub(began))
	}
	// Its next call has all of its time.
	asked := time.Now()
	second, _ := strconv.ParseInt(string(ask(t, h, order{Do: "header", Text: "Lambda-Runtime-Deadline-Ms"}).Payload), 10, 64)
	if time.UnixMilli(second).Sub(asked) < 2*time.Minute-time.Second {
		t.Errorf("time limit %s after the second call", time.UnixMilli(second).Sub(asked))
	}
}

// What is being started when its function goes away, goes too.
func TestRemovalEndsAStart(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pid")
	h := host(t, func(_ *Config, d *Definition) {
		d.Handler, d.Environment = "silent", map[string]string{"PID": pids}
	})
	left := make(chan error, 1)
	go func() {
		_, err := h.Invoke(t.Context(), "f", Invocation{Wait: -1})
		left <- err
	}()
	var pid int
	waittest.Until(t, "the program runs", func() bool {
		text, _ := os.ReadFile(pids)
		pid, _ = strconv.Atoi(string(text))
		return pid > 0
	})
	h.Remove("f")
	if err := <-left; !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	waittest.Until(t, "the process is gone", func() bool { return !alive(pid) })
}

func TestTimeLimit(t *testing.T) {
	h := host(t, func(_ *Config, d *Definition) { d.Timeout = time.Second })
	// A slow machine may take longer than the limit for what is done at once.
	var pid int
	waittest.Until(t, "a first answer", func() bool { return json.Unmarshal(ask(t, h, order{Do: "pid"}).Payload, &pid) == nil })
	for _, event := range []order{{Do: "sleep", N: 3_600_000}, {Do: "stubborn"}} {
		began := time.Now()
		out := ask(t, h, event)
		if out.Error != Unhandled || !strings.Contains(string(out.Payload), "Task timed out after 1.00 seconds") || time.Since(began) < time.Second {
			t.Errorf("%s: got %q, %s after %s", event.Do, out.Error, out.Payload, time.Since(began))
		}
	}
	waittest.Until(t, "the process that hung is gone", func() bool { return !alive(pid) })
	waittest.Until(t, "an answer of a new process", func() bool { return string(ask(t, h, 7).Payload) == "7" })
}

func TestProgramThatRespondsAndHangs(t *testing.T) {
	h := host(t, func(_ *Config, d *Definition) { d.Concurrency = 1 })
	var first, second int
	_ = json.Unmarshal(ask(t, h, order{Do: "linger"}).Payload, &first)
	out, err := h.Invoke(t.Context(), "f", Invocation{Payload: []byte(`{"Do":"pid"}`), Wait: time.Minute})
	_ = json.Unmarshal(out.Payload, &second)
	if err != nil || first == 0 || second == 0 || first == second {
		t.Errorf("%v: process %d, then %d", err, first, second)
	}
	waittest.Until(t, "the process that hung is gone", func() bool { return !alive(first) })
}

func TestMemoryLimit(t *testing.T) {
	h := host(t, func(_ *Config, d *Definition) { d.Memory = 64 })
	out := ask(t, h, order{Do: "leak", N: 4000})
	if out.Error != Unhandled || !strings.Contains(string(out.Payload), "Runtime.OutOfMemory") || !strings.Contains(string(out.Payload), "limit of 64 MiB") {
		t.Errorf("got %q, %.200s", out.Error, out.Payload)
	}
	if out := ask(t, h, order{Do: "leak", N: 5}); out.Error != "" || string(out.Payload) != "5" {
		t.Errorf("got %q, %s", out.Error, out.Payload)
	}
}

func TestConcurrency(t *testing.T) {
	h := host(t, func(_ *Config, d *Definition) { d.Concurrency = 3 })
	var wg sync.WaitGroup
	var mu sync.Mutex
	done, throttled := 0, 0
	directory := t.TempDir()
	hold, _ := json.Marshal(order{Do: "hold", Text: directory})
	held := func() int {
		files, _ := filepath.Glob(filepath.Join(directory, "held-*"))
		return len(files)
	}
	for range 8 {
		wg.Go(func() {
			_, err := h.Invoke(t.Context(), "f", Invocation{Payload: hold})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				done++
			} else if errors.Is(err, ErrThrottled) {
				throttled++
			}
		})
	}
	waittest.Until(t, "three are held and five refused", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return held() == 3 && throttled == 5
	})
	if err := os.WriteFile(filepath.Join(directory, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if done != 3 || throttled != 5 {
		t.Errorf("%d done, %d throttled; want 3 and 5", done, throttled)
	}
	// With patience everybody is served, by three processes.
	pids := map[string]bool{}
	for range 30 {
		wg.Go(func() {
			out, err := h.Invoke(t.Context(), "f", Invocation{Payload: []byte(`{"Do":"pid"}`), Wait: -1})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			pids[string(out.Payload)] = true
		})
	}
	wg.Wait()
	waittest.Until(t, "no more than three processes", func() bool { // one that was slow after its answer may have been replaced
		running := 0
		for text := range pids {
			if pid, _ := strconv.Atoi(text); alive(pid) {
				running++
			}
		}
		return running <= 3
	})
	// Callers who go away leave their processes busy: until the test ends.
	busy, leave := context.WithCancel(t.Context())
	directory = t.TempDir()
	hold, _ = json.Marshal(order{Do: "hold", Text: directory})
	for range 3 {
		wg.Go(func() {
			_, _ = h.Invoke(busy, "f", Invocation{Payload: hold, Wait: -1})
		})
	}
	waittest.Until(t, "all busy", func() bool { return held() == 3 })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := h.Invoke(ctx, "f", Invocation{Wait: -1}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if _, err := h.Invoke(t.Context(), "f", Invocation{Wait: 50 * time.Millisecond}); !errors.Is(err, ErrThrottled) {
		t.Errorf("got %v", err)
	}
	leave()
	h.Close(busy) // without patience
	wg.Wait()
}

// Who calls again as soon as there is an answer is not refused because the program has
// not asked for more yet.
func TestOneInstanceServesOneCallAfterTheOther(t *testing.T) {
	h := host(t, func(_ *Config, d *Definition) { d.Concurrency = 1 })
	for n := range 100 {
		if out, err := h.Invoke(t.Context(), "f", Invocation{Payload: []byte("1")}); err != nil || out.Error != "" {
			t.Fatalf("call %d: %v, %s", n, err, out.Payload)
		}
	}
}

func TestErrorTypesThatAreKept(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Runtime.UserCodeSyntaxError": "Runtime.UserCodeSyntaxError", "Function.Odd": "Function.Odd", "my Runtime.Odd": "my Runtime.Odd",
		"Function.odd": "Function.Unknown", "Function.": "Function.Unknown", "Runtime.odd": "Runtime.Unknown", "ValueError": "Runtime.Unknown", "": "Runtime.Unknown",
		"Runtime.Long" + strings.Repeat("x", 200): "Runtime.Unknown",
	} {
		if got := errorType(in); got != want {
			t.Errorf("%.40q: got %q, want %q", in, got, want)
		}
	}
}

func TestReplacement(t *testing.T) {
	h := host(t, nil)
	def, _ := h.Definition("f")
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var mu sync.Mutex
	pids := map[string]bool{}
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				out, err := h.Invoke(t.Context(), "f", Invocation{Payload: []byte(`{"Do":"pid"}`), Wait: -1})
				if err != nil || out.Error != "" {
					t.Errorf("%v, %q %s", err, out.Error, out.Payload)
					return
				}
				mu.Lock()
				pids[string(out.Payload)] = true
				mu.Unlock()
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(pids)
	}
	for i := range 3 {
		have := count()
		waittest.Until(t, "calls are made", func() bool { return count() > have || i > 0 })
		def.Revision = strconv.Itoa(i)
		h.Set(def)
		waittest.Until(t, "the new one answers", func() bool { return count() > have })
	}
	close(stop)
	wg.Wait()
	last := ask(t, h, order{Do: "pid"}).Payload
	waittest.Until(t, "the old ones are gone", func() bool {
		for pid := range pids {
			if n, _ := strconv.Atoi(pid); pid != string(last) && alive(n) {
				running := 0
				for other := range pids {
					if m, _ := strconv.Atoi(other); alive(m) {
						running++
					}
				}
				return running <= 4 // of the newest definition
			}
		}
		return true
	})
	h.Remove("f")
	if _, err := h.Invoke(t.Context(), "f", Invocation{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	waittest.Until(t, "nothing is left", func() bool {
		for pid := range pids {
			if n, _ := strconv.Atoi(pid); alive(n) {
				return false
			}
		}
		return true
	})
}

func TestChildrenGoWithTheirFunction(t *testing.T) {
	h := host(t, nil)
	var child int
	_ = json.Unmarshal(ask(t, h, order{Do: "fork"}).Payload, &child)
	if !alive(child) {
		t.Fatal("there is no child")
	}
	if out := ask(t, h, 1); string(out.Payload) != "1" {
		t.Errorf("got %s", out.Payload)
	}
	h.Remove("f")
	waittest.Until(t, "the child is gone", func() bool { return !alive(child) })
}

func TestEnvironment(t *testing.T) {
	t.Setenv("KLAMM_TEST_SECRET", "of klamm")
	h := host(t, func(cfg *Config, d *Definition) {
		cfg.Environment = map[string]string{"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}
		d.Environment = map[string]string{"MINE": "ä=1", "AWS_REGION": "nowhere", "_HANDLER": "mine", "AWS_LAMBDA_MAX_CONCURRENCY": "8"}
		d.Memory = 384
	})
	var vars []string
	if err := json.Unmarshal(ask(t, h, order{Do: "env"}).Payload, &vars); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"MINE=ä=1", "AWS_REGION=us-east-1", "_HANDLER=bootstrap", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=384", "AWS_ENDPOINT_URL_S3=http://127.0.0.1:1", "TZ=:UTC"} {
		if !slices.Contains(vars, want) {
			t.Errorf("%s is not in %q", want, vars)
		}
	}
	if strings.Contains(strings.Join(vars, " "), "AWS_LAMBDA_MAX_CONCURRENCY") {
		t.Error("programs are told to ask for several events at once")
	}
	if strings.Contains(strings.Join(vars, " "), "of klamm") {
		t.Error("klamm's own environment leaks")
	}
}

// hostUntilKilled is a process of its own that runs a function until it is killed.
func hostUntilKilled(directory string) {
	self, _ := os.Executable()
	h, err := New(Config{Directory: directory, Log: slog.New(slog.DiscardHandler), Guard: []string{self, "guard"}})
	if err != nil {
		os.Exit(1)
	}
	h.Set(Definition{Name: "f", Runtime: "provided", Directory: filepath.Dir(directory), Timeout: time.Minute})
	out, err := h.Invoke(context.Background(), "f", Invocation{Payload: []byte(`{"Do":"pid"}`)})
	child, err2 := h.Invoke(context.Background(), "f", Invocation{Payload: []byte(`{"Do":"fork"}`)})
	if err := errors.Join(err, err2); err != nil {
		os.Exit(1)
	}
	_, _ = os.Stdout.WriteString(string(out.Payload) + " " + string(child.Payload) + "\n")
	time.Sleep(time.Hour)
}

func TestProcessesDieWithAKilledHost(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "host", filepath.Join(code(t), "run"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 64)
	n, err := out.Read(line)
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	var pids []int
	for _, field := range strings.Fields(string(line[:n])) {
		pid, _ := strconv.Atoi(field)
		pids = append(pids, pid)
	}
	if len(pids) != 2 || !alive(pids[0]) || !alive(pids[1]) {
		t.Fatalf("got %q", line[:n])
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	waittest.Until(t, "no orphan", func() bool { return !alive(pids[0]) && !alive(pids[1]) })
}

func TestOutputReachesTheLog(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	h := host(t, func(cfg *Config, _ *Definition) {
		cfg.Output = func(l Line) {
			mu.Lock()
			defer mu.Unlock()
			lines = append(lines, l.Function+" "+l.ID+" "+string(l.Text))
		}
	})
	out := ask(t, h, order{Do: "say", Text: "hello"})
	waittest.Until(t, "the line", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.Contains(lines, "f "+out.ID+" hello")
	})
	began := time.Now()
	ask(t, h, order{Do: "flood", N: 20_000}) // 24 MB
	most := 2*lineBurst + int(time.Since(began).Seconds()*lineRate)
	mu.Lock()
	size := len(strings.Join(lines, ""))
	mu.Unlock()
	if size > most {
		t.Errorf("%d bytes reached the log, want %d at most", size, most)
	}
}

func TestPackage(t *testing.T) {
	archive := packed(t, "bootstrap", "#!/bin/sh\nexec "+os.Args[0]+"\n")
	fetched := 0
	fetch := func(context.Context) ([]byte, error) {
		if fetched++; fetched == 1 {
			return nil, errors.New("no broker")
		}
		return archive, nil
	}
	h := host(t, func(_ *Config, d *Definition) {
		d.Directory, d.Package = "", &Package{Digest: Digest(archive), Fetch: fetch}
	})
	if _, err := h.Invoke(t.Context(), "f", Invocation{}); err == nil || !strings.Contains(err.Error(), "the code of f") || !strings.Contains(err.Error(), "no broker") {
		t.Errorf("got %v", err)
	}
	for range 2 {
		out, err := h.Invoke(t.Context(), "f", Invocation{Payload: []byte(`{"Do":"pid"}`), Wait: -1})
		if err != nil || out.Error != "" {
			t.Errorf("%v, %s", err, out.Payload)
		}
	}
	if fetched != 2 {
		t.Errorf("fetched %d times", fetched)
	}
	def, _ := h.Definition("f")
	def.Name, def.Package = "g", &Package{Digest: Digest([]byte("other")), Fetch: fetch}
	h.Set(def)
	if _, err := h.Invoke(t.Context(), "g", Invocation{}); err == nil || !strings.Contains(err.Error(), "has the SHA-256 "+Digest(archive)) {
		t.Errorf("got %v", err)
	}
	h.Remove("f")
	waittest.Until(t, "the code is gone", func() bool {
		left, _ := os.ReadDir(h.code.directory)
		return len(left) == 0
	})
}

func TestIdleInstancesAreReaped(t *testing.T) {
	h := host(t, func(cfg *Config, _ *Definition) { cfg.IdleTimeout = 100 * time.Millisecond })
	var pid int
	_ = json.Unmarshal(ask(t, h, order{Do: "pid"}).Payload, &pid)
	waittest.Until(t, "the process is gone", func() bool { return !alive(pid) })
	if out := ask(t, h, 5); string(out.Payload) != "5" {
		t.Errorf("got %s", out.Payload)
	}
}
