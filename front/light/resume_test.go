package light

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker/brokertest"
)

// TestClientsResumeOnAnyServer lets clients leave and come back at random, on two
// servers of one cluster, while records are written: each sees each record exactly
// once, and those of a partition in order.
func TestClientsResumeOnAnyServer(t *testing.T) {
	const clients, partitions = 50, 3
	records := 2000 // of 50 clients: 100,000 events
	if testing.Short() {
		records = 400
	}
	brokers := brokertest.Brokers(t)
	servers := []*testServer{startServer(t, brokers, usual), startServer(t, brokers, usual)}
	topic := servers[0].topic(t, partitions)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	var turns atomic.Int64
	for n := range clients {
		all.Go(func() {
			r := &resumer{rng: rand.New(rand.NewPCG(7, uint64(n))), left: records, next: map[int]int64{}}
			for r.left > 0 {
				turns.Add(1)
				if err := r.turn(ctx, servers[r.rng.IntN(len(servers))], topic); err != nil {
					t.Errorf("client %d, %d records to go: %v", n, r.left, err)
					return
				}
			}
		})
	}
	all.Go(func() {
		for n := 0; n < records; n += 20 {
			var batch []*kgo.Record
			for i := range 20 {
				batch = append(batch, &kgo.Record{Topic: topic, Partition: int32((n + i) % partitions), Value: []byte(strconv.Itoa(n + i))})
			}
			if err := servers[0].cluster.Produce(ctx, batch...).FirstErr(); err != nil {
				t.Error(err)
				cancel()
				return
			}
		}
	})
	all.Wait()
	t.Logf("%d events in %d connections", clients*records, turns.Load())
}

// A resumer is a client that comes and goes.
type resumer struct {
	rng  *rand.Rand
	left int
	id   string
	next map[int]int64 // offset that is to come, by partition
}

// turn is one connection, until enough was seen or the client loses its patience.
func (r *resumer) turn(ctx context.Context, s *testServer, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	c, err := s.tryListen(ctx, "/stream/"+topic+"?from=earliest", r.id)
	if err != nil {
		return err
	}
	defer c.close()
	if c.resp.StatusCode != 200 {
		return fmt.Errorf("answer %s", c.resp.Status)
	}
	for n := 1 + r.rng.IntN(400); n > 0 && r.left > 0; n-- {
		e, err := c.read()
		if err != nil || e.name != "record" {
			return fmt.Errorf("event %+v: %w", e, err)
		}
		var partition int
		var offset int64
		_, rest, _ := strings.Cut(e.data, `"partition":`)
		if _, err := fmt.Sscanf(rest, `%d,"offset":%d,`, &partition, &offset); err != nil {
			return fmt.Errorf("data %q: %w", e.data, err)
		}
		if offset != r.next[partition] {
			return fmt.Errorf("partition %d has offset %d, want %d", partition, offset, r.next[partition])
		}
		r.next[partition]++
		r.left--
		r.id = e.id
	}
	return nil
}
