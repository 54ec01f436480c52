package confluent3

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/scan"
)

const (
	defaultCount = 100
	maxCount     = 10_000
	// readBytes is where an answer ends, even if count is not reached.
	readBytes = 16 << 20
)

type (
	recordResource struct {
		head
		Topic     string         `json:"topic_name"`
		Partition int32          `json:"partition_id"`
		Offset    int64          `json:"offset"`
		Timestamp string         `json:"timestamp"`
		Key       *dataObject    `json:"key"`
		Value     *dataObject    `json:"value"`
		Headers   []headerObject `json:"headers"`
	}
	dataObject struct {
		Type string          `json:"type"`
		Data json.RawMessage `json:"data"`
	}
	headerObject struct {
		Name  string  `json:"name"`
		Value *string `json:"value"`
	}
)

// readRecords serves GET C/topics/{t}/partitions/{p}/records, which the original
// does not have (interface.md 3): records of one partition from an offset on, in
// the shape in which they can be produced again.
func (a *api) readRecords(c *call) error {
	count, offset, err := parseRead(c.r.URL.Query())
	if err != nil {
		return err
	}
	t, p, err := a.pathPartition(c)
	if err != nil {
		return err
	}
	if offset < 0 {
		ranges, err := a.gate.Ranges(c.r.Context(), c.who, t.Name, p.ID)
		if err != nil {
			return err
		}
		at := ranges[p.ID]
		if offset == earliest {
			offset = at.Start
		} else {
			offset = at.End
		}
	}
	records, next, err := a.gate.Read(c.r.Context(), c.who, t, p.ID, offset, kafka.Limits{Records: count, Bytes: readBytes})
	if errors.Is(err, kerr.OffsetOutOfRange) {
		return refuse(http.StatusBadRequest, 40002, "Offset %d lies outside the log of partition %d.", offset, p.ID)
	}
	if err != nil {
		return err
	}
	data := make([]recordResource, len(records))
	self := c.url("topics", t.Name, "partitions", text(p.ID), "records")
	for i, r := range records {
		data[i] = c.record(self, r)
	}
	answer := listOf("KafkaRecordList", self+query(offset, count), data)
	follow := self + query(next, count)
	answer.Metadata.Next = &follow
	return c.answer(http.StatusOK, answer)
}

func query(offset int64, count int) string {
	return "?offset=" + strconv.FormatInt(offset, 10) + "&count=" + strconv.Itoa(count)
}

// Offsets that are words.
const (
	latest   = -1
	earliest = -2
)

// parseRead reads the query of a read.
func parseRead(q url.Values) (count int, offset int64, err error) {
	count, offset = defaultCount, earliest
	if s := q.Get("count"); s != "" {
		if count, err = strconv.Atoi(s); err != nil || count < 1 || count > maxCount {
			return 0, 0, badRequest("count must be a number from 1 to %d", maxCount)
		}
	}
	switch s := q.Get("offset"); s {
	case "", "earliest":
	case "latest":
		offset = latest
	default:
		if offset, err = strconv.ParseInt(s, 10, 64); err != nil || offset < 0 || offset == math.MaxInt64 {
			return 0, 0, badRequest("offset must be earliest, latest or a number from 0")
		}
	}
	return count, offset, nil
}

func (c *call) record(self string, r *kgo.Record) recordResource {
	resource := recordResource{
		head:  c.head("KafkaRecord", self+query(r.Offset, 1), c.crn("topic="+r.Topic, "partition="+text(r.Partition), "offset="+strconv.FormatInt(r.Offset, 10))),
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: string(appendInstant(nil, r.Timestamp)),
		Key: dataOf(r.Key), Value: dataOf(r.Value), Headers: []headerObject{},
	}
	for _, h := range r.Headers {
		o := headerObject{Name: h.Key}
		if h.Value != nil {
			s := base64.StdEncoding.EncodeToString(h.Value)
			o.Value = &s
		}
		resource.Headers = append(resource.Headers, o)
	}
	return resource
}

// dataOf shows bytes as JSON where they are, else as text where they are, else
// as base64; nil stays nil.
func dataOf(b []byte) *dataObject {
	switch {
	case b == nil:
		return nil
	case utf8.Valid(b) && scan.Valid(b):
		return &dataObject{"JSON", b}
	case utf8.Valid(b):
		return &dataObject{"STRING", scan.AppendString(nil, string(b))}
	}
	return &dataObject{"BINARY", append(append([]byte{'"'}, base64.StdEncoding.AppendEncode(nil, b)...), '"')}
}
