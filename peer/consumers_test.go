package peer_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/waittest"
)

const earliest = `,"auto.offset.reset":"earliest"`

func TestAnyProcessAnswers(t *testing.T) {
	h := newHouse(t, 3, 0)
	topic := h.topic(2, 100)
	for _, assigned := range []bool{false, true} {
		group := fmt.Sprint(topic, assigned)
		c := h.create(h.next(), group, "one", earliest)
		for range 3 {
			if status, said := h.call(h.next(), "POST", "/consumers/"+group, `{"name":"one"}`, ""); status != 409 || !strings.Contains(said, "40902") {
				t.Errorf("a name that is taken: %d %s", status, said)
			}
			if status, said := h.call(h.next(), "POST", "/consumers/"+group, `{"name":"one","auto.offset.reset":"middle"}`, ""); status != 409 {
				t.Errorf("a name that is taken and another mistake: %d %s", status, said)
			}
		}
		if assigned {
			c.must(204, "POST", "/assignments", fmt.Sprintf(`{"partitions":[{"topic":%q,"partition":0},{"topic":%[1]q,"partition":1}]}`, topic))
		} else {
			c.subscribe(topic)
		}
		seen := map[int]int{}
		for len(seen) < 100 {
			for _, r := range c.read("?max_bytes=20", "") {
				seen[r.Value]++
			}
		}
		for value, times := range seen {
			if times != 1 {
				t.Errorf("value %d came %d times", value, times)
			}
		}
		c.must(200, "POST", "/offsets", "")
		if diff := cmp.Diff(map[int32]int64{0: 50, 1: 50}, c.committed(topic, 2)); diff != "" {
			t.Errorf("committed: %s", diff)
		}
		for range 3 {
			if said := c.must(200, "GET", "/assignments", ""); strings.Count(said, `"topic"`) != 2 {
				t.Errorf("assignment: %s", said)
			}
		}
		c.must(204, "DELETE", "", "")
		for range 3 {
			c.must(404, "GET", "/subscription", "")
		}
	}
}

// TestTheHolderDies kills the process that holds an instance, after a seek, a commit
// or nothing, and looks at what comes next.
func TestTheHolderDies(t *testing.T) {
	long(t, "waits until a process counts as dead")
	h := newHouse(t, 2, 0)
	topic := h.topic(1, 60)
	type act func(t *testing.T, c *instance)
	commit := func(offset int) act {
		return func(_ *testing.T, c *instance) {
			c.must(200, "POST", "/offsets", fmt.Sprintf(`{"offsets":[{"topic":%q,"partition":0,"offset":%d}]}`, topic, offset-1))
		}
	}
	seek := func(offset int) act {
		return func(_ *testing.T, c *instance) {
			c.must(204, "POST", "/positions", fmt.Sprintf(`{"offsets":[{"topic":%q,"partition":0,"offset":%d}]}`, topic, offset))
		}
	}
	read := func(token string, first int64) act {
		return func(t *testing.T, c *instance) {
			t.Helper()
			if got := c.some("?max_bytes=10", token); got[0].Offset != first {
				t.Errorf("a read with token %q begins at %d, want %d", token, got[0].Offset, first)
			}
		}
	}
	all := func(_ *testing.T, c *instance) { c.must(200, "POST", "/offsets", "") }
	put := func(*testing.T, *instance) { h.put(topic, 1, 60, 61) }
	cases := []struct {
		name, more    string
		before, after []act
	}{
		{"nothing committed", earliest, []act{read("", 0)}, []act{read("", 0)}},
		{"committed", earliest, []act{read("", 0), commit(7), read("", 9)}, []act{read("", 7)}},
		{"sought", earliest, []act{read("", 0), all, seek(30)}, []act{read("", 30)}},
		{"sought and read", earliest, []act{read("", 0), seek(30), read("", 30)}, []act{read("", 30)}},
		{"sought back and committed", earliest, []act{read("", 0), all, seek(0), read("", 0), commit(9)}, []act{read("", 9)}},
		{"a repeatable answer", earliest, []act{read("a", 0), read("a", 0), read("b", 9)}, []act{read("a", 0), read("b", 9), read("c", 14)}},
		{"a repeatable answer, committed afterwards", earliest, []act{read("a", 0)}, []act{all, read("b", 9), read("a", 14)}},
		{"a repeatable answer, committed before", earliest, []act{read("a", 0), all}, []act{read("a", 9)}},
		// The record comes while nobody reads.
		{"only what is new", "", []act{func(t *testing.T, c *instance) {
			if got := c.read("", ""); len(got) > 0 {
				t.Errorf("got %v", got)
			}
		}}, []act{read("", 60)}},
	}
	holder := h.all[0]
	var instances []*instance
	for n, c := range cases {
		for _, assigned := range []bool{false, true} {
			i := h.create(holder, fmt.Sprintf("%s-%d-%t", topic, n, assigned), "one", c.more)
			if assigned {
				i.must(204, "POST", "/assignments", fmt.Sprintf(`{"partitions":[{"topic":%q,"partition":0}]}`, topic))
			} else {
				i.subscribe(topic)
			}
			instances = append(instances, i)
			for _, act := range c.before {
				act(t, i)
			}
		}
	}
	h.kill(holder)
	put(t, nil)
	start := time.Now()
	for n, c := range cases {
		for m, what := range []string{"subscribed", "assigned"} {
			t.Run(c.name+", "+what, func(t *testing.T) {
				defer func(outer testing.TB) { h.t = outer }(h.t)
				h.t = t
				for _, act := range c.after {
					act(t, instances[2*n+m])
				}
			})
			if n+m == 0 && time.Since(start) > 30*time.Second {
				t.Errorf("it took %s until another process went on", time.Since(start))
			}
		}
	}
}

