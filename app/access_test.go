package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"pgregory.net/rapid"
)

// The keys of these tests, which stand for callers of the same names.
func keyOf(name string) string { return name + "-key-0123456789abcdefghijklmnopqrstuvwxyz" }

// keysOf is the auth section for such callers; each is in the groups behind its name.
func keysOf(callers ...string) string {
	var b strings.Builder
	b.WriteString("auth:\n  apikeys:\n    keys:\n")
	for _, c := range callers {
		name, groups, _ := strings.Cut(c, " ")
		fmt.Fprintf(&b, "      - {name: %s, key: {value: %q}, groups: [%s]}\n", name, keyOf(name), groups)
	}
	return b.String()
}

const rootMay = `
rules:
  - {who: ["User:root"], can: [all], topics: ["*"], groups: ["*"]}
`

// An asking is a request of a caller.
type asking struct {
	caller, method, target, media, body string
	header                              map[string]string
}

func (r *running) ask(q asking) (int, string) {
	r.t.Helper()
	u, err := url.Parse(r.url)
	if err != nil {
		r.t.Fatal(err)
	}
	u.Opaque = "//" + u.Host + q.target // as it is written
	req := &http.Request{Method: q.method, URL: u, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(q.body)), ContentLength: int64(len(q.body)), Host: u.Host}
	if q.caller != "" {
		req.Header.Set("X-Api-Key", keyOf(q.caller))
	}
	if q.media != "" {
		req.Header.Set("Content-Type", q.media)
	}
	for name, v := range q.header {
		req.Header.Set(name, v)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.t.Context()), time.Minute)
	defer cancel()
	resp, err := http.DefaultTransport.RoundTrip(req.WithContext(ctx))
	if err != nil {
		r.t.Fatalf("%s %s: %v", q.method, q.target, err)
	}
	defer resp.Body.Close()
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return resp.StatusCode, "" // it does not end
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("%s %s: %v", q.method, q.target, err)
	}
	return resp.StatusCode, string(text)
}

// want is ask for what has to succeed.
func (r *running) want(q asking) string {
	r.t.Helper()
	status, text := r.ask(q)
	if status/100 != 2 {
		r.t.Fatalf("%s %s: %d %s", q.method, q.target, status, text)
	}
	return text
}

// A plain policy is what the slow evaluator understands: one statement about one
// caller or group.
type plain struct {
	Deny              bool
	Who               string // User:NAME or group:ID
	Actions           []string
	Pattern           string // of the topic, or METHOD/PATH for the door
	Door              bool
	asRule            bool
	word              string // of a rule
	withoutConnecting bool
}

func (p plain) document() map[string]any {
	effect, resources := "Allow", []string{"topic:" + p.Pattern}
	if p.Deny {
		effect = "Deny"
	}
	if p.Door {
		resources = []string{"execute-api:/$default/" + p.Pattern}
	} else if !p.withoutConnecting {
		resources = append(resources, "cluster:*")
	}
	return map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{"Effect": effect, "Action": p.Actions, "Resource": resources}}}
}

// glob says whether a pattern matches, one byte after the other.
func glob(pattern, text string) bool {
	switch {
	case pattern == "":
		return text == ""
	case pattern[0] == '*':
		return glob(pattern[1:], text) || text != "" && glob(pattern, text[1:])
	case text == "":
		return false
	}
	return (pattern[0] == '?' || pattern[0] == text[0]) && glob(pattern[1:], text[1:])
}

// decides is the slow and obvious evaluator: a denial wins, and something has to
// allow.
func decides(all []plain, caller string, groups []string, action, resource string, door bool) bool {
	allowed := false
	for _, p := range all {
		mine := p.Who == "User:"+caller
		for _, g := range groups {
			mine = mine || p.Who == "group:"+g
		}
		about := p.Door == door && glob(p.Pattern, resource)
		if action == "kafka-cluster:Connect" {
			about = !p.Door && !p.withoutConnecting
		}
		does := false
		for _, a := range p.Actions {
			does = does || glob(strings.ToLower(a), strings.ToLower(action))
		}
		if !mine || !about || !does {
			continue
		}
		if p.Deny {
			return false
		}
		allowed = true
	}
	return allowed
}

// may says whether a caller may do a deed to a topic by a route.
func may(all []plain, caller string, groups []string, deed, topic, route string) bool {
	if !decides(all, caller, groups, "execute-api:Invoke", route, true) {
		return false
	}
	needs := map[string][]string{"produce": {"WriteData", "DescribeTopic"}, "read": {"ReadData", "DescribeTopic"}, "describe": {"DescribeTopic"}}[deed]
	for _, action := range append([]string{"Connect"}, needs...) {
		if !decides(all, caller, groups, "kafka-cluster:"+action, topic, false) {
			return false
		}
	}
	return true
}

