package klamm

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

const (
	// mostSearches bounds the searches for records that a process makes at the same
	// time: each reads from brokers as fast as they answer.
	mostSearches = 8
	// searchTime bounds one search. What comes out of it until then is told, and where
	// to go on.
	searchTime = 5 * time.Minute
	// usualCut and mostCut bound how much of a key or value is shown, in bytes.
	usualCut = 64 << 10
	mostCut  = 16 << 20
	// placesPrefix begins a text that says where to go on in each partition.
	placesPrefix = "v1:"
	// mostPlaces bounds such a text, in bytes.
	mostPlaces = 12 << 10
	// maxKeyGlob bounds what a key is compared with, in bytes.
	maxKeyGlob = 1 << 10
)

// recordRoutes are those for looking at records, for people: other dialects read and
// write them.
func (a api) recordRoutes() []front.Route {
	return []front.Route{
		{Name: "records.search", Pattern: "GET /klamm/v1/topics/{topic}/records", Serve: a.searchRecords, Streams: true},
		{Name: "records.check", Pattern: "POST /klamm/v1/topics/{topic}/records/check", Serve: a.checkRecord},
	}
}

// searchRecords serves GET /klamm/v1/topics/{topic}/records: records of a topic as
// lines of JSON, those that a filter lets pass, with how far the search has come
// (progressLine) and at the end what came of it (endLine). From says where to begin:
// "beginning", an offset, a time, how long ago such as -15m, what a search has said
// in next, or "end-N" for the last N offsets of each partition, of which the newest
// records come first; it is end-LIMIT if it is not given. Until says in the same words
// where to end, before the end of the log as it is now.
func (a api) searchRecords(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	q, err := queryOf(r, "partition", "from", "until", "key", "pattern", "limit", "cut", "as", "decode", "unmask")
	if err != nil {
		return err
	}
	g, err := a.gateway()
	if err != nil {
		return err
	}
	name := r.PathValue("topic")
	if !kafka.ValidTopic(name) {
		return noTopic(name)
	}
	s, err := a.searchOf(q, g, who, name)
	if err != nil {
		return err
	}
	select {
	case a.searches <- struct{}{}:
		defer func() { <-a.searches }()
	default:
		return &gate.Error{Kind: gate.Throttled, Message: fmt.Sprintf("%d searches for records are under way already; try again when one of them has ended", mostSearches)}
	}
	return a.stream(w, r, func(ctx context.Context, emit func(any)) error {
		ctx, cancel := context.WithTimeout(ctx, searchTime)
		defer cancel()
		s.until = time.Now().Add(searchTime - 10*time.Second)
		if err := s.begin(ctx, q.text("partition"), q.text("from"), q.text("until")); err != nil {
			return err
		}
		return ofTopic(s.run(ctx, emit), name)
	})
}

// searchOf reads what a search is for, apart from where it begins and ends.
func (a api) searchOf(q query, g *gate.Gate, who gate.Principal, topic string) (*search, error) {
	s := &search{gate: g, who: who, topic: kafka.Topic{Name: topic}, key: q.text("key"), cut: usualCut}
	var err error
	if s.limit, err = q.limit(); err != nil {
		return nil, err
	}
	if len(s.key) > maxKeyGlob {
		return nil, invalid(fmt.Sprintf("key: want at most %d bytes", maxKeyGlob))
	}
	if text := q.text("pattern"); text != "" {
		if s.pattern, err = patternOf(text); err != nil {
			return nil, err
		}
	}
	if text := q.text("cut"); text != "" {
		if s.cut, err = strconv.Atoi(text); err != nil || s.cut < 0 || s.cut > mostCut {
			return nil, invalid(fmt.Sprintf("cut: want how many bytes of a value to show, at most %d", mostCut))
		}
	}
	switch q.text("as") {
	case "", "json":
	case "text":
		s.asText = true
	default:
		return nil, invalid("as: want json or text")
	}
	switch q.text("decode") {
	case "", "true":
		s.decode = true
	case "false":
	default:
		return nil, invalid("decode: want true or false")
	}
	unmask, err := q.flag("unmask")
	if err != nil {
		return nil, err
	}
	s.masked, s.unmask = g.Masked(who, topic), unmask
	if s.masked && !unmask && s.pattern.sees("value") {
		return nil, &gate.Error{Kind: gate.Denied, Message: "the values of this topic are masked, so that a pattern cannot ask for them; unmask=true shows them, which is in the audit log"}
	}
	return s, nil
}

