package pipe

import (
	"testing"
	"time"
)

func TestGovernorOpensOnManyBatchesOnly(t *testing.T) {
	now := time.Unix(1000, 0)
	g := newGovernor(64)
	poison := &batch{}
	for range 100 {
		if g.learn(poison, silent, now) {
			t.Fatal("one batch opened the governor")
		}
	}
	g.learn(&batch{}, well, now)
	for range openAfter - 1 {
		if g.learn(&batch{}, silent, now) {
			t.Fatal("opened too early")
		}
	}
	if !g.learn(&batch{}, overloaded, now) || !g.open {
		t.Fatal("did not open")
	}
	if want := now.Add(probeFirst); !g.probeAt.Equal(want) {
		t.Errorf("first probe at %v, want %v", g.probeAt, want)
	}
	for range 20 {
		g.probing = true
		g.learn(&batch{probes: ofTarget}, silent, now)
	}
	if got := g.probeAt.Sub(now); got != probeLast || g.probing {
		t.Errorf("the pause between probes is %s, want %s; probing %v", got, probeLast, g.probing)
	}
	if !g.learn(&batch{probes: ofTarget}, refused, now) || g.open {
		t.Error("a refusal is an answer: the target is there")
	}
}

func TestGovernorFollowsOverload(t *testing.T) {
	now := time.Unix(1000, 0)
	g := newGovernor(64)
	window := func(good, bad int) {
		for range good {
			g.learn(&batch{}, well, now)
		}
		for range bad {
			g.learn(&batch{}, overloaded, now)
		}
		now = now.Add(governWindow + 1)
	}
	for range 20 {
		window(98, 2)
	}
	if g.allowed() != 64 {
		t.Errorf("two percent lower the limit to %d", g.allowed())
	}
	for range 30 {
		window(1, 2)
	}
	if g.allowed() != leastLimit {
		t.Errorf("an overloaded target gets %d at once, want %d", g.allowed(), leastLimit)
	}
	for range 30 {
		window(10, 0)
	}
	if g.allowed() != 64 {
		t.Errorf("a target that has recovered gets %d at once, want 64", g.allowed())
	}
}