// A way is how a dialect does a deed; %s is the topic, and %c the cluster's id.
type way struct{ deed, method, target, media, body string }

var ways = []way{
	{"produce", "POST", "/topics/%s", "application/vnd.kafka.json.v2+json", `{"records":[{"value":1}]}`},
	{"produce", "POST", "/topics/%s/partitions/0", "application/vnd.kafka.json.v2+json", `{"records":[{"value":1}]}`},
	{"produce", "POST", "/topics/%s", "text/plain", `plain`},
	{"produce", "POST", "/p/%s", "text/plain", `light`},
	{"produce", "POST", "/v3/clusters/%c/topics/%s/records", "application/json", `{"value":{"type":"JSON","data":1}}`},
	{"produce", "POST", "/kafka/v3/clusters/%c/topics/%s/records", "application/json", `{"value":{"type":"JSON","data":1}}`},
	{"produce", "POST", "/v3/clusters/%c/topics/%s/records:batch", "application/json", `{"entries":[{"id":"a","value":{"type":"JSON","data":1}}]}`},
	{"produce", "POST", "/v1/producer/topics/%s", "application/json", `{"records":[{"value":1}]}`},
	{"produce", "WS", "/ws/%s", "", `{"op":"produce","id":"7","topic":"%s","value":1}`},
	{"read", "GET", "/topics/%s/records?offset=earliest", "", ""},
	{"read", "GET", "/topics/%s/partitions/0/records?offset=0", "", ""},
	{"read", "GET", "/v3/clusters/%c/topics/%s/partitions/0/records?offset=0", "", ""},
	{"read", "GET", "/v1/consumer/topics/%s/partitions/0/offsets/0?count=5", "application/json", ""},
	{"read", "GET", "/stream/%s?from=earliest", "", ""},
	{"read", "HEAD", "/topics/%s/records?offset=earliest", "", ""},
	{"describe", "GET", "/topics/%s", "", ""},
	{"describe", "GET", "/topics/%s/partitions", "", ""},
	{"describe", "GET", "/v3/clusters/%c/topics/%s", "", ""},
	{"describe", "GET", "/v1/metadata/topics/%s/partitions", "application/json", ""},
}

// A spelling is another way to write a topic's place; same says that it means the
// same, so that the answer has to be the same too. Others must never do more.
type spelling struct {
	name   string
	write  func(target, topic, other string) string
	header map[string]string
	same   bool
}

const inCapitals = "in capitals"

var spellings = []spelling{
	{"plain", func(target, topic, _ string) string { return strings.ReplaceAll(target, "%s", topic) }, nil, true},
	{"every byte escaped", func(target, topic, _ string) string { return strings.ReplaceAll(target, "%s", escaped(topic)) }, nil, true},
	{"first byte escaped", func(target, topic, _ string) string {
		return strings.ReplaceAll(target, "%s", escaped(topic[:1])+topic[1:])
	}, nil, true},
	{"slash at the end", func(target, topic, _ string) string {
		path, query, ok := strings.Cut(strings.ReplaceAll(target, "%s", topic), "?")
		if ok {
			query = "?" + query
		}
		return path + "/" + query
	}, nil, true},
	{"caller and path by header", func(target, topic, _ string) string { return strings.ReplaceAll(target, "%s", topic) },
		map[string]string{"X-Original-URL": "/topics", "X-Forwarded-User": "root", "X-Forwarded-For": "127.0.0.1"}, true},
	{"method by header", func(target, topic, _ string) string { return strings.ReplaceAll(target, "%s", topic) },
		map[string]string{"X-HTTP-Method-Override": "DELETE"}, false},
	{"up from another one", func(target, topic, other string) string {
		return strings.ReplaceAll(target, "%s", other+"/../"+topic)
	}, nil, false},
	{"up, escaped", func(target, topic, other string) string {
		return strings.ReplaceAll(target, "%s", other+"%2F..%2F"+topic)
	}, nil, false},
	{"escaped twice", func(target, topic, _ string) string {
		return strings.ReplaceAll(target, "%s", strings.ReplaceAll(escaped(topic), "%", "%25"))
	}, nil, false},
	{"double slash", func(target, topic, _ string) string { return strings.ReplaceAll(target, "%s", "/"+topic) }, nil, false},
	{inCapitals, func(target, topic, _ string) string { return strings.ReplaceAll(target, "%s", strings.ToUpper(topic)) }, nil, false},
	{"path in capitals", func(target, topic, _ string) string {
		return strings.ReplaceAll(strings.ToUpper(target[:3])+target[3:], "%s", topic)
	}, nil, false},
	{"NUL behind it", func(target, topic, _ string) string { return strings.ReplaceAll(target, "%s", topic+"%00") }, nil, false},
}

