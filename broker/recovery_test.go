package broker

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// kill starts a broker on a copy of the directory of one that runs, which is what
// a kill leaves.
func kill(t *testing.T, dir string) (*Broker, string) {
	t.Helper()
	image := t.TempDir()
	if err := os.CopyFS(image, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return start(t, image), image
}

// transact writes a record in a transaction, and ends it or not.
func transact(t *testing.T, b *Broker, value string, commit bool) {
	t.Helper()
	cl := client(t, b, kgo.TransactionalID("id"))
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "t-1", Key: []byte("k"), Value: []byte(value)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if commit {
		if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
	}
}

// committed reads the topic from its beginning up to a record that it writes.
func committed(t *testing.T, b *Broker) []string {
	t.Helper()
	cl := client(t, b, kgo.ConsumeTopics("t-1"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "t-1", Key: []byte("k"), Value: []byte("end")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var values []string
	for len(values) == 0 || values[len(values)-1] != "end" {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("read %v: %v", values, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	return slices.DeleteFunc(values, func(v string) bool { return v == "end" })
}

func TestTransactionThatWasKilled(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	transact(t, b, "1", true)
	transact(t, b, "half", false)
	b, dir = kill(t, dir)
	transact(t, b, "2", true)
	if diff := cmp.Diff([]string{"1", "2"}, committedOf(t, dir)); diff != "" {
		t.Errorf("after a kill and another: %s", diff)
	}
	transact(t, b, "half again", false)
	b, dir = kill(t, dir)
	transact(t, b, "3", true)
	b, _ = kill(t, dir)
	if diff := cmp.Diff([]string{"1", "2", "3"}, committed(t, b)); diff != "" {
		t.Errorf("after four kills: %s", diff)
	}
}

// committedOf is committed after a kill.
func committedOf(t *testing.T, dir string) []string {
	t.Helper()
	b, _ := kill(t, dir)
	return committed(t, b)
}

// Only after a kill does the broker look through its log.
func TestStopIsRemembered(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	transact(t, b, "1", true)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, cleanFile)); err != nil {
		t.Error(err)
	}
	b = start(t, dir)
	if _, err := os.Stat(filepath.Join(dir, cleanFile)); err == nil {
		t.Error("a running broker counts as closed")
	}
	transact(t, b, "2", true)
	if diff := cmp.Diff([]string{"1", "2"}, committed(t, b)); diff != "" {
		t.Error(diff)
	}
}
