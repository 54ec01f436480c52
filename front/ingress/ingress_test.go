package ingress_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/azure1"
	"github.com/klamm-gateway/klamm/front/confluent2"
	"github.com/klamm-gateway/klamm/front/confluent3"
	"github.com/klamm-gateway/klamm/front/ingress"
	"github.com/klamm-gateway/klamm/front/light"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/secret"
)

// A server receives webhooks.
type server struct {
	url     string
	cluster *kafka.Cluster
}

func start(t *testing.T, brokers []string, routes ...ingress.Route) *server {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	cluster, err := kafka.Open(kafka.Config{Brokers: brokers}, log)
	if err != nil {
		t.Fatal(err)
	}
	claims := gate.NewClaims(cluster, gate.Idempotency{}, prometheus.NewRegistry(), log)
	d, err := ingress.Dialect(t.Context(), ingress.Config{Routes: routes, Gate: gate.New(cluster), Claims: claims, Secret: secret.Local, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	// Nobody has credentials here: the signature is what counts.
	s := front.New(front.Config{Dialects: []front.Dialect{d}, Sizes: front.Sizes{Body: 1 << 20}, Metrics: front.NewMetrics(prometheus.NewRegistry()), Log: log})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
		claims.Close()
		cluster.Close()
	})
	return &server{"http://" + l.Addr().String(), cluster}
}

