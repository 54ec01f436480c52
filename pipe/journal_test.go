package pipe

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// An entry in which no field is zero, and one in which all are, come back as they were.
func TestEntriesComeBack(t *testing.T) {
	var full entry
	fill(reflect.ValueOf(&full).Elem())
	want := []entry{full, {}, {ID: `a"b\c` + "\n", Attempt: Attempt{Error: "<&\u2028ü", TookMillis: 0.001, At: time.Unix(1, 0).UTC()}}}
	record := &kgo.Record{}
	for _, e := range want {
		record.Value = append(e.appendTo(record.Value), '\n')
	}
	first, _, _ := bytes.Cut(record.Value, []byte("\n"))
	if plain, err := json.Marshal(full); err != nil || !bytes.Equal(first, plain) {
		t.Errorf("an entry is written as %s, by encoding/json as %s, %v", first, plain, err)
	}
	var got []entry
	for e := range entriesOf(record) {
		got = append(got, *e)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what was written and what was read:\n%s", diff)
	}
}

// fill sets every field of a struct to something.
func fill(v reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i); f.Interface().(type) {
		case string:
			f.SetString(v.Type().Field(i).Name)
		case int, int32, int64:
			f.SetInt(int64(i) + 7)
		case float64:
			f.SetFloat(float64(i) + 0.125)
		case bool:
			f.SetBool(true)
		case time.Time:
			f.Set(reflect.ValueOf(time.Unix(int64(i), 5e6).UTC()))
		default:
			fill(f)
		}
	}
}

// A record that is no entry is passed over.
func TestEntriesOfAnythingElse(t *testing.T) {
	record := &kgo.Record{Value: []byte("{\"delivery_id\":\"a\"}\nnonsense\n\n{\"delivery_id\":\"b\"}")}
	var ids []string
	for e := range entriesOf(record) {
		ids = append(ids, e.ID)
	}
	if !slices.Equal(ids, []string{"a", "b"}) {
		t.Errorf("entries %v were read, want a and b", ids)
	}
}
