package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestAcceptedEventsSurviveAKill(t *testing.T) {
	if testing.Short() {
		t.Skip("a killed member is missed after ten seconds")
	}
	t.Parallel()
	s, out := testStage(t)
	b := &buses{stage: s, total: 2_000, clients: 3, partitions: 4, klamms: 2, refuse: 100, kills: 1, seed: 1}
	if holds, err := b.run(t.Context()); !holds || err != nil {
		t.Fatalf("holds: %t, error: %v\n%s", holds, err, out)
	}
	if !strings.Contains(out.String(), "kill -9 of a klamm") {
		t.Errorf("no klamm was killed:\n%s", out)
	}
}

func TestFirstEventsSurviveAKill(t *testing.T) {
	if testing.Short() {
		t.Skip("a killed member is missed after ten seconds")
	}
	t.Parallel()
	s, out := testStage(t)
	f := &firsts{stage: s, rounds: 1, events: 500, clients: 2, klamms: 1, within: 200 * time.Millisecond, seed: 2}
	if holds, err := f.run(t.Context()); !holds || err != nil {
		t.Fatalf("holds: %t, error: %v\n%s", holds, err, out)
	}
}

// A proof must fail when a target misses what was accepted, or gets what was refused.
func TestTheProofOfBusesFindsWhatIsBroken(t *testing.T) {
	event := func(n int) []byte {
		return fmt.Appendf(nil, `{"id":"1","detail":{"n":%d,"text":%q}}`, n, value(n, 64))
	}
	for _, c := range []struct {
		name    string
		happens func(l *busLedger)
		says    string
	}{
		{"nothing", func(*busLedger) {}, "holds"},
		{"lost", func(l *busLedger) { l.arrivals["every"][3] = 0 }, "lost 1 "},
		{"a refused one", func(l *busLedger) { l.note("every", event(9)) }, "refused, but delivered 1 "},
		{"a wrong rule", func(l *busLedger) { l.note("third", event(4)) }, "does not match 1 "},
		{"nobody's", func(l *busLedger) { l.note("every", []byte("{}")) }, "what nobody has put"},
		{"accepted though wrong", func(l *busLedger) { l.answered(9, true, "") }, "should be 1 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			b := &buses{stage: &stage{out: &out}, total: 10}
			b.ledger = newBusLedger(10, b.rules())
			for n := range 10 {
				b.ledger.answered(n, n < 9, "")
				for _, r := range b.rules() {
					if n < 9 && r.matches(n) {
						b.ledger.note(r.name, event(n))
					}
				}
			}
			c.happens(b.ledger)
			if holds := b.report(); holds != (c.name == "nothing") || !strings.Contains(strings.Join(strings.Fields(out.String()), " "), c.says) {
				t.Errorf("holds: %t, want %q:\n%s", holds, c.says, &out)
			}
		})
	}
}
