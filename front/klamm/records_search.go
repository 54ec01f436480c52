package klamm

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/rule"
)

const (
	// tellEvery is how often a search tells how far it has come.
	tellEvery = 500 * time.Millisecond
	// searchBytes is what a search reads at once, of all its partitions together, and
	// leastRead and mostRead what of one of them.
	searchBytes = 32 << 20
	leastRead   = 64 << 10
	mostRead    = 1 << 20
	// newestBytes bounds the lines that a search for the newest records keeps.
	newestBytes = 16 << 20
)

// A search looks for records of a topic. It reads one partition after the other,
// always the one that lags behind in time, and gives records out in the order of
// their timestamps, as far as each partition has them in that order.
//
//	partition 0   . . . * . * . . |next          pending: the * that are younger
//	partition 1   . * . . . |next                than what partition 1 has come to
//
// Where the newest come first, the partitions are read to their ends, the newest
// lines are kept, and given out at the end.
type search struct {
	gate  *gate.Gate
	who   gate.Principal
	topic kafka.Topic

	key     string // a glob; "": any
	pattern *pattern
	limit   int
	cut     int
	asText  bool
	decode  bool
	masked  bool // all values of the topic
	unmask  bool
	origins map[string]bool // of dead letters: whether the values of a masked topic are shown
	newest  bool
	until   time.Time

	parts   []*searched
	of      int64 // offsets to be looked at
	scanned int64 // offsets looked at
	found   int64
	told    time.Time
}

// A searched is a partition that is searched.
type searched struct {
	id                      int32
	first, begin, next, end int64
	at                      int64 // the greatest timestamp seen, in milliseconds
	pending                 []found
	size                    int   // of what was put there, in bytes, where the newest come first
	lowest                  int64 // of the kept lines, where the newest come first
	matched                 int64 // the highest offset that passed
	passed, kept            int
}

// A found is a record to be told.
type found struct {
	at     int64
	part   *searched
	offset int64
	line   recordLine
}

// A progressLine says how far a search has come: scanned of so many offsets, and how
// many records it has found.
type progressLine struct {
	Progress searchProgress `json:"progress"`
}

type searchProgress struct {
	Scanned int64 `json:"scanned"`
	Of      int64 `json:"of"`
	Found   int64 `json:"found"`
}

// An endLine is the last line of a search. Complete says that all was looked at that
// was asked for, and all that was found was told. Next is what from is to be for the
// rest; where the newest come first, it is what until is to be for what is older.
type endLine struct {
	End searchEnd `json:"end"`
}

type searchEnd struct {
	Complete bool   `json:"complete"`
	Scanned  int64  `json:"scanned"`
	Found    int64  `json:"found"`
	Next     string `json:"next,omitempty"`
}

// run searches until all is found.
func (s *search) run(ctx context.Context, emit func(any)) error {
	if s.newest {
		return s.runNewest(ctx, emit)
	}
	for s.found < int64(s.limit) && time.Now().Before(s.until) {
		p := s.behind()
		if p == nil {
			break
		}
		if err := s.read(ctx, p); err != nil {
			return err
		}
		s.flush(emit)
		s.tell(emit)
	}
	s.flush(emit)
	end := searchEnd{Complete: true, Scanned: s.scanned, Found: s.found}
	rest := map[int32]int64{}
	for _, p := range s.parts {
		rest[p.id] = p.next
		if len(p.pending) > 0 {
			rest[p.id] = p.pending[0].offset
		}
		end.Complete = end.Complete && rest[p.id] >= p.end
	}
	if !end.Complete {
		end.Next = placesText(rest)
	}
	emit(endLine{end})
	return nil
}

// behind returns the partition that has come least far in time, or nil if all are
// read.
func (s *search) behind() (least *searched) {
	for _, p := range s.parts {
		if p.next < p.end && (least == nil || p.at < least.at) {
			least = p
		}
	}
	return least
}

// flush tells what no partition that is still to be read can have anything older
// than.
func (s *search) flush(emit func(any)) {
	bound := int64(math.MaxInt64)
	if p := s.behind(); p != nil {
		bound = p.at
	}
	for s.found < int64(s.limit) {
		var least *searched
		for _, p := range s.parts {
			if len(p.pending) > 0 && (least == nil || p.pending[0].at < least.pending[0].at) {
				least = p
			}
		}
		if least == nil || least.pending[0].at > bound {
			return
		}
		emit(least.pending[0].line)
		least.pending = least.pending[1:]
		s.found++
	}
}

// runNewest searches for the newest records.
func (s *search) runNewest(ctx context.Context, emit func(any)) error {
	var newest []found // the newest first
	complete := true
	for _, p := range s.parts {
		for p.next < p.end {
			if !time.Now().Before(s.until) {
				complete = false
				break
			}
			if err := s.read(ctx, p); err != nil {
				return err
			}
			drop := max(len(p.pending)-s.limit, 0)
			for _, f := range p.pending[:drop] {
				p.size -= len(f.line.Record)
			}
			for p.size > newestBytes && drop < len(p.pending)-1 {
				p.size -= len(p.pending[drop].line.Record)
				drop++
			}
			p.pending = slices.Delete(p.pending, 0, drop)
			s.found = int64(min(len(newest)+len(p.pending), s.limit))
			s.tell(emit)
		}
		newest = s.newer(newest, p)
	}
	for _, f := range newest {
		f.part.kept++
		f.part.lowest = f.offset
		emit(f.line)
	}
	s.found = int64(len(newest))
	end := searchEnd{Scanned: s.scanned, Found: s.found}
	older, before := false, map[int32]int64{}
	for _, p := range s.parts {
		before[p.id] = p.begin
		switch {
		case p.next < p.end && p.kept == 0: // not read, or not to its end
			before[p.id] = p.end
		case p.kept < p.passed && p.kept > 0:
			before[p.id] = p.lowest
		case p.kept < p.passed:
			before[p.id] = p.matched + 1
		}
		complete = complete && p.kept == p.passed
		older = older || before[p.id] > p.first
	}
	end.Complete = complete
	if older {
		end.Next = placesText(before)
	}
	emit(endLine{end})
	return nil
}

