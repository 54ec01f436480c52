package gate

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/kafka"
)

// auditOf reads the audit log in a topic as soon as it has so many lines.
func auditOf(t *testing.T, c *kafka.Cluster, topic string, count int) (all []auditLine, keys []string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		all, keys = nil, nil
		ranges, err := c.Ranges(t.Context(), topic)
		if err != nil {
			continue // it is not there yet
		}
		for partition, r := range ranges {
			for offset := r.Start; offset < r.End; {
				records, err := c.Fetch(t.Context(), topic, partition, offset, kafka.Limits{Records: 10_000, Bytes: 8 << 20, Wait: time.Second})
				if err != nil {
					t.Fatal(err)
				}
				for _, one := range records {
					var line auditLine
					if err := json.Unmarshal(one.Value, &line); err != nil {
						t.Fatalf("%q: %v", one.Value, err)
					}
					all, keys, offset = append(all, line), append(keys, string(one.Key)), one.Offset+1
				}
			}
		}
		if len(all) >= count {
			return all, keys
		}
	}
	t.Fatalf("topic %s has %d lines, want %d", topic, len(all), count)
	return nil, nil
}

func TestAuditInATopic(t *testing.T) {
	c, err := kafka.Open(kafka.Config{Brokers: brokertest.Brokers(t)}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	name := freshName(t)
	a, err := NewAudit(AuditConfig{Topic: name}, c, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	g := New(c, newAuthority(t, Law{Rules: []Rule{{Who: []string{"User:root"}, Can: []string{"all"}, Topics: []string{"*"}, Groups: []string{"*"}}}}))
	g.Record(a)
	_ = g.allow(t.Context(), Principal{Name: "User:root"}, AdminWrite, "key", "first")
	auditOf(t, c, name, 1) // making the topic may take a while
	const refusals = 2000
	for i := range refusals {
		_ = g.allow(t.Context(), Principal{Name: "User:device"}, WriteData, "topic", fmt.Sprint("secret-", i))
	}
	_ = g.allow(t.Context(), Principal{Name: "User:root"}, AdminWrite, "key", "acme")
	a.Close() // nothing that was put before is lost
	lines, keys := auditOf(t, c, name, refusals+2)
	if len(lines) != refusals+2 {
		t.Errorf("%d lines, want %d", len(lines), refusals+2)
	}
	found := map[string]int{}
	for i, l := range lines {
		found[l.Decision]++
		if keys[i] != l.Principal {
			t.Errorf("the key of %s's line is %q", l.Principal, keys[i])
		}
	}
	if found["deny"] != refusals || found["allow"] != 2 {
		t.Errorf("the decisions are %v", found)
	}
}

// Brokers that do not answer must cost nothing but lines, and each of them is counted.
func TestAuditWithoutABroker(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the end of the last attempt")
	}
	t.Parallel()
	c, err := kafka.Open(kafka.Config{Brokers: []string{"127.0.0.1:1"}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	metrics := prometheus.NewRegistry()
	a, err := NewAudit(AuditConfig{Topic: "audit"}, c, metrics, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	losesAll(t, a, metrics)
}

func TestAuditConfigIsValidated(t *testing.T) {
	for topic, want := range map[string]int{"": 0, "audit": 0, "__audit": 0, "no topic": 1, "..": 1} {
		got := 0
		AuditConfig{Topic: topic}.Validate(func(string, string) { got++ })
		if got != want {
			t.Errorf("topic %q has %d problems, want %d", topic, got, want)
		}
	}
}
