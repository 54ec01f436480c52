package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

// consumers is the proof that a client's calls may go to any process.
type consumers struct {
	*house
	groups     int
	each       int // instances of a group
	reads      int // at least, of all
	partitions int
	kill       bool
	churn      time.Duration // how long processes are added and removed
	every      time.Duration // one at a time
	kills      int           // each so many of those that are removed is killed

	topic string
	end   map[int32]int64 // of the records that are there

	calls, cut, unknown, others atomic.Int64
	done                        atomic.Int64 // reads that were answered
	longest                     atomic.Int64 // call since the first process was ended, in nanoseconds
	first                       sync.Map     // the first answer of each wrong kind
}

func consumersFlags(flags *flag.FlagSet, h *house) func(context.Context, *table) error {
	c := &consumers{house: h}
	flags.IntVar(&c.groups, "groups", 4, "consumer groups")
	flags.IntVar(&c.each, "instances", 2, "instances of each group")
	flags.IntVar(&c.reads, "reads", 1000, "reads, at least")
	flags.IntVar(&c.partitions, "partitions", 6, "partitions of the topic")
	flags.BoolVar(&c.kill, "kill", true, "kill a process in the middle")
	flags.DurationVar(&c.churn, "churn", 0, "how long processes are added and removed; 0: not at all")
	flags.DurationVar(&c.every, "every", 10*time.Second, "the time between two of them")
	flags.IntVar(&c.kills, "kills", 3, "of the processes that are removed, one of so many is killed")
	return func(ctx context.Context, t *table) error {
		if c.groups < 1 || c.each < 1 || c.reads < 1 || c.partitions < 1 || c.every <= 0 || c.kills < 1 || c.count < 2 {
			return errSmall
		}
		return c.run(ctx, t)
	}
}

func (c *consumers) run(ctx context.Context, t *table) (err error) {
	if err := c.fill(ctx); err != nil {
		return err
	}
	if c.topic, err = c.house.topic(ctx, int32(c.partitions)); err != nil {
		return err
	}
	c.end = map[int32]int64{}
	if err := c.add(ctx, 2000); err != nil {
		return err
	}
	c.say("%d processes, %d groups of %d instances", c.count, c.groups, c.each)

	working, stop := context.WithCancel(ctx)
	defer stop()
	var clients sync.WaitGroup
	groups := make([]*group, c.groups)
	for i := range groups {
		groups[i] = newGroup(c, fmt.Sprintf("%s-%d", c.topic, i))
		for n := range c.each {
			clients.Go(func() { groups[i].use(working, fmt.Sprintf("one-%d", n)) })
		}
	}
	err = c.disturb(ctx)
	if err == nil { // what was added last has to arrive as well
		err = c.settle(working, groups)
	}
	stop()
	clients.Wait()
	if err != nil {
		return err
	}
	c.report(t, groups)
	return nil
}

// add adds records.
func (c *consumers) add(ctx context.Context, count int) error {
	records := make([]*kgo.Record, count)
	for i := range records {
		p := int32(i % c.partitions)
		records[i] = &kgo.Record{Topic: c.topic, Partition: p, Value: []byte(`"` + strings.Repeat("x", 200) + `"`)}
	}
	if err := c.write(ctx, records); err != nil {
		return err
	}
	for _, r := range records {
		c.end[r.Partition] = max(c.end[r.Partition], r.Offset+1)
	}
	return nil
}

// disturb kills a process in the middle of the reads, and adds and removes others.
func (c *consumers) disturb(ctx context.Context) error {
	killed := !c.kill
	begun, last := time.Now(), time.Now()
	for n := 0; int(c.done.Load()) < c.reads || time.Since(begun) < c.churn || !killed; {
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
		if err := c.add(ctx, 60); err != nil {
			return err
		}
		if !killed && int(c.done.Load()) >= c.reads/2 {
			c.longest.Store(0)
			c.say("%s was killed after %d reads", c.house.end(true).name, c.done.Load())
			killed = true
		}
		if time.Since(begun) < c.churn && time.Since(last) >= c.every {
			last = time.Now()
			n++
			p, err := c.start(ctx)
			if err != nil {
				return err
			}
			if n == 1 && !c.kill {
				c.longest.Store(0)
			}
			kill := n%c.kills == 0
			gone := c.house.end(kill)
			c.say("%s was added, %s was %s, after %d reads", p.name, gone.name, map[bool]string{true: "killed", false: "stopped"}[kill], c.done.Load())
		}
	}
	return nil
}

