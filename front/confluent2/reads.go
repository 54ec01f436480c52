package confluent2

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

const (
	defaultCount = 100
	maxCount     = 10_000
	maxWait      = 60 * time.Second
	// readBytes is where an answer ends, even if count is not reached.
	readBytes = 8 << 20
	// readers is how many partitions one request reads at the same time.
	readers = 8
	// waitPause is how long a read that waits lets pass before it looks again.
	// It does not wait in the broker, where it would hold up every other read
	// that shares the connection.
	waitPause = 100 * time.Millisecond
	// writeBytes is how much of an answer is put together before it is sent.
	writeBytes = 64 << 10
)

// A question is what a stateless read asks for.
type question struct {
	count  int
	bytes  int
	wait   time.Duration
	offset string          // earliest, latest or a number
	at     map[int32]int64 // from a Klamm-Next
	since  time.Time
}

// readTopic serves GET /topics/{topic}/records, which the original does not
// have (interface.md 3).
func (a *api) readTopic(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	media, err := a.negotiated(r, reads)
	if err != nil {
		return err
	}
	t, err := a.topic(r.Context(), r, who)
	if err != nil {
		return err
	}
	return a.read(w, r, who, media, t, t.Partitions)
}

// readPartition serves GET /topics/{topic}/partitions/{partition}/records, which
// the original does not have (interface.md 3). It also takes the parameters that
// Redpanda's operation at the same path has; with Redpanda's profile a request
// that has one of them must have all, and a format in Accept.
func (a *api) readPartition(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	query := r.URL.Query()
	theirs := a.habits.explicitReads && (query.Has("timeout") || query.Has("max_bytes"))
	media, err := a.negotiated(r, reads)
	if theirs {
		if media, err = a.acceptRecords(r, nil); err == nil {
			err = completeQuery(query)
		}
	}
	if err != nil {
		return err
	}
	t, p, err := a.partition(r, who)
	if err != nil {
		if theirs && gate.Classify(err) == gate.NotFound {
			return errNoPartition
		}
		return err
	}
	return a.read(w, r, who, media, t, []kafka.Partition{p})
}

// completeQuery refuses a query without one of the parameters that Redpanda's
// operation demands.
func completeQuery(query url.Values) error {
	for _, name := range []string{"offset", "timeout", "max_bytes"} {
		if query.Get(name) == "" {
			return refuse(badRequest, 40002, "%s is missing", name)
		}
	}
	return nil
}

// read reads records of some partitions of a topic, without a group.
func (a *api) read(w http.ResponseWriter, r *http.Request, who gate.Principal, media string, t kafka.Topic, partitions []kafka.Partition) error {
	q, err := parseQuestion(r.URL.Query(), time.Now())
	if err != nil {
		return err
	}
	from, err := a.offsets(r.Context(), who, t, partitions, q)
	if err != nil {
		return err
	}
	records, err := a.readAll(r.Context(), who, t, partitions, from, q)
	if err == nil && len(records) == 0 && q.wait > 0 {
		records, err = a.await(r.Context(), who, t, partitions, from, q)
	}
	if err != nil {
		return err
	}
	next := make([]string, len(partitions))
	for i, p := range partitions {
		next[i] = strconv.Itoa(int(p.ID)) + "-" + strconv.FormatInt(from[p.ID], 10)
	}
	w.Header()["Klamm-Next"] = []string{strings.Join(next, ",")}
	return a.writeRecords(r.Context(), w, media, records)
}

// writeRecords answers with records, piece by piece: the answer may be much
// larger than the records are. CloudEvents are a batch, however many there are.
func (a *api) writeRecords(ctx context.Context, w http.ResponseWriter, media string, records []*kgo.Record) error {
	if media == mediaEvent {
		media = mediaEvents
	}
	b := append(make([]byte, 0, 4<<10), '[')
	began := false
	for i, r := range a.readable(ctx, media, records) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendRecord(b, r, media, &a.habits)
		if len(b) < writeBytes {
			continue
		}
		if !began {
			w.Header()["Content-Type"] = mediaValues(media)
		}
		began = true
		if _, err := w.Write(b); err != nil {
			return err
		}
		b = b[:0]
	}
	b = append(b, ']')
	if !began {
		return write(w, media, b)
	}
	_, err := w.Write(b)
	return err
}

// parseQuestion reads the query of a read.
func parseQuestion(query url.Values, now time.Time) (q question, err error) {
	q = question{count: defaultCount, bytes: readBytes, offset: "earliest"}
	if text := query.Get("count"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxCount {
			return q, refuse(unprocessable, 422, "count must be a number from 1 to %d", maxCount)
		}
		q.count = n
	}
	if text := query.Get("wait"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 || d > maxWait {
			return q, refuse(unprocessable, 422, "wait must be a time from 0s to %s, such as 5s", maxWait)
		}
		q.wait = d
	}
	if err := q.redpanda(query); err != nil {
		return q, err
	}
	since, offset := query.Get("since"), query.Get("offset")
	switch {
	case since != "" && offset != "":
		return q, refuse(unprocessable, 422, "give offset or since, not both")
	case since != "":
		q.since, err = parseSince(since, now)
		return q, err
	case offset == "":
		return q, nil
	case offset == "earliest" || offset == "latest":
		q.offset = offset
		return q, nil
	}
	if n, err := strconv.ParseInt(offset, 10, 64); err == nil && n >= 0 {
		q.offset = offset
		return q, nil
	}
	if q.at = parseNext(offset); q.at == nil {
		return q, refuse(unprocessable, 422, "offset must be earliest, latest, a number from 0, or what Klamm-Next said")
	}
	return q, nil
}

