package gate

import (
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/klamm-gateway/klamm/iam"
)

const (
	// A law remembers passedRows*passedPlaces calls at most, some 20 MB of them.
	passedRows, passedPlaces = 1 << 14, 4
	// What is longer or more is decided each time: callers choose names of routes.
	mostPassedName, mostPassedGroups = 300, 32
	// mostShared is how many errands, and decisions, are there only once.
	mostShared = 4096
)

// passed are calls that a law has let pass, for which it asked nothing but who calls
// and what for: no condition, no variable, no policy that came with the call. The same
// call passes again for as long as the law holds; a new law remembers nothing. Only
// that somebody may do something is remembered, never that they may not.
//
// A call has one row, and any place in it. Where all are taken, it takes one by chance.
type passed struct {
	rows [passedRows][passedPlaces]passSlot // in front, so that a row is one line of the processor's cache
	seed maphash.Seed

	mu        sync.Mutex // guards what follows
	errands   map[errand]*errand
	decisions map[iam.Decision]*iam.Decision
}

// A passSlot is a place of a row. It has a pass and a part of the hash of its call: so a
// search in a row hardly ever reads a pass in vain.
type passSlot struct {
	tag  atomic.Uint32
	pass atomic.Pointer[pass]
}

// A pass is a call that may be made, with what allowed it. There is one for each caller
// and errand, far away in memory when there are thousands: what many of them have in
// common is there once.
type pass struct {
	who      iam.Identity // without policies
	errand   *errand
	decision *iam.Decision
}

// An errand is what a call is for, and how it came.
type errand struct {
	action        Action
	resource      Resource
	group         string
	scheme, stage string
	cluster       string // its id, where the action is one of Kafka's
}

func newPassed() *passed {
	return &passed{seed: maphash.MakeSeed(), errands: map[errand]*errand{}, decisions: map[iam.Decision]*iam.Decision{}}
}

// once returns where a value is that was seen before, or remembers it: not more than
// mostShared of them.
func once[V comparable](known map[V]*V, v V) *V {
	if at := known[v]; at != nil {
		return at
	}
	if len(known) == mostShared {
		clear(known)
	}
	known[v] = &v
	return &v
}

// row returns the places of a call and its tag.
func (p *passed) row(q *question) (*[passedPlaces]passSlot, uint32) {
	var h maphash.Hash
	h.SetSeed(p.seed)
	for _, s := range []string{q.identity.Name, q.identity.Key, string(q.call.Action), q.call.Resource.Name, q.call.Group, q.stage()} {
		_, _ = h.WriteString(s)
		_ = h.WriteByte(0)
	}
	sum := h.Sum64()
	return &p.rows[sum%passedRows], uint32(sum >> 32) //nolint:gosec // the upper half
}

// of returns the decision on the same call before; nil: it is to be decided.
func (p *passed) of(q *question) *iam.Decision {
	if !q.lasting() {
		return nil
	}
	row, tag := p.row(q)
	for i := range row {
		if row[i].tag.Load() != tag {
			continue
		}
		if known := row[i].pass.Load(); known != nil && known.is(q) {
			return known.decision
		}
	}
	return nil
}

// keep remembers a call that has been let pass.
func (p *passed) keep(q *question) {
	if q.consulted || !q.lasting() {
		return
	}
	row, tag := p.row(q)
	at := rand.IntN(passedPlaces) //nolint:gosec // nothing depends on who guesses it
	for i := range row {
		if known := row[i].pass.Load(); known == nil || row[i].tag.Load() == tag {
			at = i
			break
		}
	}
	c := q.call
	// What is cloned may be a part of a request.
	what := errand{c.Action, Resource{c.Resource.Kind, strings.Clone(c.Resource.Name)}, strings.Clone(c.Group), c.Principal.Scheme, strings.Clone(q.stage()), q.cluster}
	p.mu.Lock()
	one := &pass{q.identity, once(p.errands, what), once(p.decisions, c.decision)}
	p.mu.Unlock()
	row[at].pass.Store(one)
	row[at].tag.Store(tag)
}

// lasting says whether a question is one that may be asked again, and is small.
func (q *question) lasting() bool {
	return len(q.request.Policies) == 0 && len(q.identity.Policies) == 0 && len(q.call.Resource.Name) <= mostPassedName && len(q.call.Group) <= mostPassedName &&
		len(q.identity.Groups) <= mostPassedGroups && len(q.identity.Roles) <= mostPassedGroups && len(q.identity.Scopes) <= mostPassedGroups
}

// is says whether a question is about the same call.
func (p *pass) is(q *question) bool {
	a, b, c := &p.who, &q.identity, q.call
	return a.Name == b.Name && a.Key == b.Key && a.ARN == b.ARN && a.RoleARN == b.RoleARN && a.AccountID == b.AccountID && a.Anonymous == b.Anonymous && a.GroupsUnknown == b.GroupsUnknown &&
		slices.Equal(a.Groups, b.Groups) && slices.Equal(a.Roles, b.Roles) && slices.Equal(a.Scopes, b.Scopes) &&
		*p.errand == errand{c.Action, c.Resource, c.Group, c.Principal.Scheme, q.stage(), q.cluster}
}
