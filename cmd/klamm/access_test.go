package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAccessExplainByAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "klamm.yaml")
	if err := os.WriteFile(file, []byte(`
rules:
  - {who: ["group:ingest"], can: [produce], topics: ["iot.*"]}
policies:
  - {name: here, kind: identity, attach: ["User:alice"], document: {Version: "2012-10-17", Statement: {Sid: Near, Effect: Allow, Action: "kafka-cluster:ReadData", Resource: "topic:x", Condition: {IpAddress: {"aws:SourceIp": "192.0.2.0/24"}}}}}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	read := []string{"--as", "User:alice", "--action", "kafka-cluster:ReadData", "--resource", "topic:x"}
	for _, c := range []struct {
		name string
		in   []string
		want int
	}{
		{"allowed to a group", []string{"--as", "User:a", "--group", "ingest", "--action", "kafka-cluster:WriteData", "--resource", "topic:iot.a"}, 0},
		{"not to others", []string{"--as", "User:a", "--action", "kafka-cluster:WriteData", "--resource", "topic:iot.a"}, 1},
		{"allowed from an address", append(read, "--context", "aws:SourceIp=192.0.2.7"), 0},
		{"not from others", read, 1},
		{"as json", append(read, "-o", "json"), 1},
		{"nonsense", []string{"--as", "User:a", "--action", "nonsense", "--resource", "topic:x"}, 2},
		{"no resource", []string{"--as", "User:a", "--action", "kafka-cluster:WriteData"}, 2},
		{"a resource that is none", []string{"--as", "User:a", "--action", "kafka-cluster:WriteData", "--resource", "x"}, 2},
		{"a context that is none", append(read, "--context", "x"), 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := run(append([]string{"access", "explain", "--config", file}, c.in...)); got != c.want {
				t.Errorf("exit status %d, want %d", got, c.want)
			}
		})
	}
}