// post sends a delivery with headers of "name: value" lines.
func (s *server) post(t *testing.T, path, body string, headers ...string) (status int, answer string, header http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Error(err)
		return 0, "", nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

// written reads the records of a topic, of partition 0 first.
func (s *server) written(t *testing.T, topic string) (all []*kgo.Record) {
	t.Helper()
	ranges, err := s.cluster.Ranges(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	for p := range int32(len(ranges)) {
		for next := ranges[p].Start; next < ranges[p].End; next = all[len(all)-1].Offset + 1 {
			records, err := s.cluster.Fetch(t.Context(), topic, p, next, kafka.Limits{Records: 1000, Bytes: 1 << 20, Wait: time.Second})
			if err != nil || len(records) == 0 {
				t.Fatal(len(records), err)
			}
			all = append(all, records...)
		}
	}
	return all
}

func topicName() string { return fmt.Sprintf("webhook-%d", rand.Uint64()) }

func sum(secret, text string) []byte {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(text))
	return m.Sum(nil)
}

func gitHub(secret, id, event, body string) []string {
	return []string{"X-Hub-Signature-256: sha256=" + hex.EncodeToString(sum(secret, body)), "X-GitHub-Delivery: " + id, "X-GitHub-Event: " + event, "Content-Type: application/json"}
}

func TestDeliveries(t *testing.T) {
	brokers, topic := brokertest.Brokers(t), topicName()
	raw := []byte("a secret of at least 24 bytes")
	routes := []ingress.Route{
		{Path: "/in/github", Type: "webhook", Scheme: "github", Topic: topic, Secrets: []secret.Ref{{Value: "hush"}}, Key: "$.repository.id"},
		{Path: "/in/pinged", Type: "webhook", Scheme: "github", Topic: topic, Secrets: []secret.Ref{{Value: "hush"}}, Pings: true, Key: "id"},
		{Path: "/in/standard", Type: "webhook", Scheme: "standard", Topic: topic, Secrets: []secret.Ref{{Value: "whsec_" + base64.StdEncoding.EncodeToString(raw)}}},
		{Path: "/in/slack", Type: "webhook", Scheme: "slack", Topic: topic, Secrets: []secret.Ref{{Value: "s"}}},
		{Path: "/in/stripe", Type: "webhook", Scheme: "stripe", Topic: topic, Secrets: []secret.Ref{{Value: "s"}}},
		{Path: "/in/bare", Type: "webhook", Scheme: "generic", Topic: topic, Secrets: []secret.Ref{{Value: "s"}}, Signature: &ingress.Signature{Header: "X-Sign"}},
		{Path: "/in/old", Type: "webhook", Gone: true},
	}
	one, two := start(t, brokers, routes...), start(t, brokers, routes...)
	now := fmt.Sprint(time.Now().Unix())
	standard := func(id, body string) []string {
		return []string{"webhook-id: " + id, "webhook-timestamp: " + now, "webhook-signature: v1," + base64.StdEncoding.EncodeToString(sum(string(raw), id+"."+now+"."+body))}
	}
	slack := func(body string) []string {
		return []string{"X-Slack-Request-Timestamp: " + now, "X-Slack-Signature: v0=" + hex.EncodeToString(sum("s", "v0:"+now+":"+body))}
	}
	stripe := func(at, body string) []string {
		return []string{"Stripe-Signature: t=" + at + ",v1=" + hex.EncodeToString(sum("s", at+"."+body))}
	}
	earlier := fmt.Sprint(time.Now().Unix() - 60)
	id := func(n string) string { return topic + "-" + n }
	paid := `{"id":"` + id("evt") + `","type":"paid"}`
	const push = ` {"repository": {"id" : 7}} `
	for _, c := range []struct {
		name    string
		to      *server
		path    string
		body    string
		headers []string
		want    int
	}{
		{"github", one, "/in/github", push, gitHub("hush", id("1"), "push", push), 202},
		{"the same delivery", one, "/in/github", push, gitHub("hush", id("1"), "push", push), 200},
		{"the same delivery to another replica", two, "/in/github", push, gitHub("hush", id("1"), "push", push), 200},
		{"the same id on another route", two, "/in/pinged", push, gitHub("hush", id("1"), "push", push), 202},
		{"a wrong signature is no repetition", two, "/in/github", push, gitHub("wrong", id("1"), "push", push), 401},
		{"ping", one, "/in/github", "{}", gitHub("hush", id("2"), "ping", "{}"), 200},
		{"a ping by a stranger", one, "/in/github", "{}", gitHub("wrong", id("2"), "ping", "{}"), 401},
		{"a ping that is asked for", one, "/in/pinged", "{}", gitHub("hush", id("2"), "ping", "{}"), 202},
		{"standard", one, "/in/standard", "x", standard(id("1"), "x"), 202},
		{"standard again", two, "/in/standard", "x", standard(id("1"), "x"), 200},
		{"standard without headers", two, "/in/standard", "x", nil, 400},
		{"stripe", one, "/in/stripe", paid, stripe(now, paid), 202},
		{"stripe, sent again later", two, "/in/stripe", paid, stripe(earlier, paid), 200},
		{"stripe without id", one, "/in/stripe", "x", stripe(now, "x"), 202},
		{"stripe without id, the same request", two, "/in/stripe", "x", stripe(now, "x"), 200},
		{"stripe without id, another time", two, "/in/stripe", "x", stripe(earlier, "x"), 202},
		{"slack's challenge", one, "/in/slack", `{"type":"url_verification","challenge":"3eZb"}`, slack(`{"type":"url_verification","challenge":"3eZb"}`), 200},
		{"slack", one, "/in/slack", "command=/klamm", slack("command=/klamm"), 202},
		{"no id and no time", one, "/in/bare", "b", []string{"X-Sign: " + hex.EncodeToString(sum("s", "b"))}, 202},
		{"no id and no time, again", one, "/in/bare", "b", []string{"X-Sign: " + hex.EncodeToString(sum("s", "b"))}, 202},
		{"gone", one, "/in/old", "x", nil, 410},
		{"too large comes before headers", one, "/in/github", strings.Repeat("x", 1<<20+1), nil, 413},
		{"no such route", one, "/in/none", "x", nil, 404},
	} {
		status, answer, header := c.to.post(t, c.path, c.body, c.headers...)
		if status != c.want || status >= 400 && (header.Get("Content-Type") != "application/json" || !strings.Contains(answer, `"message":`)) {
			t.Errorf("%s: got %d, %s, want %d", c.name, status, answer, c.want)
		}
		if c.name == "slack's challenge" && answer != "3eZb" {
			t.Errorf("challenge: %q", answer)
		}
	}
	got := map[string]int{}
	for _, r := range one.written(t, topic) {
		text := string(r.Key) + "|" + string(r.Value)
		for _, h := range r.Headers {
			if h.Key == "x-github-event" || h.Key == "content-type" {
				text += "|" + string(h.Value)
			}
		}
		got[text]++
	}
	want := map[string]int{
		"7|" + push + "|application/json|push": 1, id("1") + "|" + push + "|application/json|push": 1, id("2") + "|{}|application/json|ping": 1,
		"|x": 3, "|" + paid: 1, "|command=/klamm": 1, "|b": 2,
	}
	for text, n := range want {
		if got[text] != n {
			t.Errorf("%q: %d records, want %d", text, got[text], n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("records: %v", got)
	}
}

func TestManyTimesAtOnceIsOnce(t *testing.T) {
	brokers, topic := brokertest.Brokers(t), topicName()
	route := ingress.Route{Path: "/in", Type: "webhook", Scheme: "github", Topic: topic, Secrets: []secret.Ref{{Value: "hush"}}}
	servers := []*server{start(t, brokers, route), start(t, brokers, route)}
	var mu sync.Mutex
	statuses := map[int]int{}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			status, _, header := servers[i%2].post(t, "/in", "x", gitHub("hush", topic, "push", "x")...)
			if status == 503 && header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[status]++
		})
	}
	all.Wait()
	if statuses[202] != 1 || statuses[200]+statuses[503] != 19 || len(servers[0].written(t, topic)) != 1 {
		t.Errorf("statuses %v, %d records", statuses, len(servers[0].written(t, topic)))
	}
}

