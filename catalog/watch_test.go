package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/kafka"
)

// Who has stored a document finds that everybody knows of it, also where the news has
// come by the topic first, and nobody goes back to what was before.
func TestWhatIsStoredWasTold(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	cluster, err := kafka.Open(kafka.Config{Brokers: brokertest.Brokers(t)}, log)
	if err != nil {
		t.Fatal(err)
	}
	store := NewStore(StoreConfig{Cluster: cluster, Log: log})
	var mu sync.Mutex
	told := map[string]int64{}
	store.Watch(func(keys []string) {
		for _, key := range keys {
			doc, ok := store.Look(KindPipe, key[len(KindPipe+"/"):])
			time.Sleep(time.Millisecond) // as one that has something to do
			mu.Lock()
			if delete(told, doc.Name); ok {
				told[doc.Name] = doc.Version
			}
			mu.Unlock()
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { store.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait(); cluster.Close() })
	name := fmt.Sprintf("p%d", time.Now().UnixNano())
	for n := range 40 {
		doc, err := store.Put(t.Context(), Document{Kind: KindPipe, Name: name, By: "User:alice", Body: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))}, Any)
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		if told[name] != doc.Version {
			t.Errorf("version %d is stored, and %d was told", doc.Version, told[name])
		}
		mu.Unlock()
	}
}
