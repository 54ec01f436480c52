package confluent2

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/waittest"
)

func TestCommits(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 3)
	for n := range int32(3) {
		p.put(t, topic, n, numbers(0, 30)...)
	}
	c := p.create(t, topic, "json")
	c.must(204, "POST", "/assignments", partitions(topic, 0, 1, 2))
	if body := c.must(200, "GET", "/offsets", partitions(topic, 0, 1, 2)); body != `{"offsets":[]}` {
		t.Errorf("before a commit: %s", body)
	}
	offsets := func(list string, at ...int) string {
		var all []string
		for i := 0; i < len(at); i += 2 {
			all = append(all, fmt.Sprintf(`{"topic":%q,"partition":%d,"offset":%d,"metadata":"m%[2]d"}`, topic, at[i], at[i+1]))
		}
		return `{"` + list + `":[` + strings.Join(all, ",") + `]}`
	}
	if body := c.must(200, "POST", "/offsets", offsets("offsets", 0, 20, 2, 0)); body != "[]" {
		t.Errorf("commit: %s", body)
	}
	if diff := cmp.Diff(map[int32]int64{0: 21, 2: 1}, p.committed(t, topic, topic)); diff != "" {
		t.Error(diff)
	}
	want := fmt.Sprintf(`{"offsets":[{"topic":%q,"partition":0,"offset":21,"metadata":"m0"},{"topic":%[1]q,"partition":2,"offset":1,"metadata":"m2"}]}`, topic)
	if body := c.must(200, "GET", "/offsets", partitions(topic, 0, 1, 2)); body != want {
		t.Errorf("got %s, want %s", body, want)
	}
	if body := c.must(200, "GET", "/offsets?topic="+topic+"&partition=2&topic="+topic+"&partition=1", ""); !strings.HasPrefix(body, `{"offsets":[{"topic":"`+topic+`","partition":2,"offset":1`) {
		t.Errorf("by query: %s", body)
	}
	c.fails("GET", "/offsets", "", 404, 40402, "Partition not found.")
	c.fails("GET", "/offsets?topic=x", "", 404, 40402, "Partition not found.")
	c.fails("POST", "/offsets", offsets("offsets", 0, -1), 422, 422, "offset")
	c.values(90, "")
	if body := c.must(200, "POST", "/offsets/", ""); body != "[]" {
		t.Errorf("commit of all: %s", body)
	}
	if diff := cmp.Diff(map[int32]int64{0: 30, 1: 30, 2: 30}, p.committed(t, topic, topic)); diff != "" {
		t.Error(diff)
	}
	c.must(200, "POST", "/offsets", offsets("partitions", 1, 3))
	if got := p.committed(t, topic, topic)[1]; got != 4 {
		t.Errorf("partitions instead of offsets: got %d, want 4", got)
	}
}

func TestCommitAsMember(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	p.put(t, topic, 0, numbers(0, 5)...)
	c := p.create(t, topic, "json")
	c.subscribe(topic)
	c.values(3, "?max_bytes=4")
	c.must(200, "POST", "/offsets", "")
	if got := p.committed(t, topic, topic)[0]; got != 3 {
		t.Errorf("got %d, want 3: no more than was delivered", got)
	}
	c.must(200, "POST", "/offsets", fmt.Sprintf(`{"offsets":[{"topic":%q,"partition":0,"offset":0,"metadata":"x"}]}`, topic))
	if want, body := fmt.Sprintf(`{"offsets":[{"topic":%q,"partition":0,"offset":1,"metadata":"x"}]}`, topic), c.must(200, "GET", "/offsets", partitions(topic, 0)); body != want {
		t.Errorf("got %s, want %s", body, want)
	}
}

func TestWhatASuccessorReads(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	for _, c := range []struct {
		auto string
		want []string
	}{{"false", append(numbers(0, 6), `"new"`)}, {"true", []string{`"new"`}}} {
		topic := p.topic(t, 1)
		p.put(t, topic, 0, numbers(0, 6)...)
		first := p.create(t, topic, "json", `"auto.commit.enable":`+c.auto)
		first.subscribe(topic)
		first.values(6, "")
		first.must(204, "DELETE", "", "")
		p.put(t, topic, 0, `"new"`)
		second := p.create(t, topic, "json")
		second.subscribe(topic)
		if diff := cmp.Diff(c.want, second.values(len(c.want), "")); diff != "" {
			t.Errorf("auto commit %s: %s", c.auto, diff)
		}
		second.must(204, "DELETE", "", "")
	}
}

