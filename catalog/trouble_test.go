package catalog

import (
	"bytes"
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

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/waittest"
)

// A journal keeps what is logged.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) has(text string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Contains(j.text.String(), text)
}

// A process is what one klamm does with the catalog.
type process struct {
	t       *testing.T
	store   *Store
	defs    *Definitions
	said    *journal
	cluster *kafka.Cluster
	stop    func()

	mu  sync.Mutex
	set map[string]string // the bodies of the pipes that run, by name
}

func newProcess(t *testing.T, brokers []string) *process {
	t.Helper()
	p := &process{t: t, said: &journal{}, set: map[string]string{}}
	log := slog.New(slog.NewTextHandler(p.said, nil))
	var err error
	if p.cluster, err = kafka.Open(kafka.Config{Brokers: brokers}, log); err != nil {
		t.Fatal(err)
	}
	p.store = NewStore(StoreConfig{Cluster: p.cluster, Log: log})
	p.defs = NewDefinitions(DefinitionsConfig{Store: p.store, Log: log, Suspends: func(error) bool { return false },
		Compile: One(func(_ context.Context, d Document) (Pipe, error) {
			return Pipe{Name: d.Name, Topics: []string{"a"}, Group: string(d.Body), Version: d.Version}, nil
		}),
		Set: func(def Pipe) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.set[def.Name] = def.Group
		},
		Remove: func(name string) {
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.set, name)
		}})
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() { p.store.Run(ctx) })
	parts.Go(func() { p.defs.Run(ctx) })
	p.stop = sync.OnceFunc(func() { cancel(); parts.Wait(); p.cluster.Close() })
	t.Cleanup(p.stop)
	return p
}

func (p *process) runs(name, body string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.set[name] == body
}

// put stores a definition, also on a topic that was made a moment ago.
func (p *process) put(name, body string) {
	p.t.Helper()
	var err error
	waittest.Until(p.t, "it is stored", func() bool {
		_, err = p.store.Put(p.t.Context(), Document{Kind: KindPipe, Name: name, By: "User:alice", Body: json.RawMessage(body)}, Any)
		if err != nil && !errors.Is(err, ErrUnavailable) {
			p.t.Fatal(err)
		}
		return err == nil
	})
}

func TestATruncatedCatalogIsWrittenAgain(t *testing.T) {
	brokers := brokertest.Brokers(t)
	one := newProcess(t, brokers)
	name := fmt.Sprintf("p%d", time.Now().UnixNano())
	one.put(name, `{"n":1}`)
	waittest.Until(one.t, "it runs", func() bool { return one.runs(name, `{"n":1}`) })
	ranges, err := one.cluster.Ranges(t.Context(), Topic)
	if err != nil {
		t.Fatal(err)
	}
	var all kadm.Offsets
	all.AddOffset(Topic, 0, ranges[0].End, -1)
	// Apache Kafka deletes nothing of topics that are only compacted.
	policy := func(value string) {
		set := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: &value}}
		if _, err := one.cluster.Admin().AlterTopicConfigs(t.Context(), set, Topic); err != nil {
			t.Fatal(err)
		}
	}
	policy("compact,delete")
	waittest.Until(one.t, "the topic is empty", func() bool {
		if _, err := one.cluster.Admin().DeleteRecords(t.Context(), all); err != nil {
			return false
		}
		r, err := one.cluster.Ranges(t.Context(), Topic)
		return err == nil && r[0].Start >= ranges[0].End
	})
	policy("compact")
	if !one.runs(name, `{"n":1}`) {
		t.Error("the pipe does not go on")
	}
	waittest.Until(one.t, "it is said, and mended", func() bool {
		one.store.inspect(t.Context())
		return one.said.has("was truncated")
	})
	two := newProcess(t, brokers)
	waittest.Until(two.t, "another process finds the definition", func() bool { return two.runs(name, `{"n":1}`) })
	two.put(name, `{"n":2}`)
	waittest.Until(one.t, "both follow it", func() bool { return one.runs(name, `{"n":2}`) })
	if err := one.store.Health(); err != nil {
		t.Errorf("the catalog is not whole again: %v", err)
	}
}

func TestADeletedCatalogStopsNothing(t *testing.T) {
	brokers := brokertest.Brokers(t)
	one := newProcess(t, brokers)
	name := fmt.Sprintf("p%d", time.Now().UnixNano())
	one.put(name, `{"n":1}`)
	waittest.Until(one.t, "it runs", func() bool { return one.runs(name, `{"n":1}`) })
	if err := one.cluster.DeleteTopic(t.Context(), Topic); err != nil {
		t.Fatal(err)
	}
	waittest.Until(one.t, "it is said", func() bool { return one.store.Health() != nil && one.said.has("was deleted") })
	if !one.runs(name, `{"n":1}`) {
		t.Error("the pipe does not go on")
	}
	if _, err := one.store.Put(t.Context(), Document{Kind: KindPipe, Name: name, By: "User:alice", Body: json.RawMessage(`{"n":2}`)}, Any); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a change: %v, want ErrUnavailable", err)
	}
	list, err := one.store.List(t.Context(), KindPipe, name)
	if err != nil || len(list) != 1 || string(list[0].Body) != `{"n":1}` {
		t.Errorf("klamm export finds %v, %v", list, err)
	}
	one.stop()
	two := newProcess(t, brokers) // as klamm that was started again, with what was exported
	two.put(name, `{"n":1}`)
	waittest.Until(two.t, "it runs again", func() bool { return two.runs(name, `{"n":1}`) })
	if names := two.defs.Shadowed(); slices.Contains(names, name) {
		t.Errorf("shadowed: %v", names)
	}
}
