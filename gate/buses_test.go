package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
)

// busesOf starts the buses of a cluster behind some policies.
func busesOf(t *testing.T, change func(*BusesConfig), policies ...Policy) (*Buses, *catalog.Store, *kafka.Cluster) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	cluster, err := kafka.Open(kafka.Config{Brokers: brokertest.Brokers(t)}, log)
	if err != nil {
		t.Fatal(err)
	}
	store := catalog.NewStore(catalog.StoreConfig{Cluster: cluster, Log: log})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { store.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait(); cluster.Close() })
	cfg := BusesConfig{Gate: New(cluster, policies...), Store: store, Cluster: cluster, Account: "111122223333", Region: "eu-west-3", MaxEntries: 1 << 20, Log: log}
	if change != nil {
		change(&cfg)
	}
	return NewBuses(cfg), store, cluster
}

// storeBus stores a bus.
func storeBus(t *testing.T, store *catalog.Store, name string, b catalog.Bus) {
	t.Helper()
	body, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(t.Context(), catalog.Document{Kind: catalog.KindBus, Name: name, Dialect: "aws", Body: body}, catalog.Any); err != nil {
		t.Fatal(err)
	}
}

func busEvent(bus, detail string) *BusEvent {
	return &BusEvent{Bus: bus, Envelope: event.Envelope{Source: "s", DetailType: "d", Detail: []byte(detail)}}
}

func TestWhoMayPutEvents(t *testing.T) {
	const arn = "arn:aws:events:eu-west-3:111122223333:event-bus/"
	bus := fmt.Sprintf("shop%d", time.Now().UnixNano())
	law := Law{Policies: []PolicyConfig{
		{Name: "own", Kind: "identity", Attach: []string{"User:alice"}, Document: json.RawMessage(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"events:PutEvents","Resource":"` + arn + bus + `"}]}`)},
		{Name: "other", Kind: "identity", Attach: []string{"arn:aws:iam::444455556666:user/carol"}, Document: json.RawMessage(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"events:*","Resource":"*"}]}`)},
	}}
	buses, store, _ := busesOf(t, nil, newAuthority(t, law))
	storeBus(t, store, bus, catalog.Bus{})
	alice, bob := Principal{Name: "User:alice"}, Principal{Name: "User:bob"}
	carol := Principal{Name: "User:carol", ARN: "arn:aws:iam::444455556666:user/carol", AccountID: "444455556666"}
	put := func(who Principal, name string) string {
		e := busEvent(name, "{}")
		err := buses.Put(t.Context(), who, []*BusEvent{e})
		if err == nil && (e.Err != nil || e.ID == "") {
			t.Errorf("event %q, %v", e.ID, e.Err)
		}
		return outcomeOf(err)
	}
	check := func(state string, want map[string]string) {
		t.Helper()
		got := map[string]string{"alice": put(alice, bus), "alice elsewhere": put(alice, bus+"x"), "alice on default": put(alice, "default"), "bob": put(bob, bus), "carol": put(carol, bus)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", state, diff)
		}
	}
	check("without a policy of the bus", map[string]string{"alice": passes, "alice elsewhere": refused, "alice on default": refused, "bob": refused, "carol": refused})
	storeBus(t, store, bus, catalog.Bus{Policy: `{"Version":"2012-10-17","Statement":[
		{"Sid":"a","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::444455556666:root"},"Action":"events:PutEvents","Resource":"` + arn + bus + `"},
		{"Sid":"b","Effect":"Allow","Principal":{"Klamm":"User:bob"},"Action":"events:PutEvents","Resource":"` + arn + bus + `"}]}`})
	check("allowed by the bus", map[string]string{"alice": passes, "alice elsewhere": refused, "alice on default": refused, "bob": passes, "carol": passes})
	storeBus(t, store, bus, catalog.Bus{Policy: `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":"*","Action":"events:*","Resource":"*"}}`})
	check("denied by the bus", map[string]string{"alice": refused, "alice elsewhere": refused, "alice on default": refused, "bob": refused, "carol": refused})
	// One bus that is denied keeps everything from being written.
	storeBus(t, store, bus, catalog.Bus{})
	if err := buses.Put(t.Context(), alice, []*BusEvent{busEvent(bus, `{"late":1}`), busEvent("default", "{}")}); outcomeOf(err) != refused {
		t.Errorf("one of two buses: %v", err)
	}
}

