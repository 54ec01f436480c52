package light

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/kafka"
)

const (
	// idPrefix begins the ids of events: the form of what follows is its version.
	idPrefix = "v1:"
	// lastID is the id of a stream that there is no sense in coming back to.
	lastID = idPrefix + "end"
	// maxID bounds an id that a client sends back, in bytes.
	maxID = 60 << 10
	// maxName bounds the name of a group, in bytes.
	maxName = 255
)

// appendID appends the id of a stream that is to go on at these positions.
func appendID(b []byte, at []kafka.Position) []byte {
	b = append(b, idPrefix...)
	for i, p := range at {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(p.Partition), 10)
		b = append(b, '-')
		b = strconv.AppendInt(b, p.Next, 10)
	}
	return b
}

// parseID reads an id. The offsets of partitions are those of the next records.
func parseID(id string) (map[int32]int64, error) {
	pairs, ok := strings.CutPrefix(id, idPrefix)
	if !ok || len(id) > maxID {
		return nil, invalid("the last event id is not one that klamm has given: v1:PARTITION-OFFSET,...")
	}
	next := map[int32]int64{}
	for pair := range strings.SplitSeq(pairs, ",") {
		left, right, ok := strings.Cut(pair, "-")
		p, badPartition := parseNumber(left, math.MaxInt32)
		o, badOffset := parseNumber(right, math.MaxInt64)
		if _, twice := next[int32(p)]; !ok || badPartition != nil || badOffset != nil || twice {
			return nil, invalid(fmt.Sprintf("the last event id has %.40q where a partition and an offset should be, such as 0-120", pair))
		}
		next[int32(p)] = o
	}
	return next, nil
}

// parseNumber reads a number from 0 to most, of digits alone.
func parseNumber(text string, most int64) (int64, error) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil && n > most {
		err = strconv.ErrRange
	}
	return n, err
}

// A start says what a client wants to be sent, and from where on.
type start struct {
	partition int32 // -1: all
	from      kafka.From
	group     string // "": none
	filter    filter
}

// parseStart reads the query of a stream, but not what it was resumed with.
func parseStart(query map[string][]string) (s start, err error) {
	get := func(name string) string {
		if values := query[name]; len(values) > 0 {
			return values[0]
		}
		return ""
	}
	s.partition = -1
	if text := get("partition"); text != "" {
		n, err := parseNumber(text, math.MaxInt32)
		if err != nil {
			return s, invalid("partition must be a number from 0")
		}
		s.partition = int32(n)
	}
	if s.from, err = parseFrom(get("from")); err != nil {
		return s, err
	}
	if _, ok := query["group"]; ok {
		s.group = get("group")
		if err := s.checkGroup(); err != nil {
			return s, err
		}
	}
	s.filter, err = parseFilter(query["filter"], query["pattern"])
	return s, err
}

// parseFrom reads where to begin: earliest, latest, an offset or a time.
func parseFrom(text string) (from kafka.From, err error) {
	switch text {
	case "", "latest":
		return from, nil
	case "earliest":
		from.Earliest = true
		return from, nil
	}
	if n, err := parseNumber(text, math.MaxInt64); err == nil {
		from.Offset = &n
		return from, nil
	}
	// A "+" in a query is a space unless it is encoded, and is often not. T and Z may be
	// lower-case (RFC 3339 5.6).
	from.At, err = time.Parse(time.RFC3339, strings.ToUpper(strings.ReplaceAll(text, " ", "+")))
	if err != nil {
		return from, invalid("from must be earliest, latest, an offset, or a time such as 2026-01-31T12:00:00Z")
	}
	return from, nil
}

// checkGroup says what is wrong with a start for a member of a group.
func (s *start) checkGroup() error {
	if s.group == "" || len(s.group) > maxName || strings.ContainsFunc(s.group, func(c rune) bool { return c < ' ' || c == 0x7f || c == 0xfffd }) {
		return invalid(fmt.Sprintf("group must be a name of 1 to %d bytes", maxName))
	}
	if s.partition >= 0 {
		return invalid("partition and group exclude each other: a group shares out the partitions itself")
	}
	if s.from.Offset != nil {
		return invalid("from must be earliest, latest or a time where there is a group")
	}
	return nil
}

// resume takes in what the client was sent last; over says that it must not come
// back.
func (s *start) resume(r *http.Request) (over bool, err error) {
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		id = r.URL.Query().Get("last_event_id")
	}
	switch id {
	case "":
		return false, nil
	case lastID:
		return true, nil
	}
	s.from.Next, err = parseID(id)
	return false, err
}
