package bench

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// A contender is one side of a case: it works once in each round.
type contender struct {
	name      string
	yardstick bool
	// work does the work once; topic is new and empty.
	work func(ctx context.Context, topic string) (loadResult, error)
}

// front measures the front door: requests that come in and become records.
func (c *conductor) front(ctx context.Context) ([]Case, error) {
	if c.SSE {
		return c.sse(ctx)
	}
	if c.Auth != "" {
		return c.auth(ctx)
	}
	if c.Policies {
		return c.policies(ctx)
	}
	klamm, klammAddr, err := c.startKlamm(ctx, "")
	if err != nil {
		return nil, err
	}
	defer klamm.kill()
	bare, bareAddr, err := c.crew.serving(ctx, "yardstick-front", frontYardstick{Brokers: c.brokers})
	if err != nil {
		return nil, err
	}
	defer bare.kill()

	yardstick := contender{"yardstick", true, c.requests(bare, bareAddr, mediaPlain, 1)}
	// A Java broker that has just started is slow at first, and that would be
	// to the first side's loss.
	if _, err := c.turn(ctx, c.run+"warm", yardstick); err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	const batch = 100
	measures := []struct {
		name, title string
		sides       []contender
	}{
		{"one", fmt.Sprintf("one record a request, %d connections", c.Connections), []contender{
			yardstick,
			{"klamm raw", false, c.requests(klamm, klammAddr, mediaPlain, 1)},
			{"klamm v2", false, c.requests(klamm, klammAddr, mediaV2JSON, 1)},
		}},
		{"batch", fmt.Sprintf("%d records a request, %d connections", batch, c.Connections), []contender{
			yardstick,
			{"native", true, c.native(batch)},
			{"klamm v2", false, c.requests(klamm, klammAddr, mediaV2JSON, batch)},
		}},
		{"stream", "one record after the other, one connection", []contender{
			{"native", true, c.nativeStream()},
			{"klamm v3", false, c.stream(klamm, klammAddr)},
		}},
	}
	var cases []Case
	for _, m := range measures {
		if !c.wants(m.name) {
			continue
		}
		result, err := c.rounds(ctx, Case{Door: "front", Name: m.name, Title: m.title}, m.sides, c.turn)
		if err != nil {
			return nil, err
		}
		cases = append(cases, result)
	}
	if c.wants("events") {
		result, err := c.putEvents(ctx, klamm, bare, klammAddr, bareAddr)
		if err != nil {
			return nil, err
		}
		cases = append(cases, result)
	}
	if c.wants("avro") {
		result, err := c.avro(ctx)
		if err != nil {
			return nil, err
		}
		cases = append(cases, result)
	}
	if c.wants("read") {
		result, err := c.reads(ctx, klamm, klammAddr)
		if err != nil {
			return nil, err
		}
		cases = append(cases, result)
	}
	return cases, nil
}

// rounds lets all contenders work in turn, round by round, and compares. Each
// turn is given a name of its own for a topic.
func (c *conductor) rounds(ctx context.Context, result Case, contenders []contender, turn func(context.Context, string, contender) (Figures, error)) (Case, error) {
	result.Sides = make([]Side, len(contenders))
	for round := range c.Rounds {
		for i, side := range contenders {
			f, err := turn(ctx, fmt.Sprintf("%sfront-%s-%d-%d", c.run, result.Name, round, i), side)
			if err != nil {
				return result, fmt.Errorf("%s, %s: %w", result.Title, side.name, err)
			}
			c.progress("%s: %s: round %d of %d, %s: %s records/s", result.Door, result.Title, round+1, c.Rounds, side.name, thousands(f.RecordsPerSecond))
			result.Sides[i].Name = side.name
			result.Sides[i].Runs = append(result.Sides[i].Runs, f)
		}
	}
	compare(&result, contenders)
	return result, nil
}

// compare fills in the medians, and the shares of each side of klamm's.
func compare(result *Case, contenders []contender) {
	for i := range result.Sides {
		result.Sides[i].Median = medians(result.Sides[i].Runs)
	}
	for i, side := range contenders {
		for j, other := range contenders {
			if !side.yardstick && other.yardstick {
				result.Shares = append(result.Shares, shareOf(result.Sides[i], result.Sides[j]))
			}
		}
	}
}

// turn is one measurement of one side, on a topic of its own.
func (c *conductor) turn(ctx context.Context, topic string, side contender) (Figures, error) {
	return c.turnOf(ctx, topic, side, c.produced)
}

// turnOf is turn where verify says whether the topic holds what was acknowledged.
func (c *conductor) turnOf(ctx context.Context, topic string, side contender, verify func(ctx context.Context, topic string, acknowledged int64) error) (Figures, error) {
	if err := c.createTopic(ctx, topic); err != nil {
		return Figures{}, err
	}
	defer c.deleteTopic(ctx, topic)
	result, err := side.work(ctx, topic)
	if err != nil {
		return Figures{}, err
	}
	return result.Figures, verify(ctx, topic, result.Acknowledged)
}

func (c *conductor) stretch() stretch {
	return stretch{Warm: warmUp, Measure: time.Duration(c.Seconds) * time.Second}
}

