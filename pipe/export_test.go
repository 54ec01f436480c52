package pipe

import "github.com/twmb/franz-go/pkg/kgo"

// OwnsBus says whether this process owns the partition of a bus's topic that a key
// belongs to: of all processes at most one does, apart from the moment in which one that
// the others have given up does not know it yet.
func (r *Runner) OwnsBus(bus, key string) bool {
	r.mu.Lock()
	b := r.buses[bus]
	r.mu.Unlock()
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.consumer == nil || b.total == 0 {
		return false
	}
	at := kgo.StickyKeyPartitioner(nil).ForTopic(b.topics[0]).Partition(&kgo.Record{Key: []byte(key)}, b.total)
	p := b.parts[place{b.topics[0], int32(at)}]
	return p != nil && p.books != nil && !p.leaving
}

// Holds returns what the pipes of this process hold in memory, in bytes, and how many batches
// of a pipe wait for their next attempt.
func (r *Runner) Holds(pipe string) (held int64, waiting int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for f := range r.flows {
		if f.def.Name == pipe {
			f.mu.Lock()
			waiting += len(f.resting)
			f.mu.Unlock()
		}
	}
	return r.held.used.Load(), waiting
}

// Noted returns what the processes have noted last of how a mapping fares.
func (r *Runner) Noted(pipe string) (MappingResult, bool) {
	n, known := r.noted(pipe)
	return n.MappingResult, known
}
