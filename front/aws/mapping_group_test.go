package aws

import (
	"context"
	"encoding/json"
	"errors"
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

// keeping returns an API with a store, and what puts mappings into it until the test
// ends.
func keeping(t *testing.T) (a *API, put func(mappingBody) (uuid string)) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	cluster, err := kafka.Open(kafka.Config{Brokers: brokertest.Brokers(t)}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	a = New(Config{Store: catalog.NewStore(catalog.StoreConfig{Cluster: cluster, Log: log}), Log: log})
	t.Cleanup(a.Close)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); a.cfg.Store.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return a, func(b mappingBody) string {
		t.Helper()
		uuid := newID()
		raw, err := json.Marshal(b)
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
}

func TestPollerGroupsHaveLimits(t *testing.T) {
	t.Parallel()
	a, keep := keeping(t)
	ctx := t.Context()
	put := func(d *mappingDocument) string {
		t.Helper()
		b := mappingBody{Mapping: *d}
		b.complete(newID())
		return keep(b)
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

func TestMappingLikeAnotherIsRefused(t *testing.T) {
	t.Parallel()
	a, put := keeping(t)
	body := func(function, group, change string) mappingBody {
		b := mappingBody{Mapping: requestOf(t, change).mappingDocument, Function: function, FunctionARN: "arn:" + function}
		b.complete(group)
		return b
	}
	topic := newID() // other tests leave this one's mappings alone, and it theirs
	servers := func(list string) string {
		return `{"Topics":["` + topic + `"],"SelfManagedEventSource":{"Endpoints":{"KAFKA_BOOTSTRAP_SERVERS":[` + list + `]}}}`
	}
	first := put(body("one", topic+"-a", servers(`"h:1","i:1"`)))
	second := put(body("two", topic+"-b", servers(`"i:1"`)))
	for _, tc := range []struct {
		uuid string
		in   mappingBody
		want string
	}{
		{first, body("one", topic+"-a", servers(`"h:1","i:1"`)), ""},
		{newID(), body("three", topic+"-c", servers(`"i:1"`)), ""},
		{newID(), body("one", topic+"-c", servers(`"j:1"`)), ""},
		{newID(), body("one", topic+"-c", `{"SelfManagedEventSource":{"Endpoints":{"KAFKA_BOOTSTRAP_SERVERS":["h:1"]}},"Topics":["`+topic+`2"]}`), ""},
		{newID(), body("one", topic+"-c", servers(`"j:1","i:1"`)), `An event source mapping with event source ("j:1,i:1"), function ("arn:one"), topics ("` + topic + `") already exists. Please update or delete the existing mapping with UUID ` + first},
		{second, body("one", topic+"-b", servers(`"i:1"`)), "already exists. Please update or delete the existing mapping with UUID " + first}, // by an update
		{newID(), body("three", topic+"-b", servers(`"j:1"`)), "is that of the event source mapping with UUID " + second},
	} {
		err := a.mappingIsFree(t.Context(), tc.uuid, &tc.in)
		var f *lambdaFault
		if errors.As(err, &f) != (tc.want != "") || f != nil && (f.name != "ResourceConflictException" || !strings.Contains(f.message, tc.want)) {
			t.Errorf("%s of %s: %v, want %q", tc.in.Function, tc.in.group(), err, tc.want)
		}
	}
}
