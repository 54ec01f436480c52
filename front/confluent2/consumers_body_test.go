package confluent2

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/klamm-gateway/klamm/gate"
)

func FuzzConsumerBodies(f *testing.F) {
	for _, s := range []string{
		``, `null`, `{}`, `[]`, `{"id":"a","name":"b","format":"JSON","auto.offset.reset":"earliest","auto.commit.enable":"true","fetch.min.bytes":"1","consumer.request.timeout.ms":5}`,
		`{"topics":["a","b"],"topic_pattern":"x"}`, `{"partitions":[{"topic":"a","partition":"0"}]}`, `{"offsets":[{"topic":"a","partition":0,"offset":20,"metadata":"m"}],"timestamps":[{"topic":"a","partition":1,"timestamp":"2024-01-31T10:00:00Z"}]}`,
		`{"topic_name":"t","partitions_count":"3","replication_factor":1}`, `{"offsets":null}`, `{"topics":[nul]}`, `{"partitions":[{"topic":"a","partition":0}]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var document any
		valid := json.Unmarshal(b, &document) == nil
		object, _ := document.(map[string]any)
		check := func(what string, err error) {
			t.Helper()
			if err == nil && !valid && !blank(b) {
				t.Errorf("%s accepts %q", what, b)
			}
			if refusal := (*refusal)(nil); err != nil && !errors.As(err, &refusal) {
				t.Errorf("%s: %q: %v is not an answer", what, b, err)
			}
		}
		var cfg gate.ConsumerConfig
		var err error
		for _, profile := range append(profiles, "") {
			h, _ := habitsOf(profile)
			_, cfg, _, err = parseConsumer(bytes.Clone(b), h, false)
			check("create as "+profile, err)
		}
		if err == nil && (cfg.Timeout <= 0 || cfg.Timeout > longestTimeout || cfg.MinBytes < minFetch || cfg.MinBytes > maxFetch || checks[cfg.Format] == nil) {
			t.Errorf("create: %q is %+v", b, cfg)
		}
		created, err := parseTopic(bytes.Clone(b))
		check("create a topic", err)
		if err == nil && (created.Name == "" || created.Partitions < 0 || created.Replication < 0) {
			t.Errorf("create a topic: %q is %+v", b, created)
		}
		s, err := parseSubscription(bytes.Clone(b))
		check("subscribe", err)
		if topics, ok := object["topics"].([]any); ok && err == nil && len(topics) != len(s.topics) {
			t.Errorf("subscribe: %q is %+v", b, s)
		}
		named, err := parsePartitions(bytes.Clone(b))
		check("partitions", err)
		if list, ok := object["partitions"].([]any); ok && err == nil && len(list) != len(named) {
			t.Errorf("partitions: %q is %+v", b, named)
		}
		for _, p := range named {
			if err == nil && (p.Topic == "" || p.Partition < 0) {
				t.Errorf("partitions: %q is %+v", b, named)
			}
		}
		_, err = parsePositions(bytes.Clone(b))
		check("positions", err)
		at, _, err := parseCommit(bytes.Clone(b), habits{})
		check("commit", err)
		for _, o := range at {
			if err == nil && o.Offset < 1 {
				t.Errorf("commit: %q is %+v", b, at)
			}
		}
	})
}
