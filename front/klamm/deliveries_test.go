package klamm_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/waittest"
)

func TestDeliveries(t *testing.T) {
	to := &receiver{}
	var first atomic.Bool
	to.answer = func(value string) error {
		if value == "two" && first.CompareAndSwap(false, true) {
			return &target.Failure{Status: 503, Response: []byte("later"), Err: errors.New("HTTP status 503")}
		}
		return nil
	}
	k := start(t, to)
	k.produce("zero")
	var list struct{ Deliveries []pipe.Delivery }
	logged := func(n int) func() bool {
		return func() bool {
			k.want(&list, "GET", "/deliveries?pipe=PIPE&since=-1h&limit=10", "")
			return len(list.Deliveries) == n && list.Deliveries[0].Outcome == "delivered"
		}
	}
	waittest.Until(t, "the log", logged(1))
	lines, events := k.tail("?pipe="+k.pipe, ""), k.tail("", "text/event-stream")
	k.produce("one", "two")
	waittest.Until(t, "all of the log", logged(3))
	two := list.Deliveries[0]
	if two.Offset != 2 || two.Attempts != 2 {
		t.Errorf("%+v", two)
	}
	if k.want(&list, "GET", "/deliveries?pipe=PIPE&since=2999-01-01T00:00:00Z", ""); len(list.Deliveries) != 0 {
		t.Errorf("%+v", list)
	}
	var one struct {
		ID       string `json:"delivery_id"`
		Attempts []pipe.Attempt
	}
	k.want(&one, "GET", "/deliveries/"+strings.ReplaceAll(two.ID, ":", "%3A"), "")
	if one.ID != two.ID || len(one.Attempts) != 2 || one.Attempts[0].Status != 503 || one.Attempts[0].Response != "later" {
		t.Errorf("%+v", one)
	}
	var p pipe.Progress
	if k.want(&p, "POST", "/deliveries/"+two.ID+"/retry", ""); p.Delivered != 1 || to.accepted() != 4 {
		t.Errorf("%+v, %d accepted", p, to.accepted())
	}
	// The entries of different deliveries may come in another order.
	want := []string{"1#1 delivered", "2#1 delivered", "2#1 failed", "2#2 delivered"}
	if got := attemptsOf(t, k.pipe, lines); !cmp.Equal(got, want) {
		t.Errorf("lines: %q", got)
	}
	if got := attemptsOf(t, k.pipe, events); !cmp.Equal(got, want) {
		t.Errorf("events: %q", got)
	}
}

// attemptsOf reads the next four attempts of a pipe in a tail, which may have
// those of other tests too.
func attemptsOf(t *testing.T, name string, next func() string) (got []string) {
	t.Helper()
	for len(got) < 4 {
		text := strings.TrimPrefix(next(), "data: ")
		if !strings.HasPrefix(text, "{") {
			continue // an event's name, or what separates events
		}
		var l struct {
			Pipe    string
			Offset  int64
			Outcome string
			Attempt pipe.Attempt
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if l.Pipe != name {
			continue
		}
		got = append(got, fmt.Sprintf("%d#%d %s", l.Offset, l.Attempt.Number, l.Outcome))
	}
	slices.Sort(got)
	return got
}

// tail begins to follow the delivery log; the answer gives the next line.
func (k *klammd) tail(query, accept string) func() string {
	k.t.Helper()
	lines := k.follow("/deliveries/tail"+query, accept)
	return func() string {
		k.t.Helper()
		if !lines.Scan() {
			k.t.Fatalf("the stream ends: %v", lines.Err())
		}
		return lines.Text()
	}
}

// follow begins to read what does not end, line by line, in the type that is wanted.
func (k *klammd) follow(path, accept string) *bufio.Scanner {
	k.t.Helper()
	req, err := http.NewRequestWithContext(k.t.Context(), "GET", k.url+"/klamm/v1"+path, nil)
	if err != nil {
		k.t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), accept) {
		k.t.Fatal(resp.Status, resp.Header)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return lines
}

// stuck starts a redrive that cannot end, because the target is never well, and
// returns when the answer has begun.
func stuck(t *testing.T) (*klammd, *receiver, *http.Response, context.CancelFunc) {
	t.Helper()
	var later atomic.Bool
	to := &receiver{answer: func(string) error {
		if later.Load() {
			return &target.Failure{Status: 503, Err: errors.New("HTTP status 503")}
		}
		return refuse(422)
	}}
	k := start(t, to)
	k.produce("1")
	waittest.Until(t, "a letter", func() bool { return len(k.letters()) == 1 })
	later.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "POST", k.url+"/klamm/v1/pipes/"+k.pipe+"/dead-letters/redrive", bytes.NewReader([]byte("{}")))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return k, to, resp, cancel
}

func TestStreamsEndWhenKlammStops(t *testing.T) {
	k, _, resp, _ := stuck(t)
	lines := k.tail("", "")
	close(k.stop)
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var end struct{ Error string }
	if last(t, strings.TrimSpace(string(text)), &end); !strings.Contains(end.Error, "stopping") {
		t.Errorf("%s", text)
	}
	for !strings.Contains(lines(), "stopping") {
	}
	if len(k.letters()) != 1 {
		t.Error("a letter is lost that was not delivered")
	}
}

func TestAClientThatGoesAwayCancels(t *testing.T) {
	k, to, _, cancel := stuck(t)
	before := to.calls.Load()
	waittest.Until(t, "attempts", func() bool { return to.calls.Load() > before })
	cancel()
	for end := time.After(time.Minute); ; {
		select {
		case name := <-k.ended:
			if name != "letters.redrive" {
				continue
			}
		case <-end:
			t.Fatal("the redrive goes on")
		}
		break
	}
	if len(k.letters()) != 1 {
		t.Error("a letter is lost that was not delivered")
	}
}
