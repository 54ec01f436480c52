package confluent3

import "testing"

// takeChunks opens chunks for as long as open would not wait.
func takeChunks(s *stream) (taken []*chunk) {
	for len(s.window) < windowChunks {
		taken = append(taken, s.open(chunkBytes))
	}
	for s.spare.Load() < spareChunks && s.under.Load() < windowRecords && s.api.spare.Load() < allSpareChunks {
		taken = append(taken, s.open(chunkBytes))
	}
	if s.takeSpare() {
		taken = append(taken, nil) // one more than there should be
	}
	return taken
}

func TestSpareChunksAreBounded(t *testing.T) {
	for _, c := range []struct {
		name   string
		others int64 // spare chunks of other streams
		under  int64 // records under way
		want   int
	}{
		{"alone", 0, 0, windowChunks + spareChunks},
		{"few are left", allSpareChunks - 10, 0, windowChunks + 10},
		{"none is left", allSpareChunks, 0, windowChunks},
		{"small records", 0, windowRecords, windowChunks},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &api{}
			a.spare.Store(c.others)
			s := &stream{api: a, window: make(chan struct{}, windowChunks), left: make(chan struct{})}
			s.under.Store(c.under)
			taken := takeChunks(s)
			if len(taken) != c.want {
				t.Errorf("%d chunks, want %d", len(taken), c.want)
			}
			for _, k := range taken {
				s.release(k)
			}
			if got := a.spare.Load(); got != c.others || s.spare.Load() != 0 || len(s.window) != 0 {
				t.Errorf("after the last: %d spare of all, want %d; %d of this, %d of the window", got, c.others, s.spare.Load(), len(s.window))
			}
		})
	}
}
