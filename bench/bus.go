package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klamm-gateway/klamm/event"
)

// This file has the sides of the case "bus": an event comes in over HTTP, lies in a topic,
// and goes out as a request.

// startBus starts klamm with a bus and a rule that posts the detail of each event.
func (c *conductor) startBus(ctx context.Context, h haul) (_ *child, in inlet, err error) {
	file, err := c.write(h.group, "egress: {allow: [127.0.0.0/8]}\n")
	if err != nil {
		return nil, in, err
	}
	klamm, addr, err := c.startKlamm(ctx, file)
	if err != nil {
		return nil, in, err
	}
	defer func() {
		if err != nil {
			klamm.kill()
		}
	}()
	bus, name := h.liveTopic, h.group
	tags := []map[string]string{{"Key": "klamm:partitions", "Value": fmt.Sprint(h.partitions)}}
	if _, err = callEvents(ctx, addr, "CreateEventBus", map[string]any{"Name": bus, "Tags": tags}); err != nil {
		return nil, in, err
	}
	if err = c.awaitTopics(ctx, []string{event.BusTopic(bus)}); err != nil {
		return nil, in, err
	}
	connection, err := callEvents(ctx, addr, "CreateConnection", map[string]any{"Name": name, "AuthorizationType": "API_KEY", "AuthParameters": map[string]any{
		"ApiKeyAuthParameters": map[string]string{"ApiKeyName": "X-Api-Key", "ApiKeyValue": "benchmark"}}})
	if err != nil {
		return nil, in, err
	}
	destination, err := callEvents(ctx, addr, "CreateApiDestination", map[string]any{"Name": name, "ConnectionArn": connection["ConnectionArn"],
		"HttpMethod": "POST", "InvocationEndpoint": h.url, "InvocationRateLimitPerSecond": 1_000_000})
	if err != nil {
		return nil, in, err
	}
	if _, err = callEvents(ctx, addr, "PutRule", map[string]any{"Name": name, "EventBusName": bus, "EventPattern": `{"source":["klamm.bench"]}`}); err != nil {
		return nil, in, err
	}
	_, err = callEvents(ctx, addr, "PutTargets", map[string]any{"Rule": name, "EventBusName": bus, "Targets": []map[string]any{
		{"Id": "sink", "Arn": destination["ApiDestinationArn"], "RoleArn": "arn:aws:iam::000000000000:role/bench", "InputPath": "$.detail"}}})
	return klamm, inlet{addr, mediaEvents}, err
}

// busYardstick configures the bare program of the case: both bare doors in one process.
type busYardstick struct {
	Front frontYardstick `json:"front"`
	Pipe  pipeYardstick  `json:"pipe"`
}

func runBusYardstick(ctx context.Context, c busYardstick, out io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var posting sync.WaitGroup
	defer posting.Wait()
	defer cancel(nil)
	posting.Go(func() {
		if err := runPipeYardstick(ctx, c.Pipe, io.Discard); err != nil && !errors.Is(err, errStopped) {
			cancel(err)
		}
	})
	err := runFrontYardstick(ctx, c.Front, out)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// putRole configures a load of documents with consecutive sequence numbers over HTTP, each
// in a request of its own.
type putRole struct {
	Addr        string `json:"addr"`
	Media       string `json:"media"`
	Topic       string `json:"topic"` // of mediaEvents: the bus
	First       int64  `json:"first"`
	Count       int64  `json:"count"`
	Size        int    `json:"size"`       // of a document, in bytes
	PerSecond   int64  `json:"per_second"` // 0: as fast as it goes
	Connections int    `json:"connections"`
}

// put has documents put by a process of their own.
func (c *conductor) put(ctx context.Context, config putRole) error {
	p, err := c.crew.role("put", config)
	if err != nil {
		return err
	}
	defer p.kill()
	var count int64
	return p.result(ctx, startTimeout+time.Duration(config.Count/leastRate)*time.Second, &count)
}

// runPut puts each document when its time has come, or later if no connection is free.
func runPut(ctx context.Context, c putRole, out io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var workers sync.WaitGroup
	start := time.Now()
	load := loadRole{Addr: c.Addr, Media: c.Media, Topic: c.Topic, Records: 1, Size: c.Size}
	for range c.Connections {
		w, err := dial(c.Addr)
		if err != nil {
			return err
		}
		defer func() { _ = w.conn.Close() }()
		workers.Go(func() {
			check := checker{want: 1}
			for n := next.Add(1) - 1; n < c.Count; n = next.Add(1) - 1 {
				if c.PerSecond > 0 && !pause(ctx, time.Until(start.Add(time.Duration(n)*time.Second/time.Duration(c.PerSecond)))) || ctx.Err() != nil {
					return
				}
				status, body, err := w.roundTrip(load.request(c.First+n, -1), requestTimeout)
				if err == nil {
					err = load.verify(&check, status, body)
				}
				if err != nil {
					cancel(fmt.Errorf("put on %s: %w", c.Addr, err))
					return
				}
			}
		})
	}
	workers.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return printResult(out, c.Count)
}
