package pipe

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/kafka"
)

// A Letter is a dead letter that is neither redriven nor discarded.
type Letter struct {
	// ID names the letter within its pipe: PARTITION-OFFSET in the dead-letter
	// topic.
	ID        string    `json:"id"`
	Pipe      string    `json:"pipe"`
	Topic     string    `json:"topic"`     // of the original record
	Partition int32     `json:"partition"` // of the original record
	Offset    int64     `json:"offset"`    // of the original record
	Attempts  int       `json:"attempts"`
	Status    int       `json:"status"` // of the last answer; 0: there was none
	Reason    string    `json:"reason"`
	Response  string    `json:"response,omitempty"`
	Key       string    `json:"key,omitempty"` // as text, "?" for what is none
	Bytes     int       `json:"bytes"`         // of the value
	At        time.Time `json:"at"`            // when it was given up
}

// scanLimits is what one read of an operation takes.
var scanLimits = kafka.Limits{Records: 2_000, Bytes: 4 << 20, Committed: true}

// LetterTopic returns the topic in which the dead letters of a pipe are. The error is
// ErrNoPipe if there is no such pipe.
func (r *Runner) LetterTopic(pipe string) (string, error) {
	def, err := r.definition(pipe)
	return def.Delivery.DeadLetter, err
}

// Letters are the dead letters of a pipe that are neither redriven nor discarded,
// by partition and offset of the dead-letter topic. An error ends them.
func (r *Runner) Letters(ctx context.Context, pipe string) iter.Seq2[Letter, error] {
	return func(yield func(Letter, error) bool) {
		def, err := r.definition(pipe)
		if err != nil {
			yield(Letter{}, err)
			return
		}
		for l, err := range r.unsettled(ctx, def) {
			if l.twin {
				continue
			}
			if !yield(l.letter, err) || err != nil {
				return
			}
		}
	}
}

// An openLetter is a letter with the record it is made of.
type openLetter struct {
	letter Letter
	record *kgo.Record // of the dead-letter topic
	start  int64       // of its partition's log
	mark   mark        // of the original record
	twin   bool        // of a letter that came before
}

// unsettled reads the dead-letter topic up to where it ends now. It says which
// letters are twins of earlier ones, for which it keeps some 20 bytes a letter.
func (r *Runner) unsettled(ctx context.Context, def catalog.Pipe) iter.Seq2[openLetter, error] {
	return func(yield func(openLetter, error) bool) {
		name := def.Delivery.DeadLetter
		t, err := r.cfg.Cluster.Topic(ctx, name)
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			return // nothing has been given up yet
		}
		var ranges map[int32]kafka.Range
		if err == nil {
			ranges, err = r.cfg.Cluster.Ranges(ctx, name)
		}
		if err != nil {
			yield(openLetter{}, err)
			return
		}
		seen := map[mark]struct{}{}
		for _, p := range slices.Sorted(maps.Keys(ranges)) {
			span := ranges[p]
			done, err := r.memory.settledOf(ctx, def.Name, p)
			if err != nil {
				yield(openLetter{}, err)
				return
			}
			err = r.scan(ctx, r.cfg.Cluster, t, p, span, func(record *kgo.Record) bool {
				l, ok := readLetter(record)
				if !ok || l.Pipe != def.Name || done.has(record.Offset) {
					return true
				}
				about := markOf(l.Topic, l.Partition, l.Offset)
				_, twin := seen[about]
				seen[about] = struct{}{}
				return yield(openLetter{l, record, span.Start, about, twin}, nil)
			})
			if errors.Is(err, errStopped) {
				return
			}
			if err != nil {
				yield(openLetter{}, err)
				return
			}
		}
	}
}

var errStopped = errors.New("stopped")

// scan reads a range of a partition of a cluster. It returns errStopped when each has returned
// false.
func (r *Runner) scan(ctx context.Context, c *kafka.Cluster, t kafka.Topic, partition int32, span kafka.Range, each func(*kgo.Record) bool) error {
	for at := span.Start; at < span.End; {
		records, next, err := c.Read(ctx, t, partition, at, scanLimits)
		if err != nil {
			return err
		}
		for _, record := range records {
			if record.Offset >= span.End {
				return nil
			}
			if !each(record) {
				return errStopped
			}
		}
		if next <= at {
			return nil // an open transaction: what lies behind it cannot be read yet
		}
		at = next
	}
	return ctx.Err()
}

// lettered returns where in a dead letter's headers klamm's own begin; -1 if they
// are not there. What stands before is the original record's.
func lettered(headers []kgo.RecordHeader) int {
	for i := len(headers) - 1; i >= 0; i-- {
		if headers[i].Key == "klamm.pipe" {
			return i
		}
	}
	return -1
}

