package peer_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/waittest"
)

// TestAStopKeepsWhatWasRead stops the process that holds an instance which has read and
// not committed. The next one goes on behind that, and commits it.
func TestAStopKeepsWhatWasRead(t *testing.T) {
	h := newHouse(t, 2, 0)
	topic := h.topic(1, 20)
	holder := h.all[0]
	for _, assigned := range []bool{false, true} {
		c := h.create(holder, fmt.Sprint(topic, assigned), "one", earliest)
		if assigned {
			c.must(204, "POST", "/assignments", fmt.Sprintf(`{"partitions":[{"topic":%q,"partition":0}]}`, topic))
		} else {
			c.subscribe(topic)
		}
		c.some("?max_bytes=10", "") // 0 to 8
		defer func() {
			if got := c.some("?max_bytes=4", ""); got[0].Offset != 9 {
				t.Errorf("assigned %t: got %v, want what follows 8", assigned, got)
			}
			c.must(200, "POST", "/offsets", "")
			if diff := cmp.Diff(map[int32]int64{0: 11}, c.committed(topic, 1)); diff != "" {
				t.Errorf("assigned %t: committed: %s", assigned, diff)
			}
			c.must(204, "DELETE", "", "")
		}()
	}
	h.leave(holder)
	holder.signal(syscall.SIGTERM)
	<-holder.done
}

// TestCallsWhileTheHolderStops makes calls of a process that is asked to stop: what it
// still answers is what another one says.
func TestCallsWhileTheHolderStops(t *testing.T) {
	h := newHouse(t, 2, 0)
	topic := h.topic(1, 1)
	stopping, other := h.all[0], h.all[1]
	h.create(other, topic, "other", earliest) // it is known as one that can go on
	var instances []*instance
	for n := range 8 {
		c := h.create(stopping, fmt.Sprint(topic, n), "one", earliest)
		c.subscribe(topic)
		instances = append(instances, c)
	}
	var mu sync.Mutex
	said := map[string]int{} // answers, by kind
	var over atomic.Bool
	var callers sync.WaitGroup
	for n, c := range instances {
		callers.Go(func() {
			for i := 0; !over.Load(); i++ {
				status, text := h.call(stopping, "GET", c.path+"/subscription", "", "")
				if n%4 == 0 {
					status, text = h.call(stopping, "POST", "/consumers/"+c.group, fmt.Sprintf(`{"name":"more-%d"}`, i), "")
				}
				if status == 0 {
					text = ""
				}
				if status == 200 {
					text = text[:min(len(text), 10)]
				}
				mu.Lock()
				said[fmt.Sprint(status, " ", text)]++
				mu.Unlock()
			}
		})
	}
	stopping.signal(syscall.SIGTERM)
	<-stopping.done
	over.Store(true)
	callers.Wait()
	for what := range said {
		if !strings.HasPrefix(what, "200 ") && what != "0 " {
			t.Errorf("a process that stops answered %s", what)
		}
	}
	h.leave(stopping)
	for _, c := range instances {
		c.must(200, "GET", "/subscription", "")
		c.must(204, "DELETE", "", "")
	}
}

// TestACommitAfterATakeover kills the process of one of two members of a group. The
// first call that the next process gets is the commit of what was read before.
func TestACommitAfterATakeover(t *testing.T) {
	long(t, "waits until a process counts as dead")
	h := newHouse(t, 2, 0)
	const partitions = 4
	for _, explicit := range []bool{false, true} {
		topic := h.topic(partitions, 0)
		killed := h.start()
		staying := h.create(h.all[0], topic, "staying", earliest)
		moving := h.create(killed, topic, "moving", earliest)
		h.all = append(h.all, killed)
		staying.subscribe(topic)
		moving.subscribe(topic)
		waittest.Until(t, "both have partitions", func() bool {
			staying.read("?timeout=100", "")
			moving.read("?timeout=100", "")
			return strings.Contains(staying.must(200, "GET", "/assignments", ""), topic) && strings.Contains(moving.must(200, "GET", "/assignments", ""), topic)
		})
		h.put(topic, partitions, 0, 80)
		read := moving.some("?max_bytes=6", "once")
		h.kill(killed)
		body := ""
		if explicit {
			last := read[len(read)-1]
			body = fmt.Sprintf(`{"offsets":[{"topic":%q,"partition":%d,"offset":%d}]}`, topic, last.Partition, last.Offset)
		}
		status, said := h.call(h.next(), "POST", moving.path+"/offsets", body, "")
		// The group may have given the partition to the member that stays.
		if status != 200 && (!explicit || status != 409 || !strings.Contains(said, "40903")) {
			t.Errorf("explicit %t: commit: %d %s", explicit, status, said)
		}
		seen := map[[2]int64]bool{}
		for _, r := range read {
			seen[[2]int64{int64(r.Partition), r.Offset}] = true
		}
		deadline := time.Now().Add(90 * time.Second)
		for turn := 0; len(seen) < 80 && time.Now().Before(deadline); turn++ {
			floor := moving.committed(topic, partitions)
			for _, r := range []*instance{staying, moving}[turn%2].read("?max_bytes=8", "") {
				if r.Offset < floor[r.Partition] {
					t.Errorf("explicit %t: %v came again after %v were committed", explicit, r, floor)
				}
				seen[[2]int64{int64(r.Partition), r.Offset}] = true
			}
		}
		if len(seen) < 80 {
			t.Errorf("explicit %t: %d of 80 records: %v", explicit, len(seen), slices.Collect(maps.Keys(seen)))
		}
		staying.must(204, "DELETE", "", "")
		moving.must(204, "DELETE", "", "")
	}
}
