package catalog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/waittest"
)

func openCluster(t testing.TB) *kafka.Cluster {
	t.Helper()
	c, err := kafka.Open(kafka.Config{Brokers: brokertest.Brokers(t)}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// openStore runs a store until the test ends.
func openStore(t testing.TB, c *kafka.Cluster, see func([]string)) *catalog.Store {
	t.Helper()
	s := catalog.NewStore(catalog.StoreConfig{Cluster: c, Log: slog.New(slog.DiscardHandler)})
	if see != nil {
		s.Watch(see)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	select {
	case <-s.Opened():
	case <-time.After(2 * time.Minute):
		t.Fatal("the catalog was not opened")
	}
	return s
}

// unique is a name of the test's own: all tests of a cluster share one catalog.
func unique(t testing.TB) string { return fmt.Sprintf("p%d", time.Now().UnixNano()) }

func pipeDoc(name, body string) catalog.Document {
	return catalog.Document{Kind: catalog.KindPipe, Name: name, By: "User:alice", Body: json.RawMessage(body)}
}

func TestDefinitionsAreVersionedAndShared(t *testing.T) {
	c := openCluster(t)
	var mu sync.Mutex
	told := map[string]int{}
	a := openStore(t, c, nil)
	b := openStore(t, c, func(keys []string) {
		mu.Lock()
		defer mu.Unlock()
		for _, key := range keys {
			told[key]++
		}
	})
	name := unique(t)
	first, err := a.Put(t.Context(), pipeDoc(name, `{"n":1}`), catalog.Absent)
	if err != nil || first.Version == 0 || first.Before != nil {
		t.Fatalf("the first one: %+v, %v", first, err)
	}
	if got, err := b.Get(t.Context(), catalog.KindPipe, name); err != nil || string(got.Body) != `{"n":1}` {
		t.Fatalf("another process does not see what was just made: %+v, %v", got, err)
	}
	if _, err := b.Put(t.Context(), pipeDoc(name, `{"n":2}`), catalog.Absent); !errors.Is(err, catalog.ErrExists) {
		t.Fatalf("made twice: %v", err)
	}
	again := pipeDoc(name, `{"n":2}`)
	again.By = "User:bob"
	second, err := b.Put(t.Context(), again, first.Version)
	if err != nil {
		t.Fatal(err)
	}
	if was := second.Before; was == nil || was.Version != first.Version || was.By != "User:alice" || string(was.Body) != `{"n":1}` || second.By != "User:bob" || second.Version <= first.Version || !second.Created.Equal(first.Created) {
		t.Fatalf("the second one: %+v, before %+v", second, second.Before)
	}
	if changes, err := b.Changes(t.Context(), catalog.KindPipe); err != nil || !slices.Contains(changes, catalog.Change{Name: name, Changed: second.Changed}) {
		t.Fatalf("the second one is not among %v, %v", changes, err)
	}
	if _, err := a.Put(t.Context(), pipeDoc(name, `{"n":3}`), first.Version); !errors.Is(err, catalog.ErrConflict) {
		t.Fatalf("a change of an old version: %v", err)
	}
	if err := a.Delete(t.Context(), catalog.KindPipe, name, first.Version); !errors.Is(err, catalog.ErrConflict) {
		t.Fatalf("a deletion of an old version: %v", err)
	}
	if err := a.Delete(t.Context(), catalog.KindPipe, name, catalog.Any); err != nil {
		t.Fatal(err)
	}
	if err := a.Delete(t.Context(), catalog.KindPipe, name, catalog.Any); !errors.Is(err, catalog.ErrNotFound) {
		t.Fatalf("deleted twice: %v", err)
	}
	waittest.Until(t, "the other process has been told of all", func() bool {
		_, known := b.Look(catalog.KindPipe, name)
		mu.Lock()
		defer mu.Unlock()
		return !known && told["pipe/"+name] >= 2
	})
	if _, err := a.Put(t.Context(), pipeDoc(name, `{"pad":"`+strings.Repeat("x", catalog.MaxDocument)+`"}`), catalog.Any); !errors.Is(err, catalog.ErrInvalid) {
		t.Fatalf("too large: %v", err)
	}
}

func TestWritersAtOnceLoseNothing(t *testing.T) {
	c := openCluster(t)
	stores := []*catalog.Store{openStore(t, c, nil), openStore(t, c, nil)}
	name := unique(t)
	if _, err := stores[0].Put(t.Context(), pipeDoc(name, `{"n":0}`), catalog.Absent); err != nil {
		t.Fatal(err)
	}
	const each = 10
	var adding sync.WaitGroup
	for i := range 4 {
		adding.Go(func() {
			s := stores[i%2]
			for done := 0; done < each; {
				d, err := s.Get(t.Context(), catalog.KindPipe, name)
				var body struct{ N int }
				if err != nil || json.Unmarshal(d.Body, &body) != nil {
					t.Error(err)
					return
				}
				_, err = s.Put(t.Context(), pipeDoc(name, fmt.Sprintf(`{"n":%d}`, body.N+1)), d.Version)
				if err == nil {
					done++
				} else if !errors.Is(err, catalog.ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	adding.Wait()
	waittest.Until(t, "all additions are there", func() bool {
		d, err := stores[0].Get(t.Context(), catalog.KindPipe, name)
		return err == nil && string(d.Body) == fmt.Sprintf(`{"n":%d}`, 4*each)
	})
}

func TestADefinitionOfANewerVersionIsLeftAlone(t *testing.T) {
	c := openCluster(t)
	s := openStore(t, c, nil)
	name := unique(t)
	d, err := s.Put(t.Context(), pipeDoc(name, `{"n":1}`), catalog.Absent)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{`{"format":99,"shape":[1]}`, `not JSON`, `{"format":1}`} {
		err := c.Produce(t.Context(), &kgo.Record{Topic: catalog.Topic, Key: []byte("pipe/" + name), Value: []byte(value)}).FirstErr()
		if err != nil {
			t.Fatal(err)
		}
		waittest.Until(t, "it is told of", func() bool {
			for _, odd := range s.Unreadable() {
				if odd.Name == name && (strings.Contains(value, "99") == errors.Is(odd.Err, catalog.ErrNewer)) {
					return true
				}
			}
			return false
		})
		if got, ok := s.Look(catalog.KindPipe, name); !ok || got.Version != d.Version {
			t.Fatalf("after %s: %+v, want what was there before", value, got)
		}
		if _, err := s.Put(t.Context(), pipeDoc(name, `{"n":2}`), catalog.Any); err == nil {
			t.Fatalf("after %s: it was replaced", value)
		}
	}
	if err := s.Delete(t.Context(), catalog.KindPipe, name, catalog.Any); err != nil {
		t.Fatal(err)
	}
}

func TestSealedSecrets(t *testing.T) {
	c := openCluster(t)
	s := openStore(t, c, nil)
	keys := map[string]string{"A": "sixteen bytes at least", "B": "another key of that length"}
	lookup := func(_ context.Context, r secret.Ref) (string, error) { return keys[r.Env], nil }
	seal := func(cfg catalog.Config) *catalog.Seal {
		t.Helper()
		one, err := catalog.NewSeal(t.Context(), cfg, s, lookup)
		if err != nil {
			t.Fatal(err)
		}
		return one
	}
	a, b := secret.Ref{Env: "A"}, secret.Ref{Env: "B"}
	none, own, next, other := seal(catalog.Config{}), seal(catalog.Config{SealKey: a}), seal(catalog.Config{SealKey: b, FormerSealKeys: []secret.Ref{a}}), seal(catalog.Config{SealKey: b})
	for _, x := range []struct {
		name        string
		from, to    *catalog.Seal
		place, want string
		opens       bool
	}{
		{"the key of the cluster", none, seal(catalog.Config{}), "here", "s3cret", true},
		{"the key of the cluster, with one of its own", none, own, "here", "s3cret", true},
		{"its own key", own, own, "here", "s3cret", true},
		{"a key that was replaced", own, next, "here", "s3cret", true},
		{"a key that is not known", own, other, "here", "s3cret", false},
		{"in another place", own, own, "there", "s3cret", false},
	} {
		t.Run(x.name, func(t *testing.T) {
			sealed, err := x.from.Close(t.Context(), "here", x.want)
			if err != nil || strings.Contains(sealed, x.want) {
				t.Fatalf("sealed: %q, %v", sealed, err)
			}
			got, err := x.to.Open(t.Context(), x.place, sealed)
			if (err == nil) != x.opens || x.opens && got != x.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	for _, wrong := range []string{"", ".", "x.y", "0a0b0c0d.AAAA"} {
		if got, err := own.Open(t.Context(), "here", wrong); err == nil {
			t.Errorf("opened %q: %q", wrong, got)
		}
	}
	keys["C"] = "short"
	if _, err := catalog.NewSeal(t.Context(), catalog.Config{SealKey: secret.Ref{Env: "C"}}, s, lookup); err == nil {
		t.Error("a short key was taken")
	}
}
