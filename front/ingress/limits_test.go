package ingress_test

import (
	"context"
	"encoding/hex"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/ingress"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/throttle"
)

// TestWebhooksKeepTracesAndLimits is about what webhooks have in common with routes of
// the dialects, although they find out by themselves who is calling.
func TestWebhooksKeepTracesAndLimits(t *testing.T) {
	log, topic := slog.New(slog.DiscardHandler), topicName()
	cluster, err := kafka.Open(kafka.Config{Brokers: brokertest.Brokers(t)}, log)
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	if err := cluster.EnsureTopic(t.Context(), topic, 1, nil); err != nil {
		t.Fatal(err)
	}
	claims := gate.NewClaims(cluster, gate.Idempotency{}, prometheus.NewRegistry(), log)
	defer claims.Close()
	const password = "It's a Secret to Everybody"
	d, err := ingress.Dialect(t.Context(), ingress.Config{
		Routes: []ingress.Route{{Path: "/in/hub", Type: "webhook", Scheme: "github", Topic: topic, Secrets: []secret.Ref{{Value: password}}}},
		Gate:   gate.New(cluster), Claims: claims, Secret: secret.Local, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	one := throttle.Rate{Rate: 0.001, Burst: 2}
	limits := gate.NewLimits(gate.LimitsConfig{Rules: []throttle.Rule{
		{Name: "hooks", Match: throttle.Match{Principal: "User:webhook:/in/hub"}, Key: []string{"principal"}, Requests: &one},
		{Name: "address", Key: []string{"source_ip"}, Requests: &throttle.Rate{Rate: 0.001, Burst: 4}},
	}}, nil, prometheus.NewRegistry(), log)
	defer limits.Close()
	s := front.New(front.Config{
		Dialects: []front.Dialect{d}, Metrics: front.NewMetrics(prometheus.NewRegistry()), Log: log, Limits: limits, Tracing: front.Tracing{Propagate: true},
		PassedOn: func(r *http.Request) bool { return r.Header.Get("X-Claims") != "" },
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
	}()
	k := &server{"http://" + l.Addr().String(), cluster}

	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	signed := func(id string) []string {
		return []string{"X-GitHub-Delivery: " + id, "X-Hub-Signature-256: sha256=" + hexOf(sum(password, "{}")), "traceparent: " + parent, "tracestate: a=b", "X-Claims: 1"}
	}
	for _, c := range []struct {
		name, id string
		headers  []string
		status   int
		said     string
	}{
		{"a first", topic + "1", nil, 202, ""},
		{"a second", topic + "2", nil, 202, ""},
		{"one too many of the sender", topic + "3", nil, 429, `"hooks"`},
		{"a bad signature counts for its address only", topic + "4", []string{"X-Hub-Signature-256: sha256=" + strings.Repeat("0", 64)}, 401, ""},
		{"one too many of the address", topic + "5", nil, 429, `"address"`},
	} {
		status, text, header := k.post(t, "/in/hub", "{}", append(signed(c.id), c.headers...)...)
		if status != c.status || !strings.Contains(strings.ReplaceAll(text, `\`, ""), c.said) || (status == 429) != (header.Get("Retry-After") != "") {
			t.Errorf("%s: %d %s %v, want %d", c.name, status, text, header, c.status)
		}
	}
	all := k.written(t, topic)
	if len(all) != 2 {
		t.Fatalf("%d records, want 2", len(all))
	}
	got := map[string]string{}
	for _, h := range all[0].Headers {
		got[h.Key] = string(h.Value)
	}
	if got["traceparent"] != parent || got["tracestate"] != "a=b" {
		t.Errorf("the record has the headers %v, want the trace of its request", got)
	}
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }
