package objectstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

// parquetRow is what another library reads.
type parquetRow struct {
	Topic     string      `parquet:"topic"`
	Partition int32       `parquet:"partition"`
	Offset    int64       `parquet:"offset"`
	Timestamp time.Time   `parquet:"timestamp,timestamp(millisecond)"`
	Key       *[]byte     `parquet:"key,optional"`
	Value     *[]byte     `parquet:"value,optional"`
	Headers   []rowHeader `parquet:"headers,list"`
	ID        *int64      `parquet:"id,optional"`
	Name      *string     `parquet:"name,optional"`
	Total     *float64    `parquet:"total,optional"`
	OK        *bool       `parquet:"ok,optional"`
	Rest      *string     `parquet:"rest,optional"`
}

type rowHeader struct {
	Name  string  `parquet:"name"`
	Value *[]byte `parquet:"value,optional"`
}

var parquetColumns = []Column{
	{Name: "id", Path: "$.value.id", Type: "integer"}, {Name: "name", Path: "$.value.name"}, {Name: "total", Path: "$.value.total", Type: "number"},
	{Name: "ok", Path: "$.value.ok", Type: "boolean"}, {Name: "rest", Path: "$.value.rest", Type: "json"},
}

func encoded(t testing.TB, c Config, batch []*event.Event) (*parquet.File, map[int]error) {
	t.Helper()
	c.Format = formatParquet
	encode, err := c.encoding()
	if err != nil {
		t.Fatal(err)
	}
	body, failed, err := encode(batch)
	if err != nil {
		t.Fatal(err)
	}
	if len(failed) == len(batch) {
		return nil, failed
	}
	f, err := parquet.OpenFile(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	return f, failed
}

func readRows(t testing.TB, f *parquet.File) []parquetRow {
	t.Helper()
	r := parquet.NewGenericReader[parquetRow](f)
	rows := make([]parquetRow, r.NumRows())
	if n, err := r.Read(rows); n != len(rows) || err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("read %d of %d rows: %v", n, len(rows), err)
	}
	return rows
}

func ptr[T any](v T) *T { return &v }

func TestParquetIsReadByAnother(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123).UTC()
	record := func(offset int64, key, value []byte, headers ...kgo.RecordHeader) *event.Event {
		return &event.Event{Record: &kgo.Record{Topic: "orders", Partition: 3, Offset: offset, Timestamp: at, Key: key, Value: value, Headers: headers}}
	}
	batch := []*event.Event{
		record(1, []byte("k\xff"), []byte(`{"id":-7,"name":"a\u00e9","total":1e3,"ok":true,"rest":{"a":[1]}}`), kgo.RecordHeader{Key: "h", Value: []byte("1")}, kgo.RecordHeader{Key: "h"}),
		record(2, nil, nil),
		record(3, []byte{}, []byte(`{"id":null,"name":{"x":1},"total":-0.5,"ok":false,"rest":null}`), kgo.RecordHeader{Key: "", Value: []byte{}}),
		record(4, nil, []byte("not JSON")),
		record(5, nil, []byte(`{"id":1.5}`)),
		record(6, nil, []byte(`{"ok":"true"}`)),
		record(7, nil, []byte(`{"total":"1"}`)),
		record(8, nil, []byte("{\"name\":\"\xff\"}")),
		record(9, nil, []byte(`[]`)),
	}
	want := []parquetRow{
		{Topic: "orders", Partition: 3, Offset: 1, Timestamp: at, Key: ptr([]byte("k\xff")), Value: ptr(batch[0].Record.Value),
			Headers: []rowHeader{{"h", ptr([]byte("1"))}, {"h", nil}}, ID: ptr(int64(-7)), Name: ptr("aé"), Total: ptr(1000.0), OK: ptr(true), Rest: ptr(`{"a":[1]}`)},
		{Topic: "orders", Partition: 3, Offset: 2, Timestamp: at, Headers: []rowHeader{}},
		{Topic: "orders", Partition: 3, Offset: 3, Timestamp: at, Key: ptr([]byte{}), Value: ptr(batch[2].Record.Value),
			Headers: []rowHeader{{"", ptr([]byte{})}}, Name: ptr(`{"x":1}`), Total: ptr(-0.5), OK: ptr(false)},
		{Topic: "orders", Partition: 3, Offset: 9, Timestamp: at, Value: ptr([]byte("[]")), Headers: []rowHeader{}},
	}
	for _, compress := range []string{"", "none", "gzip", "zstd"} {
		t.Run(compress, func(t *testing.T) {
			f, failed := encoded(t, Config{Compression: compress, Parquet: &Parquet{Columns: parquetColumns}}, batch)
			if diff := cmp.Diff(want, readRows(t, f)); diff != "" {
				t.Error(diff)
			}
			for _, i := range []int{3, 4, 5, 6, 7} {
				if failed[i] == nil || !target.FailureOf(failed[i]).Final {
					t.Errorf("%d: %v", i, failed[i])
				}
			}
			if len(failed) != 5 {
				t.Errorf("failed: %v", failed)
			}
		})
	}
}

