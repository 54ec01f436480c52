package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ask posts a text with an API key and returns the status of the answer.
func ask(ctx context.Context, client *http.Client, url, key, text string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(text))
	if err != nil {
		return 0, err
	}
	r.Header.Set("X-Api-Key", key)
	r.Header.Set("Content-Type", "text/plain")
	resp, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, err
}

// twoKeys is the configuration of two holders of keys.
const twoKeys = `
auth: {apikeys: {keys: [{name: limited, key: {value: siege-limited-0123456789abcdef}, groups: [all]}, {name: free, key: {value: siege-free-0123456789abcdef00}, groups: [all]}]}}
rules: [{who: ["group:all"], can: [produce], topics: ["siege*"]}]
`

const (
	limitedKey = "siege-limited-0123456789abcdef"
	freeKey    = "siege-free-0123456789abcdef00"
)

// fair lets a key that is limited to 1 MB/s send as much as it can, beside one that is
// not limited.
func (h *house) fair(ctx context.Context) (v verdict, err error) {
	const rate, size = 1_000_000, 10_000
	p, err := h.serve(ctx, twoKeys+"limits: [{name: slow, match: {op: produce, principal: \"User:limited\"}, key: [principal], bytes: {rate: 1000000, burst: 1000000}}]\n")
	if err != nil {
		return v, err
	}
	defer p.kill()
	url, text := "http://"+p.addr+"/topics/siege-fair", strings.Repeat("x", size)
	client := &http.Client{Timeout: otherPatience, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	for i := range 100 { // until the topic is there
		status, err := ask(ctx, client, url, freeKey, "first")
		if status == http.StatusOK {
			break
		}
		if i == 99 {
			return v, fmt.Errorf("the unlimited key cannot write: %d %w", status, err)
		}
		pause(ctx, 100*time.Millisecond)
	}
	alone := h.freely(ctx, client, url, h.limitFor/3)
	work, stop := context.WithCancel(ctx)
	defer stop()
	var taken, turnedAway, wrong atomic.Int64
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for work.Err() == nil {
				switch status, err := ask(work, client, url, limitedKey, text); {
				case work.Err() != nil:
				case err == nil && status == http.StatusOK:
					taken.Add(size)
				case err == nil && status == http.StatusTooManyRequests:
					turnedAway.Add(1)
					pause(work, 10*time.Millisecond)
				default:
					wrong.Add(1)
				}
			}
		})
	}
	for turnedAway.Load() == 0 && pause(ctx, 10*time.Millisecond) { // the bucket was full
	}
	from, begun := taken.Load(), time.Now()
	beside := h.freely(ctx, client, url, h.limitFor)
	got, took := taken.Load()-from, time.Since(begun)
	stop()
	running.Wait()
	share := float64(got) / took.Seconds() / rate
	v.say("the limited key: %.3f MB/s over %.1f s, %d requests turned away", share, took.Seconds(), turnedAway.Load())
	v.say("the other key: %d requests, %d failures, p99 %s beside it; %d requests, %d failures, p99 %s alone", len(beside.times), beside.failures, beside.p99(), len(alone.times), alone.failures, alone.p99())
	v.hold(share > 0.95 && share < 1.05, "the limited key had %.3f MB/s, want 1 within 5 %%", share)
	v.hold(wrong.Load() == 0, "%d requests of the limited key failed", wrong.Load())
	v.hold(beside.failures == 0 && alone.failures == 0, "requests of the other key failed: %v %v", beside.first, alone.first)
	v.hold(beside.p99() <= h.p99, "the other key's p99 is %s", beside.p99())
	return v, nil
}

// freely works with the key that has no limit.
func (h *house) freely(ctx context.Context, client *http.Client, url string, for_ time.Duration) (f fared) {
	for begun := time.Now(); time.Since(begun) < for_ && ctx.Err() == nil; {
		asked := time.Now()
		status, err := ask(ctx, client, url, freeKey, "a record")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		if err == nil {
			f.times = append(f.times, time.Since(asked))
		} else if f.failures++; f.first == nil {
			f.first = err
		}
		pause(ctx, 10*time.Millisecond)
	}
	return f
}

// quota lets two processes take a quota from both sides, kills one of them and starts
// it again, and counts what has passed.
func (h *house) quota(ctx context.Context) (v verdict, err error) {
	const limit = 3000
	config := twoKeys + fmt.Sprintf("usage_plans: [{name: bronze, quota: {limit: %d, period: month}, keys: [limited]}]\n", limit)
	var all [2]*process
	for i := range all {
		if all[i], err = h.serve(ctx, config); err != nil {
			return v, err
		}
		defer all[i].kill()
	}
	pause(ctx, 12*time.Second) // until they know of each other
	client := &http.Client{Timeout: otherPatience, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	// spend asks both processes, or one, until neither lets anything pass any more, or most has.
	spend := func(most int, on ...*process) (passed, unclear int, err error) {
		var mu sync.Mutex // guards the results
		var running sync.WaitGroup
		for _, p := range on {
			for range 2 {
				running.Go(func() {
					for ctx.Err() == nil {
						mu.Lock()
						enough := most > 0 && passed >= most
						mu.Unlock()
						if enough {
							return
						}
						status, failed := ask(ctx, client, "http://"+p.addr+"/topics/siege-quota", limitedKey, "x")
						mu.Lock()
						switch {
						case failed != nil:
							unclear++
						case status == http.StatusOK:
							passed++
						case status == http.StatusTooManyRequests:
							mu.Unlock()
							return
						default: // the counters are being exchanged
							mu.Unlock()
							pause(ctx, 100*time.Millisecond)
							continue
						}
						mu.Unlock()
					}
				})
			}
		}
		running.Wait()
		return passed, unclear, ctx.Err()
	}
	first, _, err := spend(limit/3, all[0], all[1])
	if err != nil {
		return v, err
	}
	pause(ctx, 12*time.Second) // an exchange is due every ten seconds: what was counted is kept
	all[0].kill()
	if all[0], err = h.serve(ctx, config); err != nil {
		return v, err
	}
	second, unclear, err := spend(0, all[0], all[1])
	if err != nil {
		return v, err
	}
	const bound = limit/2 + 2 // limit * (N - 1) / N + N, docs/usage-plans.md
	total := first + second
	v.say("limit %d: %d passed before kill -9, %d afterwards, %d together; %d unclear", limit, first, second, total, unclear)
	v.hold(unclear == 0, "%d requests have ended without an answer", unclear)
	v.hold(total >= limit, "only %d of %d have passed", total, limit)
	v.hold(total <= limit+bound, "%d have passed, %d more than the limit; %d more are the bound", total, total-limit, bound)
	v.hold(total-limit <= limit/50, "%d have passed, more than 2 %% over the limit", total)
	return v, nil
}
