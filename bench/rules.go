package bench

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"github.com/klamm-gateway/klamm/rule"
)

// RuleOptions say how long the pattern language is measured. Start from
// DefaultRules.
type RuleOptions struct {
	// Runs is how often each case is measured, in turn with the others, 1 to
	// 100.
	Runs int
	// Millis is how long one measurement lasts, 1 to 60,000 milliseconds.
	Millis int
	// Progress is told what is being done, a line at a time; nil is silent.
	Progress io.Writer
}

// DefaultRules returns the options of klamm bench rules without flags.
func DefaultRules() RuleOptions { return RuleOptions{Runs: 5, Millis: 200} }

// Validate returns ErrOptions, with the name of the flag, for the first option
// that is out of its range.
func (o RuleOptions) Validate() error {
	switch {
	case o.Runs < 1 || o.Runs > 100:
		return fmt.Errorf("%w: --runs %d: want 1 to 100", ErrOptions, o.Runs)
	case o.Millis < 1 || o.Millis > 60_000:
		return fmt.Errorf("%w: --millis %d: want 1 to 60000", ErrOptions, o.Millis)
	}
	return nil
}

const (
	fewPatterns  = 5
	somePatterns = 100
	manyPatterns = 1_000
	mostPatterns = 10_000
	// addedPatterns are put into a set of mostPatterns, and taken out again.
	addedPatterns = 1_000
	// checkedEvents of a case are also matched one pattern at a time.
	checkedEvents = 20
)

// Rules measures the event pattern language on one core: how many events a
// second a set of patterns is matched against. While it runs, the process has one
// processor only. It ends early with the error of ctx.
//
// Nothing counts that is not verified: in each case, the set must find what its
// patterns find one by one, and some event must match.
func Rules(ctx context.Context, o RuleOptions) (*RuleReport, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	trials, err := ruleTrials(ctx, o)
	if err != nil {
		return nil, err
	}
	for run := range o.Runs {
		if o.Progress != nil {
			fmt.Fprintf(o.Progress, "run %d of %d\n", run+1, o.Runs)
		}
		for _, t := range trials {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			runtime.GC() // or what the last case left would be collected in this one
			f, err := t.measure(time.Duration(o.Millis) * time.Millisecond)
			if err != nil {
				return nil, fmt.Errorf("%s, %d patterns: %w", t.Kind, t.Patterns, err)
			}
			t.Runs = append(t.Runs, f)
		}
	}
	r := &RuleReport{Machine: Machine{CPUs: runtime.NumCPU(), OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version()}, Runs: o.Runs, Millis: o.Millis}
	for _, t := range trials {
		t.Median = ruleMedians(t.Runs)
		r.Cases = append(r.Cases, t.RuleCase)
	}
	r.Growth = growths(r.Cases)
	return r, nil
}

// A ruleTrial is a case with what it takes to measure it.
type ruleTrial struct {
	RuleCase
	set     *rule.Set[int]
	events  [][]byte
	measure func(time.Duration) (RuleFigures, error)
}

// ruleTrials prepares and verifies all cases.
func ruleTrials(ctx context.Context, o RuleOptions) ([]*ruleTrial, error) {
	type wanted struct {
		ruleKind
		sizes []int
	}
	var all []wanted
	for _, k := range ruleKinds() {
		sizes := []int{fewPatterns, manyPatterns}
		if k.name == "mixed" {
			sizes = []int{fewPatterns, somePatterns, manyPatterns, mostPatterns}
		}
		all = append(all, wanted{k, sizes})
	}
	all = append(all, wanted{ruleKind{name: "exact, in all", events: features, many: exactPattern}, []int{somePatterns, mostPatterns}},
		wanted{ruleKind{name: "overlapping wildcards", events: features, many: overlappingPattern}, []int{somePatterns, manyPatterns, mostPatterns}})
	var trials []*ruleTrial
	for _, k := range all {
		if o.Progress != nil {
			fmt.Fprintf(o.Progress, "preparing %s\n", k.name)
		}
		events := k.events()
		for _, n := range k.sizes {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			t, err := matchTrial(k.ruleKind, n, events)
			if err != nil {
				return nil, fmt.Errorf("%s, %d patterns: %w", k.name, n, err)
			}
			trials = append(trials, t)
		}
	}
	add, err := addTrial()
	if err != nil {
		return nil, fmt.Errorf("add a pattern: %w", err)
	}
	return append(trials, add), nil
}

