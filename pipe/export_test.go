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
