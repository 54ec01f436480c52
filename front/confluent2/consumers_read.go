package confluent2

import (
	"encoding/base64"
	"errors"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/scan"
)

// errFormat is the answer to a read that wants another format than the
// instance's.
var errFormat = refuse(http.StatusNotAcceptable, 40601, "The requested embedded data format does not match the deserializer for this consumer instance")

// records serves GET .../records: an array of what comes next. A read returns
// when it has something and nothing more came for 50 ms; the original always
// takes the whole timeout, and so does this with strict media types. Records that
// cannot be returned are never passed over silently (interface.md 3).
func (k consumerAPI) records(c consumerCall) error {
	format := c.Config.Format
	switch {
	case isEvents(c.asked) && (format == "binary" || format == "json" || format == "text"):
		format = "events"
	case c.asked == mediaExact && format == "binary":
		format = "exact"
	case !fits(format, c.asked):
		return errFormat
	}
	timeout, maxBytes, err := parseRead(c.r.URL.RawQuery, k.habits.positiveReads)
	if err != nil {
		return err
	}
	check := checks[format]
	var d *decoding
	if isSchema(format) && k.gate.Schemas() != nil {
		d = &decoding{ctx: c.r.Context(), schemas: k.gate.Schemas()}
		check = d.check
	}
	got, err := c.Read(c.r.Context(), gate.Reading{
		Timeout: timeout, MaxBytes: maxBytes, Bad: k.cfg.bad, Patient: k.api.cfg.StrictMediaTypes && !k.habits.longReads, Longer: k.habits.longReads,
		Check: check, Token: c.r.Header.Get("Klamm-Read"),
	})
	if err != nil {
		return err
	}
	if d != nil {
		if got, err = d.deliveries(got); err != nil {
			return refuse(http.StatusRequestTimeout, 40801, "%s", err)
		}
		format = "json"
	}
	return writeDeliveries(c.w, c.media, got, format, &k.habits)
}

// fits says whether a type may read an instance of a format. The formats with
// schemas are not told apart.
func fits(format, media string) bool {
	switch media {
	case mediaJSON:
		return format == "json"
	case mediaText:
		return format == "text"
	case mediaAvro, mediaJSONSchema, mediaProtobuf:
		return format == "avro" || format == "jsonschema" || format == "protobuf"
	}
	return format == "binary"
}

// parseRead reads the query of a read. What is no number is no path of the
// original's; numbers that are not positive stand for the default, or are refused.
func parseRead(query string, positive bool) (timeout time.Duration, maxBytes int, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return 0, 0, errNotFound
	}
	number := func(name string, most int64) int64 {
		text := values.Get(name)
		if text == "" {
			return 0
		}
		n, parseErr := strconv.ParseInt(text, 10, 64)
		switch {
		case parseErr != nil:
			err = errNotFound
		case n <= 0 && positive && err == nil:
			err = refuse(http.StatusInternalServerError, 500, "Invalid request parameter: %s must be positive (was %d)", name, n)
		}
		return min(max(n, 0), most)
	}
	timeout = time.Duration(number("timeout", int64(longestTimeout/time.Millisecond))) * time.Millisecond
	maxBytes = int(number("max_bytes", math.MaxInt32))
	return timeout, maxBytes, err
}

// checks say why a record cannot be written in a format.
var checks = map[string]func(*kgo.Record) error{
	"binary":     func(*kgo.Record) error { return nil },
	"exact":      func(*kgo.Record) error { return nil }, // mediaExact
	"events":     func(*kgo.Record) error { return nil }, // CloudEvents
	"json":       checkJSON,
	"text":       checkText,
	"avro":       checkSchema,
	"jsonschema": checkSchema,
	"protobuf":   checkSchema,
}

func checkJSON(r *kgo.Record) error {
	switch {
	case len(r.Key) > 0 && !(scan.Valid(r.Key) && utf8.Valid(r.Key)):
		return errors.New("its key is not JSON")
	case len(r.Value) > 0 && !(scan.Valid(r.Value) && utf8.Valid(r.Value)):
		return errors.New("its value is not JSON")
	}
	return nil
}

