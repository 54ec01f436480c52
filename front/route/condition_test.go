package route

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/gate"
)

// conditional is a request that conditions are asked about.
func conditional(body string) *facts {
	r := httptest.NewRequest("POST", "http://host/devices/d-7?kind=a&kind=b&n=5", nil)
	r.SetPathValue("id", "d-7")
	r.Header.Set("X-Tier", "gold")
	return &facts{
		r: r, names: []string{"id", "other"}, who: gate.Principal{Name: "User:alice", Claims: map[string]any{"groups": []any{"a", "b"}, "age": json.Number("40"), "admin": true}},
		id: "id-1", stage: "dev", variables: map[string]string{"prefix": "dev-"}, source: "192.0.2.1", raw: []byte(body), now: time.UnixMilli(1700000000123).UTC(),
		kafka: map[string]any{"topic": "t", "partition": int32(2), "offset": int64(17), "timestamp": int64(5)},
	}
}

func TestConditions(t *testing.T) {
	const body = `{"ts":12,"half":0.5,"big":1e30,"text":"abc","list":[1,2,{"x":null}],"in":{"a-b":1}}`
	for _, tt := range []struct {
		in   string
		want bool
	}{
		{`path.id == "d-7"`, true}, {`has(path.other)`, false}, {`query.kind == "a" && "n" in query`, true}, {`int(query.n) > 4`, true}, {`header["x-tier"] == "gold"`, true}, {`has(header.none)`, false},
		{`identity.principal.startsWith("User:al")`, true}, {`identity.arn == ""`, true}, {`"b" in claims.groups`, true}, {`claims.age >= 40 && claims.age < 41`, true}, {`claims.admin`, true},
		{`stage.prefix == "dev-"`, true}, {`request.method == "POST" && request.stage == "dev"`, true}, {`body.ts == 12 && body.ts + 1 == 13`, true}, {`body.half < 1.0`, true}, {`body.big > 1e29`, true},
		{`body.text.matches("^a.c$")`, true}, {`size(body.list) == 3 && body.list.exists(x, type(x) == int && x == 2)`, true}, {`has(body.none)`, false}, {`body["in"]["a-b"] == 1`, true}, {`body.list[2].x == null`, true},
		{`now.unix_ms == 1700000000123`, true}, {`timestamp(now.iso).getFullYear() == 2023`, true}, {`kafka.partition == 2 && kafka.offset > 16 && kafka.topic == "t"`, true}, {`true || body.none.at.all == 1`, true},
	} {
		c, err := parseCondition(tt.in, true)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if got, err := c.holds(conditional(body)); got != tt.want || err != nil {
			t.Errorf("%s: got %v, %v, want %v", tt.in, got, err, tt.want)
		}
	}
	if got, err := (*condition)(nil).holds(nil); !got || err != nil {
		t.Errorf("no condition: %v, %v", got, err)
	}
}

func TestConditionsThatCannotBeDecided(t *testing.T) {
	for _, tt := range []struct{ in, body, want string }{
		{`query.none == "x"`, `{}`, "not there"},
		{`body.ts > 1`, `{"ts":"x"}`, "not there"},
		{`body.ts`, `{"ts":"secret"}`, "not there"},
		{`body.n == 1`, `{"n":1e999}`, "not there"},
		{`body.a.b.c == 1`, `{"a":1}`, "not there"},
		{`body.ts > 1`, `{"ts"`, errNoJSON.Error()},
		{`body.all(x, body.all(y, x == y || x != y))`, `[` + strings.Repeat("1,", 300) + `1]`, "costs more than 10000"},
		{`body.contains(body)`, `"` + strings.Repeat("a", 1<<20) + `"`, "costs more than 10000"},
	} {
		c, err := parseCondition(tt.in, false)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if yes, err := c.holds(conditional(tt.body)); yes || err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, %v", tt.in, yes, err)
		}
	}
}

func TestConditionsThatCannotBe(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`path.id ==`, "line 1, column 11: Syntax error"},
		{"path.id == 'x' &&\n  quer.x == 'y'", "line 2, column 3: undeclared reference to 'quer'"},
		{`path.id == 1`, "line 1, column 9: found no matching overload"},
		{`"text"`, "is of type string"},
		{`path.id`, "is of type string"},
		{`kafka.offset == 1`, "undeclared reference to 'kafka'"},
		{`identity.secret == ""`, `identity has no "secret": want one of principal, name`},
		{`request["body"] == ""`, `request has no "body"`},
		{`has(now.day)`, `now has no "day"`},
		{`header["X-Tier"] == "a"`, "in lower case"},
		{`body.text.matches("(")`, "missing closing"},
		{strings.Repeat("(", 60) + "true" + strings.Repeat(")", 60), ""},
		{strings.Repeat("true && ", 1000) + "true", ""},
		{`exec("x")`, "undeclared reference to 'exec'"},
	} {
		if _, err := parseCondition(tt.in, false); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60s: %v", tt.in, err)
		}
	}
}