func TestAutoCommitStopsAtWhatWasDelivered(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as the automatic commit does")
	}
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	p.put(t, topic, 0, numbers(0, 9)...)
	c := p.create(t, topic, "json", `"auto.commit.enable":true`)
	c.subscribe(topic)
	c.values(3, "?max_bytes=4")
	waittest.Until(t, "the third record committed", func() bool { return p.committed(t, topic, topic)[0] != 0 })
	if got := p.committed(t, topic, topic)[0]; got != 3 {
		t.Errorf("got %d, want 3", got)
	}
}

func TestSeeks(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	for _, member := range []bool{false, true} {
		topic := p.topic(t, 1)
		p.put(t, topic, 0, numbers(0, 50)...)
		last := time.Now().Truncate(time.Millisecond)
		waittest.Until(t, "the clock goes on", func() bool { return time.Since(last) > 5*time.Millisecond })
		middle := time.Now()
		p.put(t, topic, 0, numbers(50, 60)...)
		c := p.create(t, topic, "json")
		at := partitions(topic, 0)
		c.fails("POST", "/positions/beginning", at, 409, 40903, "Illegal state: No current assignment for partition "+topic+"-0")
		if member {
			c.subscribe(topic)
		} else {
			c.must(204, "POST", "/assignments", at)
		}
		first := func(n int, query, want string) {
			t.Helper()
			if values := c.values(n, query); values[0] != want {
				t.Errorf("member %v: got %v, want %s first", member, values, want)
			}
		}
		seek := func(list, field string) {
			t.Helper()
			c.must(204, "POST", "/positions", fmt.Sprintf(`{%q:[{"topic":%q,"partition":0,%s}]}`, list, topic, field))
		}
		first(1, "?max_bytes=4", "0")
		seek("offsets", `"offset":40,"metadata":"m"`)
		first(1, "?max_bytes=3", "40")
		seek("offsets", `"offset":"40"`)
		first(1, "?max_bytes=3", "40")
		c.must(204, "POST", "/positions/beginning", at)
		if diff := cmp.Diff(numbers(0, 60), c.values(60, "")); diff != "" {
			t.Errorf("member %v: %s", member, diff)
		}
		seek("timestamps", fmt.Sprintf(`"timestamp":%q`, middle.UTC().Format(time.RFC3339Nano)))
		first(10, "", "50")
		seek("offsets", `"offset":55`)
		c.must(204, "POST", "/positions/end", at)
		if records := c.read("?timeout=300"); len(records) != 0 {
			t.Errorf("member %v: at the end there is %v", member, records)
		}
		seek("timestamps", `"timestamp":"2999-01-01T00:00:00Z"`)
		p.put(t, topic, 0, `"last"`)
		first(1, "", `"last"`)
		c.fails("POST", "/positions", `{"offsets":[{"topic":"`+topic+`","partition":0,"offset":-1}]}`, 422, 422, "offset")
		c.fails("POST", "/positions", `{"timestamps":[{"topic":"`+topic+`","partition":0,"timestamp":"yesterday"}]}`, 400, 400, "java.time.Instant")
		c.fails("POST", "/positions", `{"offsets":[{"topic":"`+topic+`","partition":1,"offset":0}]}`, 409, 40903, topic+"-1")
		c.must(204, "DELETE", "", "")
	}
}

// TestTheEndOfWhatIsCommitted sees that an instance that leaves out open transactions
// seeks the end before the first of them: what they write comes once they are committed.
func TestTheEndOfWhatIsCommitted(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	topic := p.topic(t, 1)
	p.put(t, topic, 0, "0")
	client, err := kgo.NewClient(kgo.SeedBrokers(p.cluster.Brokers()...), kgo.TransactionalID(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	at := partitions(topic, 0)
	for n, to := range []struct{ path, body string }{
		{"/positions/end", at},
		{"/positions", fmt.Sprintf(`{"timestamps":[{"topic":%q,"partition":0,"timestamp":"2999-01-01T00:00:00Z"}]}`, topic)},
	} {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(fmt.Sprint(n + 1))}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		c := p.create(t, fmt.Sprint(topic, n), "json", `"isolation.level":"read_committed"`)
		c.must(204, "POST", "/assignments", at)
		c.must(204, "POST", to.path, to.body)
		if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
		if values := c.values(1, ""); values[0] != fmt.Sprint(n+1) {
			t.Errorf("%s: got %v, want what the transaction wrote", to.path, values)
		}
		c.must(204, "DELETE", "", "")
	}
}