func checkText(r *kgo.Record) error {
	switch {
	case !utf8.Valid(r.Key):
		return errors.New("its key is not text in UTF-8")
	case !utf8.Valid(r.Value):
		return errors.New("its value is not text in UTF-8")
	}
	return nil
}

func checkSchema(r *kgo.Record) error {
	if r.Key != nil || r.Value != nil {
		return errors.New("it needs a schema registry, and none is configured")
	}
	return nil
}

const (
	// pieceBytes is how much of an answer is gathered before it is written, and
	// keptPiece the largest memory for it that is used again.
	pieceBytes = 256 << 10
	keptPiece  = 1 << 20
)

var pieces = sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}

// writeDeliveries answers 200 with an array. An answer may have 64 MiB, and most
// of it is on its way while the rest is still being written.
func writeDeliveries(w http.ResponseWriter, media string, got []gate.Delivery, format string, h *habits) error {
	piece := pieces.Get().(*[]byte)
	b, begun := (*piece)[:0], false
	defer func() {
		if cap(b) <= keptPiece {
			*piece = b
			pieces.Put(piece)
		}
	}()
	data := appendBase64
	if format == "events" {
		media = mediaEvents
	}
	switch format {
	case "json":
		data = appendRaw
	case "text":
		data = appendString
	}
	b = append(b, '[')
	for i, d := range got {
		if i > 0 {
			b = append(b, ',')
		}
		if len(b) >= pieceBytes {
			w.Header()["Content-Type"] = mediaValues(media)
			if _, err := w.Write(b); err != nil {
				return err
			}
			b, begun = b[:0], true
		}
		if format == "events" {
			b = appendDelivered(b, d)
			continue
		}
		if format == "exact" && d.Bad == nil {
			b = appendExact(b, d.Record)
			continue
		}
		b = append(b, `{"topic":`...)
		b = appendText(b, d.Record.Topic)
		if d.Bad != nil {
			b = appendBad(b, d)
			continue
		}
		b = appendPair(b, d.Record, data)
		b = appendExtras(b, d.Record, h)
		b = append(b, '}')
	}
	b = append(b, ']')
	if begun {
		_, err := w.Write(b)
		return err
	}
	return write(w, media, b)
}

// appendRaw appends a key or value that is JSON. The original's deserializer
// takes no bytes for null.
func appendRaw(b, raw []byte) []byte {
	if len(raw) == 0 {
		return append(b, "null"...)
	}
	return append(b, raw...)
}

// appendBad appends the rest of an entry for a record that cannot be returned.
func appendBad(b []byte, d gate.Delivery) []byte {
	b = append(b, `,"key":null,"value":null,"partition":`...)
	b = strconv.AppendInt(b, int64(d.Record.Partition), 10)
	b = append(b, `,"offset":`...)
	b = strconv.AppendInt(b, d.Record.Offset, 10)
	b = append(b, `,"error_code":`...)
	b = strconv.AppendInt(b, int64(badCode(d.Bad)), 10)
	b = append(b, `,"error":`...)
	b = appendText(b, d.Bad.Error())
	return append(b, '}')
}

// badCode is the number of the reason why a record cannot be returned.
func badCode(bad *gate.BadRecord) int {
	if bad.TooLarge {
		return http.StatusRequestEntityTooLarge
	}
	return 40801
}

// appendExtras appends what others add to a record, as far as the habits say.
func appendExtras(b []byte, r *kgo.Record, h *habits) []byte {
	if h.timestamps {
		b = append(b, `,"timestamp":`...)
		b = strconv.AppendInt(b, r.Timestamp.UnixMilli(), 10)
	}
	if len(r.Headers) == 0 || !h.headers {
		return b
	}
	b = append(b, `,"headers":[`...)
	for i, h := range r.Headers {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"key":`...)
		b = appendText(b, h.Key)
		b = append(b, `,"value":`...)
		if h.Value == nil {
			b = append(b, "null"...)
		} else {
			b = append(b, '"')
			b = base64.StdEncoding.AppendEncode(b, h.Value)
			b = append(b, '"')
		}
		b = append(b, '}')
	}
	return append(b, ']')
}