// TestTheGroupOfADeadProcess looks at the members of a group whose instances were all
// held by a process that has died, when another one goes on with one of them: the group
// must not wait for the others.
func TestTheGroupOfADeadProcess(t *testing.T) {
	long(t, "waits until a process counts as dead")
	h := newHouse(t, 2, 0)
	topic := h.topic(2, 60)
	holder := h.all[0]
	var instances []*instance
	for _, name := range []string{"one", "two"} {
		i := h.create(holder, topic, name, earliest)
		i.subscribe(topic)
		instances = append(instances, i)
	}
	for _, i := range instances {
		waittest.Until(t, "both have partitions", func() bool { return len(i.read("?max_bytes=10", "")) > 0 })
	}
	h.kill(holder)
	instances[0].must(200, "GET", "/records?max_bytes=10", "")
	group, err := h.cluster.Group(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range group.Members {
		if m.ClientID != "one" {
			t.Errorf("the group has still %s of the process that has died", m.ClientID)
		}
	}
}

// TestAHolderThatStoodStill lets a process stand still until another one has taken
// its instance over, and go on then.
func TestAHolderThatStoodStill(t *testing.T) {
	long(t, "waits until a process counts as dead")
	h := newHouse(t, 2, 0)
	for _, assigned := range []bool{false, true} {
		topic := h.topic(1, 40)
		holder, other := h.all[0], h.all[1]
		c := h.create(holder, topic, "one", earliest)
		if assigned {
			c.must(204, "POST", "/assignments", fmt.Sprintf(`{"partitions":[{"topic":%q,"partition":0}]}`, topic))
		} else {
			c.subscribe(topic)
		}
		if got := c.some("?max_bytes=10", ""); got[0].Offset != 0 {
			t.Fatalf("got %v", got)
		}
		holder.signal(syscall.SIGSTOP)
		start := time.Now()
		waittest.Until(t, "another process goes on", func() bool {
			status, said := h.call(other, "GET", c.path+"/records?max_bytes=30", "", "")
			return status == http.StatusOK && len(h.records(said)) > 0
		})
		t.Logf("another process went on after %s", time.Since(start))
		if status, said := h.call(other, "POST", c.path+"/offsets", fmt.Sprintf(`{"offsets":[{"topic":%q,"partition":0,"offset":14}]}`, topic), ""); status != 200 {
			t.Fatalf("commit: %d %s", status, said)
		}
		// Its first work is what was sent to it while it stood still.
		var late sync.WaitGroup
		late.Go(func() {
			status, said := h.call(holder, "GET", c.path+"/records", "", "")
			for _, r := range h.records(said) {
				if r.Offset < 15 {
					t.Errorf("%d %v came again after its commit", status, r)
				}
			}
		})
		late.Go(func() {
			if status, said := h.call(holder, "POST", c.path+"/offsets", "", ""); status != 200 {
				t.Errorf("commit: %d %s", status, said)
			}
		})
		time.Sleep(100 * time.Millisecond) // so that they are on their way; the result is the same if not
		holder.signal(syscall.SIGCONT)
		late.Wait()
		if at := c.committed(topic, 1)[0]; at < 15 {
			t.Errorf("%d is committed, after 15 was", at)
		}
		c.must(204, "DELETE", "", "")
		c.must(404, "DELETE", "", "")
		c.must(404, "GET", "/subscription", "")
	}
}

func TestAStopHandsOver(t *testing.T) {
	h := newHouse(t, 2, 0)
	topic := h.topic(1, 20)
	holder := h.all[0]
	c := h.create(holder, topic, "one", earliest)
	c.subscribe(topic)
	c.some("?max_bytes=10", "")
	c.must(200, "POST", "/offsets", "")
	waiting := h.create(holder, topic+"-waiting", "one", `,"auto.offset.reset":"latest","consumer.request.timeout.ms":60000`)
	waiting.subscribe(topic)
	read := make(chan int, 1)
	go func() { // through the other process, and longer than the one that holds it runs
		status, said := h.call(h.all[1], "GET", waiting.path+"/records", "", "")
		if said != "[]" {
			status = -1
		}
		read <- status
	}()
	waittest.Until(t, "a member", func() bool {
		g, err := h.cluster.Group(t.Context(), topic+"-waiting")
		return err == nil && len(g.Members) == 1
	})
	h.leave(holder)
	holder.signal(syscall.SIGTERM)
	start := time.Now()
	<-holder.done
	stopped := time.Since(start)
	if status := <-read; status != 200 {
		t.Errorf("the read that waited: %d", status)
	}
	start = time.Now()
	if got := c.some("?max_bytes=10", ""); got[0].Offset != 9 {
		t.Errorf("got %v, want what follows the commit", got[0])
	}
	if took := time.Since(start); took > 30*time.Second || stopped > 30*time.Second {
		t.Errorf("stopped within %s; the next read took %s", stopped, took)
	}
	c.must(204, "DELETE", "", "")
}

func TestOrphansExpire(t *testing.T) {
	long(t, "waits until a process counts as dead")
	h := newHouse(t, 2, time.Second)
	topic := h.topic(1, 1)
	h.create(h.all[1], topic+"-awake", "one", earliest).must(204, "DELETE", "", "") // it knows of instances now
	var orphans []*instance
	for n := range 20 {
		c := h.create(h.all[0], fmt.Sprint(topic, n), "one", earliest)
		if status, said := h.call(h.all[0], "POST", c.path+"/subscription", fmt.Sprintf(`{"topics":[%q]}`, topic), ""); status != 204 && status != 404 {
			t.Fatalf("%d %s", status, said) // 404: this machine is slow
		}
		h.call(h.all[0], "GET", c.path+"/records?timeout=10", "", "")
		orphans = append(orphans, c)
	}
	h.kill(h.all[0])
	waittest.Until(t, "no member is left", func() bool {
		for _, c := range orphans {
			if g, err := h.cluster.Group(t.Context(), c.group); err == nil && len(g.Members) > 0 {
				return false
			}
		}
		return true
	})
	waittest.Until(t, "the definitions are gone", func() bool {
		ranges, err := h.cluster.Ranges(t.Context(), "__klamm_consumers")
		return err == nil && ranges[0].End > 0 && h.gone(orphans)
	})
}

// gone says whether the names of instances are free, without asking for the
// instances, which would take them over.
func (h *house) gone(instances []*instance) bool {
	for _, c := range instances {
		status, _ := h.call(h.all[0], "POST", "/consumers/"+c.group, `{"name":"one","auto.offset.reset":"middle"}`, "")
		if status == http.StatusConflict {
			return false
		}
	}
	return true
}

func TestForgedCallsAreRefused(t *testing.T) {
	h := newHouse(t, 1, 0)
	c := h.create(h.all[0], "g", "one", earliest)
	for _, header := range []string{"", "x", "a.1.b.c.d", strings.Repeat("a", 10_000)} {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", h.all[0].url+c.path+"/subscription", nil)
		req.Header.Set("Accept", mediaV2)
		req.Header["Klamm-Forward"] = []string{header}
		resp, err := h.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%.20q: got %d, want 401", header, resp.StatusCode)
		}
	}
}

