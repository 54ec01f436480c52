package gate

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// PrincipalHeader is the record header with the name of the caller who has had the record
// written, such as User:alice (gateway-policies.md 1.9).
const PrincipalHeader = "klamm-principal"

// Stamping says which records get PrincipalHeader.
type Stamping struct {
	// Usual says it of calls whose route and stage do not; see Principal.Stamped.
	Usual bool
	// Somewhere says that records are stamped on some way in. Then callers cannot write the
	// header themselves, on any.
	Somewhere bool
}

// Stamp replaces what is said of records, for calls that begin from now on.
func (g *Gate) Stamp(s Stamping) { g.stamping.Store(&s) }

// Stamped returns the principal as one whose records are stamped, or are not, whatever is
// usual.
func (p Principal) Stamped(on bool) Principal {
	p.stamped = &on
	return p
}

// stamp puts the name of a caller into records, in place of what the caller has written
// there.
func (g *Gate) stamp(who *Principal, records []*kgo.Record) {
	s := g.stamping.Load()
	if s == nil || !s.Somewhere {
		return
	}
	on := s.Usual
	if who.stamped != nil {
		on = *who.stamped
	}
	for _, r := range records {
		if !on && len(r.Headers) == 0 {
			continue
		}
		kept := make([]kgo.RecordHeader, 0, len(r.Headers)+1)
		for _, h := range r.Headers {
			// Readers may look at names without their case.
			if !strings.EqualFold(h.Key, PrincipalHeader) {
				kept = append(kept, h)
			}
		}
		if on {
			kept = append(kept, kgo.RecordHeader{Key: PrincipalHeader, Value: []byte(who.Name)})
		}
		r.Headers = kept
	}
}
