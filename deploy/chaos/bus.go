package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// buses is the proof that what PutEvents accepts gets to the targets of all rules that
// match, and what it refuses to none: several clients put events on a bus, through all
// klamms, while klamms are killed and a broker is lost.
type buses struct {
	*stage
	nodes      nodes // "": none can be stopped
	total      int   // events
	clients    int
	partitions int
	klamms     int
	refuse     int // one request in so many of a target is answered 503; 0: none
	kills      int
	broker     bool // one is lost and returns
	seed       uint64

	name   string // of the bus, and of what belongs to it
	ledger *busLedger
	next   atomic.Int64 // the number of the next event
	again  atomic.Int64 // entries that were put again, since nobody had answered
}

// A busRule is a rule of the proof.
type busRule struct {
	name, pattern string
	matches       func(n int) bool
	topic         bool // what it delivers is found in a topic, not at the webhook
	dead          bool // its target refuses everything, and the topic is that of its dead letters
}

// rules are those of the bus. Each event matches the first of them, and some match all.
func (b *buses) rules() []busRule {
	every := func(m int) func(int) bool { return func(n int) bool { return n%m == 0 } }
	return []busRule{
		{name: "every", pattern: `{"source":["chaos"]}`, matches: every(1), topic: true},
		{name: "third", pattern: `{"detail":{"third":[true]}}`, matches: every(3)},
		{name: "tenth", pattern: `{"detail":{"tenth":[true]}}`, matches: every(10)},
		{name: "dead", pattern: `{"detail":{"fiftieth":[true]}}`, matches: every(50), topic: true, dead: true},
		{name: "never", pattern: `{"detail":{"n":[-1]}}`, matches: func(int) bool { return false }},
	}
}

func busFlags(flags *flag.FlagSet, s *stage) func(context.Context) (bool, error) {
	b := &buses{stage: s, nodes: nodes(os.Getenv("KLAMM_KAFKA_CONTROL"))}
	flags.IntVar(&b.total, "events", 100_000, "how many events")
	flags.IntVar(&b.clients, "clients", 8, "clients that put events")
	flags.IntVar(&b.partitions, "partitions", 12, "partitions of the bus")
	flags.IntVar(&b.klamms, "klamms", 3, "klamm processes")
	flags.IntVar(&b.refuse, "refuse", 100, "one request in so many of a target is answered 503; 0: none")
	flags.IntVar(&b.kills, "kills", 4, "how often a klamm is killed")
	flags.BoolVar(&b.broker, "broker", true, "a broker is lost, and returns")
	flags.Uint64Var(&b.seed, "seed", uint64(time.Now().Unix()), "of the order of events")
	return func(ctx context.Context) (bool, error) {
		switch {
		case b.total < 1 || b.clients < 1 || b.partitions < 1 || b.klamms < 1 || b.refuse < 0 || b.kills < 0:
			return false, errors.New("a number is too small")
		case b.broker && b.nodes == "":
			return false, errors.New("to lose a broker needs deploy/kafka/run --control; -broker=false goes without")
		}
		return b.run(ctx)
	}
}

// run returns whether the proof holds.
func (b *buses) run(ctx context.Context) (bool, error) {
	rules := b.rules()
	b.name, b.ledger = fmt.Sprintf("chaos-%d", time.Now().UnixNano()), newBusLedger(b.total, rules)
	url, stop, err := listen(http.HandlerFunc(b.receive))
	if err != nil {
		return false, err
	}
	defer stop()
	for range b.klamms {
		if _, err := b.start(""); err != nil {
			return false, err
		}
	}
	if err := b.until(ctx, "every klamm is ready", patience, func() bool { return len(b.addresses()) == b.klamms }); err != nil {
		return false, err
	}
	if err := b.define(ctx, url, rules); err != nil {
		return false, err
	}
	// A process that is killed while it joins for the first time delays all others for as
	// long as the embedded broker waits for a member, a minute: not what is asked here.
	if err := b.until(ctx, "every klamm reads the bus", patience, func() bool {
		group, err := b.cluster.Group(ctx, "klamm-bus-"+b.name)
		return err == nil && group.State == "STABLE" && len(group.Members) == b.klamms
	}); err != nil {
		return false, err
	}
	b.say("%d klamms, a bus of %d partitions with %d rules; %d events from %d clients, seed %d", b.klamms, b.partitions, len(rules), b.total, b.clients, b.seed)
	ctx, cancel := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	for _, r := range rules {
		if r.topic {
			running.Go(func() {
				if err := b.read(ctx, r.name); err != nil {
					cancel(err)
				}
			})
		}
	}
	for i := range b.clients {
		running.Go(func() { b.put(ctx, rand.New(rand.NewPCG(b.seed, uint64(i+1)))) })
	}
	err = b.goThrough(ctx)
	cancel(errors.New("over"))
	running.Wait()
	if err != nil {
		b.say("stopped: %v", err)
	}
	return b.report() && err == nil, err
}