// timeout bounds a process that works for one stretch.
func (s stretch) timeout() time.Duration { return s.Warm + s.Measure + startTimeout }

// requests is a side that answers HTTP requests of some records each.
func (c *conductor) requests(server *child, addr, media string, records int) func(context.Context, string) (loadResult, error) {
	return c.requestsOf(server, addr, media, records, nil)
}

// requestsOf is requests by callers who show who they are; nil: nobody does.
func (c *conductor) requestsOf(server *child, addr, media string, records int, auth *authLoad) func(context.Context, string) (loadResult, error) {
	return c.load(server, loadRole{Addr: addr, Media: media, Records: records, Auth: auth})
}

// load is a side that answers the requests of a load; the rest of its configuration is
// that of all loads.
func (c *conductor) load(server *child, config loadRole) func(context.Context, string) (loadResult, error) {
	config.Stretch, config.Size, config.Connections, config.PID = c.stretch(), c.ValueBytes, c.Connections, server.pid()
	if config.Auth != nil { // each caller has called once before it counts
		config.Stretch.Warm += time.Duration(config.Auth.Principals) * callerWarmUp
	}
	return func(ctx context.Context, topic string) (loadResult, error) {
		config := config
		config.Topic = topic
		r, err := c.perform(ctx, "load", config, config.Stretch.timeout())
		if err != nil {
			return r, err
		}
		r.Figures.PeakBytes, err = peakMemory(server.pid())
		return r, err
	}
}

// openSides are what callers who show who they are are measured beside: the yardstick,
// warm, and a klamm that lets everybody in. Stop ends both.
func (c *conductor) openSides(ctx context.Context) (_ []contender, stop func(), err error) {
	bare, bareAddr, err := c.crew.serving(ctx, "yardstick-front", frontYardstick{Brokers: c.brokers})
	if err != nil {
		return nil, nil, err
	}
	yardstick := contender{"yardstick", true, c.requests(bare, bareAddr, mediaPlain, 1)}
	if _, err := c.turn(ctx, c.run+"warm", yardstick); err != nil {
		bare.kill()
		return nil, nil, fmt.Errorf("warm up: %w", err)
	}
	open, openAddr, err := c.startKlamm(ctx, "")
	if err != nil {
		bare.kill()
		return nil, nil, err
	}
	return []contender{yardstick, {"klamm raw", false, c.requests(open, openAddr, mediaPlain, 1)}}, func() { open.kill(); bare.kill() }, nil
}

// callerWarmUp is what each caller adds to the time before a measurement: proofs of who
// somebody is are checked once and then remembered.
const callerWarmUp = 500 * time.Microsecond

// native is a side that produces by itself, without HTTP.
func (c *conductor) native(records int) func(context.Context, string) (loadResult, error) {
	return func(ctx context.Context, topic string) (loadResult, error) {
		config := nativeYardstick{
			Stretch: c.stretch(), Brokers: c.brokers, Topic: topic, Records: records, Size: c.ValueBytes, Connections: c.Connections,
		}
		return c.perform(ctx, "yardstick-native", config, config.Stretch.timeout())
	}
}

// stream is a side that answers a produce stream of v3.
func (c *conductor) stream(server *child, addr string) func(context.Context, string) (loadResult, error) {
	return func(ctx context.Context, topic string) (loadResult, error) {
		config := streamRole{Stretch: c.stretch(), Addr: addr, Topic: topic, Size: c.ValueBytes, PID: server.pid()}
		r, err := c.perform(ctx, "load-stream", config, config.Stretch.timeout())
		if err != nil {
			return r, err
		}
		r.Figures.PeakBytes, err = peakMemory(server.pid())
		return r, err
	}
}

// nativeStream is a side that produces one record after the other by itself.
func (c *conductor) nativeStream() func(context.Context, string) (loadResult, error) {
	return func(ctx context.Context, topic string) (loadResult, error) {
		config := streamYardstick{Stretch: c.stretch(), Brokers: c.brokers, Topic: topic, Size: c.ValueBytes}
		return c.perform(ctx, "yardstick-stream", config, config.Stretch.timeout())
	}
}

// perform runs a role until it has its result.
func (c *conductor) perform(ctx context.Context, name string, config any, timeout time.Duration) (loadResult, error) {
	var r loadResult
	p, err := c.crew.role(name, config)
	if err != nil {
		return r, err
	}
	defer p.kill()
	err = p.result(ctx, timeout, &r)
	return r, err
}

// startKlamm starts klamm serve, with a configuration file if file is not
// empty, and returns its HTTP address when it is ready.
func (c *conductor) startKlamm(ctx context.Context, file string) (*child, string, error) {
	p, err := c.spawnKlamm(file)
	if err != nil {
		return nil, "", err
	}
	line, err := p.line(ctx, startTimeout, "klamm ready: http=")
	if err != nil {
		return nil, "", err
	}
	addr, _, _ := strings.Cut(line, " ")
	return p, addr, nil
}

func (c *conductor) spawnKlamm(file string) (*child, error) {
	args := []string{"serve", "--brokers", strings.Join(c.brokers, ","), "--listen", "127.0.0.1:0", "--log-level", "warn"}
	if file != "" {
		args = append(args, "--config", file)
	}
	return c.crew.start("klamm", args...)
}
