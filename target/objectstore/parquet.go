package objectstore

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/transform"
)

// A kind is what a column picked by a path can hold. Values are JSON, and not
// null.
type kind struct {
	physical, logical int
	fits              func(value []byte) bool
	put               func(c *column, value []byte) // a value that fits
}

// kinds are the kinds by their names in the configuration.
var kinds = map[string]*kind{
	"":        &textKind,
	"text":    &textKind,
	"json":    {physicalBytes, logicalJSON, utf8.Valid, func(c *column, v []byte) { c.putBytes(v) }},
	"integer": {physicalInt64, logicalNone, isInteger, func(c *column, v []byte) { n, _ := strconv.ParseInt(string(v), 10, 64); c.putInt64(n) }},
	"number":  {physicalDouble, logicalNone, isNumber, func(c *column, v []byte) { n, _ := strconv.ParseFloat(string(v), 64); c.putDouble(n) }},
	"boolean": {physicalBoolean, logicalNone, isBoolean, func(c *column, v []byte) { c.putBoolean(v[0] == 't') }},
}

// JSON text can hold strings that are not UTF-8; a text column cannot.
var textKind = kind{physicalBytes, logicalString, utf8.Valid, func(c *column, v []byte) { c.putBytes(transform.AppendText(nil, v)) }}

func isInteger(v []byte) bool {
	_, err := strconv.ParseInt(string(v), 10, 64)
	return err == nil
}

func isNumber(v []byte) bool {
	if v[0] != '-' && (v[0] < '0' || v[0] > '9') {
		return false
	}
	_, err := strconv.ParseFloat(string(v), 64)
	return err == nil
}

func isBoolean(v []byte) bool { return v[0] == 't' || v[0] == 'f' }

// A table says what a row has beside what every row has.
type table struct {
	columns []Column
	kinds   []*kind // of the columns
	picker  *picker
	// json says that the column value holds JSON.
	json  bool
	codec codec
}

// newParquet returns the encoding that writes a row for each event.
func newParquet(c *Parquet, compression string) (encoding, error) {
	t := &table{columns: c.Columns, json: c.Value != "bytes", codec: codecs[compression]}
	for _, column := range c.Columns {
		t.kinds = append(t.kinds, kinds[column.Type])
	}
	var err error
	t.picker, err = newPicker(c.Columns)
	return t.encode, err
}

// encode makes a file with a row for each event that fits.
func (t *table) encode(events []*event.Event) ([]byte, map[int]error, error) {
	r := t.row()
	failed := map[int]error{}
	for i, e := range events {
		if err := t.add(r, e); err != nil {
			failed[i] = err
		}
	}
	if len(failed) == len(events) {
		return nil, failed, nil
	}
	body, err := r.file.bytes(len(events) - len(failed))
	return body, failed, err
}

// A row is the columns of a file that is being made.
type row struct {
	file                                                                     *parquetFile
	topic, partition, offset, timestamp, key, value, headerName, headerValue *column
	picked                                                                   []*column
}

// row begins a file.
func (t *table) row() *row {
	f := &parquetFile{codec: t.codec}
	valueIs := logicalNone
	if t.json {
		valueIs = logicalJSON
	}
	r := &row{
		file: f, topic: f.required("topic", physicalBytes, logicalString), partition: f.required("partition", physicalInt32, logicalNone),
		offset: f.required("offset", physicalInt64, logicalNone), timestamp: f.required("timestamp", physicalInt64, logicalMillis),
		key: f.optional("key", physicalBytes, logicalNone), value: f.optional("value", physicalBytes, valueIs),
	}
	r.headerName, r.headerValue = f.pairs("headers", "name", "value")
	for i, c := range t.columns {
		r.picked = append(r.picked, f.optional(c.Name, t.kinds[i].physical, t.kinds[i].logical))
	}
	return r
}

// add adds a row. When it fails, nothing was added.
func (t *table) add(r *row, e *event.Event) error {
	payload := e.Payload()
	if t.json && payload != nil && !(e.IsJSON() && utf8.Valid(payload)) {
		return errNotJSON
	}
	if len(t.columns) == 0 {
		r.addFixed(e, payload)
		return nil
	}
	return t.picker.pick(e, func(values [][]byte) error {
		for i, v := range values {
			if present(v) && !t.kinds[i].fits(v) {
				return target.Permanent(fmt.Errorf("the column %s cannot hold what the record has there", t.columns[i].Name))
			}
		}
		r.addFixed(e, payload)
		for i, v := range values {
			if !present(v) {
				r.picked[i].putNull()
				continue
			}
			r.picked[i].begin()
			t.kinds[i].put(r.picked[i], v)
		}
		return nil
	})
}

// present says whether there is a value that is not null.
func present(v []byte) bool { return v != nil && string(v) != "null" }

// addFixed adds what every row has.
func (r *row) addFixed(e *event.Event, payload []byte) {
	r.topic.begin()
	r.topic.putBytes([]byte(e.Record.Topic))
	r.partition.begin()
	r.partition.putInt32(e.Record.Partition)
	r.offset.begin()
	r.offset.putInt64(e.Record.Offset)
	r.timestamp.begin()
	r.timestamp.putInt64(e.Record.Timestamp.UnixMilli())
	r.key.putOptional(e.Record.Key)
	r.value.putOptional(payload)
	if len(e.Record.Headers) == 0 {
		r.headerName.level(0, 0)
		r.headerValue.level(0, 0)
	}
	for i, h := range e.Record.Headers {
		repeated := byte(min(i, 1))
		r.headerName.level(repeated, 1)
		// Header names are bytes in Kafka, and text here.
		r.headerName.putBytes(bytes.ToValidUTF8([]byte(h.Key), []byte("\ufffd")))
		if h.Value == nil {
			r.headerValue.level(repeated, 1)
			continue
		}
		r.headerValue.level(repeated, 2)
		r.headerValue.putBytes(h.Value)
	}
}
