package klamm_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/fronttest"
	"github.com/klamm-gateway/klamm/front/klamm"
	"github.com/klamm-gateway/klamm/gate"
)

// A searchLine is a line of a search.
type searchLine struct {
	Record *struct {
		Topic     string
		Partition int32
		Offset    int64
		Timestamp int64
		Key       json.RawMessage
		Value     json.RawMessage
		KeyForm   string `json:"key_form"`
		ValueForm string `json:"value_form"`
		ValueCut  bool   `json:"value_cut"`
		Headers   []struct{ Name, Value string }
		Size      int
	}
	Progress *struct{ Scanned, Of, Found int64 }
	End      *struct {
		Complete       bool
		Scanned, Found int64
		Next           string
	}
	Error string
}

// search returns the values that a search finds, in their order, and its end.
func (k *klammd) search(topic string, parameters ...string) (values []string, lines []searchLine, end searchLine) {
	k.t.Helper()
	q := url.Values{}
	for i := 0; i < len(parameters); i += 2 {
		q.Set(parameters[i], parameters[i+1])
	}
	status, media, text := k.ask("GET", "/topics/"+topic+"/records?"+q.Encode(), "")
	if status != http.StatusOK || media != "application/x-ndjson" {
		k.t.Fatalf("%v: %d %s %s", parameters, status, media, text)
	}
	scanner := bufio.NewScanner(strings.NewReader(text))
	scanner.Buffer(nil, 64<<20)
	for scanner.Scan() {
		var line searchLine
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil || line.Error != "" {
			k.t.Fatalf("%v: %s %v", parameters, scanner.Bytes(), err)
		}
		if end.End != nil {
			k.t.Fatalf("%v: a line behind the end: %s", parameters, scanner.Bytes())
		}
		if line.Record != nil {
			lines, values = append(lines, line), append(values, string(line.Record.Value))
		}
		if line.End != nil {
			end = line
		}
	}
	if end.End == nil || end.End.Found != int64(len(values)) {
		k.t.Fatalf("%v: it has no end that counts %d: %s", parameters, len(values), text)
	}
	return values, lines, end
}

// fill makes a topic of three partitions whose records, 0 to n-1, are written a second
// apart to one partition after the other, and returns its name and the first time.
func (k *klammd) fill(n int) (string, time.Time) {
	k.t.Helper()
	topic := fmt.Sprintf("search-%d", time.Now().UnixNano())
	if err := k.cluster.EnsureTopic(k.t.Context(), topic, 3, nil); err != nil {
		k.t.Fatal(err)
	}
	first := time.Now().Add(-time.Hour).Truncate(time.Second)
	for i := range n {
		r := &kgo.Record{
			Topic: topic, Partition: int32(i % 3), Timestamp: first.Add(time.Duration(i) * time.Second),
			Key: fmt.Appendf(nil, "k%d", i%5), Value: fmt.Appendf(nil, `{"n":%d}`, i), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("<b>")}},
		}
		if err := k.cluster.Produce(k.t.Context(), r).FirstErr(); err != nil {
			k.t.Fatal(err)
		}
	}
	return topic, first
}

func numbers(from, to int) (all []string) {
	step := 1
	if from > to {
		step = -1
	}
	for i := from; ; i += step {
		all = append(all, fmt.Sprintf(`{"n":%d}`, i))
		if i == to {
			return all
		}
	}
}

