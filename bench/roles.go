package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker"
)

// What roles print for the conductor.
const (
	readyPrefix  = "ready "
	resultPrefix = "result "
)

// ErrRole says that there is no such role, or that its configuration is wrong.
var ErrRole = errors.New("unknown role or configuration")

// Role runs one of the processes that Run starts: name and the JSON
// configuration are as Run hands them over. It prints its address or its
// result on out and returns when its work is done or ctx ends. The error is
// ErrRole for a call that Run would not make.
func Role(ctx context.Context, name, config string, out io.Writer) error {
	switch name {
	case "broker":
		return role(ctx, config, out, runBroker)
	case "yardstick-front":
		return role(ctx, config, out, runFrontYardstick)
	case "yardstick-native":
		return role(ctx, config, out, runNativeYardstick)
	case "yardstick-stream":
		return role(ctx, config, out, runStreamYardstick)
	case "yardstick-read":
		return role(ctx, config, out, runReadYardstick)
	case "yardstick-native-read":
		return role(ctx, config, out, runNativeReadYardstick)
	case "yardstick-sse":
		return role(ctx, config, out, runSSEYardstick)
	case "yardstick-function":
		return role(ctx, config, out, runFunctionYardstick)
	case "function":
		return role(ctx, config, out, runFunction)
	case "yardstick-pipe":
		return role(ctx, config, out, runPipeYardstick)
	case "yardstick-bus":
		return role(ctx, config, out, runBusYardstick)
	case "put":
		return role(ctx, config, out, runPut)
	case "load":
		return role(ctx, config, out, runLoad)
	case "load-stream":
		return role(ctx, config, out, runStream)
	case "load-read":
		return role(ctx, config, out, runRead)
	case "load-sse":
		return role(ctx, config, out, runSSE)
	case "fill":
		return role(ctx, config, out, runFill)
	case "sink":
		return role(ctx, config, out, runSink)
	}
	return fmt.Errorf("%w: role %q", ErrRole, name)
}

func role[C any](ctx context.Context, config string, out io.Writer, run func(context.Context, C, io.Writer) error) error {
	var c C
	d := json.NewDecoder(strings.NewReader(config))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return fmt.Errorf("%w: %v", ErrRole, err)
	}
	err := run(ctx, c, out)
	if errors.Is(err, errStopped) {
		return nil
	}
	return err
}

func printReady(out io.Writer, addr string) error {
	_, err := fmt.Fprintf(out, "%s%s\n", readyPrefix, addr)
	return err
}

func printResult(out io.Writer, v any) error {
	document, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s%s\n", resultPrefix, document)
	return err
}

// brokerRole configures the embedded broker.
type brokerRole struct {
	Dir string `json:"dir"`
}

func runBroker(ctx context.Context, c brokerRole, out io.Writer) error {
	b, err := broker.Start(ctx, broker.Config{Listen: "127.0.0.1:0", Dir: c.Dir})
	if err != nil {
		return fmt.Errorf("start the embedded broker: %w", err)
	}
	defer b.Close()
	if err := printReady(out, strings.Join(b.Addrs(), ",")); err != nil {
		return err
	}
	<-ctx.Done()
	return errStopped
}

// serveHTTP serves on a free port of loopback until ctx ends.
func serveHTTP(ctx context.Context, h http.Handler, out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 30 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	defer server.Close()
	if err := printReady(out, l.Addr().String()); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return errStopped
	}
}

// fillRole produces documents with consecutive sequence numbers.
type fillRole struct {
	Brokers   []string `json:"brokers"`
	Topic     string   `json:"topic"`
	First     int64    `json:"first"`
	Count     int64    `json:"count"`
	Size      int      `json:"size"`       // of a document, in bytes
	PerSecond int64    `json:"per_second"` // 0: as fast as it goes
	Keys      int64    `json:"keys"`       // how many, in turn; 0: records have none
}

func runFill(ctx context.Context, c fillRole, out io.Writer) error {
	opts := []kgo.Opt{kgo.SeedBrokers(c.Brokers...), kgo.ProducerBatchCompression(kgo.NoCompression())}
	if c.PerSecond > 0 {
		opts = append(opts, kgo.ProducerLinger(0))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	start := time.Now()
	for n := range c.Count {
		if c.PerSecond > 0 {
			wait := time.Until(start.Add(time.Duration(n) * time.Second / time.Duration(c.PerSecond)))
			if !pause(ctx, wait) {
				break
			}
		}
		value := appendDocument(make([]byte, 0, c.Size), c.First+n, time.Now(), c.Size)
		r := &kgo.Record{Topic: c.Topic, Value: value}
		if c.Keys > 0 {
			r.Key = strconv.AppendInt(nil, (c.First+n)%c.Keys, 10)
		}
		client.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				cancel(fmt.Errorf("fill topic %q: %w", c.Topic, err))
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return context.Cause(ctx)
	}
	return printResult(out, c.Count)
}

// pause waits; it says false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
