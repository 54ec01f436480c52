package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// otherClients is how many others there are, and otherPause how long each of them
	// waits from request to request.
	otherClients = 8
	otherPause   = 20 * time.Millisecond
	// otherPatience is how long they wait for an answer.
	otherPatience = 10 * time.Second
)

// fared is how the others have fared.
type fared struct {
	times    []time.Duration
	failures int
	first    error // of the failures
	peak     int64 // of klamm's memory, in MiB
}

func (f *fared) p99() time.Duration {
	if len(f.times) == 0 {
		return 0
	}
	slices.Sort(f.times)
	return f.times[len(f.times)*99/100]
}

// others work on a klamm until the returned function is called. On TLS, every second
// request comes by a connection of its own.
func others(p *process, url string, transport func() *http.Transport) (end func() fared) {
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex // guards all
	var all fared
	var running sync.WaitGroup
	for i := range otherClients {
		running.Go(func() {
			t := transport()
			defer t.CloseIdleConnections()
			client := &http.Client{Transport: t, Timeout: otherPatience}
			for n := 0; ctx.Err() == nil; n++ {
				begun := time.Now()
				err := post(client, url+"/topics/siege", fmt.Sprintf("record %d of %d", n, i))
				mu.Lock()
				if err != nil {
					if all.failures++; all.first == nil {
						all.first = err
					}
				} else {
					all.times = append(all.times, time.Since(begun))
				}
				mu.Unlock()
				pause(ctx, otherPause)
			}
		})
	}
	running.Go(func() {
		for ctx.Err() == nil {
			m := p.memory()
			mu.Lock()
			all.peak = max(all.peak, m)
			mu.Unlock()
			pause(ctx, 50*time.Millisecond)
		}
	})
	return func() fared {
		cancel()
		running.Wait()
		return all
	}
}

// post sends a record, and returns an error unless it was written.
func post(client *http.Client, url, text string) error {
	resp, err := client.Post(url, "text/plain", strings.NewReader(text))
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %.200s", resp.StatusCode, body)
	}
	return err
}

// pause waits; it says false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// judge puts how the others have fared into a verdict.
func (h *house) judge(v *verdict, f fared) {
	v.say("others: %d requests, %d failures, p99 %s; memory at most %d MiB", len(f.times), f.failures, f.p99().Round(10*time.Microsecond), f.peak)
	v.hold(f.failures == 0, "%d requests of others failed: %v", f.failures, f.first)
	v.hold(f.p99() <= h.p99, "the others' p99 is %s, want %s at most", f.p99(), h.p99)
	v.hold(f.peak <= h.options.memory, "klamm had %d MiB, want %d at most", f.peak, h.options.memory)
	v.hold(len(f.times) > 10, "others were served only %d times", len(f.times))
}

func plain() *http.Transport { return &http.Transport{} }
