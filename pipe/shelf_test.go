package pipe

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestShelfIsBounded(t *testing.T) {
	var s shelf
	for i := range 10_000 {
		s.put(shelfKey{fmt.Sprint(i), StageRead, passing}, &StageSample{Value: strings.Repeat("x", 2<<10), Result: strings.Repeat("x", 2<<10)})
	}
	if s.bytes > shelfBytes || len(s.all) != s.order.Len() || len(s.all) < 1000 {
		t.Errorf("%d bytes in %d samples, %d in order", s.bytes, len(s.all), s.order.Len())
	}
	if s.get(shelfKey{"0", StageRead, passing}) != nil || s.get(shelfKey{"9999", StageRead, passing}) == nil {
		t.Error("the wrong ones have gone")
	}
	s.put(shelfKey{"9999", StageRead, passing}, &StageSample{Note: "another"})
	if got := s.get(shelfKey{"9999", StageRead, passing}); got.Note != "another" {
		t.Errorf("%+v", got)
	}
	for i := range 10_000 {
		s.forget(fmt.Sprint(i))
	}
	if s.bytes != 0 || len(s.all) != 0 {
		t.Errorf("%d bytes left in %d samples", s.bytes, len(s.all))
	}
}

func TestBeginning(t *testing.T) {
	for _, c := range []struct {
		name       string
		in         []byte
		text, form string
	}{
		{"nothing", nil, "", "null"},
		{"empty", []byte{}, "", "text"},
		{"short", []byte("abc"), "abc", "text"},
		{"long", []byte("abcdefgh"), "abcd", "text"},
		{"a character that does not fit", []byte("abcäö"), "abc", "text"},
		{"bytes", []byte{0xff, 0xfe}, "//4=", "base64"},
		{"many bytes", []byte{0xff, 0xfe, 0xfd, 0xfc, 0xfb}, "//79/A==", "base64"},
	} {
		if text, form := beginning(c.in, 4); text != c.text || form != c.form {
			t.Errorf("%s: %q %s, want %q %s", c.name, text, form, c.text, c.form)
		}
	}
}

// BenchmarkShaped is what the stages cost on the path of records: a poll of 2,000 records,
// of which some are dropped, once a second with samples.
func BenchmarkShaped(b *testing.B) {
	f := &flow{keeper: &keeper{shelf: &shelf{}}}
	records, items := make([]*kgo.Record, pollRecords), make([]*item, pollRecords)
	for i := range records {
		records[i] = &kgo.Record{Topic: "t", Value: make([]byte, 1000), Timestamp: time.Now()}
		if i%3 > 0 {
			items[i] = &item{size: 1}
			items[i].Record = records[i]
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		f.shaped(records, items)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/pollRecords, "ns/record")
}
