package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/scan"
)

func TestEnvelopeIsWrittenAsSpecified(t *testing.T) {
	e := Envelope{ID: "11111111-2222-4333-8444-555555555555", DetailType: `a "b"`, Source: "shop\n", Account: "000000000000", Time: time.Date(2023, 5, 6, 9, 8, 9, 600e6, time.FixedZone("", 7200)),
		Region: "us-east-1", Resources: []string{"one", "é<&>\\"}, Detail: []byte(`{"z":9007199254740993,"a":1.10}`)}
	head := `{"version":"0","id":"11111111-2222-4333-8444-555555555555","detail-type":"a \"b\"","source":"shop\n","account":"000000000000","time":"2023-05-06T07:08:09Z","region":"us-east-1"`
	tail := `,"resources":["one","é<&>\\"],"detail":{"z":9007199254740993,"a":1.10}}`
	if diff := cmp.Diff(head+tail, string(e.Append(nil))); diff != "" {
		t.Error(diff)
	}
	e.Replay = "again"
	if diff := cmp.Diff("x"+head+`,"replay-name":"again"`+tail, string(e.Append([]byte("x")))); diff != "" {
		t.Error(diff)
	}
	e = Envelope{Detail: []byte("{}")}
	if got := string(e.Append(nil)); !strings.HasSuffix(got, `"resources":[],"detail":{}}`) || !json.Valid([]byte(got)) {
		t.Errorf("without resources: %s", got)
	}
}

func TestNewIDIsARandomUUID(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for range 100 {
		id := NewID()
		if !form.MatchString(id) || seen[id] {
			t.Fatalf("%q", id)
		}
		seen[id] = true
	}
}

func TestCompactDetail(t *testing.T) {
	nested := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	for name, c := range map[string]struct{ in, want string }{
		"as it is":         {`{"z":1,"a":[1e3,"\u00e9",{}]}`, `{"z":1,"a":[1e3,"\u00e9",{}]}`},
		"spaces":           {" \t{ \"a b\" : [ 1 , 2.50 ] }\r\n", `{"a b":[1,2.50]}`},
		"twice":            {`{"a":1,"a":2}`, `{"a":1,"a":2}`},
		"largest":          {`{"a":9223372036854775807,"b":-9223372036854775808}`, `{"a":9223372036854775807,"b":-9223372036854775808}`},
		"too large":        {`{"a":9223372036854775808}`, ""},
		"too small":        {`{"a":[-9223372036854775809]}`, ""},
		"20 digits":        {`{"a":10000000000000000000}`, ""},
		"no integer":       {`{"a":10000000000000000000.0,"b":1e400}`, `{"a":10000000000000000000.0,"b":1e400}`},
		"digits in a text": {`{"a":"99999999999999999999"}`, `{"a":"99999999999999999999"}`},
		"array":            {`[1]`, ""}, "number": {`17`, ""}, "string": {`"{}"`, ""}, "null": {`null`, ""}, "nothing": {``, ""}, "quotes": {`{'a':1}`, ""}, "more": {`{} {}`, ""},
		"deep": {nested(1000), nested(1000)}, "too deep": {nested(1001), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := CompactDetail([]byte(c.in))
			if c.want == "" {
				if !errors.Is(err, errDetail) {
					t.Errorf("got %s, %v", got, err)
				}
				return
			}
			if err != nil || string(got) != c.want {
				t.Errorf("got %s, %v; want %s", got, err, c.want)
			}
		})
	}
}

