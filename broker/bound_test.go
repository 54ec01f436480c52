package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestTopicsHaveABoundedNumberOfPartitions(t *testing.T) {
	b := start(t, t.TempDir())
	cl := client(t, b)
	create := func(partitions ...int32) (codes []int16) {
		t.Helper()
		req := kmsg.NewPtrCreateTopicsRequest()
		for i, n := range partitions {
			rt := kmsg.NewCreateTopicsRequestTopic()
			rt.Topic, rt.NumPartitions, rt.ReplicationFactor = string(rune('a'+i)), n, -1
			req.Topics = append(req.Topics, rt)
		}
		resp, err := req.RequestWith(t.Context(), cl)
		if err != nil {
			t.Fatal(err)
		}
		for _, rt := range resp.Topics {
			codes = append(codes, rt.ErrorCode)
		}
		return codes
	}
	for range 2 { // the bound stays
		if got := create(maxPartitions, 1); len(got) != 2 || got[0] != kerr.PolicyViolation.Code || got[1] != kerr.PolicyViolation.Code {
			t.Errorf("too many partitions together: %v", got)
		}
		if got := create(1 << 30); len(got) != 1 || got[0] != kerr.PolicyViolation.Code {
			t.Errorf("too many partitions: %v", got)
		}
	}
	if got := create(2, -1); len(got) != 2 || got[0] != 0 || got[1] != 0 {
		t.Fatalf("few partitions: %v", got)
	}
	add := func(count int32) int16 {
		t.Helper()
		req := kmsg.NewPtrCreatePartitionsRequest()
		rt := kmsg.NewCreatePartitionsRequestTopic()
		rt.Topic, rt.Count = "a", count
		req.Topics = append(req.Topics, rt)
		resp, err := req.RequestWith(t.Context(), cl)
		if err != nil || len(resp.Topics) != 1 {
			t.Fatalf("%+v, %v", resp, err)
		}
		return resp.Topics[0].ErrorCode
	}
	for range 2 {
		if got := add(maxPartitions + 1); got != kerr.PolicyViolation.Code {
			t.Errorf("add too many partitions: %d", got)
		}
	}
	if got := add(3); got != 0 {
		t.Errorf("add a partition: %d", got)
	}
}
