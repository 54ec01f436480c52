package history

import (
	"math"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// The Prometheus series that samples are made of.
const (
	httpRequests   = "klamm_http_requests_total"
	httpSeconds    = "klamm_http_request_seconds"
	produceRecords = "klamm_produce_records_total"
	produceBytes   = "klamm_produce_bytes_total"
	residentMemory = "process_resident_memory_bytes"
	goroutines     = "go_goroutines"
	pipeRecords    = "klamm_pipe_records_total"
	pipeAttempts   = "klamm_pipe_attempts_total"
	pipeSeconds    = "klamm_pipe_attempt_seconds"
	// ownAPI is the API whose requests are left out: most of them are the console's.
	ownAPI = "klamm"
)

// A snapshot is what the counters said at a time.
type snapshot struct {
	at      time.Time
	counts  map[string]float64
	seconds buckets
	pipes   map[string]*pipeCounts
}

// pipeCounts are the counters of a pipe.
type pipeCounts struct {
	read, delivered, failed float64
	seconds                 buckets
}

// buckets are the cumulative counts of a histogram, by upper bound.
type buckets struct {
	bounds []float64
	counts []float64
}

// add adds a histogram of the same bounds.
func (b *buckets) add(h *dto.Histogram) {
	if b.bounds == nil {
		for _, one := range h.GetBucket() {
			b.bounds = append(b.bounds, one.GetUpperBound())
		}
		b.counts = make([]float64, len(b.bounds)+1)
	}
	for i, one := range h.GetBucket() {
		if i < len(b.bounds) {
			b.counts[i] += float64(one.GetCumulativeCount())
		}
	}
	b.counts[len(b.bounds)] += float64(h.GetSampleCount())
}

// since returns what has come on top of an earlier state.
func (b buckets) since(before buckets) buckets {
	out := buckets{b.bounds, make([]float64, len(b.counts))}
	for i, n := range b.counts {
		if out.counts[i] = n; i < len(before.counts) && before.counts[len(before.counts)-1] <= b.counts[len(b.counts)-1] {
			out.counts[i] = max(n-before.counts[i], 0)
		}
	}
	return out
}

// quantile is a value that a part of all lies below; NaN: there was nothing.
func (b buckets) quantile(q float64) float64 {
	if len(b.counts) == 0 || b.counts[len(b.counts)-1] == 0 {
		return math.NaN()
	}
	rank := q * b.counts[len(b.counts)-1]
	lower, under := 0.0, 0.0
	for i, bound := range b.bounds {
		if n := b.counts[i]; n >= rank {
			if n == under {
				return bound
			}
			return lower + (bound-lower)*(rank-under)/(n-under)
		}
		lower, under = bound, b.counts[i]
	}
	return lower // beyond the last bound nothing is known
}

// look makes a snapshot of what was gathered.
func look(at time.Time, families []*dto.MetricFamily) snapshot {
	s := snapshot{at: at, counts: map[string]float64{}, pipes: map[string]*pipeCounts{}}
	for _, f := range families {
		switch f.GetName() {
		case httpRequests:
			for _, m := range f.GetMetric() {
				s.request(m)
			}
		case httpSeconds:
			for _, m := range f.GetMetric() {
				if label(m, "api") != ownAPI {
					s.seconds.add(m.GetHistogram())
				}
			}
		case produceRecords:
			s.counts[Records] = total(f)
		case produceBytes:
			s.counts[Bytes] = total(f)
		case residentMemory:
			s.counts[Memory] = total(f)
		case goroutines:
			s.counts[Goroutines] = total(f)
		case pipeRecords, pipeAttempts, pipeSeconds:
			for _, m := range f.GetMetric() {
				s.pipe(f.GetName(), m)
			}
		}
	}
	return s
}

// request counts requests of one status.
func (s *snapshot) request(m *dto.Metric) {
	if label(m, "api") == ownAPI {
		return
	}
	n, code := m.GetCounter().GetValue(), label(m, "code")
	switch {
	case code == "429":
		s.counts[Throttled] += n
		s.counts[RequestsBad] += n
	case code[:1] == "4":
		s.counts[RequestsBad] += n
	case code[:1] == "5", code == "0":
		s.counts[RequestsFail] += n
	default:
		s.counts[RequestsGood] += n
	}
}

// pipe notes a series of a pipe.
func (s *snapshot) pipe(family string, m *dto.Metric) {
	name := label(m, "pipe")
	p := s.pipes[name]
	if p == nil {
		p = &pipeCounts{}
		s.pipes[name] = p
	}
	n := m.GetCounter().GetValue()
	switch outcome := label(m, "outcome"); {
	case family == pipeSeconds:
		p.seconds.add(m.GetHistogram())
	case family == pipeAttempts && outcome == "failed":
		p.failed += n
	case family == pipeRecords:
		p.read += n
		if outcome == "delivered" {
			p.delivered += n
		}
	}
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return "-"
}

// total is the sum over all series of a family.
func total(f *dto.MetricFamily) (sum float64) {
	for _, m := range f.GetMetric() {
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return sum
}

// sample gathers and takes over.
func (k *Keeper) sample(now time.Time) error {
	families, err := k.cfg.Gather.Gather()
	if len(families) == 0 && err != nil {
		return err
	}
	k.take(look(now, families))
	return nil
}

// take puts what has happened since the last snapshot into the rings.
func (k *Keeper) take(s snapshot) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before, last, slot := k.before, k.slot, int64(s.at.Sub(k.began)/step)
	if slot <= last && !before.at.IsZero() {
		return
	}
	k.before, k.slot = s, slot
	seconds := s.at.Sub(before.at).Seconds()
	rate := func(now, then float64) float64 {
		if before.at.IsZero() || seconds <= 0 {
			return math.NaN()
		}
		if now < then { // begun anew
			then = 0
		}
		return (now - then) / seconds
	}
	values := map[string]float64{Memory: s.counts[Memory], Goroutines: s.counts[Goroutines]}
	for _, name := range []string{RequestsGood, RequestsBad, RequestsFail, Records, Bytes, Throttled} {
		values[name] = rate(s.counts[name], before.counts[name])
	}
	fresh := s.seconds.since(before.seconds)
	if before.at.IsZero() {
		fresh = buckets{}
	}
	values[LatencyP50], values[LatencyP95], values[LatencyP99] = fresh.quantile(0.50), fresh.quantile(0.95), fresh.quantile(0.99)
	k.takePipes(s, before, last, slot, values, rate)
	for name, r := range k.whole {
		r.put(last, slot, values[name])
	}
}

// takePipes takes over what pipes have done, and adds it to the values of the process.
func (k *Keeper) takePipes(s, before snapshot, last, slot int64, all map[string]float64, rate func(now, then float64) float64) {
	behind := k.behind
	if s.at.After(k.behold) {
		behind = nil
	}
	all[Read], all[Delivered], all[Failed], all[Lag] = rate(0, 0), rate(0, 0), rate(0, 0), math.NaN()
	if behind != nil {
		all[Lag] = 0
		for _, n := range behind {
			all[Lag] += float64(n)
		}
	}
	newcomer, most := "", 0.0
	for name, p := range s.pipes {
		then := before.pipes[name]
		if then == nil {
			then = &pipeCounts{}
		}
		read, delivered, failed := rate(p.read, then.read), rate(p.delivered, then.delivered), rate(p.failed, then.failed)
		all[Read] += read
		all[Delivered] += delivered
		all[Failed] += failed
		one := k.pipes[name]
		if one == nil && len(k.pipes) < mostPipes {
			one = newKept()
			k.pipes[name] = one
		}
		if one == nil {
			if busy := read + failed; busy > most {
				newcomer, most = name, busy
			}
			continue
		}
		if busy := read + failed; !math.IsNaN(busy) {
			one.busy = 0.98*one.busy + 0.02*busy
		}
		one.seen = slot
		values := map[string]float64{Read: read, Delivered: delivered, Failed: failed, Lag: math.NaN(), LatencyP95: p.seconds.since(then.seconds).quantile(0.95)}
		if n, ok := behind[name]; ok {
			values[Lag] = float64(n)
		}
		for name, r := range one.rings {
			r.put(last, slot, values[name])
		}
	}
	for _, one := range k.pipes {
		if one.seen != slot { // it has done nothing in this process yet, or is gone
			for _, r := range one.rings {
				r.put(last, slot, math.NaN())
			}
			one.busy *= 0.98
		}
	}
	if newcomer != "" {
		k.make(newcomer, most)
	}
}

func newKept() *kept {
	one := &kept{rings: map[string]*ring{}}
	for _, name := range ofPipe {
		one.rings[name] = newRing()
	}
	return one
}

// make begins the history of a pipe in the place of the least busy one, if that is far
// less busy.
func (k *Keeper) make(newcomer string, busy float64) {
	idle := ""
	for name, one := range k.pipes {
		if idle == "" || one.busy < k.pipes[idle].busy {
			idle = name
		}
	}
	if busy > 2*k.pipes[idle].busy+0.1 {
		delete(k.pipes, idle)
		one := newKept()
		one.busy = busy
		k.pipes[newcomer] = one
	}
}
