package gate

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

func TestDefinitionsSurviveTheTable(t *testing.T) {
	p := kafka.TopicPartition{Topic: "t", Partition: 3}
	d := consumerDefinition{
		Group: "a/b\xff", Name: "1/c", Holder: "h",
		Config:  ConsumerConfig{Format: "json", Reset: kafka.ResetNone, AutoCommit: true, Committed: true, MinBytes: -1, Timeout: time.Second, Idle: time.Minute},
		Topics:  []string{"t"},
		Pattern: "t.*", Partitions: []kafka.TopicPartition{p},
		Places:  []kafka.Place{{TopicPartition: p, Offset: 7, Committed: -1}},
		Answers: []writtenAnswer{{digestOf("token"), []run{{"t", 3, 1, 9, 4, "", false}, {"t", 3, 10, 10, 1, "broken", true}}}},
	}
	value, err := d.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeDefinition(d.key().text(), value)
	if diff := cmp.Diff(d, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

func TestNamesDoNotCollide(t *testing.T) {
	names := []string{"a", "/", "1/a", "a/1", "", "11/", "\x00", "ä", "\xff"}
	seen := map[string]consumerKey{}
	for _, group := range names {
		for _, name := range names {
			key := consumerKey{group, name}
			text := key.text()
			if other, ok := seen[text]; ok {
				t.Errorf("%q and %q are both %q", key, other, text)
			}
			seen[text] = key
			if back, ok := consumerKeyOf(text); !ok || back != key {
				t.Errorf("%q: got %q %t, want %q", text, back, ok, key)
			}
		}
	}
}

func TestRuns(t *testing.T) {
	at := func(partition int32, offsets ...int64) (got []Delivery) {
		for _, o := range offsets {
			got = append(got, Delivery{Record: &kgo.Record{Topic: "t", Partition: partition, Offset: o}})
		}
		return got
	}
	bad := Delivery{at(0, 5)[0].Record, &BadRecord{Topic: "t", Offset: 5, Reason: "broken"}}
	for _, c := range []struct {
		name string
		in   []Delivery
		want []run
	}{
		{"nothing", nil, nil},
		{"one partition with a gap", at(0, 1, 2, 9), []run{{"t", 0, 1, 9, 3, "", false}}},
		{"partitions in turn", append(at(0, 1, 2), append(at(1, 7), at(0, 3)...)...), []run{{"t", 0, 1, 2, 2, "", false}, {"t", 1, 7, 7, 1, "", false}, {"t", 0, 3, 3, 1, "", false}}},
		{"backwards", at(0, 4, 2), []run{{"t", 0, 4, 4, 1, "", false}, {"t", 0, 2, 2, 1, "", false}}},
		{"a bad one", append(append(at(0, 4), bad), at(0, 6)...), []run{{"t", 0, 4, 4, 1, "", false}, {"t", 0, 5, 5, 1, "broken", false}, {"t", 0, 6, 6, 1, "", false}}},
	} {
		if diff := cmp.Diff(c.want, runsOf(c.in), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestAnswersAreBounded(t *testing.T) {
	var d consumerDefinition
	var got []Delivery
	for n := range 200 {
		got = append(got, Delivery{Record: &kgo.Record{Topic: strings.Repeat("t", 200), Partition: int32(n)}})
	}
	for n := range 40 {
		d = d.answered(writtenAnswer{[]byte{byte(n)}, runsOf(got[:1])})
	}
	if len(d.Answers) != writtenAnswers {
		t.Errorf("%d small answers are kept, want %d", len(d.Answers), writtenAnswers)
	}
	d = d.answered(writtenAnswer{[]byte{39}, runsOf(got[:2])})
	if last := d.Answers[len(d.Answers)-1]; len(d.Answers) != writtenAnswers || len(last.Runs) != 2 {
		t.Errorf("a token that is given another answer has %d runs, and there are %d answers", len(last.Runs), len(d.Answers))
	}
	for n := range 10 {
		d = d.answered(writtenAnswer{[]byte{byte(n)}, runsOf(got)})
	}
	if n := sizeOf(d.Answers...); n > answerBytes || len(d.Answers) == 0 {
		t.Errorf("%d answers of %d bytes are kept", len(d.Answers), n)
	}
}

func TestPlacesReplaceEachOther(t *testing.T) {
	p, q := kafka.TopicPartition{Topic: "t"}, kafka.TopicPartition{Topic: "t", Partition: 1}
	before := consumerDefinition{Places: []kafka.Place{{TopicPartition: p, Offset: 1}, {TopicPartition: q, Offset: 2}}}
	after := before.placed([]kafka.Place{{TopicPartition: p, Offset: 5, Committed: 4}})
	if diff := cmp.Diff([]kafka.Place{{TopicPartition: p, Offset: 5, Committed: 4}, {TopicPartition: q, Offset: 2}}, after.Places); diff != "" {
		t.Error(diff)
	}
	if before.Places[0].Offset != 1 {
		t.Error("the definition before has changed")
	}
}

func FuzzDefinition(f *testing.F) {
	f.Add("1/g/i", []byte("h\n"+`{"config":{"Idle":1000000000},"topics":["t"],"answers":[{"token":"AA==","runs":[{"t":"t","p":0,"f":1,"l":2,"n":2}]}]}`))
	f.Add("", []byte(nil))
	f.Add("01/g/i", []byte("\n{}"))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		d, err := decodeDefinition(key, value)
		if err != nil {
			return
		}
		if d.key().text() != key {
			t.Errorf("%q is the key of %q", key, d.key())
		}
		again, err := d.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeDefinition(key, again); err != nil {
			t.Error(err)
		}
	})
}