// slowDetail says what CompactDetail should, by way of encoding/json.
func slowDetail(b []byte) ([]byte, bool) {
	var compact bytes.Buffer
	if json.Compact(&compact, b) != nil || compact.Len() == 0 || compact.Bytes()[0] != '{' {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	for depth := 0; ; {
		token, err := d.Token()
		if err != nil {
			return compact.Bytes(), true
		}
		switch token := token.(type) {
		case json.Delim:
			if token == '{' || token == '[' {
				depth++
			} else {
				depth--
			}
			if depth > detailDepth {
				return nil, false
			}
		case json.Number:
			if !strings.ContainsAny(token.String(), ".eE") {
				if _, err := strconv.ParseInt(token.String(), 10, 64); err != nil {
					return nil, false
				}
			}
		}
	}
}

func FuzzCompactDetail(f *testing.F) {
	for _, s := range []string{`{}`, ` { "a" : [1, -9223372036854775809, "\"}"] }`, `{"a":{"b":9223372036854775808}}`, `[]`, `{"a":1`, strings.Repeat(`{"a":`, 1001) + "1" + strings.Repeat("}", 1001)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		want, ok := slowDetail(b)
		got, err := CompactDetail(bytes.Clone(b))
		if ok != (err == nil) || ok && !bytes.Equal(got, want) {
			t.Errorf("%q: got %q, %v; want %q, %v", b, got, err, want, ok)
		}
	})
}

// slowEnvelope is Append by way of encoding/json.
func slowEnvelope(e *Envelope) string {
	text := func(s string) string {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(strings.ToValidUTF8(s, "\ufffd"))
		return strings.TrimSpace(b.String())
	}
	var resources []string
	for _, r := range e.Resources {
		resources = append(resources, text(r))
	}
	replay := ""
	if e.Replay != "" {
		replay = `"replay-name":` + text(e.Replay) + ","
	}
	return `{"version":"0","id":` + text(e.ID) + `,"detail-type":` + text(e.DetailType) + `,"source":` + text(e.Source) + `,"account":` + text(e.Account) +
		`,"time":"` + e.Time.UTC().Truncate(time.Second).Format(time.RFC3339) + `","region":` + text(e.Region) + `,` + replay + `"resources":[` + strings.Join(resources, ",") + `],"detail":` + string(e.Detail) + "}"
}

func FuzzEnvelope(f *testing.F) {
	f.Add("id", "type", "source", "r1", "", int64(1683356889))
	f.Add("", "\x00\u2028\x7f\"\\", "é\n\t", "", "again", int64(-1))
	f.Fuzz(func(t *testing.T, id, kind, source, resource, replay string, seconds int64) {
		for _, s := range []string{id, kind, source, resource, replay} {
			if strings.ToValidUTF8(s, "") != s {
				return // how many U+FFFD stand for a run of strange bytes is nobody's promise
			}
		}
		if seconds < -62167219200 || seconds > 253402300799 {
			return
		}
		e := Envelope{ID: id, DetailType: kind, Source: source, Account: "1", Region: "r", Time: time.Unix(seconds, 0), Resources: []string{resource, resource}, Replay: replay, Detail: []byte(`{"a":1}`)}
		got := e.Append(nil)
		if !scan.Valid(got) {
			t.Fatalf("no JSON: %s", got)
		}
		var a, b any
		if err := json.Unmarshal(got, &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(slowEnvelope(&e)), &b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b, a); diff != "" {
			t.Error(diff)
		}
		// encoding/json escapes a few characters more; without them the bytes are the same.
		if all := id + kind + source + resource + replay; !strings.ContainsAny(all, "\u2028\u2029\b\f") && string(got) != slowEnvelope(&e) {
			t.Errorf("got %s, want %s", got, slowEnvelope(&e))
		}
	})
}

func TestTopicOfBuses(t *testing.T) {
	long := strings.Repeat("x", 256)
	seen := map[string]string{}
	for _, c := range []struct{ in, want string }{
		{"default", "klamm.bus.default"}, {"a.b", "klamm.bus.a.b"}, {"a/b", ""}, {"a.b/", ""}, {"/a/b", "klamm.bus..a.b"}, {".a.b", ""}, {"a", "klamm.bus.a"}, {long, ""}, {long + "/", ""}, {"..", ""}, {".", ""},
	} {
		got := BusTopic(c.in)
		if c.want != "" && got != c.want || len(got) > 249 || !legal(got) {
			t.Errorf("%q: %s", c.in, got)
		}
		if other, ok := seen[got]; ok {
			t.Errorf("%q and %q share %s", other, c.in, got)
		}
		seen[got] = c.in
		if retry := RetryTopic(c.in); !strings.HasPrefix(retry, "klamm.retry.") || len(retry) > 249 {
			t.Errorf("%q: %s", c.in, retry)
		}
	}
}
