package gate

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"
)

const heartbeat = `{"type":"object","required":["deviceid","heartrate"],"additionalProperties":false,
	"properties":{"deviceid":{"type":"string","pattern":"^d-[0-9]+$"},"heartrate":{"type":"integer","minimum":20,"maximum":300}}}`

func validation(t *testing.T, rules ...TopicRule) (*Validation, *prometheus.CounterVec) {
	t.Helper()
	failures := ValidationMetrics(prometheus.NewRegistry())
	v, err := NewValidation(rules, func(name string) ([]byte, error) {
		if name != "heartbeat.json" {
			return nil, errors.New("no such file")
		}
		return []byte(heartbeat), nil
	}, failures)
	if err != nil {
		t.Fatal(err)
	}
	return v, failures
}

func beat(value string) *kgo.Record { return &kgo.Record{Value: []byte(value)} }

func TestRecordsKeepTheRulesOfTheirTopic(t *testing.T) {
	file := &PartRule{Schema: []byte(`{"file":"heartbeat.json"}`)}
	v, failures := validation(t,
		TopicRule{Match: "iot.quiet", Value: &PartRule{Mode: "off"}},
		TopicRule{Match: "iot.*", Value: file, Key: &PartRule{Type: "string", Pattern: "^d-[0-9]+$"}},
		TopicRule{Match: "iot.*", Value: &PartRule{Type: "number"}, Headers: &HeaderRules{Required: []string{"Source"}, Rules: []HeaderRule{{Name: "level", Type: "integer"}}}},
		TopicRule{Match: "warned", Value: &PartRule{Schema: []byte(heartbeat), Mode: "warn"}},
		TopicRule{Match: "nullable", Value: &PartRule{Schema: []byte(heartbeat), Nullable: true}},
		TopicRule{Match: "null", Value: &PartRule{Schema: []byte(`{"type":["object","null"]}`)}},
		TopicRule{Match: "large", Value: &PartRule{Type: "string", MaxBytes: 10}},
		TopicRule{Match: "schemakey", Key: &PartRule{Schema: []byte(`{"type":"string","maxLength":3}`)}},
	)
	source := []kgo.RecordHeader{{Key: "source", Value: []byte("s")}}
	good := `{"deviceid":"d-1","heartrate":72}`
	tests := []struct {
		name, topic string
		record      *kgo.Record
		want        []string // part, pointer and keyword
	}{
		{"good", "iot.a", &kgo.Record{Value: []byte(good), Key: []byte("d-1"), Headers: source}, nil},
		{"key as JSON", "iot.a", &kgo.Record{Value: []byte(good), Key: []byte(`"d-1"`), Headers: source}, nil},
		{"no rule", "other", beat("anything"), nil},
		{"too high", "iot.a", &kgo.Record{Value: []byte(`{"deviceid":"d-1","heartrate":301}`), Key: []byte("d-1"), Headers: source}, []string{"value #/heartrate maximum"}},
		{"everything", "iot.a", &kgo.Record{Value: []byte(`{"heartrate":"72","x":1}`), Key: []byte("e-1"), Headers: []kgo.RecordHeader{{Key: "level", Value: []byte("x")}}},
			[]string{"value # required", "value # additionalProperties", "value #/heartrate type", "key # pattern", "header # required", "header # type"}},
		{"not JSON", "iot.a", &kgo.Record{Value: []byte("{"), Key: []byte("d-1"), Headers: source}, []string{"value # type"}},
		{"no value", "iot.a", &kgo.Record{Key: []byte("d-1"), Headers: source}, []string{"value # type"}},
		{"no key", "iot.a", &kgo.Record{Value: []byte(good), Headers: source}, []string{"key # required"}},
		{"the first rule about values decides", "iot.quiet", &kgo.Record{Value: []byte("x"), Key: []byte("d-1"), Headers: source}, nil},
		{"warned", "warned", beat("x"), nil},
		{"nullable", "nullable", &kgo.Record{}, nil},
		{"null", "null", &kgo.Record{}, nil},
		{"large", "large", beat("12345678901"), []string{"value # maxBytes"}},
		{"key that is no JSON is a text", "schemakey", &kgo.Record{Key: []byte("a-1")}, nil},
		{"key that is too long", "schemakey", &kgo.Record{Key: []byte("a-12")}, []string{"key # maxLength"}},
		{"key that is a number", "schemakey", &kgo.Record{Key: []byte("7")}, []string{"key # type"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			if c := v.of(tt.topic); c != nil {
				if all := v.check(c, []*kgo.Record{tt.record}, nil); all != nil {
					for _, one := range all.Violations {
						got = append(got, one.Part+" "+one.Pointer+" "+one.Keyword)
					}
					if Classify(all) != Invalid || strings.Contains(all.Error(), "301") {
						t.Errorf("%v", all)
					}
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if n := testutil.ToFloat64(failures.WithLabelValues("warned", "value")); n != 1 {
		t.Errorf("%v failures of the warned topic", n)
	}
}

func TestOneBadRecordRefusesAllOrItself(t *testing.T) {
	records := func() []*kgo.Record { return []*kgo.Record{beat("1"), beat("x"), beat("3"), beat("y")} }
	v, _ := validation(t, TopicRule{Match: "all", Value: &PartRule{Type: "number"}}, TopicRule{Match: "each", Value: &PartRule{Type: "number"}, Partial: true})
	g := New(nil)
	g.Validate(v)
	valid, _, err := g.validate("all", records())
	var invalid *Invalidity
	if valid != nil || !errors.As(err, &invalid) || invalid.Summary() != "2 problems in 2 of 4 records" || invalid.Violations[1].In("#/records/3") != "#/records/3/value" {
		t.Errorf("%v, %v", valid, err)
	}
	all := records()
	valid, refused, err := g.validate("each", all)
	if err != nil || len(valid) != 2 || valid[1] != all[2] {
		t.Fatalf("%v, %v", valid, err)
	}
	results := refused.among(kgo.ProduceResults{{Record: all[0]}, {Record: all[2]}})
	for i, r := range results {
		if r.Record != all[i] || (r.Err != nil) != (i%2 == 1) {
			t.Errorf("record %d: %v", i, r.Err)
		}
	}
	if g.Validate(nil); g.validateAll("all", records()) != nil {
		t.Error("nothing is to be checked")
	}
}

func TestManyBadRecords(t *testing.T) {
	v, _ := validation(t, TopicRule{Match: "t", Value: &PartRule{Type: "number"}})
	records := make([]*kgo.Record, 1000)
	for i := range records {
		records[i] = beat("x")
	}
	all := v.check(v.of("t"), records, nil)
	if len(all.Violations) != 20 || !all.Truncated || !strings.HasPrefix(all.Error(), "at least 20 problems in 21 of 1000 records: record 0, #: ") {
		t.Errorf("%v", all)
	}
}

// Twenty are told of one record, too, and that there are others.
func TestManyViolationsOfOneRecord(t *testing.T) {
	v, _ := validation(t, TopicRule{Match: "t", Value: &PartRule{Schema: json.RawMessage(`{"items":{"type":"integer"}}`)}})
	for n, truncated := range map[int]bool{19: false, 20: false, 21: true} {
		all := v.check(v.of("t"), []*kgo.Record{beat("[" + strings.Repeat(`"x",`, n-1) + `"x"]`)}, nil)
		if len(all.Violations) != min(n, 20) || all.Truncated != truncated {
			t.Errorf("of %d: %d, truncated %v", n, len(all.Violations), all.Truncated)
		}
	}
}

func TestTopicRulesThatCannotBe(t *testing.T) {
	for _, r := range []TopicRule{
		{Match: "t", Value: &PartRule{Schema: []byte(`{"file":"none.json"}`)}}, {Match: "t", Value: &PartRule{Schema: []byte(`{"type":"nothing"}`)}},
		{Match: "t", Value: &PartRule{Schema: []byte(`{"pattern":"(?=a)"}`)}}, {Match: "t", Key: &PartRule{Pattern: "("}}, {Match: "t", Value: &PartRule{Schema: []byte(`{"$ref":"file:///etc/passwd"}`)}},
	} {
		if _, err := NewValidation([]TopicRule{r}, func(string) ([]byte, error) { return nil, errors.New("no such file") }, nil); err == nil {
			t.Errorf("%+v", r)
		}
	}
	for want, r := range map[string]TopicRule{"match": {Match: "a/b", Value: &PartRule{Type: "string"}}, "": {Match: "t"}} {
		var at []string
		r.Validate(func(path, _ string) { at = append(at, path) })
		if diff := cmp.Diff([]string{want}, at); diff != "" {
			t.Error(diff)
		}
	}
}

func TestNamesOfTopicsInAStage(t *testing.T) {
	who := Principal{TopicPrefix: "dev-"}
	if got := who.real("t"); got != "dev-t" {
		t.Error(got)
	}
	if diff := cmp.Diff([]string{"a", "b-dev-"}, who.shownAll([]string{"dev-a", "prod-a", "dev-", "dev-b-dev-"})); diff != "" {
		t.Error(diff)
	}
	all := []*kgo.Record{{Topic: "dev-t"}}
	if got := who.shownRecords(all); got[0].Topic != "t" || all[0].Topic != "dev-t" {
		t.Errorf("%s, %s", got[0].Topic, all[0].Topic)
	}
}

func BenchmarkNoRulesForRecords(b *testing.B) {
	g, records := New(nil), []*kgo.Record{beat("1")}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := g.validate("t", records); err != nil {
			b.Fatal(err)
		}
	}
}

func TestValuesAreRepeatedOnlyWhereThatIsWanted(t *testing.T) {
	rule := TopicRule{
		Match: "t", Value: &PartRule{Schema: []byte(heartbeat)}, Key: &PartRule{Type: "integer"},
		Headers: &HeaderRules{Required: []string{"source"}, Rules: []HeaderRule{{Name: "level", Type: "integer"}}},
	}
	record := &kgo.Record{
		Value: []byte(`{"deviceid":"d-1","heartrate":301}`), Key: []byte("k"), Headers: []kgo.RecordHeader{{Key: "level", Value: []byte("high")}},
	}
	for _, tt := range []struct {
		echo bool
		want []string
	}{
		{false, []string{"value ", "key ", "header ", "header "}},
		{true, []string{"value 301", `key "k"`, "header ", `header "high"`}},
	} {
		v, _ := validation(t, rule)
		if tt.echo {
			v.Echo()
		}
		all := v.check(v.of("t"), []*kgo.Record{record}, nil)
		var got []string
		for _, one := range all.Violations {
			got = append(got, one.Part+" "+one.Actual)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Error(diff)
		}
		text := all.Text(func(v Violation) string { return v.Pointer })
		if strings.Contains(text, "(maximum), got 301;") != tt.echo || strings.Contains(all.Error(), "got") {
			t.Errorf("echo %v: %s, and for logs %v", tt.echo, text, all)
		}
	}
}
