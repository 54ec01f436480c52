package azure1

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/scan"
)

const (
	// answerBytes bounds the keys and values of one answer, as the original does.
	answerBytes = 6 << 20
	// maxCount bounds the records of one answer.
	maxCount = 100_000
	// patience is how long a read at the end of the log waits for a record.
	patience = 500 * time.Millisecond
)

// read serves GET
// /v1/consumer/topics/{topic}/partitions/{partition}/offsets/{offset}
// (rest-apis.md 6.5): up to count records from an offset on, without any state.
// The answer is an object with the array, as the original's sample client wants
// it, and the header NextOffset says where to go on; at the end of the log that
// is the requested offset.
func (a *api) read(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	partition, err := partitionNumber(r.PathValue("partition"))
	if err != nil {
		return err
	}
	offset, err := strconv.ParseInt(r.PathValue("offset"), 10, 64)
	if err != nil || offset < 0 {
		return invalid("The offset must be a number from 0.")
	}
	count, err := parseCount(r.URL.RawQuery)
	if err != nil {
		return err
	}
	t, err := a.gate.Topic(r.Context(), who, r.PathValue("topic"))
	if err != nil {
		return err
	}
	lim := kafka.Limits{Records: count, Bytes: answerBytes, Wait: patience}
	records, next, err := a.gate.Read(r.Context(), who, t, partition, offset, lim)
	if errors.Is(err, kerr.OffsetOutOfRange) {
		return invalid("Offset %d lies outside the log of partition %d of topic %s.", offset, partition, t.Name)
	}
	if err != nil {
		return err
	}
	if len(records) > 0 {
		next = records[len(records)-1].Offset + 1
	}
	// The spelling is the original's, which Set would not keep.
	w.Header()["NextOffset"] = []string{strconv.FormatInt(next, 10)}
	w.Header()["Access-Control-Expose-Headers"] = []string{"NextOffset"} // or a browser would keep it from its page
	return write(w, appendRecords(nil, records))
}

// parseCount reads the query.
func parseCount(query string) (int, error) {
	if query == "" {
		return 1, nil
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return 0, invalid("The query is not well-formed.")
	}
	if !values.Has("count") {
		return 1, nil
	}
	n, err := strconv.ParseInt(values.Get("count"), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || n < 1 {
		return 0, invalid("count must be a whole number from 1.")
	}
	return int(min(n, maxCount)), nil
}

// appendRecords appends the document of an answer.
func appendRecords(b []byte, records []*kgo.Record) []byte {
	b = append(b, `{"records":[`...)
	for i, r := range records {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"key":`...)
		b = appendText(b, r.Key)
		b = append(b, `,"value":`...)
		b = appendText(b, r.Value)
		b = append(b, `,"partition":`...)
		b = strconv.AppendInt(b, int64(r.Partition), 10)
		b = append(b, `,"offset":`...)
		b = strconv.AppendInt(b, r.Offset, 10)
		b = append(b, `,"timestamp":`...)
		b = strconv.AppendInt(b, r.Timestamp.UnixMilli(), 10)
		b = append(b, `,"timestampType":"`...)
		b = append(b, timestampType(r)...)
		b = append(b, `"}`...)
	}
	return append(b, `]}`...)
}

// timestampType is Kafka's name of who made a record's timestamp.
func timestampType(r *kgo.Record) string {
	switch r.Attrs.TimestampType() {
	case 1:
		return "LogAppendTime"
	case 0:
		return "CreateTime"
	}
	return "NoTimestampType"
}

// appendText appends a key or value as a string; bytes that are not UTF-8 become
// U+FFFD.
func appendText(b, raw []byte) []byte {
	if raw == nil {
		return append(b, "null"...)
	}
	return scan.AppendString(b, string(raw))
}
