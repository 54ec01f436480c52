package peer

import (
	"cmp"
	"slices"
)

// A Member is a process of the cluster that has announced itself and lives.
type Member struct {
	ID      string
	Address string // HOST:PORT, where the others reach it
	TLS     bool   // it speaks TLS there
	Self    bool   // it is this process
}

// Members returns the processes that were seen lately, this one among them if it has
// announced itself, by address. It does not wait, and is empty before Open.
func (p *Peers) Members() []Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.table == nil {
		return nil
	}
	p.observe()
	var all []Member
	for id, n := range p.nodes {
		if n.alive() || id == p.id {
			all = append(all, Member{id, n.address.hostPort, n.address.tls, id == p.id})
		}
	}
	slices.SortFunc(all, func(x, y Member) int {
		return cmp.Or(cmp.Compare(x.Address, y.Address), cmp.Compare(x.ID, y.ID))
	})
	return all
}
