package gate

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func newAudit(t *testing.T, path string) *Audit {
	t.Helper()
	a, err := NewAudit(AuditConfig{File: path}, nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// auditLines reads a log as soon as it has so many lines.
func auditLines(t *testing.T, path string, count int) []auditLine {
	t.Helper()
	var all []auditLine
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		text, _ := os.ReadFile(path)
		all = nil
		for _, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
			var l auditLine
			if json.Unmarshal([]byte(line), &l) == nil {
				all = append(all, l)
			}
		}
		if len(all) >= count {
			return all
		}
	}
	t.Fatalf("%s has %d lines, want %d", path, len(all), count)
	return nil
}

func TestAuditTellsWhoWhatAndWhy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	authority := newAuthority(t, Law{Rules: []Rule{
		{Who: []string{"User:root"}, Can: []string{"all"}, Topics: []string{"*"}, Groups: []string{"*"}},
		{Who: []string{"*"}, Can: []string{"describe"}, Topics: []string{"shown"}},
	}})
	g := New(nil, authority)
	g.Record(newAudit(t, path))
	ask := &Request{ID: "r-1", Method: "POST", Path: "/topics/shown", Query: map[string][]string{"access_token": {"secret-token"}}, Header: map[string][]string{"Authorization": {"Bearer secret-token"}}}
	device := Principal{Name: "User:device", Scheme: SchemeAPIKey}.Within(ask)
	_ = g.allow(context.Background(), device, WriteData, "topic", "shown")
	_ = g.allow(context.Background(), device, ReadData, "topic", "hidden")
	_ = g.allow(context.Background(), device, DescribeTopic, "topic", "shown")    // neither refused nor administration
	_ = g.sees(context.Background(), device, DescribeTopic, "topic").of("hidden") // left out of a list
	_ = g.allow(context.Background(), Principal{Name: "User:root"}, AdminWrite, "key", "acme")
	g.TurnedAway(ask, "192.0.2.7", "the key is not known")
	lines := auditLines(t, path, 4)
	for i, want := range []auditLine{
		{Decision: "deny", Principal: "User:device", Scheme: "apikey", Action: "kafka-cluster:WriteData", Resource: "arn:aws:kafka:eu-west-3:********3333:topic/klamm/-/shown", Reason: "no statement allows it", RequestID: "r-1", Method: "POST", Path: "/topics/shown"},
		{Decision: "deny", Principal: "User:device", Scheme: "apikey", Action: "kafka-cluster:DescribeTopic", Resource: "arn:aws:kafka:eu-west-3:********3333:topic/klamm/-/hidden", Reason: "no statement allows it", RequestID: "r-1", Method: "POST", Path: "/topics/shown"},
		{Decision: "allow", Principal: "User:root", Action: "klamm:AdminWrite", Resource: "key:acme", Policy: "rules[0]", Statement: 3, Sid: "all"},
		{Decision: "unauthenticated", Source: "192.0.2.7", Reason: "the key is not known", RequestID: "r-1", Method: "POST", Path: "/topics/shown"},
	} {
		got := lines[i]
		if got.Time.IsZero() {
			t.Errorf("line %d has no time", i)
		}
		got.Time = time.Time{}
		if got != want {
			t.Errorf("line %d:\ngot  %+v\nwant %+v", i, got, want)
		}
	}
	if text, _ := os.ReadFile(path); strings.Contains(string(text), "secret") || len(lines) != 4 {
		t.Errorf("got %s", text)
	}
}

func TestAuditGoesOnInANewFileAfterRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	a := newAudit(t, path)
	a.put(auditLine{Decision: "first"})
	auditLines(t, path, 1)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	a.put(auditLine{Decision: "second"})
	if got := auditLines(t, path, 1); len(got) != 1 || got[0].Decision != "second" {
		t.Errorf("got %+v", got)
	}
	if got := auditLines(t, path+".1", 1); len(got) != 1 || got[0].Decision != "first" {
		t.Errorf("the old file: got %+v", got)
	}
}

func TestAuditAppendsBehindHalfALine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(path, []byte("{\"decision\":\"deny\"}\n{\"deci"), 0o600); err != nil {
		t.Fatal(err)
	}
	newAudit(t, path).put(auditLine{Decision: "allow"})
	if got := auditLines(t, path, 2); got[1].Decision != "allow" {
		t.Errorf("got %+v", got)
	}
}

// A full disk must cost nothing but lines.
func TestAuditSurvivesAFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full here")
	}
	metrics := prometheus.NewRegistry()
	a, err := NewAudit(AuditConfig{File: "/dev/full"}, nil, metrics, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	losesAll(t, a, metrics)
	a.put(auditLine{}) // after the end
}

// losesAll writes more lines than can wait, closes the audit, and expects that nobody was
// held up and that every line counts as lost.
func losesAll(t *testing.T, a *Audit, metrics prometheus.Gatherer) {
	t.Helper()
	begin := time.Now()
	for range 3 * auditQueue {
		a.put(auditLine{Decision: "deny"})
	}
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("the callers waited %s", took)
	}
	a.Close()
	families, err := metrics.Gather()
	if err != nil || len(families) != 1 {
		t.Fatal(families, err)
	}
	if got := families[0].GetMetric()[0].GetCounter().GetValue(); got != 3*auditQueue {
		t.Errorf("%v lines are counted as lost, want %d", got, 3*auditQueue)
	}
}