// addresses are those of the klamms that are ready.
func (b *buses) addresses() (all []string) {
	for _, p := range b.processes {
		if at := p.address(); at != "" {
			all = append(all, at)
		}
	}
	return all
}

// define makes the bus, and its rules with their targets.
func (b *buses) define(ctx context.Context, url string, rules []busRule) error {
	var c control
	at := b.addresses()[0]
	call := func(operation string, body doc) error {
		var text string
		return b.until(ctx, operation+" works", patience, func() bool {
			var status int
			if status, text = c.ask(ctx, at, http.MethodPost, "/", operation, body, nil); status != http.StatusOK {
				b.say("%s: %d %.200s", operation, status, text)
			}
			return status == http.StatusOK || strings.Contains(text, "AlreadyExistsException") // made by a call that nobody answered
		})
	}
	if err := call("ListEventBuses", doc{}); err != nil {
		return err
	}
	if err := call("CreateEventBus", doc{"Name": b.name, "Tags": []doc{{"Key": "klamm:partitions", "Value": fmt.Sprint(b.partitions)}}}); err != nil {
		return err
	}
	for _, r := range rules {
		target := doc{"Id": "t", "Arn": "arn:klamm:kafka:::topic/" + b.name + "." + r.name}
		if r.topic {
			if err := b.cluster.EnsureTopic(ctx, b.name+"."+r.name, int32(b.partitions), nil); err != nil {
				return err
			}
		}
		if !r.topic || r.dead {
			arn, err := c.destination(ctx, at, b.name+"-"+r.name, url+"/"+r.name)
			if err != nil {
				return err
			}
			if err := call("UpdateApiDestination", doc{"Name": b.name + "-" + r.name, "InvocationRateLimitPerSecond": 1_000_000}); err != nil {
				return err
			}
			target = doc{"Id": "t", "Arn": arn, "DeadLetterConfig": doc{"Arn": target["Arn"]}}
			if !r.dead {
				delete(target, "DeadLetterConfig")
			}
		}
		if err := call("PutRule", doc{"Name": r.name, "EventBusName": b.name, "EventPattern": r.pattern}); err != nil {
			return err
		}
		if err := call("PutTargets", doc{"Rule": r.name, "EventBusName": b.name, "Targets": []doc{target}}); err != nil {
			return err
		}
	}
	return nil
}

// receive is the webhook of all rules that have one; the path names the rule.
func (b *buses) receive(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	if err != nil {
		return // half a request is no delivery
	}
	rule := req.URL.Path[1:]
	switch {
	case rule == "dead":
		w.WriteHeader(http.StatusTeapot) // which is not tried again
		return
	case b.refuse > 0 && rand.IntN(b.refuse) == 0:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	b.ledger.note(rule, body)
}

// read reads what a rule delivers into a topic.
func (b *buses) read(ctx context.Context, rule string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.brokers...), kgo.ClientID("chaos-reader"), kgo.ConsumeTopics(b.name+"."+rule), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return fmt.Errorf("open the reader of rule %s: %w", rule, err)
	}
	defer client.Close()
	for ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) { b.ledger.note(rule, r.Value) })
	}
	return nil
}

// mostBehind is how many events may be on their way to the first rule's target.
const mostBehind = 20_000