func TestSearch(t *testing.T) {
	k := start(t, &receiver{})
	topic, first := k.fill(30)
	at := func(n int) string { return first.Add(time.Duration(n) * time.Second).UTC().Format(time.RFC3339) }
	for _, c := range []struct {
		name       string
		parameters []string
		want       []string
		complete   bool
		next       string
	}{
		{"the newest", nil, numbers(29, 0), true, ""},
		{"the newest three", []string{"limit", "3"}, numbers(29, 27), false, "v1:0-9,1-9,2-9"},
		{"the last of each partition", []string{"from", "end-1"}, numbers(29, 27), true, "v1:0-9,1-9,2-9"},
		{"what is older", []string{"from", "end-1", "until", "v1:0-9,1-9,2-9"}, numbers(26, 24), true, "v1:0-8,1-8,2-8"},
		{"from the beginning", []string{"from", "beginning"}, numbers(0, 29), true, ""},
		{"the first four", []string{"from", "beginning", "limit", "4"}, numbers(0, 3), false, "v1:0-2,1-1,2-1"},
		{"and from there on", []string{"from", "v1:0-2,1-1,2-1", "limit", "2"}, numbers(4, 5), false, "v1:0-2,1-2,2-2"},
		{"from a time", []string{"from", at(25)}, numbers(25, 29), true, ""},
		{"until a time", []string{"from", at(3), "until", at(6)}, numbers(3, 5), true, ""},
		{"how long ago", []string{"from", "-2h", "limit", "1"}, numbers(0, 0), false, "v1:0-1,1-0,2-0"},
		{"an offset", []string{"from", "9"}, numbers(27, 29), true, ""},
		{"an offset in a partition", []string{"from", "8", "partition", "1", "until", "end"}, []string{`{"n":25}`, `{"n":28}`}, true, ""},
		{"a key", []string{"from", "beginning", "key", "k4"}, []string{`{"n":4}`, `{"n":9}`, `{"n":14}`, `{"n":19}`, `{"n":24}`, `{"n":29}`}, true, ""},
		{"a glob", []string{"from", at(25), "key", "*1"}, []string{`{"n":26}`}, true, ""},
		{"a pattern", []string{"from", "beginning", "pattern", `{"value":{"n":[{"numeric":[">",10,"<",13]}]}}`}, numbers(11, 12), true, ""},
		{"a pattern and a key", []string{"from", "end-1000", "key", "k2", "pattern", `{"headers":{"h":["<b>"]},"value":{"n":[12,13,17]}}`}, []string{`{"n":17}`, `{"n":12}`}, true, ""},
		{"nothing", []string{"from", "beginning", "key", "x"}, nil, true, ""},
		{"beyond the end", []string{"from", "1000"}, nil, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, lines, end := k.search(topic, c.parameters...)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
			if end.End.Complete != c.complete || end.End.Next != c.next {
				t.Errorf("%+v, want %v %q", end.End, c.complete, c.next)
			}
			for _, l := range lines {
				if r := l.Record; r.Topic != topic || r.Size != len("kn")+len(r.Value)+len("h<b>") || r.KeyForm != "text" || r.ValueForm != "json" || r.Headers[0].Value != "<b>" {
					t.Errorf("%+v", r)
				}
			}
		})
	}
}