func TestWithoutABroker(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a broker")
	}
	s := start(t, []string{"127.0.0.1:1"}, ingress.Route{Path: "/in", Type: "webhook", Scheme: "github", Topic: "t", Secrets: []secret.Ref{{Value: "hush"}}})
	begin := time.Now()
	status, _, header := s.post(t, "/in", "x", gitHub("hush", "1", "push", "x")...)
	if took := time.Since(begin); status != 503 || header.Get("Retry-After") == "" || took > 15*time.Second {
		t.Errorf("got %d after %s", status, took)
	}
}

// TestKlammsOwnPathsAreReserved looks at the routes of the other dialects.
func TestKlammsOwnPathsAreReserved(t *testing.T) {
	cluster, err := kafka.Open(kafka.Config{Brokers: []string{"127.0.0.1:1"}}, slog.New(slog.DiscardHandler)) // which nobody asks
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	g := gate.New(cluster)
	for _, d := range []front.Dialect{
		confluent2.Dialect(g, confluent2.Config{}), confluent3.Dialect(g, confluent3.Config{}), azure1.Dialect(g, azure1.Config{}), light.Dialect(g, light.NewConnections(nil)),
	} {
		for _, route := range d.Routes {
			_, path, _ := strings.Cut(route.Pattern, " ")
			first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
			if strings.Contains(first, "{") {
				continue // the root
			}
			refused := false
			ingress.Route{Path: "/" + first + "/x", Type: "webhook", Gone: true}.Validate(func(path, _ string) { refused = path == "path" })
			if !refused {
				t.Errorf("%s: a webhook could be received at /%s/x", route.Pattern, first)
			}
		}
	}
}

func TestSecretsAreLookedUpAtTheStart(t *testing.T) {
	short := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(short, []byte("whsec_too+short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []secret.Ref{{Env: "KLAMM_TEST_NO_SUCH"}, {File: short}} {
		_, err := ingress.Dialect(t.Context(), ingress.Config{
			Routes: []ingress.Route{{Path: "/in/hook", Type: "webhook", Scheme: "standard", Topic: "t", Secrets: []secret.Ref{ref}}}, Secret: secret.Local,
		})
		if err == nil || !strings.Contains(err.Error(), "/in/hook") || !strings.Contains(err.Error(), ref.String()) || strings.Contains(err.Error(), "too+short") {
			t.Errorf("%s: %v", ref, err)
		}
	}
}
