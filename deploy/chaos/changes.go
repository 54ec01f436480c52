package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// changes is the proof that definitions can be changed while everything goes wrong:
// several processes run pipes that are updated, stopped, started, deleted and made
// again at random, through any of the processes, and now and then one of these is
// killed. Each state of a pipe delivers to a path of its own, so that the receiver
// knows by which definition a record came.
type changes struct {
	*stage
	pipes   int
	klamms  int
	rate    int           // records a second, of all topics together
	lasting time.Duration // of the changes
	every   time.Duration // between two kills
	seed    uint64

	control control
	target  string // the ARN of the API destination
	name    string // what topics, pipes and groups begin with
	done    struct {
		updates, turns, remade, kills, asked int
	}
	slowest time.Duration // until a change was taken up
	lost    []string      // definitions that were not as they had been acknowledged
	receipt receipt
}

// slack is how much later than it was sent a request may be seen by the receiver.
const slack = time.Second

// A receipt is what has arrived.
type receipt struct {
	mu   sync.Mutex
	seen []map[int]bool // by pipe, the numbers of records
	all  int            // deliveries
	// taken is since when which state of a pipe is what every process goes by.
	taken   []state
	stale   int    // deliveries by a state that had been replaced
	first   string // of those
	strange int
}

type state struct {
	number int
	since  time.Time
}

func (r *receipt) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	began := time.Now()
	parts := strings.Split(strings.Trim(req.URL.Path, "/"), "/")
	var records []struct{ Value []byte }
	var one struct{ Value []byte }
	var body struct{ N int }
	err := json.NewDecoder(http.MaxBytesReader(w, req.Body, 1<<16)).Decode(&one)
	if err == nil {
		records = append(records, one)
		err = json.Unmarshal(records[0].Value, &body)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || len(parts) != 3 {
		r.strange++
		return
	}
	pipe, err := strconv.Atoi(parts[1])
	number, wrong := strconv.Atoi(parts[2])
	if err != nil || wrong != nil || pipe < 0 || pipe >= len(r.seen) {
		r.strange++
		return
	}
	r.all++
	r.seen[pipe][body.N] = true
	if now := r.taken[pipe]; number < now.number && began.Sub(now.since) > slack {
		r.stale++
		if r.first == "" {
			r.first = fmt.Sprintf("pipe %d by state %d, %s after state %d was taken up", pipe, number, began.Sub(now.since).Round(time.Millisecond), now.number)
		}
	}
}

func (r *receipt) took(pipe, number int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken[pipe] = state{number, time.Now()}
}

func (r *receipt) missing(written []int) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for pipe, most := range written {
		n += most - len(r.seen[pipe])
	}
	return n
}

func changesFlags(flags *flag.FlagSet, s *stage) func(context.Context) (bool, error) {
	c := &changes{stage: s}
	flags.IntVar(&c.pipes, "pipes", 50, "how many")
	flags.IntVar(&c.klamms, "klamms", 3, "klamm processes")
	flags.IntVar(&c.rate, "rate", 200, "records a second")
	flags.DurationVar(&c.lasting, "lasting", 5*time.Minute, "how long pipes are changed")
	flags.DurationVar(&c.every, "every", time.Minute, "between two kills")
	flags.Uint64Var(&c.seed, "seed", uint64(time.Now().Unix()), "of the changes")
	return func(ctx context.Context) (bool, error) {
		if c.pipes < 1 || c.klamms < 1 || c.rate < 1 || c.rate > 100_000 || c.lasting <= 0 || c.every <= 0 {
			return false, errors.New("a number is out of range")
		}
		return c.run(ctx)
	}
}

// run returns whether the proof holds.
func (c *changes) run(ctx context.Context) (bool, error) {
	c.name = fmt.Sprintf("chaos%d", time.Now().UnixNano())
	c.receipt.taken = make([]state, c.pipes)
	for range c.pipes {
		c.receipt.seen = append(c.receipt.seen, map[int]bool{})
	}
	url, stop, err := listen(&c.receipt)
	if err != nil {
		return false, err
	}
	defer stop()
	for i := range c.pipes {
		if err := c.cluster.EnsureTopic(ctx, c.topicOf(i), 2, nil); err != nil {
			return false, err
		}
	}
	for range c.klamms {
		if _, err := c.start(""); err != nil {
			return false, err
		}
	}
	if err := c.await(ctx); err != nil {
		return false, err
	}
	if c.target, err = c.control.destination(ctx, c.processes[0].address(), c.name, url+"/to/*/*"); err != nil {
		return false, err
	}
	c.say("%d pipes are made", c.pipes)
	states := make([]int, c.pipes)
	for i := range c.pipes {
		if err := c.make(ctx, i, 0); err != nil {
			return false, err
		}
	}
	c.say("changes begin, for %s", c.lasting)
	written, err := c.change(ctx, states)
	if err != nil {
		return false, err
	}
	c.say("the changes are over; what was written is awaited")
	if err := c.until(ctx, "every record has arrived", patience, func() bool { return c.receipt.missing(written) == 0 }); err != nil && (ctx.Err() != nil || c.failed() != nil) {
		return false, err
	}
	c.compare(ctx, states)
	return c.report(written), nil
}

