package pipe

import (
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
)

// connectHeaders are the headers that Kafka Connect gives dead letters where
// errors.deadletterqueue.context.headers.enable is set.
func connectHeaders(c *catalog.Connector, r *kgo.Record, v *verdict) []kgo.RecordHeader {
	text := strings.ToValidUTF8(v.err.Error(), "?")
	var headers []kgo.RecordHeader
	for _, h := range [][2]string{
		{"topic", r.Topic},
		{"partition", strconv.Itoa(int(r.Partition))},
		{"offset", strconv.FormatInt(r.Offset, 10)},
		{"connector.name", c.Name},
		{"task.id", strconv.Itoa(int(r.Partition))},
		{"stage", "TASK_PUT"},
		{"class.name", "org.apache.kafka.connect.sink.SinkTask"},
		{"exception.class.name", "org.apache.kafka.connect.errors.ConnectException"},
		{"exception.message", text},
		{"exception.stacktrace", text},
	} {
		headers = append(headers, kgo.RecordHeader{Key: "__connect.errors." + h[0], Value: []byte(h[1])})
	}
	return headers
}
