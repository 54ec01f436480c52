package app_test

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/kafka"
)

// Apache Kafka with listeners that want a login is started by deploy/kafka/run --sasl.
func TestMappedCallersAreWhomKafkaKnows(t *testing.T) {
	address, brokers := os.Getenv("KLAMM_TEST_SASL_PLAINTEXT"), os.Getenv("KLAMM_TEST_BROKERS")
	if address == "" {
		t.Skip("KLAMM_TEST_SASL_PLAINTEXT names no listener; deploy/kafka/run --sasl starts one")
	}
	admin, err := kafka.Open(kafka.Config{Brokers: strings.Split(brokers, ",")}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	mine, other := fmt.Sprintf("mapped-mine-%d", time.Now().UnixNano()), fmt.Sprintf("mapped-other-%d", time.Now().UnixNano())
	for _, topic := range []string{mine, other} {
		if err := admin.CreateTopic(t.Context(), kafka.NewTopic{Name: topic, Partitions: 1, Replication: 1}); err != nil {
			t.Fatal(err)
		}
	}
	for _, operation := range []string{"WRITE", "DESCRIBE"} {
		acl := kafka.ACL{ResourceType: "TOPIC", ResourceName: mine, PatternType: "LITERAL", Principal: "User:reader", Host: "*", Operation: operation, Permission: "ALLOW"}
		if err := admin.CreateACLs(t.Context(), acl); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("KLAMM_TEST_BROKERS", address) // as klamm logs in
	r := start(t, `
kafka:
  auth: scram-512
  allow_insecure: true
  credentials: {username: klamm, password: {value: klamm-secret}}
  identity: mapped
  mapped:
    - {who: ["User:a"], auth: scram-512, credentials: {username: reader, password: {value: reader-secret}}}
    - {who: ["group:trusted"], auth: scram-256, credentials: {username: klamm, password: {value: klamm-secret}}}
    - {who: ["User:wrong"], auth: scram-512, credentials: {username: reader, password: {value: wr0ng-secret}}}
`+keysOf("a", "b trusted", "c", "wrong")+`
routes:
  - {route: "POST /topics/{topic}/partitions/{partition}", identity: gateway}
rules:
  - {who: ["*"], can: [produce, consume, describe], topics: ["mapped-*"], groups: ["*"]}
`, "")
	const v2 = "application/vnd.kafka.json.v2+json"
	write := func(caller, topic string) asking {
		return asking{caller: caller, method: "POST", target: "/topics/" + topic, media: v2, body: `{"records":[{"value":{"n":1}}]}`}
	}
	onRoute := func(caller string) asking {
		q := write(caller, other)
		q.target += "/partitions/0"
		return q
	}
	// What an ACL allows takes effect a little later than it was made.
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if status, text := r.ask(write("a", mine)); status == 200 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%d %s", status, text)
		}
	}
	for _, c := range []struct {
		name string
		ask  asking
		want int
		text string // that the answer holds
	}{
		{"as somebody with the right to it", write("a", mine), 200, `"offset":`},
		{"as somebody without", write("a", other), 403, "40301"},
		{"light, with the right to it", asking{caller: "a", method: "POST", target: "/p/" + mine, body: "x"}, 204, ""},
		{"light, without", asking{caller: "a", method: "POST", target: "/p/" + other, body: "x"}, 403, ""},
		{"reading is another right", asking{caller: "a", method: "GET", target: "/topics/" + mine + "/records?offset=earliest"}, 403, ""},
		{"a topic that nobody may see", asking{caller: "a", method: "GET", target: "/topics/" + other}, 403, ""},
		{"as klamm, by a group", write("b", other), 200, `"offset":`},
		{"as nobody", write("c", mine), 403, ""},
		{"as klamm, on a route that says so", onRoute("a"), 200, `"offset":`},
		{"as klamm there, whomever the table names", onRoute("c"), 200, `"offset":`},
		{"a login that is wrong", write("wrong", mine), 500, "50003"},
		{"light, a login that is wrong", asking{caller: "wrong", method: "POST", target: "/p/" + mine, body: "x"}, 503, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if status, text := r.ask(c.ask); status != c.want || !strings.Contains(text, c.text) {
				t.Errorf("%d %s, want %d with %q", status, text, c.want, c.text)
			}
		})
	}
	if strings.Contains(r.log.String(), "-secret") {
		t.Error("a password stands in the log")
	}
}
