package bench

import (
	"context"
	"fmt"
	"time"
)

// readBytes bounds the keys and values of one answer to a reader.
const readBytes = 1 << 20

// reads measures how fast a client reads a whole topic: records that go out at
// the front door. All sides read the same topic, each of them several times.
func (c *conductor) reads(ctx context.Context, klamm *child, klammAddr string) (Case, error) {
	result := Case{Door: "front", Name: "read", Title: "records read, one connection, answers of up to 1 MiB"}
	topic, count := c.run+"front-read", c.backlog()
	c.progress("front: producing %s records", thousands(float64(count)))
	if err := c.createTopic(ctx, topic); err != nil {
		return result, err
	}
	defer c.deleteTopic(ctx, topic)
	if err := c.fill(ctx, fillRole{Brokers: c.brokers, Topic: topic, Count: count, Size: c.ValueBytes}); err != nil {
		return result, err
	}
	bare, bareAddr, err := c.crew.serving(ctx, "yardstick-read", readYardstick{Brokers: c.brokers, Topic: topic})
	if err != nil {
		return result, err
	}
	defer bare.kill()
	measure := time.Duration(c.Seconds) * time.Second
	// Half of the time of a pass or more is measured, whoever reads.
	timeout := 4*measure + startTimeout
	over := func(server *child, addr string) func(context.Context, string) (loadResult, error) {
		return func(ctx context.Context, group string) (loadResult, error) {
			r, err := c.perform(ctx, "load-read", readRole{
				Measure: measure, Addr: addr, Bare: server == bare, Topic: topic, Group: group, Partitions: c.Partitions,
				Count: count, Size: c.ValueBytes, MaxBytes: max(readBytes, 2*c.ValueBytes), PID: server.pid(),
			}, timeout)
			if err != nil {
				return r, err
			}
			r.Figures.PeakBytes, err = peakMemory(server.pid())
			return r, err
		}
	}
	contenders := []contender{
		{"native", true, func(ctx context.Context, _ string) (loadResult, error) {
			return c.perform(ctx, "yardstick-native-read", nativeReadYardstick{Measure: measure, Brokers: c.brokers, Topic: topic, Count: count, Size: c.ValueBytes}, timeout)
		}},
		{"yardstick", true, over(bare, bareAddr)},
		{"klamm v2", false, over(klamm, klammAddr)},
	}
	return c.rounds(ctx, result, contenders, func(ctx context.Context, name string, side contender) (Figures, error) {
		r, err := side.work(ctx, name)
		if err == nil && r.Acknowledged%count != 0 {
			err = fmt.Errorf("%d records were read of a topic that has %d", r.Acknowledged, count)
		}
		return r.Figures, err
	})
}
