package pipe_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Behind a log that ends with an aborted transaction, or with the end of one, a pipe has
// no lag: nothing that can be delivered is left.
func TestThereIsNoLagBehindTheEndsOfTransactions(t *testing.T) {
	c := cluster(t)
	name := topic(t, c, 1)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.TransactionalID(name), kgo.DefaultProduceTopic(name))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	l := &ledger{}
	def := quick(name)
	r, _ := l.start(t, c, def)
	for turn, commit := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if err := client.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprint(turn, i))).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := client.EndTransaction(context.Background(), commit); err != nil {
			t.Fatal(err)
		}
		end := int64(4 * (turn + 1)) // three records and a marker each
		eventually(t, "no lag", func() bool {
			s, err := r.Status(t.Context(), def.Name)
			return err == nil && s.Lag == 0 && len(s.Partitions) == 1 && s.Partitions[0].End == end
		})
	}
	var offsets []int64
	for _, d := range l.taken() {
		offsets = append(offsets, d.offset)
	}
	slices.Sort(offsets) // without keys they have no order
	if got, want := fmt.Sprint(offsets), "[0 1 2 12 13 14]"; got != want {
		t.Errorf("delivered %s, want %s", got, want)
	}
	stages, err := r.Stages(def.Name)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stages {
		if s.Stage == "read" && s.In != 6 {
			t.Errorf("%d records read", s.In)
		}
	}
}