func escaped(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}

// done says whether an answer means that the deed was done, in any dialect.
func done(status int, text string) bool {
	if status/100 != 2 {
		return false
	}
	// Answers about single records have their errors inside; 200 is none.
	for _, code := range errorCode.FindAllStringSubmatch(text, -1) {
		if code[1] != "200" {
			return false
		}
	}
	return true
}

var errorCode = regexp.MustCompile(`"error_code": *([0-9]+)`)

// overWebSocket sends one message and returns the answer to it.
func (r *running) overWebSocket(caller, target, message string) (int, string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.t.Context()), time.Minute)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, strings.Replace(r.url, "http", "ws", 1)+target, &websocket.DialOptions{HTTPHeader: http.Header{"X-Api-Key": {keyOf(caller)}}})
	if err != nil {
		if resp == nil {
			return 0, err.Error() // it could not even be written
		}
		return resp.StatusCode, ""
	}
	defer func() { _ = conn.CloseNow() }()
	if err := conn.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
		return 403, err.Error()
	}
	for {
		_, text, err := conn.Read(ctx)
		switch {
		case err != nil:
			return 403, err.Error()
		case bytes.Contains(text, []byte(`"op":"ack"`)):
			return 200, string(text)
		case bytes.Contains(text, []byte(`"op":"nack"`)), bytes.Contains(text, []byte(`"op":"error"`)):
			return 403, string(text)
		}
	}
}

// Generated policies and calls, in every dialect and in spellings that try to get
// around them, are decided as a slow and obvious evaluator decides them. What may not
// be written is not there afterwards.
func TestNoDialectAndNoSpellingGetsAroundPolicies(t *testing.T) {
	id := fmt.Sprint(time.Now().UnixNano())
	callers := map[string][]string{"ann" + id: {"g1" + id}, "bob" + id: {"g1" + id, "g2" + id}, "cat" + id: nil}
	var names, list []string
	for name, groups := range callers {
		names, list = append(names, name), append(list, name+" "+strings.Join(groups, ","))
	}
	// A policy of the file closes the doors: routes need a grant too.
	r := start(t, keysOf(append(list, "root")...)+rootMay+`
policies:
  - {name: root, kind: identity, attach: ["User:root"], document: {Version: "2012-10-17", Statement: {Effect: Allow, Action: "*", Resource: "*"}}}
`, t.TempDir())
	topics := []string{"a" + id, "ab" + id, "b." + id}
	count := map[string]int{}
	for _, topic := range topics {
		r.want(asking{caller: "root", method: "POST", target: "/topics/" + topic, media: "application/vnd.kafka.json.v2+json", body: `{"records":[{"value":0}]}`})
		count[topic] = 1
	}
	var clusters struct {
		Data []struct {
			ID string `json:"cluster_id"`
		}
	}
	if err := json.Unmarshal([]byte(r.want(asking{caller: "root", method: "GET", target: "/v3/clusters"})), &clusters); err != nil || len(clusters.Data) != 1 {
		t.Fatal(clusters, err)
	}
	put := func(name string, p plain) {
		body := map[string]any{"kind": "identity", "attach": []string{p.Who}, "document": p.document()}
		if p.asRule {
			body = map[string]any{"kind": "rule", "rule": map[string]any{"who": []string{p.Who}, "can": []string{p.word}, "topics": []string{p.Pattern}}}
		}
		text, _ := json.Marshal(body)
		r.want(asking{caller: "root", method: "PUT", target: "/klamm/v1/policies/" + name, media: "application/json", body: string(text)})
	}
	const slots = 6
	name := func(i int) string { return fmt.Sprintf("p%d-%s", i, id) }
	t.Cleanup(func() {
		for i := range slots {
			r.ask(asking{caller: "root", method: "DELETE", target: "/klamm/v1/policies/" + name(i)})
		}
	})
	decided := map[bool]int{}
	patterns := []string{"*", "*", "*", "a*", "a" + id, "b." + id, "?" + id, "ab*", "*" + id, "none"}
	rapid.Check(t, func(rt *rapid.T) {
		var all []plain
		for i := range slots {
			p := drawPlain(rt, names, patterns, id)
			put(name(i), p)
			all = append(all, p)
		}
		for range 6 {
			w := rapid.SampledFrom(ways).Draw(rt, "way")
			s := rapid.SampledFrom(spellings).Draw(rt, "spelling")
			topic, caller := rapid.SampledFrom(topics).Draw(rt, "topic"), rapid.SampledFrom(names).Draw(rt, "caller")
			pattern := strings.ReplaceAll(w.target, "%c", clusters.Data[0].ID)
			target := s.write(pattern, topic, topics[0])
			path, _, _ := strings.Cut(strings.ReplaceAll(pattern, "%s", topic), "?")
			method := map[string]string{"WS": "GET", "HEAD": "GET"}[w.method]
			if method == "" {
				method = w.method
			}
			allowed := may(all, caller, callers[caller], w.deed, topic, method+path)
			if s.name == inCapitals { // which is a topic of its own, that policies may allow
				allowed = allowed || may(all, caller, callers[caller], w.deed, strings.ToUpper(topic), method+strings.ReplaceAll(path, topic, strings.ToUpper(topic)))
			}
			var status int
			var text string
			if w.method == "WS" {
				status, text = r.overWebSocket(caller, target, strings.ReplaceAll(w.body, "%s", topic))
			} else {
				status, text = r.ask(asking{caller: caller, method: w.method, target: target, media: w.media, body: w.body, header: s.header})
			}
			got := done(status, text)
			if s.same {
				decided[allowed]++
			}
			if got && w.deed == "produce" && (s.same || w.method == "WS") {
				count[topic]++
			}
			switch {
			case s.same && got != allowed:
				rt.Fatalf("%s %s (%s) by %s: %d %s; the evaluator says %t by %+v", w.method, target, s.name, caller, status, text, allowed, all)
			case got && !allowed && w.method != "WS":
				rt.Fatalf("%s %s (%s) by %s goes through: %d %s", w.method, target, s.name, caller, status, text)
			case status >= 500:
				rt.Fatalf("%s %s (%s) by %s: %d %s", w.method, target, s.name, caller, status, text)
			}
		}
		for _, topic := range topics {
			var records []json.RawMessage
			text := r.want(asking{caller: "root", method: "GET", target: "/topics/" + topic + "/records?offset=earliest&count=10000"})
			if err := json.Unmarshal([]byte(text), &records); err != nil || len(records) != count[topic] {
				rt.Fatalf("topic %s holds %d records, and %d were allowed: %v", topic, len(records), count[topic], err)
			}
		}
	})
	if decided[true] == 0 || decided[false] == 0 {
		t.Errorf("%d calls were allowed and %d were not: that shows nothing", decided[true], decided[false])
	}
	t.Logf("%d calls were allowed, %d were not", decided[true], decided[false])
}