// settle waits until each group has committed everything.
func (c *consumers) settle(ctx context.Context, groups []*group) error {
	for deadline := time.Now().Add(2 * time.Minute); ; {
		behind := ""
		for _, g := range groups {
			at, err := g.committed(ctx)
			if err != nil {
				return err
			}
			for p, end := range c.end {
				if at[p] != end {
					behind = fmt.Sprintf("group %s is at %d of %d in partition %d", g.name, at[p], end, p)
				}
			}
		}
		if behind == "" {
			return nil
		}
		if time.Now().After(deadline) {
			c.first.LoadOrStore("not all was committed: "+behind, true)
			return nil
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func (c *consumers) report(t *table, groups []*group) {
	missing, again, records, repeats := 0, 0, 0, 0
	for _, g := range groups {
		again += g.again
		for p, end := range c.end {
			for offset := range end {
				times := g.seen[kafka.TopicPartition{Topic: c.topic, Partition: p}][offset]
				records += times
				if times == 0 {
					missing++
				} else {
					repeats += times - 1
				}
			}
		}
	}
	t.want("reads", c.done.Load(), fmt.Sprintf("at least %d", c.reads), int(c.done.Load()) >= c.reads)
	t.tell("calls", c.calls.Load())
	t.tell("calls that a process broke off", c.cut.Load())
	t.none("answers 404", int(c.unknown.Load()))
	t.none("other answers than 200, 204", int(c.others.Load()))
	t.tell("records read", records)
	t.none("records that were not read", missing)
	t.none("records that came again after their commit", again)
	t.tell("records that came again before", repeats)
	t.want("longest call since a process was first ended", time.Duration(c.longest.Load()).Round(time.Millisecond), "at most 10 s to take over, and a read's second", c.longest.Load() < int64(11*time.Second))
	c.first.Range(func(what, _ any) bool {
		t.want("found", what, "", false)
		return true
	})
}

// longCall is how long a call takes that is told as it happens.
const longCall = 5 * time.Second

// ask makes a call until a process answers it. A call that was cut is made again:
// nothing of these calls does harm twice, and reads have a token. What a call that was
// cut has made is there already.
func (c *consumers) ask(ctx context.Context, method, path, accept, body, token string) (answer, bool) {
	begun, cut, way := time.Now(), false, ""
	for ctx.Err() == nil {
		a := c.call(ctx, method, path, accept, body, token)
		if ctx.Err() != nil {
			break
		}
		c.calls.Add(1)
		way += fmt.Sprintf(" %s: %d after %s;", a.by, a.status, a.took.Round(time.Millisecond))
		switch a.status {
		case 0:
			c.cut.Add(1)
			cut = true
			_ = pause(ctx, 50*time.Millisecond)
			continue
		case http.StatusOK, http.StatusNoContent:
			took := int64(time.Since(begun))
			if took > int64(longCall) {
				c.say("%s %s took%s", method, path, way)
			}
			for old := c.longest.Load(); took > old && !c.longest.CompareAndSwap(old, took); old = c.longest.Load() {
			}
			return a, true
		case http.StatusNotFound:
			c.unknown.Add(1)
		case http.StatusConflict:
			if cut && strings.Contains(a.body, "40902") {
				return a, true
			}
			c.others.Add(1)
		default:
			c.others.Add(1)
		}
		what := fmt.Sprintf("%s %s: %d %.200s", method, path[strings.LastIndexByte(path, '/'):], a.status, a.body)
		if _, known := c.first.LoadOrStore(what, true); !known {
			c.say("%s after %s", what, a.took.Round(time.Millisecond))
		}
		_ = pause(ctx, 200*time.Millisecond)
		return a, false
	}
	return answer{}, false
}

// A group is a consumer group and what its instances were given.
type group struct {
	c    *consumers
	name string

	mu    sync.Mutex // guards what follows
	seen  map[kafka.TopicPartition]map[int64]int
	again int
}

func newGroup(c *consumers, name string) *group {
	g := &group{c: c, name: name, seen: map[kafka.TopicPartition]map[int64]int{}}
	for p := range c.partitions {
		g.seen[kafka.TopicPartition{Topic: c.topic, Partition: int32(p)}] = map[int64]int{}
	}
	return g
}

// committed returns what the group has committed.
func (g *group) committed(ctx context.Context) (map[int32]int64, error) {
	var all []kafka.TopicPartition
	for p := range g.c.partitions {
		all = append(all, kafka.TopicPartition{Topic: g.c.topic, Partition: int32(p)})
	}
	for {
		commits, err := g.c.cluster.CommittedOffsets(ctx, g.name, all)
		if err == nil {
			at := map[int32]int64{}
			for _, one := range commits {
				at[one.Partition] = one.Offset
			}
			return at, nil
		}
		if ctx.Err() != nil {
			return nil, errors.Join(err, context.Cause(ctx))
		}
		_ = pause(ctx, 200*time.Millisecond) // the coordinator may be on its way
	}
}

// use is a client: it makes an instance, reads and commits until ctx ends, and
// deletes it.
func (g *group) use(ctx context.Context, name string) {
	c, path := g.c, ""
	made := false
	for n := 0; !made && ctx.Err() == nil; n++ {
		one := fmt.Sprintf("%s-%d", name, n) // the answer for the last one may have been cut
		path = "/consumers/" + g.name + "/instances/" + one
		_, made = c.ask(ctx, "POST", "/consumers/"+g.name, mediaV2,
			fmt.Sprintf(`{"name":%q,"format":"json","auto.offset.reset":"earliest","auto.commit.enable":"false","consumer.request.timeout.ms":1000}`, one), "")
	}
	for done := false; made && !done && ctx.Err() == nil; {
		_, done = c.ask(ctx, "POST", path+"/subscription", mediaV2, fmt.Sprintf(`{"topics":[%q]}`, c.topic), "")
	}
	for n := 0; ctx.Err() == nil; {
		floor, err := g.committed(ctx)
		if err != nil {
			break
		}
		a, ok := c.ask(ctx, "GET", path+"/records?max_bytes=8000", mediaJSON, "", fmt.Sprintf("%s-%d", name, n))
		if !ok {
			continue // with the same token: what was read for the last answer is not lost
		}
		c.done.Add(1)
		g.note(a.body, floor)
		if n++; n%2 == 0 {
			c.ask(ctx, "POST", path+"/offsets", mediaV2, "", "")
		}
	}
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	c.ask(leaving, "DELETE", path, mediaV2, "", "")
}

// note counts the records of an answer. What was committed before it was asked for
// must not be among them.
func (g *group) note(body string, floor map[int32]int64) {
	var got []struct {
		Partition int32
		Offset    int64
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		g.c.first.LoadOrStore("an answer that is no array: "+err.Error(), true)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range got {
		g.seen[kafka.TopicPartition{Topic: g.c.topic, Partition: r.Partition}][r.Offset]++
		if r.Offset < floor[r.Partition] {
			g.again++
		}
	}
}