// readLetter reads a record that letter has made.
func readLetter(record *kgo.Record) (l Letter, ok bool) {
	own := lettered(record.Headers)
	if own < 0 {
		return l, false
	}
	field := map[string]string{}
	for _, h := range record.Headers[own:] {
		field[strings.TrimPrefix(h.Key, "klamm.")] = string(h.Value)
	}
	partition, err := strconv.ParseInt(field["partition"], 10, 32)
	offset, err2 := strconv.ParseInt(field["offset"], 10, 64)
	if err != nil || err2 != nil {
		return l, false
	}
	attempts, _ := strconv.Atoi(field["attempts"])
	status, _ := strconv.Atoi(field["status"])
	return Letter{
		ID:   fmt.Sprintf("%d-%d", record.Partition, record.Offset),
		Pipe: field["pipe"], Topic: field["topic"], Partition: int32(partition), Offset: offset,
		Attempts: attempts, Status: status, Reason: field["reason"], Response: strings.ToValidUTF8(field["response"], "?"),
		Key: printable(record.Key), Bytes: len(record.Value), At: record.Timestamp.UTC(),
	}, true
}

func printable(key []byte) string {
	if len(key) > 256 {
		key = key[:256]
	}
	if !utf8.Valid(key) {
		return strings.ToValidUTF8(string(key), "?")
	}
	return string(key)
}

// original makes the record of a dead letter as it was: with its own coordinates
// and time it has the same delivery id as before.
func original(l Letter, letter *kgo.Record) *kgo.Record {
	own := lettered(letter.Headers)
	millis := letter.Timestamp.UnixMilli()
	for _, h := range letter.Headers[own:] {
		if h.Key == "klamm.timestamp" {
			if n, err := strconv.ParseInt(string(h.Value), 10, 64); err == nil {
				millis = n
			}
		}
	}
	return &kgo.Record{
		Topic: l.Topic, Partition: l.Partition, Offset: l.Offset, Timestamp: time.UnixMilli(millis),
		Key: letter.Key, Value: letter.Value, Headers: letter.Headers[:own:own],
	}
}

// chosen reads the ids of letters; none means all.
func chosen(ids []string) (map[string]bool, error) {
	want := map[string]bool{}
	for _, id := range ids {
		p, o, ok := strings.Cut(id, "-")
		_, err := strconv.ParseInt(p, 10, 32)
		_, err2 := strconv.ParseInt(o, 10, 64)
		if !ok || err != nil || err2 != nil {
			return nil, fmt.Errorf("%w: %q is not the id of a dead letter, PARTITION-OFFSET", ErrBadRequest, id)
		}
		want[id] = true
	}
	return want, nil
}

// Redrive delivers dead letters once more, those named by their ids or, with none,
// all there are at the time of the call, and returns when each is delivered or
// given up again. What is delivered or given up again leaves the list; a letter
// that fails again comes back as a new one. Records of one key go in the order in
// which they were given up. The error is ErrBusy while somebody else redrives
// letters of the pipe, in whatever process.
func (r *Runner) Redrive(ctx context.Context, pipe string, ids []string, report func(Progress)) (Progress, error) {
	return r.redrive(ctx, pipe, ids, nil, report)
}

// RedriveEdited is Redrive for one letter, whose record is delivered with another value;
// nil is that of a tombstone.
func (r *Runner) RedriveEdited(ctx context.Context, pipe, id string, value []byte, report func(Progress)) (Progress, error) {
	return r.redrive(ctx, pipe, []string{id}, func(record *kgo.Record) { record.Value = value }, report)
}

