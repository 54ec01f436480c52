package table

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/kafka"
)

// model is what a table must hold, whichever process is asked.
type model struct {
	values   map[string]string
	versions map[string]Version
}

func (m model) content() []string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(m.values)) {
		all = append(all, key+"="+m.values[key])
	}
	return all
}

// TestModel has several processes write in a random order and compares each
// answer with that of a map: with one table after another the outcome is certain,
// whoever has seen what.
func TestModel(t *testing.T) {
	t.Parallel()
	b := brokertest.Brokers(t)
	clusters := []*kafka.Cluster{cluster(t, b), cluster(t, b), cluster(t, b)}
	checked := 0
	rapid.Check(t, func(rt *rapid.T) {
		checked++
		topic := fmt.Sprintf("%s-%d", unique(t), checked)
		tables := make([]*Table, len(clusters))
		reopen := func(i int) {
			if tables[i] != nil {
				tables[i].Close()
			}
			var err error
			if tables[i], err = Open(t.Context(), clusters[i], topic, Options{}); err != nil {
				rt.Fatal(err)
			}
		}
		for i := range tables {
			reopen(i)
			defer func() { tables[i].Close() }()
		}
		m := model{map[string]string{}, map[string]Version{}}
		keys := rapid.SampledFrom([]string{"a", "b", "c", "a/b"})
		who := rapid.IntRange(0, len(tables)-1)
		values := 0
		value := func() string { values++; return strconv.Itoa(values) }
		expected := func(key string) Version {
			switch rapid.IntRange(0, 3).Draw(rt, "expect") {
			case 0:
				return Any
			case 1:
				return Absent
			case 2:
				return m.versions[key]
			}
			return Version(rapid.IntRange(1, 50).Draw(rt, "version"))
		}
		holds := func(key string, expect Version) bool { return expect == Any || expect == m.versions[key] }
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				table, key := tables[who.Draw(rt, "who")], keys.Draw(rt, "key")
				expect, v := expected(key), value()
				e, err := table.Put(t.Context(), key, []byte(v), expect)
				if !holds(key, expect) {
					if !errors.Is(err, ErrConflict) {
						rt.Fatalf("put %s, expecting %d of %d: %v, want ErrConflict", key, expect, m.versions[key], err)
					}
					return
				}
				if err != nil || e.Version <= m.versions[key] {
					rt.Fatalf("put %s, expecting %d: version %d after %d, %v", key, expect, e.Version, m.versions[key], err)
				}
				m.values[key], m.versions[key] = v, e.Version
				if got, _ := table.Get(key); !cmp.Equal(got, e) {
					rt.Fatalf("stale read after put: %v, want %v", got, e)
				}
			},
			"delete": func(rt *rapid.T) {
				table, key := tables[who.Draw(rt, "who")], keys.Draw(rt, "key")
				expect := expected(key)
				err := table.Delete(t.Context(), key, expect)
				if holds(key, expect) != (err == nil) || err != nil && !errors.Is(err, ErrConflict) {
					rt.Fatalf("delete %s, expecting %d of %d: %v", key, expect, m.versions[key], err)
				}
				if err == nil {
					delete(m.values, key)
					delete(m.versions, key)
					if got, ok := table.Get(key); ok {
						rt.Fatalf("stale read after delete: %v", got)
					}
				}
			},
			"update": func(rt *rapid.T) {
				table := tables[who.Draw(rt, "who")]
				put, gone, v := keys.Draw(rt, "put"), keys.Draw(rt, "gone"), value()
				var saw []string
				err := table.Update(t.Context(), func(tx *Tx) error {
					saw = nil
					for _, e := range tx.List("") {
						saw = append(saw, e.Key+"="+string(e.Value))
					}
					tx.Put(put, []byte(v))
					tx.Delete(gone)
					return nil
				})
				if diff := cmp.Diff(m.content(), saw); diff != "" || err != nil {
					rt.Fatalf("update: %v; it saw %s", err, diff)
				}
				m.values[put] = v
				delete(m.values, gone)
				delete(m.versions, gone)
				if e, ok := table.Get(put); ok {
					m.versions[put] = e.Version
				}
			},
			"abandon": func(rt *rapid.T) {
				w, err := clusters[0].Writer(t.Context(), "klamm.table."+topic)
				if err != nil {
					rt.Fatal(err)
				}
				defer w.Close()
				if err := w.Write(t.Context(), &kgo.Record{Topic: topic, Key: []byte("a"), Value: []byte("never")}); err != nil {
					rt.Fatal(err)
				}
			},
			"restart": func(rt *rapid.T) { reopen(who.Draw(rt, "who")) },
			"": func(rt *rapid.T) {
				table := tables[who.Draw(rt, "who")]
				if err := table.Sync(t.Context()); err != nil {
					rt.Fatal(err)
				}
				if diff := cmp.Diff(m.content(), content(table)); diff != "" {
					rt.Fatalf("content: %s", diff)
				}
			},
		})
	})
	t.Logf("%d runs", checked)
}

// Several processes move amounts between accounts, all at once. The sum stays,
// at every moment and everywhere, and who creates an entry is the only one.
func TestWritersOfSeveralProcesses(t *testing.T) {
	b, topic := brokertest.Brokers(t), unique(t)
	const processes, writers, each, accounts = 3, 2, 12, 5
	var tables []*Table
	for range processes {
		tables = append(tables, open(t, b, topic, Options{}))
	}
	err := tables[0].Update(t.Context(), func(tx *Tx) error {
		for i := range accounts {
			tx.Put(fmt.Sprint("account/", i), []byte("100"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sum := func(entries []Entry) int {
		total := 0
		for _, e := range entries {
			n, _ := strconv.Atoi(string(e.Value))
			total += n
		}
		return total
	}
	for i, table := range tables {
		if err := table.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		seen := map[string]Entry{}
		stop := table.Watch(func(changes []Change) {
			for _, c := range changes {
				if old, ok := seen[c.Key]; ok && old.Version >= c.Version {
					t.Errorf("process %d: version %d of %s after %d", i, c.Version, c.Key, old.Version)
				}
				if c.Key[0] == 'a' {
					seen[c.Key] = c.Entry
				}
			}
			if got := sum(slices.Collect(maps.Values(seen))); got != accounts*100 {
				t.Errorf("process %d: a watcher sees a sum of %d", i, got)
			}
		})
		defer stop()
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	created := map[string]int{}
	for w := range processes * writers {
		wg.Go(func() {
			table := tables[w%processes]
			for range each {
				from, to := fmt.Sprint("account/", rand.IntN(accounts)), fmt.Sprint("account/", rand.IntN(accounts))
				err := table.Update(t.Context(), func(tx *Tx) error {
					for key, amount := range map[string]int{from: -7, to: 7} {
						if from == to {
							continue
						}
						e, _ := tx.Get(key)
						n, _ := strconv.Atoi(string(e.Value))
						tx.Put(key, []byte(strconv.Itoa(n+amount)))
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				if got := sum(table.List("account/")); got != accounts*100 {
					t.Errorf("sum %d", got)
				}
				name := fmt.Sprint("name/", rand.IntN(each))
				_, err = table.Put(t.Context(), name, []byte(fmt.Sprint(w)), Absent)
				if err == nil {
					mu.Lock()
					created[name]++
					mu.Unlock()
				} else if !errors.Is(err, ErrConflict) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for name, n := range created {
		if n != 1 {
			t.Errorf("%s was created %d times", name, n)
		}
	}
	if err := tables[0].Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(tables[0].List("name/")); got != len(created) {
		t.Errorf("%d names, want %d", got, len(created))
	}
}