func TestConditionsOfFieldsThatAreNotThere(t *testing.T) {
	var got []string
	Request{Key: "$.a", Headers: map[string]string{"a": "b"}, Set: map[string]json.RawMessage{"$.x": json.RawMessage("1")}, Remove: []string{"$.y"}, When: &Conditions{
		Key: "true", Value: "true", Partition: "true", Timestamp: "true", Headers: map[string]string{"a": "true", "A": "true"}, Set: map[string]string{"$.x": "true", "$.y": "true"}, Remove: map[string]string{"$.y": "true", "$.x": "true"},
	}}.Validate(func(path, _ string) { got = append(got, path) })
	Response{Headers: map[string]string{"X": "y"}, When: &AnswerConditions{Body: "true", Headers: map[string]string{"X": "true", "Y": "true"}}}.Validate(func(path, _ string) { got = append(got, path) })
	Conditions{Key: "path", Headers: map[string]string{"a": "", "b": "true"}, Set: map[string]string{"$.x": "kafka.offset == 1"}}.Validate(func(path, _ string) { got = append(got, "c "+path) })
	AnswerConditions{Body: "1", Headers: map[string]string{"X": "kafka.offset == 1", "Y": "kafka.key == 1"}}.Validate(func(path, _ string) { got = append(got, "a "+path) })
	want := []string{"when.value", "when.partition", "when.timestamp", "when.headers.A", "when.set.$.y", "when.remove.$.x", "when.body", "when.headers.Y", "c key", "c headers.a", "c set.$.x", "a body", "a headers.Y"}
	slices.Sort(want)
	slices.Sort(got) // they come from maps
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestRecordsWithConditions makes records of requests for which each condition is true,
// false, or cannot be decided.
func TestRecordsWithConditions(t *testing.T) {
	const on = `query.on == "1"`
	p, err := New(Env{}).producer(Config{Topic: "t", Route: "POST /d/{id}", Request: &Request{
		Key: "$.id", Value: json.RawMessage(`{"made":"$.id","debug":1}`), Partition: "1", Timestamp: &Timestamp{From: "5"}, Headers: map[string]string{"a": "x", "b": "y"},
		Set: map[string]json.RawMessage{"$.more": json.RawMessage(`true`)}, Remove: []string{"$.debug"},
		When: &Conditions{Key: on, Value: on, Partition: on, Timestamp: on, Headers: map[string]string{"b": on}, Set: map[string]string{"$.more": on}, Remove: map[string]string{"$.debug": on}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	asked := func(query, body string) *facts {
		return &facts{r: httptest.NewRequest("POST", "/d/7?"+query, nil), raw: []byte(body), names: p.names}
	}
	r, err := p.record(asked("on=1", `{"id":"k"}`))
	if err != nil || string(r.Key) != "k" || string(r.Value) != `{"made":"k","more":true}` || r.Partition != 1 || r.Timestamp.UnixMilli() != 5 || len(r.Headers) != 2 {
		t.Errorf("true: %+v, %v", r, err)
	}
	for _, body := range []string{`{ "id": "k" }`, "no JSON", ""} {
		r, err = p.record(asked("on=0", body))
		if err != nil || r.Key != nil || r.Value == nil || string(r.Value) != body || r.Partition != -1 || !r.Timestamp.IsZero() || len(r.Headers) != 1 || r.Headers[0].Key != "a" {
			t.Errorf("false: %+v, %v", r, err)
		}
	}
	if r, err = p.record(asked("", `{"id":"k"}`)); !errors.Is(err, errUndecided) || !strings.HasPrefix(err.Error(), "the condition of ") {
		t.Errorf("undecided: %+v, %v", r, err)
	}
}

// TestAnswersWithConditions leaves out what is not, and what cannot be decided.
func TestAnswersWithConditions(t *testing.T) {
	a, err := compileResponse(&Response{Status: 202, Body: json.RawMessage(`{"at":"${kafka.offset}"}`), Headers: map[string]string{"X-A": "a", "X-B": "b", "X-C": "c"}, When: &AnswerConditions{
		Body: `kafka.offset > 3`, Headers: map[string]string{"X-B": `kafka.partition == 9`, "X-C": `query.none == "x"`},
	}}, 200)
	if err != nil {
		t.Fatal(err)
	}
	for offset, want := range map[int64]string{17: `{"at":17}`, 1: ""} {
		f, w := conditional(`{}`), httptest.NewRecorder()
		f.kafka["offset"] = offset
		if err := a.write(w, f); err != nil || w.Code != 202 || w.Body.String() != want || w.Header().Get("X-A") != "a" || w.Header()["X-B"] != nil || w.Header()["X-C"] != nil {
			t.Errorf("%d: %v, %d %s %v", offset, err, w.Code, w.Body, w.Header())
		}
	}
}

// TestConditionsAreShared asks one condition from many sides at once.
func TestConditionsAreShared(t *testing.T) {
	c, err := parseCondition(`body.list.exists(x, x == body.n) && header["x-tier"] == "gold"`, false)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			body := map[bool]string{true: `{"list":[1,2],"n":2}`, false: `{"list":[1,2],"n":3}`}[i%2 == 0]
			for range 20 {
				if yes, err := c.holds(conditional(body)); yes != (i%2 == 0) || err != nil {
					t.Errorf("%s: %v, %v", body, yes, err)
				}
			}
		})
	}
	all.Wait()
}

func FuzzCondition(f *testing.F) {
	for _, text := range []string{`path.id == "d-7"`, `has(body.a.b)`, `body.list.map(x, x + 1).size() > 2`, `header["x-tier"].matches(query.kind)`, `timestamp(now.iso) < timestamp("2030-01-01T00:00:00Z")`, "body", `[1, 2].exists(path, path.x == 1)`} {
		f.Add(text, `{"a":{"b":1},"list":[1,2.5,"x",null]}`)
	}
	f.Fuzz(func(t *testing.T, text, body string) {
		c, err := parseCondition(text, true)
		if err != nil || c == nil {
			return
		}
		if yes, err := c.holds(conditional(body)); yes && err != nil {
			t.Errorf("%s of %s: true, and %v", text, body, err)
		}
	})
}
