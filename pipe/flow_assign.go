package pipe

import (
	"context"
	"time"
)

// assigned takes partitions that the group has handed out.
func (f *flow) assigned(got map[string][]int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for topic, partitions := range got {
		for _, n := range partitions {
			ctx, cancel := context.WithCancel(context.Background())
			f.parts[place{topic, n}] = &partition{place: place{topic, n}, lanes: map[uint64]*lane{}, ctx: ctx, cancel: cancel, quiet: make(chan struct{})}
		}
	}
	f.countParts()
}

// countParts tells the metrics which partitions there are. The flow's mutex is
// held.
func (f *flow) countParts() {
	if f.consumer == nil {
		return // a feed's partitions are nobody's
	}
	f.metrics.partitions.Set(float64(len(f.parts)))
	f.metrics.consumers.Set(boolean(len(f.parts) > 0))
}

// revoked lets go of partitions: attempts that are under way end, what they
// achieved is committed, everything else is left to the next owner.
func (f *flow) revoked(ctx context.Context, taken map[string][]int32) {
	leaving := f.letGo(taken)
	patience := time.NewTimer(min(f.def.Delivery.Timeout+time.Second, 30*time.Second))
	defer patience.Stop()
	for _, p := range leaving {
		select {
		case <-p.quiet:
		case <-patience.C:
			patience.Reset(0)
			f.log.Warn("a delivery did not end before its partition was taken away; it will be repeated", "topic", p.topic, "partition", p.number)
		}
	}
	if err := f.commit(ctx); err != nil {
		f.log.Warn("commit before a rebalance failed; records will be delivered again", "err", err)
	}
	f.forget(leaving)
}

// lost forgets partitions that others may have already.
func (f *flow) lost(taken map[string][]int32) { f.forget(f.letGo(taken)) }

// letGo begins no further attempt on the partitions.
func (f *flow) letGo(taken map[string][]int32) (leaving []*partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for topic, partitions := range taken {
		for _, n := range partitions {
			p := f.parts[place{topic, n}]
			if p == nil || p.let {
				continue
			}
			p.let = true
			if p.underway == 0 {
				close(p.quiet)
			}
			leaving = append(leaving, p)
		}
	}
	return leaving
}

// forget removes partitions and everything held of them.
func (f *flow) forget(leaving []*partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range leaving {
		p.cancel()
		f.records -= p.records
		f.bytes -= p.bytes
		f.runner.held.add(-p.bytes)
		p.records, p.bytes = 0, 0
		if f.parts[p.place] == p {
			delete(f.parts, p.place)
		}
	}
	for b := range f.resting {
		if b.part.let {
			f.rouse(b)
		}
	}
	f.unparkAll()
	f.ready.keep(func(b *batch) bool { return !b.part.let })
	f.dispatch()
	f.countParts()
	f.wakePoller()
}

// began remembers partitions that have a committed offset now. What cannot be
// remembered now is tried again with a later commit.
func (f *flow) began(partitions map[string][]int32) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := f.runner.memory.remember(ctx, f.def.Name, f.def.Group, partitions); err != nil {
		f.log.Warn("that the pipe has begun cannot be noted yet", "err", err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for topic, numbers := range partitions {
		for _, n := range numbers {
			if p := f.parts[place{topic, n}]; p != nil {
				p.begun = true
			}
		}
	}
}
