package kafka

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestManyIdleMembersHeartbeatTogether has members of a process with many join at times
// of their own, looks when their heartbeats arrive, and has them leave while these wait.
func TestManyIdleMembersHeartbeatTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const members = 10
		m := Membership{Memberships: 1000}
		var wire kfake.VirtualNetwork
		brokers, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(wire.Listen), kfake.SeedTopics(1, "t"))
		if err != nil {
			t.Fatal(err)
		}
		defer brokers.Close()
		var mu sync.Mutex
		var arrived []time.Time
		brokers.ControlKey(int16(kmsg.Heartbeat), func(kmsg.Request) (kmsg.Response, error, bool) {
			brokers.KeepControl()
			mu.Lock()
			defer mu.Unlock()
			arrived = append(arrived, time.Now())
			return nil, nil, false
		})
		var b beat
		var dials atomic.Int32
		all := make([]*kgo.Client, members)
		for i := range all {
			all[i], err = kgo.NewClient(append(m.rhythm(),
				kgo.SeedBrokers(brokers.ListenAddrs()...),
				kgo.Dialer(b.dial(func(ctx context.Context, network, address string) (net.Conn, error) {
					dials.Add(1)
					return wire.DialContext(ctx, network, address)
				})),
				kgo.ConsumerGroup(fmt.Sprintf("g-%d", i)), kgo.ConsumeTopics("t"),
				kgo.DisableClientMetrics(), kgo.DisableAutoCommit(),
			)...)
			if err != nil {
				t.Fatal(err)
			}
			defer all[i].Close()
			time.Sleep(70 * time.Millisecond)
		}
		// The first ones come soon after joining, by themselves.
		time.Sleep(10 * time.Second)
		mu.Lock()
		arrived = nil
		mu.Unlock()
		time.Sleep(4*m.heartbeat() + beatEvery)
		mu.Lock()
		if len(arrived) < 4*members {
			t.Errorf("%d heartbeats arrived, want %d or more", len(arrived), 4*members)
		}
		for _, at := range arrived {
			// An answer to a fetch, which arrives just behind a beat, lets one go.
			if at.Sub(at.Truncate(beatEvery)) > 2*time.Millisecond {
				t.Errorf("a heartbeat came between two beats, at %s", at)
			}
		}
		mu.Unlock()
		waits := func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.next != nil
		}
		for tries := 0; !waits(); tries++ {
			if tries == 1000 {
				t.Fatal("no heartbeat waits any more")
			}
			time.Sleep(100 * time.Millisecond)
		}
		before := dials.Load()
		var leaving sync.WaitGroup
		for _, client := range all {
			leaving.Go(func() {
				if err := client.LeaveGroupContext(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		leaving.Wait()
		if now := dials.Load(); now != before {
			t.Errorf("%d connections were made only to leave", now-before)
		}
	})
}