// TestForFiveMinutes adds and removes processes every ten seconds, one of two by
// kill, while an instance is read through all of them. It runs as long as
// KLAMM_TEST_SOAK says, such as 5m.
func TestForFiveMinutes(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("KLAMM_TEST_SOAK"))
	if err != nil {
		t.Skip("KLAMM_TEST_SOAK says how long, such as 5m")
	}
	h := newHouse(t, 3, 0)
	const partitions = 4
	topic := h.topic(partitions, 0)
	c := h.create(h.all[0], topic, "one", earliest)
	c.subscribe(topic)
	var produced, reads, again, failed, changes int
	seen, low := map[[2]int64]bool{}, map[int32]int64{}
	var longest time.Duration
	change, last := time.Now(), time.Now()
	end := time.Now().Add(length)
	for turn := 0; time.Now().Before(end) || len(seen) < produced; turn++ {
		if time.Now().Before(end) {
			h.put(topic, partitions, produced, produced+20)
			produced += 20
		} else if time.Since(end) > time.Minute {
			t.Fatalf("%d of %d records a minute after the end", len(seen), produced)
		}
		if time.Since(change) > 10*time.Second {
			change = time.Now()
			changes++
			gone := h.all[turn%len(h.all)]
			h.leave(gone)
			if changes%2 == 0 {
				gone.signal(syscall.SIGTERM)
			} else {
				gone.signal(syscall.SIGKILL)
			}
			h.all = append(h.all, h.start())
		}
		status, said := h.call(h.next(), "GET", c.path+"/records", "", "")
		reads++
		if status >= 500 || status == 0 {
			failed++
			continue
		}
		if status != 200 {
			t.Fatalf("read: %d %s", status, said)
		}
		got := h.records(said)
		for _, r := range got {
			if r.Offset < low[r.Partition] {
				t.Errorf("%v came again after its commit", r)
			}
			at := [2]int64{int64(r.Partition), r.Offset}
			if seen[at] {
				again++
			}
			seen[at] = true
		}
		if len(got) > 0 {
			longest, last = max(longest, time.Since(last)), time.Now()
		}
		if turn%5 == 4 {
			status, said := h.call(h.next(), "POST", c.path+"/offsets", "", "")
			switch {
			case status == 200:
				low = c.committed(topic, partitions)
			case status >= 500 || status == 0:
				failed++
			default:
				t.Fatalf("commit: %d %s", status, said)
			}
		}
	}
	t.Logf("%d changes, %d records, %d reads, %d records again, %d calls failed and were repeated, %s without a record at most",
		changes, produced, reads, again, failed, longest.Round(10*time.Millisecond))
}

// long skips a test that takes half a minute of waiting, unless it runs against a
// real cluster (make test-kafka) or KLAMM_TEST_LONG asks for it.
func long(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("KLAMM_TEST_BROKERS") == "" && os.Getenv("KLAMM_TEST_LONG") == "" {
		t.Skip(why + "; set KLAMM_TEST_LONG=1")
	}
}
