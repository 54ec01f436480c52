package kafka_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

// Under load, passwords change, and the brokers of deploy/kafka/run --sasl want to see
// credentials again every few seconds: nothing is lost, and a connection is made anew at
// most once for each change.
func TestRotationUnderLoadOnApacheKafka(t *testing.T) {
	address, dir := os.Getenv("KLAMM_TEST_SASL"), os.Getenv("KLAMM_TEST_TLS")
	if address == "" {
		t.Skip("KLAMM_TEST_SASL names no listener; deploy/kafka/run --sasl starts one")
	}
	const (
		user      = "rotated"
		rotations = 2
		writers   = 4
	)
	name := unique(t)
	for _, method := range []string{"scram-256", "scram-512"} {
		t.Run(method, func(t *testing.T) {
			admin := openWith(t, kafka.Config{Brokers: []string{os.Getenv("KLAMM_TEST_BROKERS")}})
			topic := name + method
			if err := admin.EnsureTopic(t.Context(), topic, 1, nil); err != nil {
				t.Fatal(err)
			}
			for _, operation := range []string{"READ", "WRITE"} {
				if err := admin.CreateACLs(t.Context(), kafka.ACL{ResourceType: "TOPIC", ResourceName: topic, PatternType: "LITERAL", Principal: "User:" + user, Host: "*", Operation: operation, Permission: "ALLOW"}); err != nil {
					t.Fatal(err)
				}
			}
			file := filepath.Join(t.TempDir(), "login.json")
			rotate := func(password string) {
				passwordOf(t, method, user, password)
				place(t, file, map[string]string{"username": user, "password": password})
			}
			rotate("first")
			c := openWith(t, kafka.Config{Brokers: []string{address}, Auth: method, Credentials: &kafka.Credentials{File: file}, RootCA: &kafka.Source{File: filepath.Join(dir, "ca.pem")}}, slog.New(slog.DiscardHandler))
			eventually(t, func() error { return c.Ready(t.Context()) })

			var running sync.WaitGroup
			var count atomic.Int64
			stop := make(chan struct{})
			wrote := make([]int, writers)
			for w := range writers {
				running.Go(func() {
					for n := 0; ; n++ {
						select {
						case <-stop:
							return
						default:
						}
						ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
						err := c.Produce(ctx, &kgo.Record{Topic: topic, Partition: 0, Value: fmt.Appendf(nil, "%d-%d", w, n)}).FirstErr()
						cancel()
						if err != nil {
							t.Errorf("record %d of writer %d: %v", n, w, err)
							return
						}
						wrote[w]++
						count.Add(1)
					}
				})
			}
			more := func(n int64) {
				from := count.Load()
				eventually(t, func() error {
					if now := count.Load(); now < from+n {
						return fmt.Errorf("%d records after another %d", now-from, n)
					}
					return nil
				})
			}
			more(100)
			seen := newConnections(t, address)
			before := seen.look()
			for n := range rotations {
				rotate(fmt.Sprintf("password-%d", n))
				// Longer than the brokers let a connection be without showing credentials.
				for end := time.Now().Add(7 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
					seen.look()
				}
				more(100)
			}
			close(stop)
			running.Wait()
			if made := len(seen.ever) - before; made > rotations*before {
				t.Errorf("%d connections were made anew, with %d connections and %d changes", made, before, rotations)
			}
			var end int64
			got := map[string]bool{}
			total := 0
			for _, n := range wrote {
				total += n
			}
			for len(got) < total {
				records, err := c.Fetch(t.Context(), topic, 0, end, kafka.Limits{})
				if err != nil || len(records) == 0 {
					t.Fatalf("%d of %d records are there; %v", len(got), total, err)
				}
				for _, r := range records {
					end, got[string(r.Value)] = r.Offset+1, true
				}
			}
		})
	}
}

// passwordOf gives a user a password, as an administrator.
func passwordOf(t *testing.T, method, user, password string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(os.Getenv("KLAMM_TEST_BROKERS")))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	mechanism := kadm.ScramSha256
	if method == "scram-512" {
		mechanism = kadm.ScramSha512
	}
	altered, err := kadm.NewClient(client).AlterUserSCRAMs(t.Context(), nil, []kadm.UpsertSCRAM{{User: user, Mechanism: mechanism, Iterations: 4096, Password: password}})
	if err == nil {
		err = altered.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// connections are those that this machine has to a port, by the port on this side.
type connections struct {
	t    *testing.T
	port string
	ever map[string]bool
}

func newConnections(t *testing.T, address string) *connections {
	t.Helper()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return &connections{t: t, port: fmt.Sprintf(":%04X", port), ever: map[string]bool{}}
}

// look notes those that there are now, and returns how many were ever seen.
func (c *connections) look() int {
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		file, err := os.Open(name)
		if err != nil {
			c.t.Skip("connections are counted on Linux only")
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			if fields := strings.Fields(lines.Text()); len(fields) > 3 && fields[3] == "01" && strings.HasSuffix(fields[2], c.port) {
				c.ever[fields[1]] = true
			}
		}
		_ = file.Close()
	}
	return len(c.ever)
}
