package broker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxPartitions is how many partitions the topics of one request may have, as in
// Apache Kafka. kfake makes as many as it is asked for, and answers nobody until they
// are there: a million takes it minutes and gigabytes.
const maxPartitions = 10_000

// manyPartitions is what Apache Kafka says to a request for more.
const manyPartitions = "Excessively large number of partitions per request."

// createTopics refuses requests for topics with too many partitions. It leaves all
// others to kfake.
func (b *Broker) createTopics(req kmsg.Request) (kmsg.Response, error, bool) {
	r, ok := req.(*kmsg.CreateTopicsRequest)
	if !ok {
		return nil, nil, false
	}
	partitions := 0
	for _, t := range r.Topics {
		partitions += max(int(t.NumPartitions), len(t.ReplicaAssignment), 0)
	}
	if partitions <= maxPartitions {
		return nil, nil, false
	}
	b.cluster.KeepControl()
	resp := r.ResponseKind().(*kmsg.CreateTopicsResponse)
	for _, t := range r.Topics {
		refused := kmsg.NewCreateTopicsResponseTopic()
		refused.Topic, refused.ErrorCode, refused.ErrorMessage = t.Topic, kerr.PolicyViolation.Code, kmsg.StringPtr(manyPartitions)
		resp.Topics = append(resp.Topics, refused)
	}
	return resp, nil, true
}

// createPartitions does the same for partitions that are to be added.
func (b *Broker) createPartitions(req kmsg.Request) (kmsg.Response, error, bool) {
	r, ok := req.(*kmsg.CreatePartitionsRequest)
	if !ok {
		return nil, nil, false
	}
	partitions := 0
	for _, t := range r.Topics {
		partitions += max(int(t.Count), 0)
	}
	if partitions <= maxPartitions {
		return nil, nil, false
	}
	b.cluster.KeepControl()
	resp := r.ResponseKind().(*kmsg.CreatePartitionsResponse)
	for _, t := range r.Topics {
		refused := kmsg.NewCreatePartitionsResponseTopic()
		refused.Topic, refused.ErrorCode, refused.ErrorMessage = t.Topic, kerr.PolicyViolation.Code, kmsg.StringPtr(manyPartitions)
		resp.Topics = append(resp.Topics, refused)
	}
	return resp, nil, true
}