// put puts events until there are none left, each again until somebody has said what
// becomes of it.
func (b *buses) put(ctx context.Context, random *rand.Rand) {
	var c control
	for ctx.Err() == nil {
		first := int(b.next.Add(entriesPut)) - entriesPut
		if first >= b.total {
			return
		}
		for arrived := 0; ctx.Err() == nil; pause(ctx, 20*time.Millisecond) {
			if arrived = b.ledger.arrived("every"); first-arrived < mostBehind {
				break
			}
		}
		waiting := make([]int, 0, entriesPut)
		for n := first; n < min(first+entriesPut, b.total); n++ {
			waiting = append(waiting, n)
		}
		for len(waiting) > 0 && ctx.Err() == nil {
			addresses := b.addresses()
			if len(addresses) == 0 {
				pause(ctx, 50*time.Millisecond)
				continue
			}
			left := b.putOnce(ctx, &c, addresses[random.IntN(len(addresses))], waiting)
			if len(left) > 0 {
				b.again.Add(int64(len(left)))
				pause(ctx, 50*time.Millisecond)
			}
			waiting = left
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// entriesPut is how many entries a request has.
const entriesPut = 10

// What becomes of an event.
const (
	taken = iota
	wrongSource
	noType
	wholeRequest // refused with all others of its request
)

// fateOf says what is to become of an event: one request in 20 is refused as a whole, and
// of the others one entry in ten.
func fateOf(n int) int {
	switch {
	case n/entriesPut%20 == 19:
		return wholeRequest
	case n%10 == 9:
		return wrongSource + n/10%2
	}
	return taken
}

// putOnce puts events, and returns those of which nobody knows what has become.
func (b *buses) putOnce(ctx context.Context, c *control, at string, numbers []int) (left []int) {
	entries := make([]doc, 0, entriesPut+1)
	for _, n := range numbers {
		fate := fateOf(n)
		detail := doc{"n": n, "third": n%3 == 0, "tenth": n%10 == 0, "fiftieth": n%50 == 0, "text": string(value(n, 64))}
		text, _ := json.Marshal(detail) // numbers and texts
		e := doc{"EventBusName": b.name, "Source": "chaos", "DetailType": "d", "Detail": string(text)}
		if fate == wrongSource {
			e["Source"] = "aws.chaos"
		}
		if fate == noType {
			delete(e, "DetailType")
		}
		entries = append(entries, e)
	}
	if whole := fateOf(numbers[0]) == wholeRequest; whole {
		for len(entries) <= entriesPut {
			entries = append(entries, entries[0]) // one too many
		}
	}
	var answer struct {
		Entries []struct {
			EventID   string `json:"EventId"`
			ErrorCode string
		}
	}
	status, text := c.ask(ctx, at, http.MethodPost, "/", "PutEvents", doc{"Entries": entries}, &answer)
	if status == http.StatusBadRequest {
		for _, n := range numbers {
			b.ledger.answered(n, false, text)
		}
		return nil
	}
	if status != http.StatusOK || len(answer.Entries) != len(numbers) {
		return numbers
	}
	for i, n := range numbers {
		switch e := answer.Entries[i]; {
		case e.EventID != "":
			b.ledger.answered(n, true, "")
		case e.ErrorCode == "InternalFailure" || e.ErrorCode == "ThrottlingException":
			left = append(left, n)
		default:
			b.ledger.answered(n, false, e.ErrorCode)
		}
	}
	return left
}

// goThrough makes the events happen, each after its share of what is put, and waits for
// the end.
func (b *buses) goThrough(ctx context.Context) error {
	t := &trouble{stage: b.stage, nodes: b.nodes, random: rand.New(rand.NewPCG(b.seed, 0))}
	kinds := plan(b.kills, 0, b.broker, b.seed)
	for i, k := range kinds {
		if err := b.progress(ctx, fmt.Sprintf("%d of %d events are answered", (i+1)*b.total/(len(kinds)+1), b.total), func() bool {
			return b.ledger.answers() >= (i+1)*b.total/(len(kinds)+1)
		}); err != nil {
			return err
		}
		b.say("%d of %d answered, %d arrived; event %d of %d: %s", b.ledger.answers(), b.total, b.ledger.arrived("every"), i+1, len(kinds), k.name)
		if err := t.cause(ctx, k); err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
	}
	if err := b.progress(ctx, "everything that was accepted has arrived", func() bool { return b.ledger.answers() == b.total && b.ledger.missing() == 0 }); err != nil {
		return err
	}
	// What must not come, and what is repeated late, shall be seen.
	return b.until(ctx, "nothing comes any more", patience, func() bool { return b.ledger.idle() > 3*time.Second })
}

// progress waits until something holds, as long as something is answered or arrives.
func (b *buses) progress(ctx context.Context, what string, holds func() bool) error {
	for !holds() {
		before := b.ledger.moved()
		if err := b.until(ctx, what, patience, func() bool { return holds() || b.ledger.moved() > before }); err != nil {
			return err
		}
	}
	return nil
}

// report prints the table of what was found, and returns whether the proof holds.
func (b *buses) report() bool {
	v := b.ledger.close()
	w := tabwriter.NewWriter(b.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nrule\tevents that match\tarrived\trepeated\tlost\n")
	for _, r := range v.rules {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\n", r.name, r.wanted, r.arrived, r.repeated, r.wanted-r.arrived)
	}
	fmt.Fprintf(w, "\nevents\t%d\t\n", b.total)
	fmt.Fprintf(w, "accepted\t%d\t\n", v.accepted)
	fmt.Fprintf(w, "refused\t%d\t\n", v.refused)
	fmt.Fprintf(w, "put again without an answer\t%d\t\n", b.again.Load())
	fmt.Fprintf(w, "lost\t%d\tmust be 0\n", v.lost)
	fmt.Fprintf(w, "refused, but delivered\t%d\tmust be 0\n", v.sneaked)
	fmt.Fprintf(w, "answered otherwise than they should be\t%d\tmust be 0\n", v.misjudged)
	fmt.Fprintf(w, "not as put, or of a rule that does not match\t%d\tmust be 0\n", v.wrong)
	fmt.Fprintf(w, "time\t%.0f s\t\n", time.Since(b.begun).Seconds())
	_ = w.Flush()
	if v.first != "" {
		fmt.Fprintf(b.out, "found first: %s\n", v.first)
	}
	holds := v.lost == 0 && v.sneaked == 0 && v.misjudged == 0 && v.wrong == 0 && v.accepted+v.refused == b.total
	fmt.Fprintf(b.out, "%s\n", outcome(holds))
	return holds
}