// redpanda reads timeout (in milliseconds) and max_bytes (rest-apis.md 7.3).
func (q *question) redpanda(query url.Values) error {
	if text := query.Get("timeout"); text != "" {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 0 {
			return refuse(unprocessable, 422, "timeout must be a number of milliseconds")
		}
		q.wait = min(time.Duration(n)*time.Millisecond, maxWait)
	}
	if text := query.Get("max_bytes"); text != "" {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 1 {
			return refuse(unprocessable, 422, "max_bytes must be a number of bytes")
		}
		q.bytes = min(int(n), readBytes)
	}
	return nil
}

// parseSince reads a time, or how long ago it was, such as -15m.
func parseSince(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	// A "+" in a query is a space unless it is encoded, and is often not.
	if t, err := time.Parse(time.RFC3339, strings.ReplaceAll(text, " ", "+")); err == nil {
		return t, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago <= 0 && ago > -100*365*24*time.Hour {
		return now.Add(ago), nil
	}
	return time.Time{}, refuse(unprocessable, 422, "since must be a time such as 2026-01-31T12:00:00Z, or how long ago, such as -15m")
}

// parseNext reads P-O,P-O; nil if it is something else, or names a partition twice.
func parseNext(text string) map[int32]int64 {
	if len(text) > 64<<10 {
		return nil
	}
	at := map[int32]int64{}
	for pair := range strings.SplitSeq(text, ",") {
		left, right, ok := strings.Cut(pair, "-")
		p, err := strconv.ParseInt(left, 10, 32)
		o, err2 := strconv.ParseInt(right, 10, 64)
		_, twice := at[int32(p)]
		if !ok || err != nil || err2 != nil || p < 0 || o < 0 || twice {
			return nil
		}
		at[int32(p)] = o
	}
	return at
}

// offsets says where to begin on each partition. Offsets outside the log are
// moved to its nearer end.
func (a *api) offsets(ctx context.Context, who gate.Principal, t kafka.Topic, partitions []kafka.Partition, q question) (map[int32]int64, error) {
	if !q.since.IsZero() {
		return a.gate.OffsetsAfter(ctx, who, t.Name, q.since, numbersOf(partitions)...)
	}
	ranges, err := a.gate.Ranges(ctx, who, t.Name, numbersOf(partitions)...)
	if err != nil {
		return nil, err
	}
	from := make(map[int32]int64, len(ranges))
	number, numberErr := strconv.ParseInt(q.offset, 10, 64)
	for p, r := range ranges {
		at, given := q.at[p]
		switch {
		case given:
			from[p] = min(max(at, r.Start), r.End)
		case q.at != nil || q.offset == "earliest":
			from[p] = r.Start
		case numberErr == nil:
			from[p] = min(max(number, r.Start), r.End)
		default:
			from[p] = r.End
		}
	}
	return from, nil
}

func numbersOf(partitions []kafka.Partition) []int32 {
	numbers := make([]int32, len(partitions))
	for i, p := range partitions {
		numbers[i] = p.ID
	}
	return numbers
}

// readAll reads the partitions, in their order and a few at a time, until the
// question's limits are reached, and moves from behind the records it returns.
func (a *api) readAll(ctx context.Context, who gate.Principal, t kafka.Topic, partitions []kafka.Partition, from map[int32]int64, q question) ([]*kgo.Record, error) {
	var records []*kgo.Record
	size := 0
	for some := range slices.Chunk(partitions, readers) {
		got := make([][]*kgo.Record, len(some))
		errs := make([]error, len(some))
		limits := kafka.Limits{Records: q.count - len(records), Bytes: max(1, q.bytes/len(some))}
		var all sync.WaitGroup
		for i, p := range some {
			all.Go(func() { got[i], errs[i] = a.gate.Fetch(ctx, who, t, p.ID, from[p.ID], limits) })
		}
		all.Wait()
		for i, p := range some {
			if errs[i] != nil {
				return nil, errs[i]
			}
			for _, r := range got[i] {
				size += len(r.Key) + len(r.Value)
				if len(records) == q.count || len(records) > 0 && size > q.bytes {
					return records, nil
				}
				records = append(records, r)
				from[p.ID] = r.Offset + 1
			}
		}
		if len(records) == q.count {
			break
		}
	}
	return records, nil
}

// await looks for new records until there are some or the question's wait is
// over.
func (a *api) await(ctx context.Context, who gate.Principal, t kafka.Topic, partitions []kafka.Partition, from map[int32]int64, q question) ([]*kgo.Record, error) {
	end := time.NewTimer(q.wait)
	defer end.Stop()
	pause := time.NewTicker(waitPause)
	defer pause.Stop()
	seen := make(map[int32]int64, len(partitions)) // the ends up to which there is nothing
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-end.C:
			return nil, nil
		case <-pause.C:
		}
		ranges, err := a.gate.Ranges(ctx, who, t.Name, numbersOf(partitions)...)
		if err != nil {
			return nil, err
		}
		fresh := false
		for _, p := range partitions {
			if last := ranges[p.ID].End; last > from[p.ID] && last != seen[p.ID] {
				seen[p.ID], fresh = last, true
			}
		}
		if !fresh {
			continue
		}
		if records, err := a.readAll(ctx, who, t, partitions, from, q); err != nil || len(records) > 0 {
			return records, err
		}
	}
}
