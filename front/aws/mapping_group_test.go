package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/kafka"
)

// grouped is a mapping of a poller group that has so many pollers at most; 0: it does not
// say.
func grouped(group string, most int64) *mappingDocument {
	d := &mappingDocument{ProvisionedPollerConfig: &mappingPollers{PollerGroupName: &group}}
	if n := number(most); n > 0 {
		d.ProvisionedPollerConfig.MaximumPollers = &n
	}
	return d
}

func TestPollerGroupsHaveLimits(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	cluster, err := kafka.Open(kafka.Config{Brokers: brokertest.Brokers(t)}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	a := New(Config{Store: catalog.NewStore(catalog.StoreConfig{Cluster: cluster, Log: log}), Log: log})
	t.Cleanup(a.Close)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); a.cfg.Store.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	n := 0
	put := func(d *mappingDocument) (uuid string) {
		t.Helper()
		n++
		uuid = fmt.Sprintf("0f2c0000-0000-4000-8000-%012d", n)
		raw, err := json.Marshal(mappingBody{Mapping: *d})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.cfg.Store.Put(ctx, catalog.Document{Kind: catalog.KindMapping, Name: uuid, Dialect: dialect, Body: raw}, catalog.Any); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := a.cfg.Store.Delete(context.Background(), catalog.KindMapping, uuid, catalog.Any); err != nil {
				t.Error(err)
			}
		})
		return uuid
	}
	put(grouped("wide", 1500))
	defaults := put(grouped("wide", 0))
	for range mostGroupMappings {
		put(grouped("many", 1))
	}
	for _, tc := range []struct {
		uuid string
		in   *mappingDocument
		want string
	}{
		{"new", grouped("", 2000), ""},
		{"new", grouped("other", 2000), ""},
		{"new", grouped("wide", 300), ""},
		{"new", grouped("wide", 301), "add up to 2001; at most 2000"},
		{"new", grouped("wide", 0), ""},
		{defaults, grouped("wide", 500), ""},
		{defaults, grouped("wide", 501), "add up to 2001"},
		{"new", grouped("many", 1), "the poller group many has 100 event source mappings already"},
		{defaults, grouped("many", 1), "has 100 event source mappings already"},
	} {
		err := a.groupHasRoom(ctx, tc.uuid, tc.in)
		var f *lambdaFault
		if tc.want == "" && err != nil || tc.want != "" && (!errors.As(err, &f) || f.name != "InvalidParameterValueException" || !strings.Contains(strings.ToLower(f.message), strings.ToLower(tc.want))) {
			t.Errorf("%s in %q: %v, want %q", tc.uuid, tc.in.pollerGroup(), err, tc.want)
		}
	}
}