func (c *changes) topicOf(i int) string { return fmt.Sprintf("%s-%d", c.name, i) }

// await waits until all processes are ready.
func (c *changes) await(ctx context.Context) error {
	return c.until(ctx, "all processes are ready", patience, func() bool {
		for _, p := range c.processes {
			if p.address() == "" {
				return false
			}
		}
		return true
	})
}

// change changes pipes at random while records are written and processes are killed.
func (c *changes) change(ctx context.Context, states []int) (written []int, err error) {
	writing, stop := context.WithTimeout(ctx, c.lasting)
	defer stop()
	written = make([]int, c.pipes)
	var failed error
	var parts sync.WaitGroup
	parts.Go(func() { failed = c.write(writing, written) })
	random := rand.New(rand.NewPCG(c.seed, 0))
	next := time.Now().Add(c.every)
	for writing.Err() == nil && err == nil {
		if time.Now().After(next) {
			next = time.Now().Add(c.every)
			p := c.processes[random.IntN(len(c.processes))]
			c.say("%s is killed, after %d changes", p.name, c.done.updates+c.done.turns+c.done.remade)
			p.kill()
			c.done.kills++
			err = p.start()
			continue // it comes back while changes go on
		}
		err = c.changeOne(ctx, random, random.IntN(c.pipes), states)
	}
	stop()
	parts.Wait()
	if err == nil {
		err = failed
	}
	if err == nil {
		err = c.await(ctx)
	}
	return written, err
}

