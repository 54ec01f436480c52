package front

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestPlainRecord(t *testing.T) {
	for _, c := range []struct {
		name   string
		header http.Header
		query  string
		body   []byte
		want   *kgo.Record // nil: refused
	}{
		{"a body", nil, "", []byte("x"), &kgo.Record{Value: []byte("x")}},
		{"no body is an empty value", nil, "", nil, &kgo.Record{Value: []byte{}}},
		{"a key in the header", http.Header{"X-Kafka-Key": {"k", "other"}}, "key=q", []byte("x"), &kgo.Record{Key: []byte("k"), Value: []byte("x")}},
		{"a key in the query", nil, "a=b&k%65y=a%20%00", []byte("x"), &kgo.Record{Key: []byte("a \x00"), Value: []byte("x")}},
		{"an empty key", nil, "key=", []byte("x"), &kgo.Record{Key: []byte{}, Value: []byte("x")}},
		{"no key", nil, "monkey=1", []byte("x"), &kgo.Record{Value: []byte("x")}},
		{"headers", http.Header{"X-Kafka-H-B": {" 2 ", ""}, "X-Kafka-H-A-Long": {"\xff"}, "X-Other": {"no"}}, "", []byte("x"), &kgo.Record{
			Value:   []byte("x"),
			Headers: []kgo.RecordHeader{{Key: "a-long", Value: []byte("\xff")}, {Key: "b", Value: []byte("2")}, {Key: "b", Value: []byte{}}},
		}},
		{"a header without a name", http.Header{"X-Kafka-H-": {"1"}}, "", nil, nil},
		{"a key that is too long", http.Header{"X-Kafka-Key": {strings.Repeat("k", maxKey+1)}}, "", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := PlainRecord(&http.Request{Header: c.header, URL: &url.URL{RawQuery: c.query}}, c.body)
			if (err != nil) != (c.want == nil) {
				t.Fatalf("got error %v", err)
			}
			if c.want != nil {
				c.want.Partition = -1
			}
			if diff := cmp.Diff(c.want, got, cmpopts.IgnoreUnexported(kgo.Record{}), cmpopts.EquateComparable(kgo.RecordAttrs{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
