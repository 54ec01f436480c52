package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// isFunction says whether this process is a function under test.
func isFunction() bool { return os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" }

// playFunction is the function under test: a program for the Lambda Runtime API that has
// a child, tells the counter of each half of a batch, and takes its time between them.
func playFunction() error {
	child := exec.Command("sleep", "3600")
	if err := child.Start(); err != nil {
		return err
	}
	takes, err := strconv.Atoi(os.Getenv("CHAOS_TAKES_MS"))
	if err != nil {
		takes = 10
	}
	pids := []int{os.Getpid(), child.Process.Pid}
	work := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	for {
		resp, err := http.Get(work + "next")
		if err != nil {
			return err
		}
		event, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			return err
		}
		values, err := valuesOf(event)
		if err != nil {
			return err
		}
		half := len(values) / 2
		if err := send(os.Getenv("CHAOS_COUNT"), part{PIDs: pids, Values: values[:half], Half: true}); err != nil {
			return err
		}
		time.Sleep(time.Duration(takes) * time.Millisecond)
		if err := send(os.Getenv("CHAOS_COUNT"), part{PIDs: pids, Values: values[half:]}); err != nil {
			return err
		}
		if err := send(work+resp.Header.Get("Lambda-Runtime-Aws-Request-Id")+"/response", nil); err != nil {
			return err
		}
	}
}

// send posts a document.
func send(url string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	resp, err := http.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode > 299 {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}