// changeOne changes a pipe, and waits until all processes have taken it up.
func (c *changes) changeOne(ctx context.Context, random *rand.Rand, i int, states []int) error {
	path := "/v1/pipes/" + c.topicOf(i)
	switch n := random.IntN(10); {
	case n < 7:
		c.done.updates++
		number := states[i] + 1
		changed, err := c.insist(ctx, http.MethodPut, path, doc{"RoleArn": anyRole, "TargetParameters": pathOf(strconv.Itoa(i), strconv.Itoa(number))}, http.StatusOK)
		if err != nil {
			return err
		}
		states[i] = number
		began := time.Now()
		if err := c.takenUp(ctx, path, "RUNNING", changed.LastModifiedTime); err != nil {
			return err
		}
		c.slowest = max(c.slowest, time.Since(began))
		c.receipt.took(i, number)
		return nil
	case n < 9:
		c.done.turns++
		for _, turn := range []struct{ call, state string }{{"/stop", "STOPPED"}, {"/start", "RUNNING"}} {
			changed, err := c.insist(ctx, http.MethodPost, path+turn.call, nil, http.StatusOK)
			if err == nil {
				err = c.takenUp(ctx, path, turn.state, changed.LastModifiedTime)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	c.done.remade++
	if _, err := c.insist(ctx, http.MethodDelete, path, nil, http.StatusOK, http.StatusNotFound); err != nil {
		return err
	}
	return c.make(ctx, i, states[i])
}

// make makes a pipe in a state.
func (c *changes) make(ctx context.Context, i, number int) error {
	path := "/v1/pipes/" + c.topicOf(i)
	// A call that was not answered may have been carried out.
	if _, err := c.insist(ctx, http.MethodPost, path, c.pipe(c.topicOf(i), c.topicOf(i), c.target, strconv.Itoa(i), strconv.Itoa(number)), http.StatusOK, http.StatusConflict); err != nil {
		return err
	}
	return c.takenUp(ctx, path, "RUNNING", 0)
}

// insist calls an operation of one process after the other until one gives an answer
// that will do. Somebody else's change and a change that is under way are waited for.
func (c *changes) insist(ctx context.Context, method, path string, body any, will ...int) (changed pipeState, err error) {
	said := ""
	err = c.until(ctx, method+" "+path, patience, func() bool {
		c.done.asked++
		at := c.processes[c.done.asked%len(c.processes)].address()
		if at == "" {
			return false
		}
		status, text := c.control.ask(ctx, at, method, path, "", body, &changed)
		said = fmt.Sprint(status, " ", text)
		for _, w := range will {
			if status == w {
				return true
			}
		}
		return false
	})
	if err != nil {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return changed, err
}

// takenUp waits until every process goes by a state that is not older than that which
// was acknowledged.
func (c *changes) takenUp(ctx context.Context, path, want string, changed float64) error {
	said := ""
	err := c.until(ctx, path+" is taken up", patience, func() bool {
		for _, p := range c.processes {
			var s pipeState
			at := p.address()
			if at == "" {
				said = p.name + " is not ready"
				return false
			}
			if status, text := c.control.ask(ctx, at, http.MethodGet, path, "", nil, &s); status != http.StatusOK || s.CurrentState != want || s.LastModifiedTime < changed {
				said = fmt.Sprintf("%s: %d %.300s", p.name, status, text)
				return false
			}
		}
		return true
	})
	if err != nil {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return err
}

// write writes records to all topics in turn until ctx ends.
func (c *changes) write(ctx context.Context, written []int) error {
	client, err := c.writer()
	if err != nil {
		return err
	}
	defer client.Close()
	tick := time.NewTicker(time.Second / time.Duration(c.rate))
	defer tick.Stop()
	var failed error
	var mu sync.Mutex
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
			defer cancel()
			if err := client.Flush(flush); err != nil {
				return fmt.Errorf("write the records: %w", err)
			}
			mu.Lock()
			defer mu.Unlock()
			return failed
		case <-tick.C:
		}
		i := n % c.pipes
		value := fmt.Sprintf(`{"n":%d}`, written[i])
		written[i]++
		client.Produce(context.WithoutCancel(ctx), &kgo.Record{Topic: c.topicOf(i), Key: []byte(strconv.Itoa(n)), Value: []byte(value)}, func(_ *kgo.Record, err error) {
			if err != nil {
				mu.Lock()
				failed = fmt.Errorf("write the records: %w", err)
				mu.Unlock()
			}
		})
	}
}

// compare looks for definitions that are not as they were acknowledged last.
func (c *changes) compare(ctx context.Context, states []int) {
	for i, number := range states {
		for _, p := range c.processes {
			var got struct {
				CurrentState     string
				TargetParameters struct {
					HTTPParameters struct{ PathParameterValues []string } `json:"HttpParameters"`
				}
			}
			status, text := c.control.ask(ctx, p.address(), http.MethodGet, "/v1/pipes/"+c.topicOf(i), "", nil, &got)
			if values := got.TargetParameters.HTTPParameters.PathParameterValues; status != http.StatusOK || got.CurrentState != "RUNNING" || len(values) != 2 || values[1] != strconv.Itoa(number) {
				c.lost = append(c.lost, fmt.Sprintf("%s, pipe %d in state %d: %d %.300s", p.name, i, number, status, text))
			}
		}
	}
}

// report prints the figures, and returns whether the proof holds.
func (c *changes) report(written []int) bool {
	total := 0
	for _, n := range written {
		total += n
	}
	missing := c.receipt.missing(written)
	r := &c.receipt
	r.mu.Lock()
	defer r.mu.Unlock()
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\npipes\t%d\ton %d processes\n", c.pipes, c.klamms)
	fmt.Fprintf(w, "updates\t%d\tslowest to be taken up by all: %.1f s\n", c.done.updates, c.slowest.Seconds())
	fmt.Fprintf(w, "stopped and started\t%d\t\ndeleted and made again\t%d\t\nkill -9\t%d\t\n", c.done.turns, c.done.remade, c.done.kills)
	fmt.Fprintf(w, "records\t%d\tdelivered %d times\n", total, r.all)
	fmt.Fprintf(w, "records lost\t%d\tmust be 0\n", missing)
	fmt.Fprintf(w, "definitions lost\t%d\tmust be 0\n", len(c.lost))
	fmt.Fprintf(w, "delivered by a definition that was replaced\t%d\tmust be 0\n", r.stale)
	fmt.Fprintf(w, "not understood\t%d\tmust be 0\n", r.strange)
	_ = w.Flush()
	for _, one := range c.lost {
		fmt.Fprintln(c.out, one)
	}
	if r.first != "" {
		fmt.Fprintln(c.out, r.first)
	}
	holds := missing == 0 && len(c.lost) == 0 && r.stale == 0 && r.strange == 0
	fmt.Fprintf(c.out, "%s\n", outcome(holds))
	return holds
}
