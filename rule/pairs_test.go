package rule

import (
	"flag"
	"math/rand/v2"
	"slices"
	"testing"
)

var pairs = flag.Int("pairs", 50_000, "how many pairs of a pattern and an event TestPairs compares")

var pairsSeed = flag.Uint64("pairs-seed", 1, "where TestPairs begins")

// A pairMember is a pattern of the set in TestPairs.
type pairMember struct {
	text      string
	pattern   *Pattern
	reference refPattern
}

// TestPairs compares what a Set, a Pattern and the reference say of random
// patterns and events, which are made for one of the patterns and match it or
// nearly do. The set changes all the time. For more pairs than usual:
//
//	go test ./rule -run TestPairs -pairs 10000000 -pairs-seed 2 -timeout 0
func TestPairs(t *testing.T) {
	const members = 24
	g := generator{rand.New(rand.NewPCG(*pairsSeed, 2))}
	var set Set[int]
	var all [members]pairMember
	matches, refused := 0, 0
	for done := 0; done < *pairs; {
		for range 4 {
			i := g.IntN(members)
			if set.Remove(i) != (all[i].pattern != nil) {
				t.Fatal("a pattern was not where it was put")
			}
			all[i] = pairMember{}
		}
		for i := range all {
			for all[i].pattern == nil {
				text := g.pattern()
				p, err := Compile([]byte(text))
				if err != nil {
					refused++
					continue
				}
				reference, ok := refCompile([]byte(text))
				if !ok {
					t.Fatalf("%s is no JSON, but compiles", text)
				}
				all[i] = pairMember{text, p, reference}
				set.Add(i, p)
			}
		}
		for range 4 {
			event := g.event()
			if g.IntN(8) > 0 {
				event = g.near(all[g.IntN(members)].reference)
			}
			matches += comparePairs(t, &set, all[:], event)
			done += members
		}
	}
	if matches < *pairs/20 || matches > *pairs*19/20 {
		t.Errorf("%d of %d pairs match: they say little", matches, *pairs)
	}
	t.Logf("%d pairs, %d of them match; %d patterns were refused", *pairs, matches, refused)
	for i := range all {
		set.Remove(i)
	}
	if now := set.now.Load(); set.Len() != 0 || now.machine.root != nil || now.machine.names != nil {
		t.Errorf("an emptied set still holds %+v", now)
	}
}

// comparePairs compares one event with all patterns and says how many match.
func comparePairs(t *testing.T, set *Set[int], all []pairMember, event string) (matches int) {
	t.Helper()
	found, err := set.Match(nil, []byte(event))
	if err != nil {
		t.Fatalf("%s: %v", event, err)
	}
	slices.Sort(found)
	if len(slices.Compact(slices.Clone(found))) != len(found) {
		t.Fatalf("%s: ids found twice: %v", event, found)
	}
	reference, ok := refFlatten([]byte(event))
	if !ok {
		t.Fatalf("%s is no event", event)
	}
	for i, m := range all {
		want := m.reference.matches(reference)
		if got, err := m.pattern.Match([]byte(event)); err != nil || got != want {
			t.Fatalf("%s on %s: got %v, %v; want %v", m.text, event, got, err, want)
		}
		if slices.Contains(found, i) != want {
			t.Fatalf("%s in a set on %s: got %v, want %v", m.text, event, !want, want)
		}
		if want {
			matches++
		}
	}
	return matches
}
