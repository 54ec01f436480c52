package catalog_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/klamm-gateway/klamm/catalog"
)

// TestSyncSetsWhatWasStoredBefore stores definitions by one process and has another one,
// which hears of them in its own time, wait for them.
func TestSyncSetsWhatWasStoredBefore(t *testing.T) {
	c := openCluster(t)
	writer := openStore(t, c, nil)
	var mu sync.Mutex // guards set
	set := map[string]bool{}
	reader := catalog.NewStore(catalog.StoreConfig{Cluster: c, Log: slog.New(slog.DiscardHandler)})
	d := catalog.NewDefinitions(catalog.DefinitionsConfig{
		Store: reader, Log: slog.New(slog.DiscardHandler), Suspends: func(error) bool { return false },
		Compile: catalog.One(func(_ context.Context, d catalog.Document) (catalog.Pipe, error) {
			return catalog.Pipe{Name: d.Name}, nil
		}),
		Set:    func(p catalog.Pipe) { mu.Lock(); defer mu.Unlock(); set[p.Name] = true },
		Remove: func(name string) { mu.Lock(); defer mu.Unlock(); delete(set, name) },
	})
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { stop(); running.Wait() })
	running.Go(func() { reader.Run(ctx) })
	running.Go(func() { d.Run(ctx) })
	has := func(name string) bool {
		mu.Lock()
		defer mu.Unlock()
		return set[name]
	}
	prefix := unique(t)
	for _, suffix := range []string{"a", "b", "c", "d", "e", "f"} {
		doc, err := writer.Put(t.Context(), pipeDoc(prefix+suffix, `{}`), catalog.Absent)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Sync(t.Context()); err != nil || !has(doc.Name) {
			t.Fatalf("after it was stored %s is set: %t, %v", doc.Name, has(doc.Name), err)
		}
		if suffix == "c" {
			continue
		}
		if err := writer.Delete(t.Context(), catalog.KindPipe, doc.Name, doc.Version); err != nil {
			t.Fatal(err)
		}
		if err := d.Sync(t.Context()); err != nil || has(doc.Name) {
			t.Fatalf("after it was deleted %s is set: %t, %v", doc.Name, has(doc.Name), err)
		}
	}
}