func TestParquetSchema(t *testing.T) {
	f, _ := encoded(t, Config{Parquet: &Parquet{Columns: parquetColumns}}, events(1, "{}"))
	const want = `message record {
	required binary topic (STRING);
	required int32 partition (INT(32,true));
	required int64 offset (INT(64,true));
	required int64 timestamp (TIMESTAMP(isAdjustedToUTC=true,unit=MILLIS));
	optional binary key;
	optional binary value (JSON);
	required group headers (LIST) {
		repeated group list {
			required group element {
				required binary name (STRING);
				optional binary value;
			}
		}
	}
	optional int64 id (INT(64,true));
	optional binary name (STRING);
	optional double total;
	optional boolean ok;
	optional binary rest (JSON);
}`
	if diff := cmp.Diff(want, f.Schema().String()); diff != "" {
		t.Error(diff)
	}
}

func TestParquetOfManyPages(t *testing.T) {
	var batch []*event.Event
	for i := range 8_000 {
		e := targettest.Event(int64(i), fmt.Sprint(i), fmt.Sprintf(`{"id":%d,"ok":%v,"rest":%q}`, i, i%3 == 0, strings.Repeat("x", i%300)))
		for h := range i % 4 {
			e.Record.Headers = append(e.Record.Headers, kgo.RecordHeader{Key: fmt.Sprint(h), Value: []byte(strings.Repeat("h", i%200))})
		}
		batch = append(batch, e)
	}
	f, failed := encoded(t, Config{Parquet: &Parquet{Columns: parquetColumns}}, batch)
	rows := readRows(t, f)
	if len(failed) > 0 || len(rows) != len(batch) {
		t.Fatalf("%d rows, %d failed", len(rows), len(failed))
	}
	for i, r := range rows {
		if r.Offset != int64(i) || string(*r.Key) != fmt.Sprint(i) || !bytes.Equal(*r.Value, batch[i].Record.Value) || *r.ID != int64(i) || *r.OK != (i%3 == 0) || r.Total != nil || len(r.Headers) != i%4 {
			t.Fatalf("row %d: %+v", i, r)
		}
		for h, header := range r.Headers {
			if header.Name != fmt.Sprint(h) || len(*header.Value) != i%200 {
				t.Fatalf("row %d: header %d: %+v", i, h, header)
			}
		}
	}
	if columns := len(f.Metadata().RowGroups[0].Columns); columns != 13 {
		t.Errorf("%d columns", columns)
	}
}

func TestParquetOfBytes(t *testing.T) {
	f, failed := encoded(t, Config{Parquet: &Parquet{Value: "bytes"}}, events(1, "\x00\xff", "text"))
	if len(failed) > 0 {
		t.Fatal(failed)
	}
	r := parquet.NewGenericReader[struct {
		Value []byte `parquet:"value,optional"`
	}](f)
	if r.NumRows() != 2 {
		t.Errorf("%d rows", r.NumRows())
	}
}

// FuzzParquet holds that another library reads what was written.
func FuzzParquet(f *testing.F) {
	f.Add([]byte(`{"id":1,"name":"a"}`), []byte("k"), "h", int64(math.MinInt64), uint8(3))
	f.Add([]byte(`null`), []byte(nil), "", int64(0), uint8(0))
	f.Fuzz(func(t *testing.T, value, key []byte, header string, millis int64, n uint8) {
		var batch []*event.Event
		for i := range n {
			e := targettest.Event(int64(i), "", "")
			e.Record.Key, e.Record.Value, e.Record.Timestamp = key, value, time.UnixMilli(millis)
			for range i % 3 {
				e.Record.Headers = append(e.Record.Headers, kgo.RecordHeader{Key: header, Value: key})
			}
			batch = append(batch, e)
		}
		if len(batch) == 0 {
			return
		}
		file, failed := encoded(t, Config{Parquet: &Parquet{Columns: parquetColumns}}, batch)
		if file == nil {
			return
		}
		rows := readRows(t, file)
		if len(rows)+len(failed) != len(batch) {
			t.Fatalf("%d rows, %d failed of %d", len(rows), len(failed), len(batch))
		}
		for i, r := range rows {
			if (r.Value == nil) != (value == nil) || r.Value != nil && !bytes.Equal(*r.Value, value) || len(r.Headers) != i%3 {
				t.Fatalf("row %d: %+v", i, r)
			}
		}
	})
}
