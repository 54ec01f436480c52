package objectstore

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
)

func TestKeys(t *testing.T) {
	record := func(topic string, offset, millis int64) *event.Event {
		return &event.Event{Record: &kgo.Record{Topic: topic, Partition: 4, Offset: offset, Timestamp: time.UnixMilli(millis)}}
	}
	for _, test := range []struct {
		name, template string
		in             []*event.Event
		want           string // "": an error
	}{
		{"the default", "", []*event.Event{record("orders", 1, 1_767_225_599_999), record("orders", 9, 0)}, "orders/2025/12/31/4-1-9-22db33e560859d94.ndjson.gz"},
		{"everything", "{pipe}/{topic}/{year}{month}{day}T{hour}/{partition}/{first_offset}-{last_offset}-{digest}.{ext}",
			[]*event.Event{record("o", 1, 1_767_225_599_999)}, "p1/o/20251231T23/4/1-1-cd2662154e6d76b2.ndjson.gz"},
		{"no timestamp", "", []*event.Event{record("o", 1, -1)}, "o/1969/12/31/4-1-1-cd2662154e6d76b2.ndjson.gz"},
		{"a time far away", "", []*event.Event{record("o", 1, 1<<62)}, "o/146140482/04/24/4-1-1-cd2662154e6d76b2.ndjson.gz"},
		{"a topic with dots", "", []*event.Event{record("..o", 1, 0)}, "..o/1970/01/01/4-1-1-cd2662154e6d76b2.ndjson.gz"},
		{"a topic that cannot be", "", []*event.Event{record("..", 1, 0)}, ""},
		{"a topic that climbs", "a/{topic}/{partition}-{first_offset}-{last_offset}", []*event.Event{record("../../etc", 1, 0)}, ""},
		{"a long topic", "", []*event.Event{record(strings.Repeat("x", 249), 1, 0)}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, err := compile(test.template, "p1", "ndjson.gz")
			if err != nil {
				t.Fatal(err)
			}
			got, err := k.render(test.in)
			if (err != nil) != (test.want == "") || err == nil && got != test.want {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestDigestTellsChoicesOfOffsetsApart(t *testing.T) {
	all := events(1, "a", "b", "c")
	if digest(all) != digest(events(1, "x", "y", "z")) {
		t.Error("the digest depends on more than offsets")
	}
	if digest(all) == digest([]*event.Event{all[0], all[2]}) {
		t.Error("a batch without the record in the middle has the same digest")
	}
}

func TestBadTemplates(t *testing.T) {
	const tail = "{topic}-{partition}-{first_offset}-{last_offset}"
	for _, in := range []string{
		"/" + tail, "a/../" + tail, "../" + tail, tail + "/..", "./" + tail, "a//" + tail, tail + "/", "a\x00" + tail, "a\n" + tail, "a\\" + tail, "C:" + tail,
		"\xff" + tail, tail + "{", tail + "{user}", tail + "{topic", strings.Repeat("a/", 600) + tail, strings.Repeat("a", 300) + tail, ".klamm-" + tail,
		"{topic}-{partition}-{first_offset}", "{topic}-{first_offset}-{last_offset}", "{partition}-{first_offset}-{last_offset}", "{topic}-{partition}-{last_offset}",
	} {
		if _, err := compile(in, "p", "csv"); err == nil {
			t.Errorf("%q is accepted", in)
		}
	}
	if _, err := compile("{pipe}/"+tail, "../p", "csv"); err == nil {
		t.Error("the name of a pipe climbs")
	}
}

// FuzzKeys holds that no key leaves its store.
func FuzzKeys(f *testing.F) {
	f.Add(defaultKey, "orders")
	f.Add("../{topic}/{partition}{first_offset}{last_offset}", "..")
	f.Add("a/{topic}/{partition}-{first_offset}-{last_offset}", "../..")
	f.Fuzz(func(t *testing.T, text, topic string) {
		k, err := compile(text, "p", "json")
		if err != nil {
			return
		}
		batch := events(1, "a", "b")
		batch[0].Record.Topic = topic
		key, err := k.render(batch)
		if err != nil {
			return
		}
		if !filepath.IsLocal(key) || strings.ContainsAny(key, "\x00\n\r\\") || len(key) > maxKey {
			t.Errorf("%q makes %q of %q", text, key, topic)
		}
		if again, err := k.render(batch); err != nil || again != key {
			t.Errorf("the second time it is %q, %v", again, err)
		}
	})
}

func TestAPartOfABatchHasAnotherKey(t *testing.T) {
	record := func(offset int64) *event.Event {
		return &event.Event{Record: &kgo.Record{Topic: "orders", Partition: 4, Offset: offset, Timestamp: time.UnixMilli(0)}}
	}
	k, err := compile("", "p", "ndjson")
	if err != nil {
		t.Fatal(err)
	}
	all := []*event.Event{record(1), record(2), record(9)}
	whole, err := k.render(all)
	if err != nil {
		t.Fatal(err)
	}
	part, err := k.render([]*event.Event{all[0], all[2]})
	if err != nil || part == whole {
		t.Errorf("the whole is %s, a part of it between the same offsets %s, %v", whole, part, err)
	}
	if again, _ := k.render(all); again != whole {
		t.Errorf("another attempt is %s, want %s", again, whole)
	}
}
