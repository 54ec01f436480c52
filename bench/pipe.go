package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// recordsASecond is what the backlog is made for.
	recordsASecond = 40_000
	// batchFactor is how many more records a backlog for batches has.
	batchFactor = 5
	// livePerSecond and liveSeconds are the steady trickle after the backlog,
	// from which the latency is read.
	livePerSecond = 1_000
	liveSeconds   = 2
	// commitTimeout bounds how long after the last delivery a side may take to
	// commit.
	commitTimeout = 20 * time.Second
)

// pipe measures the back door: records that are read and become requests.
func (c *conductor) pipe(ctx context.Context) ([]Case, error) {
	var cases []Case
	for _, name := range pipeNames() {
		if !c.wants(name) {
			continue
		}
		result, h := c.pipeCase(name)
		if !h.bus { // where each side is given its own, see begin
			if err := c.fillBacklog(ctx, h); err != nil {
				return nil, err
			}
		}
		if name == "half" || h.bus {
			most, err := c.carried(ctx, h)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", result.Title, err)
			}
			h.halve(&result, most)
		}
		result, err := c.hauls(ctx, result, h)
		if err != nil {
			return nil, err
		}
		if !h.bus {
			c.deleteTopic(ctx, h.backlogTopic)
		}
		cases = append(cases, result)
	}
	return cases, nil
}

func (c *conductor) fillBacklog(ctx context.Context, h haul) error {
	c.progress("pipe: producing %s records", thousands(float64(h.backlog)))
	if err := c.createParts(ctx, h.backlogTopic, h.partitions, nil); err != nil {
		return err
	}
	return c.fill(ctx, fillRole{Brokers: c.brokers, Topic: h.backlogTopic, Count: h.backlog, Size: c.ValueBytes, Keys: h.keys})
}

func (c *conductor) fill(ctx context.Context, config fillRole) error {
	p, err := c.crew.role("fill", config)
	if err != nil {
		return err
	}
	defer p.kill()
	// Ten thousand records a second are an order of magnitude below what any
	// machine does.
	timeout := startTimeout + time.Duration(config.Count/10_000)*time.Second
	var count int64
	return p.result(ctx, timeout, &count)
}

// A start starts a side of a haul, and says where it takes records.
type start func(context.Context, haul) (*child, inlet, error)

// An inlet is where a side takes records over HTTP; the zero value is one that reads them
// from the brokers.
type inlet struct{ addr, media string }

// hauls lets both sides work in turn, round by round, and compares.
func (c *conductor) hauls(ctx context.Context, result Case, h haul) (Case, error) {
	sides := []struct {
		contender
		start start
	}{
		{contender{name: "yardstick", yardstick: true}, c.startPipeYardstick},
		{contender{name: "klamm"}, c.startPipeKlamm},
	}
	result.Sides = make([]Side, len(sides))
	var contenders []contender
	for _, side := range sides {
		contenders = append(contenders, side.contender)
	}
	for round := range c.Rounds {
		for i, side := range sides {
			h.group = fmt.Sprintf("%spipe-%s-%d-%d", c.run, result.Name, round, i)
			h.liveTopic = h.group
			f, err := c.haul(ctx, h, side.start)
			if err != nil {
				return result, fmt.Errorf("%s, %s: %w", result.Title, side.name, err)
			}
			c.progress("pipe: %s: round %d of %d, %s: %s records/s", result.Title, round+1, c.Rounds, side.name, thousands(f.RecordsPerSecond))
			result.Sides[i].Name = side.name
			result.Sides[i].Runs = append(result.Sides[i].Runs, f)
		}
	}
	compare(&result, contenders)
	return result, nil
}

// haul is one measurement of one side.
func (c *conductor) haul(ctx context.Context, h haul, start start) (Figures, error) {
	var none Figures
	w, backlog, err := c.begin(ctx, h, []int64{h.live}, start)
	if err != nil {
		return none, err
	}
	defer w.end()
	live, err := w.trickle(ctx, h.live, h.livePerSecond)
	if err != nil {
		return none, err
	}
	if backlog.PeakBytes, err = peakMemory(w.server.pid()); err != nil {
		return none, err
	}
	backlog.P50Micros, backlog.P99Micros = live.P50Micros, live.P99Micros
	backlog.Repeated += live.Repeated
	if h.bus {
		return backlog, nil // the groups of rules are klamm's own affair
	}
	return backlog, c.committed(ctx, h)
}

// A hauling is a side that has delivered its backlog and takes live records.
type hauling struct {
	c            *conductor
	h            haul
	sink, server *child
	in           inlet
	next         int64 // sequence number
	end          func()
}

