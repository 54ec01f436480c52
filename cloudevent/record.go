package cloudevent

import (
	"net/http"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Config is the cloudevents section of the configuration file.
type Config struct {
	// Convert says how events lie in Kafka: preserve (the default) keeps the mode
	// that they came in, and the events of a batch are structured; binary puts
	// attributes into record headers and data into the value; structured makes
	// the value the whole event in JSON.
	Convert string `yaml:"convert"`
	// Key names the attribute that becomes the key of the record:
	// ce_partitionkey (the default), ce_subject, ce_id or ce_source. Events
	// without it have no key.
	Key string `yaml:"key"`
	// Timestamp set to ce_time gives a record the time of its event, if that has
	// one since 1970; the default is the time of its arrival.
	Timestamp string `yaml:"timestamp"`
	// PassUnknownFormats takes events in formats other than JSON, such as
	// application/cloudevents+avro, unseen as one record each; the default is to
	// refuse them with 415.
	PassUnknownFormats bool `yaml:"pass_unknown_formats"`
	// Webhook answers the OPTIONS requests by which senders of webhooks ask
	// whether they may (CloudEvents' "HTTP 1.1 Web Hooks").
	Webhook bool `yaml:"webhook"`
}

// Validate reports each problem with the field it lies in.
func (c Config) Validate(report func(path, problem string)) {
	switch c.Convert {
	case "", "preserve", "binary", "structured":
	default:
		report("convert", "want preserve, binary or structured")
	}
	switch c.Key {
	case "", "ce_partitionkey", "ce_subject", "ce_id", "ce_source":
	default:
		report("key", "want ce_partitionkey, ce_subject, ce_id or ce_source")
	}
	if c.Timestamp != "" && c.Timestamp != "ce_time" {
		report("timestamp", "want ce_time or nothing")
	}
}

// Records makes the records that an HTTP request stands for, in the order of its
// events; those of an empty batch are none. They share the body's memory, and
// their partition is -1. The errors are those of Parse.
func (c Config) Records(h http.Header, body []byte) ([]*kgo.Record, error) {
	if c.PassUnknownFormats && isFormat(contentType(h)) && !isKnown(contentType(h)) {
		if body == nil {
			body = []byte{}
		}
		return []*kgo.Record{{Value: body, Partition: -1, Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte(contentType(h))}}}}, nil
	}
	events, err := Parse(h, body)
	if err != nil {
		return nil, err
	}
	records := make([]*kgo.Record, len(events))
	for i := range events {
		records[i] = c.record(&events[i])
	}
	return records, nil
}

// isKnown says whether a content type of CloudEvents is one of those that Parse
// reads.
func isKnown(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == MediaJSON || media == MediaBatch
}

// record makes the record of an event.
func (c Config) record(e *Event) *kgo.Record {
	r := &kgo.Record{Partition: -1}
	if c.Convert == "binary" || c.Convert != "structured" && e.JSON == nil {
		r.Headers, r.Value = e.binary()
	} else {
		r.Value = e.JSON
		if r.Value == nil {
			r.Value = e.AppendJSON(nil)
		}
		r.Headers = []kgo.RecordHeader{{Key: "content-type", Value: []byte(storedType)}}
	}
	name := strings.TrimPrefix(c.Key, "ce_")
	if name == "" {
		name = "partitionkey"
	}
	if key, ok := e.Get(name); ok && key != "" {
		r.Key = []byte(key)
	}
	if c.Timestamp == "ce_time" {
		if t, ok := e.Time(); ok && !t.Before(time.UnixMilli(0)) {
			r.Timestamp = t
		}
	}
	return r
}

// binary is the event in the binary mode of Kafka: attributes are record headers,
// as they are. Data in JSON has a type of its own there, since only in JSON it
// can go without.
func (e *Event) binary() ([]kgo.RecordHeader, []byte) {
	headers := make([]kgo.RecordHeader, 0, len(e.Attributes)+1)
	media := e.ContentType
	if media == "" && e.JSON != nil && e.Data != nil {
		media = "application/json"
	}
	if media != "" {
		headers = append(headers, kgo.RecordHeader{Key: "content-type", Value: []byte(media)})
	}
	for _, a := range e.Attributes {
		headers = append(headers, kgo.RecordHeader{Key: "ce_" + a.Name, Value: []byte(a.Value)})
	}
	value := e.Data
	if value == nil {
		value = []byte{} // no tombstone
	}
	return headers, value
}

// FromRecord returns the event that a record holds, which shares its memory. It
// is false if the record is no CloudEvent, and an error, ErrInvalid, if it says
// that it is one and is not.
func FromRecord(r *kgo.Record) (Event, bool, error) {
	media, marked := "", false
	for _, h := range r.Headers {
		switch {
		case strings.EqualFold(h.Key, "content-type"):
			media = string(h.Value)
		case h.Key == "ce_specversion":
			marked = true
		}
	}
	if isFormat(media) && isKnown(media) {
		e, err := parseJSON(r.Value)
		return e, true, err
	}
	if !marked {
		return Event{}, false, nil
	}
	e := Event{ContentType: media, Data: r.Value}
	seen := map[string]bool{}
	for _, h := range r.Headers {
		name, ok := strings.CutPrefix(h.Key, "ce_")
		if !ok {
			continue
		}
		if seen[name] {
			return Event{}, true, invalid("the header %s stands there twice", clipped(h.Key))
		}
		seen[name] = true
		e.Attributes = append(e.Attributes, Attribute{name, string(h.Value)})
	}
	return e, true, e.Validate()
}
