package pipe

import "testing"

func TestTheScalingLaw(t *testing.T) {
	type step struct {
		see     sighting
		want    scale
		changed bool
	}
	at := func(lag int64, consumers int) sighting {
		return sighting{lag: lag, consumers: consumers, partitions: 6}
	}
	over := func(lag int64, consumers int) sighting {
		return sighting{lag: lag, consumers: consumers, partitions: 6, overloaded: true}
	}
	for _, c := range []struct {
		name  string
		now   scale
		steps []step
	}{
		{"too much waits", scale{}, []step{{at(11, 1), scale{Wanted: 2}, true}, {at(11, 2), scale{Wanted: 4}, true}, {at(11, 4), scale{Wanted: 6}, true}, {at(1000, 6), scale{Wanted: 6}, false}}},
		{"no more are asked for until those wanted have come", scale{Wanted: 4}, []step{{at(500, 2), scale{Wanted: 4}, false}}},
		{"a bearable lag", scale{}, []step{{at(10, 1), scale{Wanted: 1}, false}, {at(10, 1), scale{Wanted: 1}, false}, {at(10, 1), scale{Wanted: 1}, false}, {at(10, 1), scale{Wanted: 1}, false}}},
		{"a lag that grows three times", scale{}, []step{{at(1, 1), scale{Wanted: 1}, false}, {at(2, 1), scale{Wanted: 1}, false}, {at(3, 1), scale{Wanted: 1}, false}, {at(4, 1), scale{Wanted: 2}, true}}},
		{"one that grows now and then", scale{}, []step{{at(1, 1), scale{Wanted: 1}, false}, {at(2, 1), scale{Wanted: 1}, false}, {at(3, 1), scale{Wanted: 1}, false}, {at(3, 1), scale{Wanted: 1}, false}, {at(4, 1), scale{Wanted: 1}, false}}},
		{"calm", scale{Wanted: 3}, []step{{at(0, 3), scale{Wanted: 3}, false}, {at(10, 3), scale{Wanted: 3}, false}, {at(0, 3), scale{Wanted: 2}, true}, {at(0, 2), scale{Wanted: 1}, true}, {at(0, 1), scale{Wanted: 1}, false}}},
		{"calm is broken", scale{Wanted: 3}, []step{{at(0, 3), scale{Wanted: 3}, false}, {at(0, 3), scale{Wanted: 3}, false}, {over(0, 3), scale{Wanted: 1, Limited: true}, true}, {at(0, 1), scale{Wanted: 1, Limited: true}, false}}},
		{"overload comes before lag", scale{Wanted: 6}, []step{{over(1000, 6), scale{Wanted: 3, Limited: true}, true}, {over(1000, 3), scale{Wanted: 1, Limited: true}, true}, {over(1000, 1), scale{Wanted: 1, Limited: true}, true}}},
		{"overload of many that nobody asked for", scale{}, []step{{over(0, 4), scale{Wanted: 2, Limited: true}, true}}},
		{"back from overload, step by step", scale{Wanted: 1, Limited: true}, []step{{at(1000, 1), scale{Wanted: 2, Limited: true}, true}, {at(1000, 2), scale{Wanted: 4, Limited: true}, true}, {at(0, 4), scale{Wanted: 4, Limited: true}, false},
			{at(0, 4), scale{Wanted: 4, Limited: true}, false}, {at(0, 4), scale{Wanted: 3}, true}}},
		{"back from overload in calm", scale{Wanted: 1, Limited: true}, []step{{at(0, 1), scale{Wanted: 1, Limited: true}, false}, {at(0, 1), scale{Wanted: 1, Limited: true}, false}, {at(0, 1), scale{Wanted: 1}, true}}},
		{"a topic without partitions", scale{}, []step{{sighting{lag: 0, consumers: 1}, scale{Wanted: 1}, false}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := law{high: 10}
			now := c.now
			for i, s := range c.steps {
				got, changed := l.next(now, s.see)
				if got != s.want || changed != s.changed {
					t.Fatalf("step %d, saw %+v having %+v: want %+v (changed %t), have %+v (%t)", i, s.see, now, s.want, s.changed, got, changed)
				}
				now = got
			}
		})
	}
}

func TestNeverMoreConsumersThanPartitions(t *testing.T) {
	l := law{high: 10}
	now := scale{}
	for consumers := 1; consumers < 50; consumers++ {
		now, _ = l.next(now, sighting{lag: 1 << 40, consumers: consumers, partitions: 7})
		if now.Wanted > 7 {
			t.Fatalf("%d consumers are wanted for 7 partitions", now.Wanted)
		}
	}
}