// begin finds where the search begins and ends in each partition.
func (s *search) begin(ctx context.Context, partition, from, until string) error {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	if s.masked && s.unmask {
		if err := s.gate.Unmask(ctx, s.who, s.topic.Name); err != nil {
			return ofTopic(err, s.topic.Name)
		}
		s.masked = false
	}
	name := s.topic.Name
	var err error
	if s.topic, err = s.gate.Topic(ctx, s.who, name); err != nil {
		return ofTopic(err, name)
	}
	ids := make([]int32, 0, len(s.topic.Partitions))
	for _, p := range s.topic.Partitions {
		ids = append(ids, p.ID)
	}
	if partition != "" {
		n, err := strconv.ParseInt(partition, 10, 32)
		if err != nil || n < 0 {
			return invalid("partition: want a number from 0")
		}
		if _, err := s.topic.Partition(int32(n)); err != nil {
			return &gate.Error{Kind: gate.NotFound, Message: fmt.Sprintf("topic %s has no partition %d", s.topic.Name, n)}
		}
		ids = []int32{int32(n)}
	}
	ranges, err := s.gate.Ranges(ctx, s.who, name)
	if err != nil {
		return ofTopic(err, name)
	}
	ends, err := s.places(ctx, until, ranges, "until")
	if err != nil {
		return err
	}
	if ends == nil {
		ends = map[int32]int64{}
	}
	var starts map[int32]int64
	last := int64(0) // of each partition; 0: from is something else
	switch n, ok := strings.CutPrefix(from, "end-"); {
	case from == "":
		last = int64(s.limit)
	case ok:
		if last, err = strconv.ParseInt(n, 10, 64); err != nil || last < 1 {
			return invalid("from: want a number from 1 behind end-")
		}
	default:
		if starts, err = s.places(ctx, from, ranges, "from"); err != nil {
			return err
		}
	}
	s.newest = last > 0
	for _, id := range ids {
		at, ok := ranges[id]
		if !ok {
			continue // it is being made
		}
		p := &searched{id: id, first: at.Start, next: at.Start, end: at.End, at: math.MinInt64}
		if end, ok := ends[id]; ok {
			p.end = max(min(end, at.End), at.Start)
		}
		if start, ok := starts[id]; ok {
			p.next = max(start, at.Start)
		}
		if s.newest {
			p.next = max(p.end-last, at.Start)
		}
		p.begin = p.next
		s.of += max(p.end-p.next, 0)
		s.parts = append(s.parts, p)
	}
	return nil
}

// places reads where to begin or to end: an offset for each partition that is
// concerned; nil: as far as the log goes.
func (s *search) places(ctx context.Context, text string, ranges map[int32]kafka.Range, name string) (map[int32]int64, error) {
	switch {
	case text == "", text == "beginning" && name == "from", text == "end" && name == "until":
		return nil, nil
	case strings.HasPrefix(text, placesPrefix):
		return parsePlaces(text, name)
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
		all := map[int32]int64{}
		for id := range ranges {
			all[id] = n
		}
		return all, nil
	}
	// A "+" in a query is a space unless it is encoded, and is often not.
	at, err := query{"since": {strings.ReplaceAll(text, " ", "+")}}.since()
	if err != nil {
		if name == "until" {
			return nil, invalid(`until: want "end", an offset, a time such as 2026-01-31T12:00:00Z, how long ago such as -15m, or what next said`)
		}
		return nil, invalid(`from: want "beginning", "end-100", an offset, a time such as 2026-01-31T12:00:00Z, how long ago such as -15m, or what next said`)
	}
	return s.gate.OffsetsAfter(ctx, s.who, s.topic.Name, at)
}

// placesText writes offsets by partition, as parsePlaces reads them.
func placesText(at map[int32]int64) string {
	b := []byte(placesPrefix)
	for i, id := range slices.Sorted(maps.Keys(at)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(id), 10)
		b = append(b, '-')
		b = strconv.AppendInt(b, at[id], 10)
	}
	return string(b)
}

// parsePlaces reads v1:PARTITION-OFFSET,... A partition that is not named counts as
// not concerned.
func parsePlaces(text, name string) (map[int32]int64, error) {
	if len(text) > mostPlaces {
		return nil, invalid(fmt.Sprintf("%s: it has more than %d bytes", name, mostPlaces))
	}
	at := map[int32]int64{}
	for pair := range strings.SplitSeq(strings.TrimPrefix(text, placesPrefix), ",") {
		left, right, ok := strings.Cut(pair, "-")
		id, badID := strconv.ParseUint(left, 10, 31)
		offset, badOffset := strconv.ParseUint(right, 10, 63)
		if _, twice := at[int32(id)]; !ok || badID != nil || badOffset != nil || twice {
			return nil, invalid(fmt.Sprintf("%s: %.40q is not a partition and an offset, such as 0-120", name, pair))
		}
		at[int32(id)] = int64(offset)
	}
	return at, nil
}