func TestEventsOfBusesThatDoNotExist(t *testing.T) {
	for _, strict := range []bool{false, true} {
		buses, _, _ := busesOf(t, func(cfg *BusesConfig) { cfg.Strict = strict })
		gone, there := busEvent("gone"+fmt.Sprint(time.Now().UnixNano()), "{}"), busEvent("default", "{}")
		elsewhere := busEvent("arn:aws:events:eu-west-3:999999999999:event-bus/default", "{}")
		if err := buses.Put(t.Context(), Principal{}, []*BusEvent{gone, there, elsewhere}); err != nil {
			t.Fatal(err)
		}
		if there.Err != nil || there.ID == "" {
			t.Errorf("strict %v: the default bus: %v", strict, there.Err)
		}
		for _, e := range []*BusEvent{gone, elsewhere} {
			if errors.Is(e.Err, ErrNoBus) != strict || (e.ID == "") != strict {
				t.Errorf("strict %v: bus %s: %q, %v", strict, e.Bus, e.ID, e.Err)
			}
		}
	}
}

func TestEventsOfARequestAreWrittenInOrder(t *testing.T) {
	buses, store, cluster := busesOf(t, nil)
	bus := fmt.Sprintf("shop%d", time.Now().UnixNano())
	tags := map[string]string{catalog.TagPartitions: "1", catalog.TagRetentionHours: "48"}
	if err := CheckBusTags(tags); err != nil {
		t.Fatal(err)
	}
	storeBus(t, store, bus, catalog.Bus{Tags: tags})
	var want, got []string
	for i := range 30 {
		events := make([]*BusEvent, 10)
		for k := range events {
			events[k] = busEvent(bus, fmt.Sprintf(`{"n":%d}`, 10*i+k))
		}
		if err := buses.Put(t.Context(), Principal{}, events); err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			want = append(want, e.ID)
		}
	}
	var records []*kgo.Record
	for end := time.Now().Add(time.Minute); len(got) < len(want); {
		topic, err := cluster.Topic(t.Context(), event.BusTopic(bus))
		if err != nil {
			t.Fatal(err)
		}
		if records, _, err = cluster.Read(t.Context(), topic, 0, int64(len(got)), kafka.Limits{Records: 1000, Bytes: 1 << 20, Wait: time.Second}); err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			got = append(got, string(r.Key))
		}
		if time.Now().After(end) {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	settings, err := cluster.TopicSettings(t.Context(), event.BusTopic(bus))
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]string{}
	for _, s := range settings {
		if s.Value != nil {
			have[s.Name] = *s.Value
		}
	}
	if have["retention.ms"] != "172800000" || have["max.message.bytes"] != "4194304" {
		t.Errorf("retention.ms %q, max.message.bytes %q", have["retention.ms"], have["max.message.bytes"])
	}
}

func TestTagsOfBusesAreChecked(t *testing.T) {
	for name, c := range map[string]struct {
		tags map[string]string
		ok   bool
	}{
		"none": {nil, true}, "others": {map[string]string{"team": "x"}, true},
		"path": {map[string]string{"klamm:order-key": "$.detail.order"}, true}, "no path": {map[string]string{"klamm:order-key": "order"}, false},
		"partitions": {map[string]string{"klamm:partitions": "12"}, true}, "no partitions": {map[string]string{"klamm:partitions": "0"}, false}, "too many": {map[string]string{"klamm:partitions": "1001"}, false},
		"hours": {map[string]string{"klamm:retention-hours": "1"}, true}, "no hours": {map[string]string{"klamm:retention-hours": "1h"}, false},
	} {
		if err := CheckBusTags(c.tags); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