func TestSearchShowsEverything(t *testing.T) {
	k := start(t, &receiver{})
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	long := `"` + strings.Repeat("ü", 40_000) + `"`
	for _, value := range []string{"text <img>", "\xff\x00", deep, long, " 12345678901234567890.10"} {
		k.produce(value)
	}
	if err := k.cluster.Produce(t.Context(), &kgo.Record{Topic: k.pipe, Partition: 0}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	shown := func(parameters ...string) (all []string) {
		_, lines, _ := k.search(k.pipe, append(parameters, "from", "beginning")...)
		for _, l := range lines {
			value := string(l.Record.Value)
			if len(value) > 40 {
				value = fmt.Sprintf("%.3s... %d", value, len(value))
			}
			all = append(all, fmt.Sprint(l.Record.ValueForm, " ", value, " ", l.Record.ValueCut))
		}
		return all
	}
	if diff := cmp.Diff([]string{
		`text "text \u003cimg\u003e" false`, `binary {"base64":"/wA="} false`, `json "[[... 18002 false`, `json "\"... 65538 true`, "json 12345678901234567890.10 false", "null null false",
	}, shown()); diff != "" {
		t.Errorf("as JSON (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		`text "text \u003cimg\u003e" false`, `binary "/wA=" false`, `json "[[... 18002 false`, `json "\"... 80006 false`, `json " 12345678901234567890.10" false`, "null null false",
	}, shown("as", "text", "cut", "100000")); diff != "" {
		t.Errorf("as text (-want +got):\n%s", diff)
	}
}

func TestWrongSearches(t *testing.T) {
	k := start(t, &receiver{})
	for _, c := range []struct {
		name, query string
		status      int
		want        string
	}{
		{"another topic", "nobody/records", 404, "no such topic"},
		{"no topic's name", "a%20b/records", 404, "no such topic"},
		{"another partition", "PIPE/records?partition=7", 404, "no partition 7"},
		{"no partition", "PIPE/records?partition=x", 400, "partition: want a number"},
		{"no beginning", "PIPE/records?from=yesterday", 400, "from: want"},
		{"no number behind end", "PIPE/records?from=end-0", 400, "behind end-"},
		{"no end", "PIPE/records?until=tomorrow", 400, "until: want"},
		{"no places", "PIPE/records?from=v1:0-1,0-2", 400, "is not a partition and an offset"},
		{"no pattern", "PIPE/records?pattern={", 400, "pattern: "},
		{"no limit", "PIPE/records?limit=10001", 400, "from 1 to 10000"},
		{"too long a key", "PIPE/records?key=" + strings.Repeat("k", 1025), 400, "at most 1024 bytes"},
		{"no cut", "PIPE/records?cut=-1", 400, "cut: want"},
		{"no form", "PIPE/records?as=xml", 400, "as: want"},
		{"another parameter", "PIPE/records?offset=1", 400, "no query parameter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, media, text := k.ask("GET", "/topics/"+c.query, "")
			if status != c.status || media != "application/problem+json" || !strings.Contains(text, c.want) {
				t.Errorf("%d %s %s, want %d and %s", status, media, text, c.status, c.want)
			}
		})
	}
}

func TestSearchesAreGuarded(t *testing.T) {
	k := start(t, &receiver{}, &guard{})
	for _, call := range []string{
		"GET /topics/PIPE/records", "POST /topics/PIPE/records/check", "GET /groups", "GET /groups/PIPE", "DELETE /groups/PIPE", "POST /groups/PIPE/seek", "GET /instances",
	} {
		method, path, _ := strings.Cut(call, " ")
		body := ""
		if strings.HasSuffix(path, "/seek") {
			body = `{"topic":"` + k.pipe + `","to":"end"}`
		}
		if status, _, text := k.ask(method, path, body); status != http.StatusForbidden {
			t.Errorf("%s: %d %s", call, status, text)
		}
	}
}

// ruled is a front door whose topics have rules.
func ruled(t *testing.T, rules ...gate.TopicRule) *klammd {
	t.Helper()
	k := start(t, &receiver{})
	k.url = fronttest.Start(t, fronttest.Setup{Brokers: k.cluster.Brokers(), Dialects: func(g *gate.Gate) []front.Dialect {
		v, err := gate.NewValidation(rules, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		g.Validate(v)
		k.gate = g
		return []front.Dialect{klamm.Dialect(klamm.Config{Ready: k.cluster.Ready, Gate: g})}
	}}).URL
	return k
}

func TestMaskedTopics(t *testing.T) {
	k := ruled(t, gate.TopicRule{Match: "*", Mask: true})
	k.produce(`{"secret":1}`)
	if values, lines, _ := k.search(k.pipe); len(values) != 1 || values[0] != "null" || lines[0].Record.ValueForm != "masked" || string(lines[0].Record.Key) != `"k"` {
		t.Errorf("%v", values)
	}
	if values, _, _ := k.search(k.pipe, "unmask", "true", "pattern", `{"value":{"secret":[1]}}`); len(values) != 1 || values[0] != `{"secret":1}` {
		t.Errorf("unmasked: %v", values)
	}
	if status, _, text := k.ask("GET", "/topics/PIPE/records?pattern="+url.QueryEscape(`{"value":{"secret":[1]}}`), ""); status != http.StatusForbidden || !strings.Contains(text, "unmask=true") {
		t.Errorf("a pattern on what is masked: %d %s", status, text)
	}
	if text := k.want(nil, "GET", "/topics/PIPE", ""); !strings.Contains(text, `"masked":true`) {
		t.Error(text)
	}
}

func TestDeadLettersOfMaskedTopicsAreMasked(t *testing.T) {
	k := ruled(t, gate.TopicRule{Match: "patients.*", Mask: true})
	for value, from := range map[string]string{`{"open":1}`: "orders", `{"secret":1}`: "patients.north"} {
		r := &kgo.Record{Topic: k.pipe, Partition: 0, Key: []byte("k"), Value: []byte(value), Headers: []kgo.RecordHeader{{Key: "klamm.pipe", Value: []byte("p")}, {Key: "klamm.topic", Value: []byte(from)}}}
		if err := k.cluster.Produce(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	values, lines, _ := k.search(k.pipe)
	forms := map[string]string{}
	for i, l := range lines {
		forms[values[i]] = l.Record.ValueForm
	}
	if want := map[string]string{"null": "masked", `{"open":1}`: "json"}; !maps.Equal(forms, want) {
		t.Errorf("values and their forms: %v, want %v", forms, want)
	}
	sought := `{"value":{"secret":[1]}}`
	if values, _, _ := k.search(k.pipe, "pattern", sought); len(values) != 0 {
		t.Errorf("a pattern finds out about a masked value: %v", values)
	}
	if values, _, _ := k.search(k.pipe, "pattern", sought, "unmask", "true"); len(values) != 1 || values[0] != `{"secret":1}` {
		t.Errorf("unmasked: %v", values)
	}
	if status, _, text := k.ask("POST", "/rules/explain", `{"pattern":`+sought+`,"topic":"`+k.pipe+`"}`); status != http.StatusForbidden || !strings.Contains(text, "patients.north") || strings.Contains(text, "secret") {
		t.Errorf("a trial: %d %s", status, text)
	}
}

func TestCheckOfADraft(t *testing.T) {
	k := ruled(t,
		gate.TopicRule{Match: "*", Mask: true},
		gate.TopicRule{Match: "*", Value: &gate.PartRule{Schema: json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer","maximum":10}}}`)}, Headers: &gate.HeaderRules{Required: []string{"source"}}},
	)
	for _, c := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"a good one", `{"value":{"type":"JSON","data":{"n":1}},"headers":[{"name":"source","value":"YXBw"}]}`, 200, `{"valid":true,"violations":[],"by":[{"part":"value","rule":true},{"part":"headers","rule":true}]}`},
		{"a bad value", `{"value":{"type":"STRING","data":"{\"n\":11}"},"headers":[{"name":"source","value":"YXBw"}]}`, 200, `"violations":[{"part":"value","pointer":"#/n","keyword":"maximum"`},
		{"no header", `{"value":{"type":"JSON","data":{"n":1}}}`, 200, `{"part":"header","name":"source"`},
		{"no registry", `{"value":{"type":"AVRO","data":{"n":1}}}`, 200, `no schema registry`},
		{"no type", `{"value":{"type":"XML","data":"1"}}`, 400, "value: want the type"},
		{"no text", `{"key":{"type":"STRING","data":1}}`, 400, "key: data of type STRING is a text"},
		{"no base64", `{"key":{"type":"BINARY","data":"%"}}`, 400, "is base64"},
		{"no header's base64", `{"headers":[{"name":"x","value":"%"}]}`, 400, "not base64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if status, _, text := k.ask("POST", "/topics/PIPE/records/check", c.body); status != c.status || !strings.Contains(text, c.want) {
				t.Errorf("%d %s, want %d and %s", status, text, c.status, c.want)
			}
		})
	}
}
