package klamm

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestLagsSeen(t *testing.T) {
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("p%03d", i))
	}
	var l lagsSeen
	looked := map[string]bool{}
	// round asks as if knownFor were over, and has p042 far behind and p043 a little.
	round := func() []string {
		l.at = time.Time{}
		chosen := l.next(names, 10)
		var rows []pipeRow
		for _, name := range chosen {
			looked[name] = true
			row := pipeRow{}
			row.Pipe, row.Lag = name, map[string]int64{"p042": 1000, "p043": 1}[name]
			rows = append(rows, row)
		}
		l.put(rows)
		return chosen
	}
	first := round()
	if want := names[:10]; !slices.Equal(first, want) {
		t.Errorf("got %v, want %v", first, want)
	}
	l.at = time.Now().Add(time.Hour) // as if no time went by
	if again := l.next(names, 10); !slices.Equal(again, first) {
		t.Errorf("got %v, want what was chosen a moment ago", again)
	}
	if again := l.next(names[5:8], 10); !slices.Equal(again, names[5:8]) {
		t.Errorf("got %v, want only those that are asked for", again)
	}
	for range 15 {
		round()
	}
	if len(looked) != 100 {
		t.Errorf("looked at %d of 100", len(looked))
	}
	if last := round(); len(last) != 10 || !slices.IsSorted(last) || !slices.Contains(last, "p042") || !slices.Contains(last, "p043") {
		t.Errorf("got %v, want ten with those that are behind", last)
	}
	if known, lag := l.sum(names); known != 100 || lag != 1001 {
		t.Errorf("got %d pipes with %d, want 100 with 1001", known, lag)
	}
	if known, lag := l.sum([]string{"p042", "new"}); known != 1 || lag != 1000 {
		t.Errorf("got %d, %d", known, lag)
	}
}

func TestLagsSeenForgetsPipesThatAreGone(t *testing.T) {
	var l lagsSeen
	for i := range 2 * mostPipes {
		row := pipeRow{}
		row.Pipe = fmt.Sprint(i)
		l.put([]pipeRow{row})
	}
	l.sum([]string{"1"})
	if known, _ := l.sum([]string{"1"}); known != 0 || len(l.all) != 0 {
		t.Errorf("%d are known of %d", known, len(l.all))
	}
}

func TestPagesOfThoseThatAreTheMostBehindAreSharedWhereThereAreMany(t *testing.T) {
	names := func(n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf("p%05d", i))
		}
		return all
	}
	few, many, others := names(mostPipes), names(mostPipes+2), names(mostPipes + 2)[1:]
	var b behindPage
	looks, broken := 0, false
	look := func() ([]pipeRow, pipeSums, error) {
		if looks++; broken {
			return nil, pipeSums{}, errors.New("broken")
		}
		return make([]pipeRow, looks), pipeSums{Lag: int64(looks)}, nil
	}
	for i, step := range []struct {
		names  []string
		broken bool
		over   bool // what was found is too old
		want   int  // by which look it was found; 0: an error
	}{
		{names: few, want: 1}, {names: few, want: 2}, {names: many, want: 3}, {names: slices.Clone(many), want: 3}, {names: few, want: 4}, {names: many, want: 3},
		{names: others, want: 5}, {names: others, want: 5}, {names: others, over: true, broken: true}, {names: others, want: 7},
	} {
		b.until = time.Now().Add(time.Hour) // however slow the machine is
		if step.over {
			b.until = time.Time{}
		}
		broken = step.broken
		rows, sums, err := b.of(step.names, look)
		if len(rows) != step.want || sums.Lag != int64(step.want) || (err != nil) != step.broken {
			t.Errorf("step %d: got %d rows, %+v, %v; want those of look %d", i, len(rows), sums, err, step.want)
		}
		if step.broken {
			b.names = nil
		}
	}
}
