package bench

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What is committed never runs ahead of a chunk that is still under way.
func TestProgressMarksInOrder(t *testing.T) {
	var marked []int64
	p := progress{mark: func(r *kgo.Record) { marked = append(marked, r.Offset) }}
	records := func(partition int32, offsets ...int64) []*kgo.Record {
		all := make([]*kgo.Record, len(offsets))
		for i, o := range offsets {
			all[i] = &kgo.Record{Topic: "t", Partition: partition, Offset: o}
		}
		return all
	}
	a := p.begin(records(0, 1, 2))
	b := p.begin(records(0, 3))
	other := p.begin(records(1, 100))
	c := p.begin(records(0, 4, 5))
	for _, step := range []struct {
		name string
		end  *chunk
		want []int64
	}{
		{"the second waits for the first", b, nil},
		{"another partition does not", other, []int64{100}},
		{"the first brings the second", a, []int64{3}},
		{"the last", c, []int64{5}},
	} {
		marked = nil
		p.end(step.end)
		if diff := cmp.Diff(step.want, marked); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
}
