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
	readBytes = 16 << 20
	// readers is how many partitions one request reads at the same time.
	readers = 16
)

// A question is what a stateless read asks for.
type question struct {
	count  int
	wait   time.Duration
	offset string          // earliest, latest or a number
	at     map[int32]int64 // from a Klamm-Next
	since  time.Time
}

// readTopic serves GET /topics/{topic}/records, which the original does not
// have (interface.md 3).
func (a *api) readTopic(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	t, err := a.topic(r.Context(), r, who)
	if err != nil {
		return err
	}
	return a.read(w, r, who, t, t.Partitions)
}

// readPartition serves GET /topics/{topic}/partitions/{partition}/records, which
// the original does not have (interface.md 3).
func (a *api) readPartition(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	t, p, err := a.partition(r, who)
	if err != nil {
		return err
	}
	return a.read(w, r, who, t, []kafka.Partition{p})
}

// read reads records of some partitions of a topic, without a group.
func (a *api) read(w http.ResponseWriter, r *http.Request, who gate.Principal, t kafka.Topic, partitions []kafka.Partition) error {
	media, err := a.accept(r, reads)
	if err != nil {
		return err
	}
	q, err := parseQuestion(r.URL.Query(), time.Now())
	if err != nil {
		return err
	}
	from, err := a.offsets(r.Context(), who, t, q)
	if err != nil {
		return err
	}
	all, next, err := a.readAll(r.Context(), who, t, partitions, from, q, 0)
	if err == nil && len(all) == 0 && q.wait > 0 {
		all, next, err = a.readAll(r.Context(), who, t, partitions, from, q, q.wait)
	}
	if err != nil {
		return err
	}
	w.Header()["Klamm-Next"] = []string{next}
	return write(w, media, appendRecords(nil, all, media))
}

// parseQuestion reads the query of a read.
func parseQuestion(query url.Values, now time.Time) (q question, err error) {
	q = question{count: defaultCount, offset: "latest"}
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
	since, offset := query.Get("since"), query.Get("offset")
	switch {
	case since != "" && offset != "":
		return q, refuse(unprocessable, 422, "give offset or since, not both")
	case since != "":
		q.since, err = parseSince(since, now)
		return q, err
	case offset == "" || offset == "earliest" || offset == "latest":
		if offset != "" {
			q.offset = offset
		} else {
			q.offset = "earliest"
		}
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

// parseNext reads P-O,P-O; nil if it is something else.
func parseNext(text string) map[int32]int64 {
	if len(text) > 64<<10 {
		return nil
	}
	at := map[int32]int64{}
	for pair := range strings.SplitSeq(text, ",") {
		left, right, ok := strings.Cut(pair, "-")
		p, err := strconv.ParseInt(left, 10, 32)
		o, err2 := strconv.ParseInt(right, 10, 64)
		if !ok || err != nil || err2 != nil || p < 0 || o < 0 {
			return nil
		}
		at[int32(p)] = o
	}
	return at
}

// offsets says where to begin on each partition. Offsets outside the log are
// moved to its nearer end.
func (a *api) offsets(ctx context.Context, who gate.Principal, t kafka.Topic, q question) (map[int32]int64, error) {
	if !q.since.IsZero() {
		return a.gate.OffsetsAfter(ctx, who, t.Name, q.since)
	}
	ranges, err := a.gate.Ranges(ctx, who, t.Name)
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

// readAll reads several partitions at the same time. With a wait it returns as
// soon as one of them has something. It returns the records in the order of the
// partitions, at most count, and where to go on.
func (a *api) readAll(ctx context.Context, who gate.Principal, t kafka.Topic, partitions []kafka.Partition, from map[int32]int64, q question, wait time.Duration) ([]*kgo.Record, string, error) {
	waiting, enough := context.WithCancel(ctx)
	defer enough()
	got := make([][]*kgo.Record, len(partitions))
	errs := make([]error, len(partitions))
	places := make(chan struct{}, readers)
	if wait > 0 {
		places = make(chan struct{}, len(partitions)) // all of them must listen
	}
	var all sync.WaitGroup
	for i, p := range partitions {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			lim := kafka.Limits{Records: q.count, Bytes: readBytes / min(len(partitions), readers), Wait: wait}
			got[i], errs[i] = a.gate.Fetch(waiting, who, t, p.ID, from[p.ID], lim)
			if wait > 0 && len(got[i]) > 0 {
				enough()
			}
		})
	}
	all.Wait()
	var records []*kgo.Record
	next := make([]string, 0, len(partitions))
	size := 0
	for i, p := range partitions {
		if errs[i] != nil && waiting.Err() == nil {
			return nil, "", errs[i]
		}
		at := from[p.ID]
		for _, r := range got[i] {
			if len(records) == q.count || size > readBytes {
				break
			}
			records = append(records, r)
			size += len(r.Key) + len(r.Value)
			at = r.Offset + 1
		}
		next = append(next, strconv.Itoa(int(p.ID))+"-"+strconv.FormatInt(at, 10))
	}
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	return slices.Clip(records), strings.Join(next, ","), nil
}