// newer puts what a partition has among the newest records, and lets go what there is
// no room for.
func (s *search) newer(newest []found, p *searched) []found {
	mine := p.pending
	p.pending = nil
	slices.Reverse(mine)
	merged, size := make([]found, 0, min(len(newest)+len(mine), s.limit)), 0
	for len(merged) < s.limit && size < newestBytes && len(newest)+len(mine) > 0 {
		from := &mine
		if len(mine) == 0 || len(newest) > 0 && newest[0].at >= mine[0].at {
			from = &newest
		}
		size += len((*from)[0].line.Record)
		merged = append(merged, (*from)[0])
		*from = (*from)[1:]
	}
	return merged
}

// tell tells how far the search has come, if it is time to.
func (s *search) tell(emit func(any)) {
	if now := time.Now(); now.Sub(s.told) >= tellEvery {
		s.told = now
		pending := int64(0)
		if !s.newest {
			for _, p := range s.parts {
				pending += int64(len(p.pending))
			}
		}
		emit(progressLine{searchProgress{s.scanned, s.of, min(s.found+pending, int64(s.limit))}})
	}
}

// read reads on in a partition, and keeps what passes.
func (s *search) read(ctx context.Context, p *searched) error {
	lim := kafka.Limits{
		Records: int(min(p.end-p.next, mostRows)), Committed: true,
		Bytes: min(max(searchBytes/len(s.parts), leastRead), mostRead),
	}
	records, next, err := s.gate.Read(ctx, s.who, s.topic, p.id, p.next, lim)
	if err != nil {
		return err
	}
	for _, r := range records {
		if r.Offset >= p.end {
			break
		}
		p.at = max(p.at, r.Timestamp.UnixMilli())
		masked := s.hides(ctx, r)
		if key, value, ok := s.passes(ctx, r, masked); ok {
			p.passed++
			p.matched = r.Offset
			p.pending = append(p.pending, found{r.Timestamp.UnixMilli(), p, r.Offset, s.line(r, key, value, masked)})
			p.size += len(p.pending[len(p.pending)-1].line.Record)
		}
	}
	if next <= p.next { // what follows belongs to a transaction that is open
		next = p.end
	}
	next = min(next, p.end)
	s.scanned += next - p.next
	p.next = next
	return nil
}

// mostOrigins bounds how many topics a search asks about whose dead letters it has found:
// the header that names them can be anybody's.
const mostOrigins = 100

// hides says whether the value of a record is masked: those of the topic are, or it is a
// dead letter of a topic whose values are. With unmask it is shown to who may read that one.
func (s *search) hides(ctx context.Context, r *kgo.Record) bool {
	if s.masked {
		return true
	}
	origin := s.gate.MaskedOrigin(s.who, r)
	if origin == "" || origin == s.topic.Name {
		return false
	}
	if !s.unmask {
		return true
	}
	shown, asked := s.origins[origin]
	if !asked && len(s.origins) < mostOrigins {
		if s.origins == nil {
			s.origins = map[string]bool{}
		}
		shown = s.gate.Unmask(ctx, s.who, origin) == nil
		s.origins[origin] = shown
	}
	return !shown
}

// passes says whether a record is looked for, and returns its key and value as they
// are to be shown. Whether a value that is masked is what a pattern asks for is not told.
func (s *search) passes(ctx context.Context, r *kgo.Record, masked bool) (key, value shownPart, ok bool) {
	key.data, value.data = r.Key, r.Value
	if s.decode {
		key.data, key.framing = s.gate.DecodedPart(ctx, r.Key)
	}
	if s.key != "" && (r.Key == nil || !front.MatchGlob(s.key, string(key.data))) {
		return key, value, false
	}
	if s.decode {
		value.data, value.framing = s.gate.DecodedPart(ctx, r.Value)
	}
	if s.pattern == nil {
		return key, value, true
	}
	if masked && s.pattern.sees("value") {
		return key, value, false
	}
	shown := *r
	shown.Key, shown.Value = key.data, value.data
	return key, value, s.pattern.passes(&shown)
}

// A pattern is an event pattern that records are compared with, as the filters of
// pipes compare them.
type pattern struct {
	compiled *rule.RecordPattern
	fields   event.Fields
}

func patternOf(text string) (*pattern, error) {
	compiled, err := rule.CompileRecord([]byte(text))
	if err != nil {
		return nil, invalid("pattern: " + strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	p := &pattern{compiled: compiled}
	for _, name := range compiled.Fields() {
		p.fields.Pick(name)
	}
	return p, nil
}

// sees says whether a pattern asks for a field. A nil pattern asks for nothing.
func (p *pattern) sees(field string) bool {
	return p != nil && slices.Contains(p.compiled.Fields(), field)
}

var patternForms = map[event.Form]rule.Form{event.Null: rule.Missing, event.JSON: rule.JSON, event.Text: rule.Text, event.Binary: rule.Binary}

// passes says whether a record matches. One that cannot be compared does, as in pipes.
func (p *pattern) passes(r *kgo.Record) bool {
	doc, key, value := event.AppendDocument(nil, r, p.fields)
	ok, err := p.compiled.Match(doc, patternForms[key], patternForms[value])
	return ok || err != nil
}
