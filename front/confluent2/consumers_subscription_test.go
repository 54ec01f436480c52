package confluent2

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/waittest"
)

func TestSubscriptionsAndAssignments(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 2)
	p.put(t, topic, 0, "1")
	p.put(t, topic, 1, "2")
	c := p.create(t, topic, "json")
	says := func(what, want string) {
		t.Helper()
		if body := c.must(200, "GET", what, ""); body != want {
			t.Errorf("%s: got %s, want %s", what, body, want)
		}
	}
	says("/subscription", `{"topics":[]}`)
	says("/assignments", `{"partitions":[]}`)
	c.fails("POST", "/subscription", "", 422, 422, "must not be null (was null)")
	c.fails("POST", "/subscription", `{"topic":"a"}`, 422, 422, "Unrecognized field: topic")
	c.fails("POST", "/subscription", `{"topics":"a"}`, 400, 400, "Cannot deserialize value of type")
	c.fails("POST", "/subscription", `{"topic_pattern":"("}`, 422, 422, "pattern")
	c.must(204, "POST", "/subscription", "{}")
	c.fails("POST", "/assignments", "", 422, 422, "must not be null (was null)")
	c.fails("POST", "/assignments", `{"partitions":[{"topic":"a"}]}`, 422, 422, "partition")
	c.subscribe(topic)
	says("/subscription", `{"topics":["`+topic+`"]}`)
	says("/assignments", `{"partitions":[]}`)
	c.fails("POST", "/assignments", partitions(topic, 1), 409, 40903, "Illegal state: Subscription to topics, partitions and pattern are mutually exclusive")
	c.values(2, "")
	says("/assignments", fmt.Sprintf(`{"partitions":[{"topic":%q,"partition":0},{"topic":%[1]q,"partition":1}]}`, topic))
	c.must(204, "DELETE", "/subscription", "")
	says("/subscription", `{"topics":[]}`)
	says("/assignments", `{"partitions":[]}`)
	c.must(204, "POST", "/assignments", partitions(topic, 1))
	says("/assignments", fmt.Sprintf(`{"partitions":[{"topic":%q,"partition":1}]}`, topic))
	c.fails("POST", "/subscription", `{"topics":["`+topic+`"]}`, 409, 40903, "mutually exclusive")
	c.fails("POST", "/positions", `{"offsets":[{"topic":"`+topic+`","partition":0,"offset":0}]}`, 409, 40903, topic+"-0")
	if diff := cmp.Diff([]string{"2"}, c.values(1, "")); diff != "" {
		t.Error(diff)
	}
	c.must(204, "POST", "/assignments", partitions("none-"+topic, 0))
	if records := c.read("?timeout=300"); len(records) != 0 {
		t.Errorf("a topic that does not exist has %v", records)
	}
}

func TestPatternSubscription(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	for _, end := range []string{"-a", "-b", "-c1"} {
		p.server.Topic(t, topic+end, 1)
		p.put(t, topic+end, 0, `"`+end+`"`)
	}
	c := p.create(t, topic, "json")
	c.must(204, "POST", "/subscription", `{"topic_pattern":"`+topic+`-[a-z]"}`)
	values := c.values(2, "")
	slices.Sort(values)
	if diff := cmp.Diff([]string{`"-a"`, `"-b"`}, values); diff != "" || len(c.read("?timeout=300")) != 0 {
		t.Error(diff)
	}
	if want, body := fmt.Sprintf(`{"topics":["%s-a","%[1]s-b"]}`, topic), c.must(200, "GET", "/subscription", ""); body != want {
		t.Errorf("got %s, want %s", body, want)
	}
	if testing.Short() {
		return
	}
	p.server.Topic(t, topic+"-z", 1)
	p.put(t, topic+"-z", 0, `"-z"`)
	if diff := cmp.Diff([]string{`"-z"`}, c.values(1, "?timeout=300")); diff != "" {
		t.Error(diff)
	}
}

func TestTwoInstancesShareAGroup(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 4)
	both := []instance{p.create(t, topic, "json", `"consumer.request.timeout.ms":300`), p.create(t, topic, "json", `"consumer.request.timeout.ms":300`)}
	has := func(c instance) int { return strings.Count(c.must(200, "GET", "/assignments", ""), `"topic"`) }
	for _, c := range both {
		c.subscribe(topic)
	}
	waittest.Until(t, "both have partitions", func() bool {
		both[0].read("")
		both[1].read("")
		return has(both[0]) == 2 && has(both[1]) == 2
	})
	both[0].must(204, "DELETE", "", "")
	waittest.Until(t, "the other has all", func() bool { both[1].read(""); return has(both[1]) == 4 })
}
