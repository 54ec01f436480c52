package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// readRole configures a client that reads a whole topic again and again, on one
// connection, by a consumer instance of Confluent's v2 or by the bare reader.
type readRole struct {
	Measure    time.Duration `json:"measure"` // passes go on until so much time was measured
	Addr       string        `json:"addr"`
	Bare       bool          `json:"bare"`
	Topic      string        `json:"topic"`
	Group      string        `json:"group"`
	Partitions int           `json:"partitions"`
	Count      int64         `json:"count"`     // of records in the topic
	Size       int           `json:"size"`      // of a document, in bytes
	MaxBytes   int           `json:"max_bytes"` // of an answer
	PID        int           `json:"pid"`       // of the server
}

func runRead(ctx context.Context, c readRole, out io.Writer) error {
	if c.Count < 1 || c.Size < minDocument || c.Size > maxDocument || c.MaxBytes <= c.Size || c.Partitions < 1 {
		return fmt.Errorf("%w: nothing to read", ErrRole)
	}
	w, err := dial(c.Addr)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = w.conn.Close() })()
	p := passes{pid: c.PID, count: c.Count, size: c.Size}
	for n := 0; p.measured < c.Measure; n++ {
		if err := c.pass(ctx, w, &p, n); err != nil {
			return fmt.Errorf("read from %s: %w", c.Addr, err)
		}
	}
	return printResult(out, loadResult{Figures: p.figures(), Acknowledged: p.records})
}

// pass reads the topic once, with a consumer of its own.
func (c readRole) pass(ctx context.Context, w *wire, p *passes, n int) error {
	path, err := c.open(w, n)
	if err != nil {
		return err
	}
	get := fmt.Sprintf("GET %s/records?max_bytes=%d HTTP/1.1\r\nHost: %s\r\nUser-Agent: klamm-bench\r\nAccept: %s\r\n\r\n", path, c.MaxBytes, c.Addr, mediaV2JSON)
	p.begin()
	// A reader that has not got all by then does not get it.
	deadline := time.Now().Add(c.Measure + startTimeout)
	for !p.complete() {
		begin := time.Now()
		if begin.After(deadline) {
			return fmt.Errorf("%d of %d records after %s", p.seen, c.Count, c.Measure+startTimeout)
		}
		status, body, err := w.roundTrip([]byte(get), requestTimeout)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d, want 200: %.200s", status, body)
		}
		if err == nil {
			err = p.take(begin, func(found func(int64)) (int, error) { return readRecords(body, c.Topic, c.Size, found) })
		}
		if err != nil {
			return fmt.Errorf("after %d of %d records: %w", p.seen, c.Count, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err := p.end(); err != nil {
		return err
	}
	return c.send(w, http.MethodDelete, path, "")
}

// open makes a consumer that begins at the first record of each partition, and
// returns its path.
func (c readRole) open(w *wire, n int) (string, error) {
	if c.Bare {
		return "/reader", c.send(w, http.MethodPost, "/reader", "")
	}
	name := strconv.Itoa(n)
	path := "/consumers/" + c.Group + "/instances/" + name
	create := fmt.Sprintf(`{"name":%q,"format":"json","auto.offset.reset":"earliest","auto.commit.enable":"false"}`, name)
	if err := c.send(w, http.MethodPost, "/consumers/"+c.Group, create); err != nil {
		return "", err
	}
	var partitions []string
	for i := range c.Partitions {
		partitions = append(partitions, fmt.Sprintf(`{"topic":%q,"partition":%d}`, c.Topic, i))
	}
	return path, c.send(w, http.MethodPost, path+"/assignments", `{"partitions":[`+strings.Join(partitions, ",")+`]}`)
}

// send makes a request whose answer says only that it worked.
func (c readRole) send(w *wire, method, path, body string) error {
	request := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: klamm-bench\r\nContent-Type: application/vnd.kafka.v2+json\r\nContent-Length: %d\r\n\r\n%s",
		method, path, c.Addr, len(body), body)
	status, answer, err := w.roundTrip([]byte(request), requestTimeout)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("%s %s: status %d: %.200s", method, path, status, answer)
	}
	return err
}