// begin starts a side and has it deliver the backlog. The live records will come in so
// many stretches, of so many each.
func (c *conductor) begin(ctx context.Context, h haul, live []int64, start start) (_ *hauling, backlog Figures, err error) {
	var ends []func()
	end := func() {
		for _, one := range slices.Backward(ends) {
			one()
		}
	}
	defer func() {
		if err != nil {
			end()
		}
	}()
	if err = c.createParts(ctx, h.liveTopic, h.partitions, nil); err != nil {
		return nil, backlog, err
	}
	ends = append(ends, func() { c.deleteTopic(ctx, h.liveTopic) })
	sink, addr, err := c.crew.serving(ctx, "sink", sinkRole{Backlog: h.backlog, Live: live, Size: c.ValueBytes, Millis: h.millis})
	if err != nil {
		return nil, backlog, err
	}
	ends = append(ends, sink.kill)
	h.url = "http://" + addr + "/records"
	server, in, err := start(ctx, h)
	if err != nil {
		return nil, backlog, err
	}
	ends = append(ends, func() { c.endGroup(h.group) }, server.leave)
	if err = tellServer(ctx, addr, server.pid()); err != nil {
		return nil, backlog, err
	}
	w := &hauling{c: c, h: h, sink: sink, server: server, in: in, next: h.backlog, end: end}
	if h.bus {
		if err = w.feed(ctx, 0, h.backlog, 0); err != nil {
			return nil, backlog, err
		}
	}
	// A side that is fifty times slower than planned is not worth a figure.
	timeout := startTimeout + 50*time.Duration(c.Seconds)*time.Second
	if err = c.await(ctx, sink, server, timeout, &backlog); err != nil {
		return nil, backlog, fmt.Errorf("deliver %d records: %w", h.backlog, err)
	}
	return w, backlog, nil
}

// trickle produces the next stretch of live records and waits until they are delivered.
func (w *hauling) trickle(ctx context.Context, count, perSecond int64) (live Figures, err error) {
	if err = w.feed(ctx, w.next, count, perSecond); err != nil {
		return live, err
	}
	w.next += count
	if err := w.c.await(ctx, w.sink, w.server, startTimeout, &live); err != nil {
		return live, fmt.Errorf("deliver %d live records: %w", count, err)
	}
	return live, nil
}

// feed has records produced, where this side takes them.
func (w *hauling) feed(ctx context.Context, first, count, perSecond int64) error {
	if w.h.bus {
		return w.c.put(ctx, putRole{
			Addr: w.in.addr, Media: w.in.media, Topic: w.h.liveTopic, First: first, Count: count, Size: w.c.ValueBytes, PerSecond: perSecond, Connections: w.h.inFlight,
		})
	}
	return w.c.fill(ctx, fillRole{Brokers: w.c.brokers, Topic: w.h.liveTopic, First: first, Count: count, Size: w.c.ValueBytes, PerSecond: perSecond, Keys: w.h.keys})
}

// await waits for a result of the sink while the server must go on.
func (c *conductor) await(ctx context.Context, sink, server *child, timeout time.Duration, f *Figures) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		// The server prints nothing after it is ready, so that a line is its end.
		_, err := server.line(ctx, 2*timeout, "\x00")
		if err != nil && ctx.Err() == nil {
			cancel(err)
		}
	}()
	err := sink.result(ctx, timeout, f)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// tellServer tells the sink which process it measures.
func tellServer(ctx context.Context, addr string, pid int) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, fmt.Sprintf("http://%s/server/%d", addr, pid), http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("tell the sink what it measures: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("tell the sink what it measures: status %d", resp.StatusCode)
	}
	return nil
}

// committed verifies that a side commits what it delivered.
func (c *conductor) committed(ctx context.Context, h haul) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	want := h.backlog + h.live
	var got int64
	for {
		offsets, err := c.admin.FetchOffsets(ctx, h.group)
		if err == nil {
			got = 0
			for _, topic := range []string{h.backlogTopic, h.liveTopic} {
				for _, o := range offsets[topic] {
					got += max(o.At, 0)
				}
			}
			if got == want {
				return nil
			}
		}
		if !pause(ctx, 100*time.Millisecond) {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("group %q has committed %d of %d records %s after the last delivery", h.group, got, want, commitTimeout)
			}
			return ctx.Err()
		}
	}
}

// endGroup deletes a group whose member has left.
func (c *conductor) endGroup(group string) {
	if len(c.Brokers) == 0 {
		return // it goes with the broker
	}
	// The run's own context may have ended.
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	if resp, err := c.admin.DeleteGroup(ctx, group); err != nil || resp.Err != nil {
		c.progress("left group %s behind: %v", group, errors.Join(err, resp.Err))
	}
}

func (c *conductor) startPipeYardstick(ctx context.Context, h haul) (*child, inlet, error) {
	config := pipeYardstick{Brokers: c.brokers, Topics: []string{h.backlogTopic, h.liveTopic}, Group: h.group, URL: h.url, Batch: h.batch, InFlight: h.inFlight}
	if h.bus {
		config.Topics = []string{h.liveTopic}
		p, addr, err := c.crew.serving(ctx, "yardstick-bus", busYardstick{Front: frontYardstick{Brokers: c.brokers}, Pipe: config})
		return p, inlet{addr, mediaPlain}, err
	}
	p, err := c.crew.role("yardstick-pipe", config)
	return p, inlet{}, err
}

func (c *conductor) startPipeKlamm(ctx context.Context, h haul) (*child, inlet, error) {
	if h.bus {
		return c.startBus(ctx, h)
	}
	file, err := c.write(h.group, h.config())
	if err != nil {
		return nil, inlet{}, err
	}
	p, err := c.spawnKlamm(file)
	return p, inlet{}, err
}

// write writes a configuration file of klamm.
func (c *conductor) write(name, text string) (path string, err error) {
	path = filepath.Join(c.crew.dir, name+".yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("write klamm's configuration: %w", err)
	}
	return path, nil
}
