package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLedger(t *testing.T) {
	const total, keys, size = 70, 10, 40
	all := func() (order []int) {
		for n := range total {
			order = append(order, n)
		}
		return order
	}
	without := func(gone int) []int { return append(all()[:gone], all()[gone+1:]...) }
	swapped := func(a, b int) []int {
		order := all()
		order[a], order[b] = order[b], order[a]
		return order
	}
	as := func(n int, change func(*arrival)) arrival {
		a := arrival{key: key(n, keys), value: value(n, size), id: "d" + string(value(n, size)[:16]), offset: int64(n)}
		if change != nil {
			change(&a)
		}
		return a
	}
	for _, c := range []struct {
		name  string
		order []int
		then  []arrival
		want  verdict
		holds bool
		says  string
	}{
		{"everything once", all(), nil, verdict{repeats: []int{0}}, true, ""},
		{"one lost", without(69), nil, verdict{lost: 1, repeats: []int{0}}, false, "record 69 has not arrived"},
		{"one lost, before others of its key", without(5), nil, verdict{lost: 1, disorder: 1, repeats: []int{0}}, false, "record 15 of key k5 arrived before record 5"},
		{"none arrived", nil, nil, verdict{lost: total, repeats: []int{0}}, false, "record 0 has not arrived"},
		{"one repeated", all(), []arrival{as(3, nil)}, verdict{repeats: []int{1}}, true, ""},
		{"a run repeated in order", append(all()[:30], append(all()[10:30], all()[30:]...)...), nil, verdict{repeats: []int{20}}, true, ""},
		{"two of a key exchanged", swapped(3, 13), nil, verdict{disorder: 1, repeats: []int{0}}, false, "record 13 of key k3 arrived before record 3"},
		{"two of other keys exchanged", swapped(3, 4), nil, verdict{repeats: []int{0}}, true, ""},
		{"another value", all(), []arrival{as(3, func(a *arrival) { a.value[30] ^= 1 })}, verdict{wrong: 1, repeats: []int{0}}, false, "not a record that was written"},
		{"another key", all(), []arrival{as(3, func(a *arrival) { a.key = key(4, keys) })}, verdict{wrong: 1, repeats: []int{0}}, false, "not a record that was written"},
		{"cut short", all(), []arrival{as(3, func(a *arrival) { a.value = a.value[:20] })}, verdict{wrong: 1, repeats: []int{0}}, false, "not a record that was written"},
		{"no number", all(), []arrival{{key: key(3, keys), value: []byte("hello"), id: "d"}}, verdict{wrong: 1, repeats: []int{0}}, false, "not a record that was written"},
		{"a number out of range", all(), []arrival{{key: key(70, keys), value: value(70, size), id: "d"}}, verdict{wrong: 1, repeats: []int{0}}, false, "not a record that was written"},
		{"without a delivery id", all(), []arrival{as(3, func(a *arrival) { a.id = "" })}, verdict{wrong: 1, repeats: []int{0}}, false, "not a record that was written"},
		{"repeated with another delivery id", all(), []arrival{as(3, func(a *arrival) { a.id += "x" })}, verdict{wrong: 1, repeats: []int{1}}, false, "record 3 came again with another delivery id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLedger(total, keys, size)
			for _, n := range c.order {
				l.note(as(n, nil))
			}
			for _, a := range c.then {
				l.note(a)
			}
			got := l.close()
			if !strings.Contains(got.first, c.says) || (c.says == "") != (got.first == "") {
				t.Errorf("found %q, want %q", got.first, c.says)
			}
			got.first, c.want.records = "", total
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(verdict{})); diff != "" {
				t.Error(diff)
			}
			if got.holds() != c.holds {
				t.Errorf("holds: got %t, want %t", got.holds(), c.holds)
			}
		})
	}
}

func TestLedgerCountsRepeatsByEvent(t *testing.T) {
	l := newLedger(10, 2, 40)
	note := func(numbers ...int) {
		for _, n := range numbers {
			l.note(arrival{key: key(n, 2), value: value(n, 40), id: "d", partition: int32(n % 2), offset: int64(n / 2)})
		}
	}
	note(0, 1, 1)
	l.begin(nil)
	note(2, 3)
	l.begin(nil)
	note(0, 1, 2, 3, 4)
	if got, want := l.close().repeats, []int{1, 0, 4}; !cmp.Equal(got, want) {
		t.Errorf("repeats: got %v, want %v", got, want)
	}
	if !l.allUpTo(5) || l.allUpTo(6) {
		t.Error("allUpTo does not find the first one missing, 5")
	}
}

func TestLedgerFindsRepeatsOfWhatWasCommitted(t *testing.T) {
	l := newLedger(10, 2, 40)
	note := func(partition int32, offset int64) {
		n := int(offset)*2 + int(partition)
		l.note(arrival{key: key(n, 2), value: value(n, 40), id: "d", partition: partition, offset: offset})
	}
	for offset := range int64(5) {
		note(0, offset)
		note(1, offset)
	}
	note(0, 0) // nothing is known to be committed yet
	l.begin(map[int32]int64{0: 3, 1: 1})
	note(0, 3)
	note(1, 1)
	if v := l.close(); v.settled != 0 || !v.holds() {
		t.Errorf("%+v after repeats of what was not committed", v)
	}
	l.begin(map[int32]int64{0: 2})
	note(0, 2)
	note(1, 0)
	if v := l.close(); v.settled != 2 || v.holds() || !strings.Contains(v.first, "although 3 was committed") {
		t.Errorf("%+v, want two repeats of what was committed", v)
	}
}