// readRecords calls found with the number of each document of a v2 answer whose
// values are documents, and verifies all else in it.
func readRecords(b []byte, topic string, size int, found func(seq int64)) (records int, err error) {
	head := []byte(`{"topic":"` + topic + `","key":null,"value":`)
	b, ok := bytes.CutPrefix(b, []byte("["))
	for first := true; ok; first = false {
		if rest, end := bytes.CutPrefix(b, []byte("]")); end && len(rest) == 0 {
			return records, nil
		}
		if !first {
			if b, ok = bytes.CutPrefix(b, []byte(",")); !ok {
				break
			}
		}
		if b, ok = bytes.CutPrefix(b, head); !ok || len(b) < size {
			break
		}
		seq, _, err := readDocument(b[:size], size)
		if err != nil {
			return records, err
		}
		if b, ok = cutNumber(b[size:], `,"partition":`); !ok {
			break
		}
		if b, ok = cutNumber(b, `,"offset":`); !ok {
			break
		}
		if b, ok = bytes.CutPrefix(b, []byte("}")); ok {
			found(seq)
			records++
		}
	}
	return records, fmt.Errorf("%w: not an array of records at %.80q", errAnswer, b)
}

// cutNumber cuts a name and the whole number behind it from the front.
func cutNumber(b []byte, name string) (rest []byte, ok bool) {
	if b, ok = bytes.CutPrefix(b, []byte(name)); !ok {
		return b, false
	}
	n := 0
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	return b[n:], n > 0
}

// passes adds up what reading a topic several times took. What is measured of a
// pass begins with the end of the first answer that has records, so that the
// start costs nobody anything, and ends when nine tenths of the topic have been
// read: at the end of a topic, a reader waits for what does not come.
type passes struct {
	pid   int
	count int64 // of records in the topic
	size  int

	measured        time.Duration
	cpu             time.Duration
	records, counts int64 // all, and those within what was measured
	requests        int64
	times           latencies

	met                []uint64 // a bit for each document of this pass
	seen               int64
	started, over      bool
	start              time.Time
	startCPU           time.Duration
	startSeen, answers int64
}

// begin begins a pass.
func (p *passes) begin() {
	p.met = make([]uint64, (p.count+63)/64)
	p.seen, p.answers = 0, 0
	p.started, p.over = false, false
}

// end ends a pass.
func (p *passes) end() error {
	if !p.over {
		return fmt.Errorf("%w: a topic of %d records is read at once; take more --records", ErrOptions, p.count)
	}
	return nil
}

// complete says whether every record of the topic has been read.
func (p *passes) complete() bool { return p.seen == p.count }

// take counts one answer and the time it took.
func (p *passes) take(begin time.Time, read func(found func(seq int64)) (int, error)) error {
	got, err := p.meet(read)
	if err != nil || got == 0 {
		return err
	}
	p.records += int64(got)
	return p.clock(begin)
}

// meet notes what an answer holds; read calls found with the number of each of
// its documents. A document that was there before is an error.
func (p *passes) meet(read func(found func(seq int64)) (int, error)) (int, error) {
	var wrong error
	got, err := read(func(seq int64) {
		switch {
		case seq >= p.count:
			wrong = fmt.Errorf("%w: number %d", errDocument, seq)
		case p.met[seq/64]&(1<<(seq%64)) != 0:
			wrong = fmt.Errorf("record %d was read twice", seq)
		default:
			p.met[seq/64] |= 1 << (seq % 64)
			p.seen++
		}
	})
	if err == nil {
		err = wrong
	}
	return got, err
}

// clock takes the times after an answer with records.
func (p *passes) clock(begin time.Time) (err error) {
	now := time.Now()
	if !p.started {
		p.started, p.start, p.startSeen = true, now, p.seen
		p.startCPU, err = cpuTime(p.pid)
		return err
	}
	if p.over {
		return nil
	}
	p.answers++
	p.times.add(now.Sub(begin))
	if p.seen < p.count-p.count/10 {
		return nil
	}
	p.over = true
	cpu, err := cpuTime(p.pid)
	p.measured += now.Sub(p.start)
	p.cpu += cpu - p.startCPU
	p.counts += p.seen - p.startSeen
	p.requests += p.answers
	return err
}

func (p *passes) figures() Figures {
	f := Figures{
		Records: p.counts, Requests: p.requests, Bytes: p.counts * int64(p.size), Seconds: p.measured.Seconds(),
		P50Micros: float64(p.times.quantile(0.50)) / float64(time.Microsecond),
		P99Micros: float64(p.times.quantile(0.99)) / float64(time.Microsecond),
	}
	f.settle(p.cpu)
	return f
}
