package kafka_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-gateway/klamm/kafka"
)

// TestManyIdleMembersHeartbeatTogether has members of a process with many join at times
// of their own, and looks when their heartbeats arrive.
func TestManyIdleMembersHeartbeatTogether(t *testing.T) {
	t.Parallel()
	const members, beats = 20, 2
	brokers, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(0), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer brokers.Close()
	var mu sync.Mutex
	var arrived []time.Time
	heard := map[string]int{}
	brokers.ControlKey(int16(kmsg.Heartbeat), func(r kmsg.Request) (kmsg.Response, error, bool) {
		brokers.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		// The first one comes soon after joining, by itself.
		if group := r.(*kmsg.HeartbeatRequest).Group; heard[group] > 0 {
			arrived = append(arrived, time.Now())
			heard[group]++
		} else {
			heard[group] = 1
		}
		return nil, nil, false
	})
	c := open(t, brokers.ListenAddrs()...)
	for i := range members {
		join(t, c, kafka.Membership{Group: fmt.Sprintf("g-%d", i), Topics: []string{"t"}, Memberships: 350})
		time.Sleep(70 * time.Millisecond)
	}
	// Each is sent some five seconds after the last.
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		mu.Lock()
		all, done := slices.Clone(arrived), len(heard) == members
		for _, n := range heard {
			done = done && n > beats
		}
		mu.Unlock()
		if !done && time.Now().Before(deadline) {
			continue
		}
		if !done {
			t.Fatalf("too few heartbeats: %v", heard)
		}
		// A beat is at the full second; a busy machine may be late.
		together := 0
		for _, at := range all {
			if at.Sub(at.Truncate(time.Second)) < 500*time.Millisecond {
				together++
			}
		}
		if together < len(all)*4/5 {
			t.Errorf("of %d heartbeats of %d members %d came at a beat: %v", len(all), members, together, all)
		}
		return
	}
}
