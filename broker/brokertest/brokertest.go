// Package brokertest gives tests a Kafka cluster: a real one where there is one,
// otherwise the embedded broker.
package brokertest

import (
	"os"
	"strings"
	"testing"

	"github.com/klamm-gateway/klamm/broker"
)

// Brokers returns the brokers that KLAMM_TEST_BROKERS names, or an embedded one
// that ends with the test.
func Brokers(t testing.TB) []string {
	t.Helper()
	if named := os.Getenv("KLAMM_TEST_BROKERS"); named != "" {
		return strings.Split(named, ",")
	}
	b, err := broker.Start(t.Context(), broker.Config{Listen: "127.0.0.1:0", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b.Addrs()
}
