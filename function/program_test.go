package function

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test's own binary be the functions under test and their guard.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" {
		program()
	}
	if len(os.Args) > 1 && os.Args[1] == "guard" {
		Guard(os.Stdin)
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[1] == "host" {
		hostUntilKilled(os.Args[2])
	}
	os.Exit(m.Run())
}

// An order is what the event tells the program to do.
type order struct {
	Do   string
	N    int
	Text string
}

// program is a custom runtime as the Lambda documentation describes one.
func program() {
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01"
	post := func(path, body string, header ...string) int {
		q, _ := http.NewRequest(http.MethodPost, api+path, strings.NewReader(body))
		for i := 0; i+1 < len(header); i += 2 {
			q.Header.Set(header[i], header[i+1])
		}
		a, err := http.DefaultClient.Do(q)
		if err != nil {
			os.Exit(9)
		}
		_, _ = io.Copy(io.Discard, a.Body)
		a.Body.Close()
		return a.StatusCode
	}
	switch os.Getenv("_HANDLER") {
	case "leave":
		fmt.Println("sorry")
		os.Exit(4)
	case "refuse":
		post("/runtime/init/error", `{"errorMessage":"no module","errorType":"Runtime.ImportModuleError"}`)
		os.Exit(1)
	case "silent":
		if file := os.Getenv("PID"); file != "" {
			_ = os.WriteFile(file, []byte(strconv.Itoa(os.Getpid())), 0o600)
		}
		time.Sleep(time.Hour)
	case "slow once":
		before, _ := os.ReadFile(os.Getenv("STARTS"))
		_ = os.WriteFile(os.Getenv("STARTS"), append(before, 'x'), 0o600)
		if len(before) == 0 {
			time.Sleep(time.Hour)
		}
		time.Sleep(300 * time.Millisecond) // that the second start takes its part of the call's time
	}
	var kept [][]byte
	for {
		a, err := http.Get(api + "/runtime/invocation/next")
		if err != nil || a.StatusCode != 200 {
			os.Exit(8)
		}
		event, _ := io.ReadAll(a.Body)
		a.Body.Close()
		id := a.Header.Get("Lambda-Runtime-Aws-Request-Id")
		path := "/runtime/invocation/" + id
		var o order
		_ = json.Unmarshal(event, &o)
		switch o.Do {
		case "pid":
			post(path+"/response", strconv.Itoa(os.Getpid()))
		case "header":
			post(path+"/response", a.Header.Get(o.Text))
		case "env":
			out, _ := json.Marshal(os.Environ())
			post(path+"/response", string(out))
		case "fail":
			post(path+"/error", `{"errorMessage":"`+o.Text+`","errorType":"E"}`, "Lambda-Runtime-Function-Error-Type", "E")
		case "fail at length":
			post(path+"/error", `{"errorMessage":"`+strings.Repeat("x", o.N)+`","errorType":"E"}`)
		case "say":
			fmt.Println(o.Text)
			post(path+"/response", "1")
		case "flood":
			for range o.N {
				_, _ = os.Stdout.Write(bytes.Repeat([]byte("flood "), 200))
				fmt.Println()
			}
			fmt.Println("the last line")
			post(path+"/response", "1")
		case "torrent": // N MiB, in lines of 64 KiB
			line := append(bytes.Repeat([]byte("x"), 64<<10-1), '\n')
			for range o.N * 16 {
				_, _ = os.Stderr.Write(line)
			}
			post(path+"/response", "1")
		case "exit":
			os.Exit(o.N)
		case "kill":
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			time.Sleep(time.Hour)
		case "sleep":
			time.Sleep(time.Duration(o.N) * time.Millisecond)
			post(path+"/response", "1")
		case "hold": // until there is a file "go"
			_ = os.WriteFile(filepath.Join(o.Text, "held-"+strconv.Itoa(os.Getpid())), nil, 0o600)
			for {
				if _, err := os.Stat(filepath.Join(o.Text, "go")); err == nil {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			post(path+"/response", "1")
		case "stubborn":
			signal.Ignore(syscall.SIGTERM)
			time.Sleep(time.Hour)
		case "deaf":
			signal.Ignore(syscall.SIGTERM)
			post(path+"/response", strconv.Itoa(os.Getpid()))
		case "leak":
			for range o.N {
				b := make([]byte, 1<<20)
				for i := range b {
					b[i] = byte(i)
				}
				kept = append(kept, b)
			}
			post(path+"/response", strconv.Itoa(len(kept)))
		case "fork":
			c := exec.Command("sleep", "300")
			_ = c.Start()
			post(path+"/response", strconv.Itoa(c.Process.Pid))
		case "big":
			post(path+"/response", strings.Repeat("x", o.N))
		case "twice":
			post(path+"/response", "1")
			if s := post(path+"/response", "2"); s != http.StatusForbidden && s != http.StatusBadRequest {
				os.Exit(7)
			}
		case "other id":
			s := post("/runtime/invocation/nonsense/response", "2")
			post(path+"/response", strconv.Itoa(s))
		case "linger":
			post(path+"/response", strconv.Itoa(os.Getpid()))
			time.Sleep(time.Hour)
		case "stream":
			stream(api+path+"/response", o)
		default:
			post(path+"/response", string(event))
		}
	}
}

// stream answers in pieces, with a failure at the end if there is a text.
func stream(url string, o order) {
	q, _ := http.NewRequest(http.MethodPost, url, io.MultiReader(strings.NewReader("a"), strings.NewReader("b")))
	q.ContentLength = -1
	q.Header.Set("Lambda-Runtime-Function-Response-Mode", "streaming")
	q.Trailer = http.Header{"Lambda-Runtime-Function-Error-Type": nil, "Lambda-Runtime-Function-Error-Body": nil}
	if o.Text != "" {
		q.Trailer.Set("Lambda-Runtime-Function-Error-Type", o.Text)
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		os.Exit(6)
	}
	a.Body.Close()
}

// code returns a directory with a bootstrap.
func code(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	if err := os.Symlink(self, filepath.Join(directory, "bootstrap")); err != nil {
		t.Fatal(err)
	}
	return directory
}

// host returns a host for the test, with one function "f" in it.
func host(t *testing.T, change func(*Config, *Definition)) *Host {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Directory: filepath.Join(t.TempDir(), "run"), Region: "us-east-1", InitTimeout: time.Minute, Log: slog.New(slog.DiscardHandler), Guard: []string{self, "guard"}}
	def := Definition{Name: "f", ARN: "arn:aws:lambda:us-east-1:000000000000:function:f", Runtime: "provided.al2023", Handler: "bootstrap", Directory: code(t), Timeout: 2 * time.Minute}
	if change != nil {
		change(&cfg, &def)
	}
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		h.Close(ctx)
	})
	h.Set(def)
	return h
}

// ask invokes f and expects that it was reached.
func ask(t *testing.T, h *Host, event any) Outcome {
	t.Helper()
	payload, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	out, err := h.Invoke(t.Context(), "f", Invocation{Payload: payload, Tail: true})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// alive says whether a process runs.
func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return rest != "" && !strings.ContainsAny(rest[:1], "ZX")
}
