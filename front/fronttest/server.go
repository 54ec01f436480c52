// Package fronttest tests HTTP API dialects over a real listener and a real
// broker.
//
// A Server serves dialects on the embedded broker, or on the brokers that
// KLAMM_TEST_BROKERS names. Transcripts runs a folder of text files against it,
// each a request and the answer that is expected; Conform checks what must hold
// for every dialect.
package fronttest

import (
	"errors"
	"log/slog"
	"net"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// A Setup says what a server serves.
type Setup struct {
	Dialects func(*gate.Gate) []front.Dialect
	Policies []gate.Policy
	// Closed demands credentials, which nobody has.
	Closed bool
	Sizes  front.Sizes
	// Brokers are used instead of the test's; nobody needs to answer there.
	Brokers []string
	// ProduceTimeoutMs is how long records wait for brokers, in milliseconds; 0:
	// as usual.
	ProduceTimeoutMs int
}

// A Server is a running front door.
type Server struct {
	URL     string // without a slash at its end
	Cluster *kafka.Cluster
}

// Start starts a server that ends with the test.
func Start(t testing.TB, setup Setup) *Server {
	t.Helper()
	brokers := setup.Brokers
	if brokers == nil {
		brokers = brokertest.Brokers(t)
	}
	log := slog.New(slog.DiscardHandler)
	cluster, err := kafka.Open(kafka.Config{Brokers: brokers, Producing: kafka.Producing{MetadataTimeoutMs: setup.ProduceTimeoutMs}}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	server := front.New(front.Config{
		Dialects: setup.Dialects(gate.New(cluster, setup.Policies...)), Sizes: setup.Sizes, Anonymous: !setup.Closed,
		Metrics: front.NewMetrics(prometheus.NewRegistry()), Log: log,
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		// The test's context is over by now, so idle connections are cut.
		if err := server.Shutdown(t.Context()); err != nil && !errors.Is(err, t.Context().Err()) {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return &Server{URL: "http://" + listener.Addr().String(), Cluster: cluster}
}