// drawPlain draws a policy.
func drawPlain(t *rapid.T, names, patterns []string, id string) plain {
	p := plain{Deny: rapid.IntRange(0, 7).Draw(t, "deny") == 5, Who: "User:" + rapid.SampledFrom(names).Draw(t, "who"), Pattern: rapid.SampledFrom(patterns).Draw(t, "pattern")}
	if rapid.Bool().Draw(t, "group") {
		p.Who = "group:" + rapid.SampledFrom([]string{"g1", "g2"}).Draw(t, "of") + id
	}
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
	case 0, 1, 2:
		p.Door, p.Actions = true, []string{"execute-api:Invoke"}
		p.Pattern = rapid.SampledFrom([]string{"*", "*", "*", "*", "*/topics/*", "POST/*", "GET/*", "*/v?/*", "POST/p/*", "*/*" + id + "*"}).Draw(t, "route")
	case 3:
		p.asRule, p.Deny = true, false
		p.word = rapid.SampledFrom([]string{"produce", "consume", "describe"}).Draw(t, "word")
		p.Actions = map[string][]string{"produce": {"kafka-cluster:WriteData", "kafka-cluster:DescribeTopic", "kafka-cluster:Connect"},
			"consume": {"kafka-cluster:ReadData", "kafka-cluster:DescribeTopic", "kafka-cluster:Connect"}, "describe": {"kafka-cluster:DescribeTopic", "kafka-cluster:Connect"}}[p.word]
	default:
		p.Actions = rapid.SampledFrom([][]string{{"kafka-cluster:*"}, {"kafka-cluster:*"}, {"kafka-cluster:WriteData"}, {"KAFKA-cluster:*data", "kafka-cluster:describe*"}, {"kafka-cluster:*Topic", "kafka-cluster:Connect"}, {"*"}}).Draw(t, "actions")
		p.withoutConnecting = p.Deny && rapid.Bool().Draw(t, "without connecting")
	}
	return p
}

// longTests says whether tests that wait for half a minute run.
func longTests(t *testing.T) {
	if os.Getenv("KLAMM_TEST_LONG") == "" {
		t.Skip("it waits for half a minute: KLAMM_TEST_LONG=1 runs it")
	}
}
