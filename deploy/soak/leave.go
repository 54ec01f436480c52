package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// leave is the proof that clients which go without a word leave nothing behind.
type leave struct {
	*house
	clients int
	groups  int
	lease   time.Duration
	watch   time.Duration
}

func leaveFlags(flags *flag.FlagSet, h *house) func(context.Context, *table) error {
	l := &leave{house: h}
	flags.IntVar(&l.clients, "clients", 500, "clients, each with an instance")
	flags.IntVar(&l.groups, "groups", 100, "groups that they share")
	flags.DurationVar(&l.lease, "lease", 30*time.Second, "after which an idle instance ends")
	flags.DurationVar(&l.watch, "watch", 10*time.Second, "how long the CPU is watched")
	return func(ctx context.Context, t *table) error {
		if l.clients < 1 || l.groups < 1 || l.lease < time.Second || l.watch < time.Second {
			return errSmall
		}
		return l.run(ctx, t)
	}
}

// entering is how many clients come at the same time.
const entering = 20

func (l *leave) run(ctx context.Context, t *table) error {
	l.config = fmt.Sprintf("rest: {v2: {consumer_instance_timeout_ms: %d}}\n", l.lease.Milliseconds())
	if err := l.fill(ctx); err != nil {
		return err
	}
	topic, err := l.topic(ctx, 12)
	if err != nil {
		return err
	}
	var records []*kgo.Record
	for i := range 1200 {
		records = append(records, &kgo.Record{Topic: topic, Partition: int32(i % 12), Value: []byte("1")})
	}
	if err := l.write(ctx, records); err != nil {
		return err
	}
	if err := pause(ctx, 5*time.Second); err != nil { // the processes have come to rest
		return err
	}
	before, err := l.load(ctx)
	if err != nil {
		return err
	}

	var failed atomic.Int64
	turns := make(chan int)
	var all sync.WaitGroup
	for range entering {
		all.Go(func() {
			for n := range turns {
				if !l.enter(ctx, topic, n) {
					failed.Add(1)
				}
			}
		})
	}
	for n := range l.clients {
		turns <- n
	}
	close(turns)
	all.Wait()
	gone := time.Now()
	members, err := l.members(ctx, topic)
	if err != nil {
		return err
	}
	l.say("%d clients have read, the groups have %d members; nobody calls any more", l.clients, members)

	left := members
	for left > 0 && time.Since(gone) < l.lease+time.Minute {
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
		if left, err = l.members(ctx, topic); err != nil {
			return err
		}
	}
	took := time.Since(gone)
	l.say("%d members are left after %s", left, took.Round(time.Second))
	if err := pause(ctx, 5*time.Second); err != nil {
		return err
	}
	after, err := l.load(ctx)
	if err != nil {
		return err
	}
	there := 0
	for n := range l.clients {
		if a := l.call(ctx, "GET", l.path(topic, n)+"/subscription", mediaV2, "", ""); a.status != http.StatusNotFound {
			there++
		}
	}
	t.none("clients that could not read", int(failed.Load()))
	t.want("members while they read", members, "at least 1 a group", members >= min(l.groups, l.clients))
	t.none("members after the lease", left)
	t.want("until the last had left", took.Round(time.Second), fmt.Sprintf("at most %s", l.lease+15*time.Second), left == 0 && took <= l.lease+15*time.Second)
	t.none("instances after the lease", there)
	// Of all processes together; a tenth of a core is more than noise.
	t.tell("CPU before, cores", fmt.Sprintf("%.3f", before))
	t.want("CPU afterwards, cores", fmt.Sprintf("%.3f", after), fmt.Sprintf("at most %.3f", before+0.1), after <= before+0.1)
	return nil
}

func (l *leave) group(topic string, n int) string { return fmt.Sprintf("%s-%d", topic, n%l.groups) }

func (l *leave) path(topic string, n int) string {
	return fmt.Sprintf("/consumers/%s/instances/one-%d", l.group(topic, n), n)
}

// enter is what a client does until it dies: it makes an instance and reads.
func (l *leave) enter(ctx context.Context, topic string, n int) bool {
	made := l.call(ctx, "POST", "/consumers/"+l.group(topic, n), mediaV2, fmt.Sprintf(`{"name":"one-%d","format":"json","auto.offset.reset":"earliest"}`, n), "")
	subscribed := l.call(ctx, "POST", l.path(topic, n)+"/subscription", mediaV2, fmt.Sprintf(`{"topics":[%q]}`, topic), "")
	read := l.call(ctx, "GET", l.path(topic, n)+"/records?timeout=100", mediaJSON, "", "")
	return made.status == http.StatusOK && subscribed.status == http.StatusNoContent && read.status == http.StatusOK
}

// members returns how many members the groups have.
func (l *leave) members(ctx context.Context, topic string) (sum int, err error) {
	for n := range min(l.groups, l.clients) {
		g, err := l.cluster.Group(ctx, l.group(topic, n))
		if err != nil {
			return 0, err
		}
		sum += len(g.Members)
	}
	return sum, nil
}

// load returns how many cores the processes keep busy.
func (l *leave) load(ctx context.Context) (float64, error) {
	first, err := l.cpu()
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := pause(ctx, l.watch); err != nil {
		return 0, err
	}
	last, err := l.cpu()
	return float64(last-first) / float64(time.Since(begun)), err
}
