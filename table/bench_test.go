package table

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/broker/brokertest"
)

func BenchmarkPut(b *testing.B) {
	addresses := brokertest.Brokers(b)
	for _, c := range []struct {
		name               string
		processes, writers int
		hot                bool
	}{
		{"one writer", 1, 1, false},
		{"64 writers of one process", 1, 64, false},
		{"64 writers of one process to one entry", 1, 64, true},
		{"two processes", 2, 2, false},
		{"two processes with 64 writers", 2, 64, false},
		{"three processes", 3, 3, false},
		{"three processes with 24 writers", 3, 24, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			topic := strings.ReplaceAll(unique(b), "_", "-")
			var tables []*Table
			for range c.processes {
				tables = append(tables, open(b, addresses, topic, Options{}))
			}
			value := make([]byte, 500)
			failed := make(chan error, c.writers)
			var longest atomic.Int64
			b.ResetTimer()
			for w := range c.writers {
				go func() {
					var err error
					for i := w; i < b.N && err == nil; i += c.writers {
						key := fmt.Sprint("k", i%1000)
						if c.hot {
							key = "k"
						}
						start := time.Now()
						_, err = tables[w%c.processes].Put(context.Background(), key, value, Any)
						took := int64(time.Since(start))
						for old := longest.Load(); took > old && !longest.CompareAndSwap(old, took); old = longest.Load() {
						}
					}
					failed <- err
				}()
			}
			for range c.writers {
				if err := <-failed; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
			b.ReportMetric(float64(longest.Load())/1e6, "ms-longest")
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	addresses := brokertest.Brokers(b)
	for _, entries := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(entries), func(b *testing.B) {
			topic := unique(b)
			table := open(b, addresses, topic, Options{})
			const step = 1000
			for at := 0; at < entries; at += step {
				err := table.Update(b.Context(), func(tx *Tx) error {
					for i := range step {
						tx.Put(fmt.Sprintf("entry/%08d", at+i), make([]byte, 500))
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			c := cluster(b, addresses)
			var before, after runtime.MemStats
			for b.Loop() {
				b.StopTimer()
				runtime.GC()
				runtime.ReadMemStats(&before)
				b.StartTimer()
				table, err := Open(b.Context(), c, topic, Options{})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				runtime.GC()
				runtime.ReadMemStats(&after)
				if got := len(table.List("")); got != entries {
					b.Fatalf("%d entries, want %d", got, entries)
				}
				table.Close()
				b.StartTimer()
			}
			// Without the 500 bytes of the value and the 14 of the key.
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(entries)-514, "B/entry")
		})
	}
}
