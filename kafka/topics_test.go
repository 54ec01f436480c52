package kafka_test

import (
	"errors"
	"net"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-gateway/klamm/kafka"
)

// TestAPartitionWithoutALeaderFailsAlone asks for offsets of a topic of which one
// partition has no leader, as its broker says or as is known without asking one: those
// who want another one get it.
func TestAPartitionWithoutALeaderFailsAlone(t *testing.T) {
	for _, known := range []bool{false, true} {
		aPartitionWithoutALeader(t, known)
	}
}

func aPartitionWithoutALeader(t *testing.T, known bool) {
	t.Helper()
	brokers, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(0), kfake.SeedTopics(2, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(brokers.Close)
	brokers.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		brokers.KeepControl()
		req := r.(*kmsg.ListOffsetsRequest)
		resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, topic := range req.Topics {
			st := kmsg.NewListOffsetsResponseTopic()
			st.Topic = topic.Topic
			for _, p := range topic.Partitions {
				sp := kmsg.NewListOffsetsResponseTopicPartition()
				sp.Partition, sp.Offset = p.Partition, 7
				if p.Timestamp == -2 {
					sp.Offset = 3
				}
				if p.Partition == 1 {
					sp.Offset, sp.ErrorCode = -1, kerr.LeaderNotAvailable.Code
				}
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, true
	})
	if known {
		brokers.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
			brokers.KeepControl()
			return leaderless(r.(*kmsg.MetadataRequest), brokers.ListenAddrs()[0]), nil, true
		})
	}
	c := open(t, brokers.ListenAddrs()...)
	for name, ranges := range map[string]func(...int32) (map[int32]kafka.Range, error){
		"ends":        func(only ...int32) (map[int32]kafka.Range, error) { return c.Ranges(t.Context(), "t", only...) },
		"stable ends": func(only ...int32) (map[int32]kafka.Range, error) { return c.StableRanges(t.Context(), "t", only...) },
	} {
		got, err := ranges(0)
		if diff := cmp.Diff(map[int32]kafka.Range{0: {Start: 3, End: 7}}, got); err != nil || diff != "" {
			t.Errorf("%s of partition 0: %v %s", name, err, diff)
		}
		for _, only := range [][]int32{{1}, {0, 1}, nil} {
			if _, err := ranges(only...); !errors.Is(err, kerr.LeaderNotAvailable) {
				t.Errorf("%s of %v: got %v, want LEADER_NOT_AVAILABLE", name, only, err)
			}
		}
	}
	if got, err := c.OffsetsAfter(t.Context(), "t", 5, 0); err != nil || got[0] != 7 {
		t.Errorf("after a time, partition 0: %v %v", got, err)
	}
	if _, err := c.OffsetsAfter(t.Context(), "t", 5); !errors.Is(err, kerr.LeaderNotAvailable) {
		t.Errorf("after a time: got %v, want LEADER_NOT_AVAILABLE", err)
	}
}

// leaderless describes the topic t, whose partition 1 has no leader.
func leaderless(req *kmsg.MetadataRequest, addr string) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	host, port, _ := net.SplitHostPort(addr)
	broker := kmsg.NewMetadataResponseBroker()
	number, _ := strconv.Atoi(port)
	broker.NodeID, broker.Host, broker.Port = 0, host, int32(number)
	resp.Brokers = append(resp.Brokers, broker)
	topic := kmsg.NewMetadataResponseTopic()
	name := "t"
	topic.Topic, topic.TopicID = &name, [16]byte{1}
	for id := range int32(2) {
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Partition, p.Replicas, p.ISR = id, []int32{0}, []int32{0}
		if id == 1 {
			p.Leader, p.ErrorCode = -1, kerr.LeaderNotAvailable.Code
		}
		topic.Partitions = append(topic.Partitions, p)
	}
	resp.Topics = append(resp.Topics, topic)
	return resp
}