func matchTrial(k ruleKind, n int, events [][]byte) (*ruleTrial, error) {
	texts := k.few
	if n != fewPatterns {
		texts = make([]string, n)
		for i := range texts {
			texts[i] = k.many(i)
		}
	}
	var set rule.Set[int]
	patterns := make([]*rule.Pattern, n)
	for i, text := range texts {
		p, err := rule.Compile([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		patterns[i] = p
		set.Add(i, p)
	}
	bytes := 0
	for _, e := range events {
		bytes += len(e)
	}
	if err := verifySet(&set, patterns, events); err != nil {
		return nil, err
	}
	t := &ruleTrial{RuleCase: RuleCase{Kind: k.name, Patterns: n, EventBytes: bytes / len(events)}, set: &set, events: events}
	next := 0
	var ids []int
	t.measure = func(least time.Duration) (RuleFigures, error) {
		return repeat(least, len(events)/10, func() (int, error) {
			var err error
			ids, err = set.Match(ids[:0], events[next])
			next = (next + 1) % len(events)
			return len(ids), err
		})
	}
	return t, nil
}

// verifySet compares a set with its patterns alone.
func verifySet(set *rule.Set[int], patterns []*rule.Pattern, events [][]byte) error {
	found := 0
	for i, e := range events {
		ids, err := set.Match(nil, e)
		if err != nil {
			return err
		}
		found += len(ids)
		if i >= checkedEvents {
			continue
		}
		var want []int
		for id, p := range patterns {
			ok, err := p.Match(e)
			if err != nil {
				return err
			}
			if ok {
				want = append(want, id)
			}
		}
		slices.Sort(ids)
		if !slices.Equal(ids, want) {
			return fmt.Errorf("the set finds %v, its patterns alone %v, for %s", ids, want, e)
		}
	}
	if found == 0 {
		return fmt.Errorf("none of %d events matches", len(events))
	}
	return nil
}

// addTrial compiles a pattern and adds it to a large set.
func addTrial() (*ruleTrial, error) {
	var set rule.Set[int]
	for i := range mostPatterns {
		p, err := rule.Compile([]byte(mixedPattern(i)))
		if err != nil {
			return nil, err
		}
		set.Add(i, p)
	}
	texts := make([][]byte, addedPatterns)
	for i := range texts {
		texts[i] = []byte(mixedPattern(mostPatterns + i))
	}
	t := &ruleTrial{RuleCase: RuleCase{Kind: addKind, Patterns: mostPatterns}}
	t.measure = func(least time.Duration) (RuleFigures, error) {
		var sum RuleFigures
		for next := 0; sum.Seconds < least.Seconds(); next = 0 {
			f, err := repeat(0, addedPatterns, func() (int, error) {
				p, err := rule.Compile(texts[next])
				if err == nil {
					set.Add(mostPatterns+next, p)
				}
				next++
				return 0, err
			})
			if err != nil {
				return f, err
			}
			sum.join(f)
			for i := range texts {
				set.Remove(mostPatterns + i)
			}
		}
		if set.Len() != mostPatterns {
			return sum, fmt.Errorf("the set has %d patterns", set.Len())
		}
		return sum, nil
	}
	return t, nil
}

// repeat does something again and again for at least a while, so many times
// between looks at the clock.
func repeat(least time.Duration, between int, once func() (matches int, err error)) (RuleFigures, error) {
	var f RuleFigures
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, start := ownTime(), time.Now()
	for took := time.Duration(0); f.Events == 0 || took < least; took = time.Since(start) {
		for range between {
			n, err := once()
			if err != nil {
				return f, err
			}
			f.matches += int64(n)
		}
		f.Events += int64(between)
	}
	f.Seconds, f.cpu = time.Since(start).Seconds(), ownTime()-cpu
	runtime.ReadMemStats(&after)
	f.mallocs, f.allocated = int64(after.Mallocs-before.Mallocs), int64(after.TotalAlloc-before.TotalAlloc)
	f.settle()
	return f, nil
}
