package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

// A stage is where a proof takes place.
type stage struct {
	brokers []string
	cluster *kafka.Cluster
	// klamm makes the command of a klamm that runs with a configuration file.
	klamm func(config string) *exec.Cmd
	out   io.Writer // for the progress and the table

	begun     time.Time
	dir       string
	processes []*process
}

// open makes the directory and connects to the cluster.
func (s *stage) open() (err error) {
	s.begun = time.Now()
	if s.dir, err = os.MkdirTemp("", "klamm-chaos-"); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	if len(s.brokers) == 0 { // klamm brings them
		return nil
	}
	// What brokers say while they are being killed is no news.
	s.cluster, err = kafka.Open(kafka.Config{Brokers: s.brokers}, slog.New(slog.DiscardHandler))
	return err
}

// close kills what still runs and removes the directory.
func (s *stage) close() {
	for _, p := range s.processes {
		p.kill()
	}
	if s.cluster != nil {
		s.cluster.Close()
	}
	_ = os.RemoveAll(s.dir)
}

// say prints a line of progress.
func (s *stage) say(format string, args ...any) {
	fmt.Fprintf(s.out, "%7.1f s  %s\n", time.Since(s.begun).Seconds(), fmt.Sprintf(format, args...))
}

// start starts one more klamm with the pipes of a configuration.
func (s *stage) start(pipes string) (*process, error) {
	name := fmt.Sprintf("klamm-%d", len(s.processes)+1)
	file := filepath.Join(s.dir, name+".yaml")
	text := "listen: 127.0.0.1:0\negress: {allow: [127.0.0.0/8]}\nkafka: {brokers: ["
	for i, b := range s.brokers {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%q", b)
	}
	text += "]}\n" + pipes
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write klamm's configuration: %w", err)
	}
	p := &process{name: name, log: filepath.Join(s.dir, name+".log"), command: func() *exec.Cmd { return s.klamm(file) }}
	if err := p.start(); err != nil {
		return nil, err
	}
	s.processes = append(s.processes, p)
	return p, nil
}

// failed says why a process is gone that should be there; nil: none is.
func (s *stage) failed() error {
	for _, p := range s.processes {
		if err := p.err(); err != nil {
			return err
		}
	}
	return nil
}

// until waits until something holds. It gives up after the given time, when ctx
// ends, and when a klamm has ended by itself.
func (s *stage) until(ctx context.Context, what string, within time.Duration, holds func() bool) error {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(within); !holds(); {
		if err := s.failed(); err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: not within %s", what, within)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C:
		}
	}
	return nil
}

// topic creates a topic of the proof's own and returns its name.
func (s *stage) topic(ctx context.Context, partitions int32) (string, error) {
	name := fmt.Sprintf("chaos-%d", time.Now().UnixNano())
	return name, s.cluster.EnsureTopic(ctx, name, partitions, nil)
}

// writer returns a client that writes without loss and in order, whatever happens
// to the brokers.
func (s *stage) writer(more ...kgo.Opt) (*kgo.Client, error) {
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(s.brokers...), kgo.ClientID("chaos-writer"), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(5 * time.Millisecond), kgo.MaxBufferedRecords(20_000), kgo.ProducerBatchMaxBytes(1 << 20)}, more...)...)
	if err != nil {
		return nil, fmt.Errorf("open the writer: %w", err)
	}
	return client, nil
}

// listen serves HTTP on a free port of the loopback interface until the returned
// function is called.
func listen(h http.Handler) (url string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 30 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go func() { _ = server.Serve(l) }() // until stop
	return "http://" + l.Addr().String(), func() { _ = server.Close() }, nil
}
