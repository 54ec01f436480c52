package confluent2

import (
	"fmt"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/gate"
)

func TestIdleInstancesExpire(t *testing.T) {
	t.Parallel()
	const idle = 2 * time.Second
	p := startProxy(t, Config{}, consumerConfig{idle: idle})
	topic := p.topic(t, 1)
	for attempt := 1; !p.expires(t, fmt.Sprintf("%s-%d", topic, attempt), topic, idle); attempt++ {
		if attempt == 5 {
			t.Fatal("this machine stops for seconds, again and again")
		}
	}
}

// expires makes an instance that is kept by calls and one that is not. False says
// that the calls came too late because the whole process stood still.
func (p proxy) expires(t *testing.T, group, topic string, after time.Duration) bool {
	t.Helper()
	kept, idle := p.create(t, group+"-kept", "json", `"consumer.request.timeout.ms":100`), p.create(t, group+"-idle", "json", `"consumer.request.timeout.ms":100`)
	last := time.Now()
	for _, c := range []instance{kept, idle} {
		if r := c.do("POST", "/subscription", `{"topics":["`+topic+`"]}`); r.status != 204 {
			return false
		}
		if r := c.call(t, "GET", c.path+"/records", c.accept, ""); r.status != 200 {
			return false
		}
	}
	members := func(group string) int {
		described, err := p.cluster.Group(t.Context(), group)
		if err != nil {
			return 0
		}
		return len(described.Members)
	}
	for members(group+"-idle") != 1 {
		if time.Since(last) >= after {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	begun := time.Now()
	for time.Since(begun) < after+2*time.Second || members(group+"-idle") > 0 {
		if time.Since(begun) > time.Minute {
			t.Fatal("the idle member has not left within a minute")
		}
		r := kept.do("GET", "/subscription", "")
		if r.status != 200 && time.Since(last) >= after {
			return false
		}
		last = time.Now()
		if r.status != 200 || r.header.Get("Klamm-Lease") != "2" {
			t.Fatalf("a call did not renew the instance: %d %v", r.status, r.header)
		}
		time.Sleep(200 * time.Millisecond) // a client that calls from time to time
	}
	idle.fails("GET", "/subscription", "", 404, 40403, "Consumer instance not found.")
	if n := members(group + "-kept"); n != 1 && time.Since(last) < after/2 {
		t.Errorf("the kept instance's group has %d members", n)
	}
	return true
}

func TestThereIsALimit(t *testing.T) {
	t.Parallel()
	p := startProxy(t, Config{}, consumerConfig{})
	for i := range 1000 {
		if _, err := p.gate.CreateConsumer(t.Context(), gate.Anonymous, "g", fmt.Sprint(i), gate.ConsumerConfig{Idle: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, "one more", p.call(t, "POST", "/consumers/g", "", ""), 429, 429, "there are 1000 consumer instances already")
}
