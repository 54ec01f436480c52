package azure1

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestParseRecords(t *testing.T) {
	type kv struct {
		Key, Value string
		Partition  int32
	}
	for _, c := range []struct {
		name, in string
		want     []kv
	}{
		{"text and null", `{"records":[{"key":"k","value":"v"},{"key":null,"value":null,"partition":null}]}`, []kv{{"k", "v", -1}, {"<nil>", "<nil>", -1}}},
		{"empty text is not null", `{"records":[{"key":"","value":""}]}`, []kv{{"", "", -1}}},
		{"escapes", `{"records":[{"value":"\u00e9\n\"\ud83d\ude00"}]}`, []kv{{"<nil>", "é\n\"😀", -1}}},
		{"numbers stay as they are", `{"records":[{"value":12345678901234567890.10},{"value":1e2}]}`, []kv{{"<nil>", "12345678901234567890.10", -1}, {"<nil>", "1e2", -1}}},
		{"whitespace between tokens goes", "{\"records\":[{\"key\": { \"a b\" : [ 1 , true ] },\"value\": [ ] }]}", []kv{{`{"a b":[1,true]}`, "[]", -1}}},
		{"escapes in documents stay", `{"records":[{"value":{"\u0061":"\u00e9"}}]}`, []kv{{"<nil>", `{"\u0061":"\u00e9"}`, -1}}},
		{"partitions", `{"records":[{"partition":3,"value":1},{"partition":"4","value":2}]}`, []kv{{"<nil>", "1", 3}, {"<nil>", "2", 4}}},
		{"the last array counts", `{"records":[{"value":1}],"records":[{"value":2}]}`, []kv{{"<nil>", "2", -1}}},
	} {
		records, err := parseRecords([]byte(c.in))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		text := func(b []byte) string {
			if b == nil {
				return "<nil>"
			}
			return string(b)
		}
		var got []kv
		for _, r := range records {
			got = append(got, kv{text(r.Key), text(r.Value), r.Partition})
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// FuzzParseRecords compares with encoding/json: what that does not take as such
// a document is refused, and what is taken has the same values.
func FuzzParseRecords(f *testing.F) {
	for _, s := range []string{
		`{"records":[{"key":"k","value":"v","partition":1}]}`, `{"records":[{"value":{"a":[1, 2]}}]}`, `{"records":[{"value":"\ud800"}]}`,
		`{"records":[]}`, `{"records":null}`, `{}`, `[]`, `{"records":[{"value":1}]} x`, `{"records":[{"value":nul}]}`, `{"records":[{"partition":"1","value":0}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		records, err := parseRecords(bytes.Clone(b))
		if err != nil {
			return
		}
		if !json.Valid(b) || !utf8.Valid(b) {
			t.Fatalf("accepted %q", b)
		}
		decoder := json.NewDecoder(bytes.NewReader(b))
		// Only members whose names are spelled exactly so count here.
		var document map[string]json.RawMessage
		if err := decoder.Decode(&document); err != nil {
			t.Fatal(err)
		}
		var want []map[string]json.RawMessage
		if err := json.Unmarshal(document["records"], &want); err != nil || len(want) != len(records) {
			t.Fatalf("%q: %d records, want %d (%v)", b, len(records), len(want), err)
		}
		for i, r := range records {
			for name, got := range map[string][]byte{"key": r.Key, "value": r.Value} {
				if expected := encoded(want[i][name]); !bytes.Equal(got, expected) || (got == nil) != (expected == nil) {
					t.Fatalf("%q: %s %q, want %q", b, name, got, expected)
				}
			}
		}
	})
}

// encoded is the slow and obvious form of what a value becomes.
func encoded(raw json.RawMessage) []byte {
	var s *string
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return nil
	case json.Unmarshal(raw, &s) == nil:
		return append([]byte{}, *s...)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func FuzzParseTopic(f *testing.F) {
	for _, s := range []string{``, `{}`, `{"partition_count":1,"replication_factor":"2","topic_properties":{"a":1e3,"b":true,"c":"\u0064"}}`, `{"topic_properties":null}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		topic, err := parseTopic(bytes.Clone(b))
		if err != nil {
			return
		}
		if len(bytes.TrimSpace(b)) > 0 && !json.Valid(b) || topic.Partitions < 0 || topic.Replication < 0 {
			t.Fatalf("accepted %q as %+v", b, topic)
		}
		for _, s := range topic.Settings {
			if s.Value == nil {
				t.Fatalf("%q: %s has no value", b, s.Name)
			}
		}
	})
}

func FuzzParseCount(f *testing.F) {
	for _, s := range []string{"", "count=2", "count=0", "a=1&count=3", "count=%31", "count=99999999", "%zz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if n, err := parseCount(query); err == nil && (n < 1 || n > maxCount) {
			t.Fatalf("%q is %d", query, n)
		}
	})
}

func BenchmarkParseRecords(b *testing.B) {
	value := fmt.Sprintf(`{"id":1,"text":"%s"}`, strings.Repeat("x", 1000))
	body := []byte(`{"records":[` + strings.Repeat(`{"key":"k","value":`+value+`},`, 99) + `{"value":` + value + `}]}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseRecords(body); err != nil {
			b.Fatal(err)
		}
	}
}