// redrive delivers letters, each changed by edit if that is not nil.
func (r *Runner) redrive(ctx context.Context, pipe string, ids []string, edit func(*kgo.Record), report func(Progress)) (Progress, error) {
	def, err := r.definition(pipe)
	if err != nil {
		return Progress{}, err
	}
	want, err := chosen(ids)
	if err != nil {
		return Progress{}, err
	}
	ctx, release, err := r.memory.take(ctx, pipe)
	if err != nil {
		return Progress{}, err
	}
	defer release()
	s := settling{runner: r, pipe: pipe, from: map[*kgo.Record]openLetter{}, twins: map[mark][]openLetter{}}
	fd, err := r.newFeed(def, false, nil, 0, s.done)
	if err != nil {
		return Progress{}, err
	}
	var p Progress
	progress := func() Progress {
		p.Delivered, p.DeadLettered = fd.tally.delivered.Load(), fd.tally.dead.Load()
		return p
	}
	tell := func() {
		if err := s.flush(ctx); err != nil {
			fd.flow.log.Warn("which letters are done with cannot be noted yet", "err", err)
		}
		report(progress())
	}
	last := time.Now()
	for l, failed := range r.unsettled(ctx, def) {
		if failed != nil {
			err = failed
			break
		}
		p.Read++
		if l.twin {
			s.join(l)
			continue
		}
		if len(want) > 0 && !want[l.letter.ID] {
			continue
		}
		p.Records++
		record := original(l.letter, l.record)
		if edit != nil {
			edit(record)
		}
		s.expect(record, l)
		if !fd.put(ctx, record) {
			break
		}
		if time.Since(last) > 500*time.Millisecond {
			last = time.Now()
			tell()
		}
	}
	err = errors.Join(err, fd.end(ctx, r.cfg.Grace, tell))
	if cause := context.Cause(ctx); errors.Is(err, context.Canceled) && cause != nil {
		err = cause
	}
	note, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	err = errors.Join(err, s.flush(note))
	report(progress())
	return p, err
}

// Discard takes dead letters off the list, those named or, with none, all there
// are at the time of the call, and returns how many. They stay in the topic until
// its retention removes them.
func (r *Runner) Discard(ctx context.Context, pipe string, ids []string) (int, error) {
	def, err := r.definition(pipe)
	if err != nil {
		return 0, err
	}
	want, err := chosen(ids)
	if err != nil {
		return 0, err
	}
	s := settling{runner: r, pipe: pipe}
	chosen := map[mark]bool{}
	n := 0
	for l, err := range r.unsettled(ctx, def) {
		if err != nil {
			return n, err
		}
		if l.twin {
			if chosen[l.mark] {
				s.add(l)
			}
			continue
		}
		if len(want) > 0 && !want[l.letter.ID] {
			continue
		}
		chosen[l.mark] = true
		s.add(l)
		if n++; n%10_000 == 0 {
			if err := s.flush(ctx); err != nil {
				return n, err
			}
		}
	}
	return n, s.flush(ctx)
}

// settling gathers letters that are done with, until they are noted.
type settling struct {
	runner *Runner
	pipe   string

	mu     sync.Mutex
	from   map[*kgo.Record]openLetter // by the record that is being delivered
	twins  map[mark][]openLetter      // of letters that were chosen and are not settled
	over   map[mark]bool              // that were chosen and are
	ready  map[int32][]int64
	starts map[int32]int64
}

func (s *settling) expect(r *kgo.Record, l openLetter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from[r] = openLetter{record: &kgo.Record{Partition: l.record.Partition, Offset: l.record.Offset}, start: l.start, mark: l.mark}
	s.twins[l.mark] = nil
}

// join settles a letter together with the one whose twin it is, if that was chosen.
func (s *settling) join(l openLetter) {
	s.mu.Lock()
	twins, going := s.twins[l.mark]
	over := s.over[l.mark]
	if going {
		l.record = &kgo.Record{Partition: l.record.Partition, Offset: l.record.Offset}
		s.twins[l.mark] = append(twins, l)
	}
	s.mu.Unlock()
	if over {
		s.add(l)
	}
}

func (s *settling) done(r *kgo.Record) {
	s.mu.Lock()
	l, ok := s.from[r]
	delete(s.from, r)
	twins := s.twins[l.mark]
	if ok {
		delete(s.twins, l.mark)
		if s.over == nil {
			s.over = map[mark]bool{}
		}
		s.over[l.mark] = true
	}
	s.mu.Unlock()
	if ok {
		s.add(l)
	}
	for _, t := range twins {
		s.add(t)
	}
}

func (s *settling) add(l openLetter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready == nil {
		s.ready, s.starts = map[int32][]int64{}, map[int32]int64{}
	}
	p := l.record.Partition
	s.ready[p] = append(s.ready[p], l.record.Offset)
	s.starts[p] = l.start
}

// flush notes what was gathered; what cannot be noted is kept for the next time.
func (s *settling) flush(ctx context.Context) error {
	s.mu.Lock()
	ready := s.ready
	s.ready = nil
	starts := maps.Clone(s.starts)
	s.mu.Unlock()
	var failed error
	for p, offsets := range ready {
		if err := s.runner.memory.settle(ctx, s.pipe, p, starts[p], offsets...); err != nil {
			failed = err
			for _, o := range offsets {
				s.add(openLetter{record: &kgo.Record{Partition: p, Offset: o}, start: starts[p]})
			}
		}
	}
	return failed
}
