package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// endsWithin is by when an open stream has to end after the right to it has.
const endsWithin = 60 * time.Second

// opened is a stream of a caller that ended is closed behind.
type opened struct {
	name  string
	ended chan time.Time
}

// listen opens an event stream.
func (r *running) listen(name, key, topic string) opened {
	r.t.Helper()
	o := opened{name, make(chan time.Time, 1)}
	req, _ := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.url+"/stream/"+topic+"?from=earliest", nil)
	req.Header.Set("X-Api-Key", key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("%s: %v %v", name, resp, err)
	}
	go func() {
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, bufio.NewReader(resp.Body))
		o.ended <- time.Now()
	}()
	return o
}

// subscribe opens a WebSocket that follows a topic.
func (r *running) subscribe(name, key, topic string) opened {
	r.t.Helper()
	o := opened{name, make(chan time.Time, 1)}
	conn, _, err := websocket.Dial(r.t.Context(), strings.Replace(r.url, "http", "ws", 1)+"/ws/"+topic, &websocket.DialOptions{HTTPHeader: http.Header{"X-Api-Key": {key}}})
	if err != nil {
		r.t.Fatalf("%s: %v", name, err)
	}
	if err := conn.Write(r.t.Context(), websocket.MessageText, []byte(`{"op":"subscribe","id":"1","topic":"`+topic+`","from":"earliest"}`)); err != nil {
		r.t.Fatalf("%s: %v", name, err)
	}
	go func() {
		defer func() { _ = conn.CloseNow() }()
		for {
			if _, _, err := conn.Read(r.t.Context()); err != nil {
				o.ended <- time.Now()
				return
			}
		}
	}()
	return o
}

// A key that is revoked and a rule that is removed end what is open: event streams,
// WebSockets and produce streams.
func TestOpenStreamsEndWithTheRightToThem(t *testing.T) {
	longTests(t)
	r := start(t, keysOf("root")+rootMay, t.TempDir())
	id := fmt.Sprint(time.Now().UnixNano())
	topic := "open-" + id
	r.want(asking{caller: "root", method: "POST", target: "/topics/" + topic, media: "application/vnd.kafka.json.v2+json", body: `{"records":[{"value":0}]}`})
	key := func(name, group string) (text, keyID string) {
		body := fmt.Sprintf(`{"name":%q,"groups":[%q]}`, name+id, group+id)
		var made struct{ ID, Key string }
		if err := json.Unmarshal([]byte(r.want(asking{caller: "root", method: "POST", target: "/klamm/v1/keys", media: "application/json", body: body})), &made); err != nil {
			t.Fatal(err)
		}
		return made.Key, made.ID
	}
	rule := func(group string) string {
		target := "/klamm/v1/policies/" + group + id
		r.want(asking{caller: "root", method: "PUT", target: target, media: "application/json",
			body: fmt.Sprintf(`{"kind":"rule","rule":{"who":["group:%s"],"can":["produce","consume"],"topics":[%q]}}`, group+id, topic)})
		t.Cleanup(func() { r.ask(asking{caller: "root", method: "DELETE", target: target}) })
		return target
	}
	rule("kept")
	removed := rule("removed")
	revoked, revokedID := key("revoked", "kept")
	ruled, _ := key("ruled", "removed")
	good, _ := key("good", "kept")
	ending := []opened{
		r.listen("events, key revoked", revoked, topic), r.listen("events, rule removed", ruled, topic),
		r.subscribe("WebSocket, key revoked", revoked, topic), r.subscribe("WebSocket, rule removed", ruled, topic),
		r.send("produce stream, key revoked", revoked, topic), r.send("produce stream, rule removed", ruled, topic),
	}
	staying := []opened{r.listen("events, nothing removed", good, topic), r.subscribe("WebSocket, nothing removed", good, topic), r.send("produce stream, nothing removed", good, topic)}
	since := time.Now()
	r.want(asking{caller: "root", method: "DELETE", target: "/klamm/v1/keys/" + revokedID})
	r.want(asking{caller: "root", method: "DELETE", target: removed})
	for _, o := range ending {
		select {
		case at := <-o.ended:
			t.Logf("%s: ended after %s", o.name, at.Sub(since).Round(time.Second))
		case <-time.After(time.Until(since.Add(endsWithin))):
			t.Errorf("%s: open after %s", o.name, endsWithin)
		}
	}
	for _, o := range staying {
		select {
		case <-o.ended:
			t.Errorf("%s: ended", o.name)
		default:
		}
	}
}

// send opens a produce stream that sends a record a second, until one is refused.
func (r *running) send(name, key, topic string) opened {
	r.t.Helper()
	o := opened{name, make(chan time.Time, 1)}
	var clusters struct {
		Data []struct {
			ID string `json:"cluster_id"`
		}
	}
	if err := json.Unmarshal([]byte(r.want(asking{caller: "root", method: "GET", target: "/v3/clusters"})), &clusters); err != nil {
		r.t.Fatal(err)
	}
	body, write := io.Pipe()
	ctx, cancel := context.WithCancel(r.t.Context())
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, r.url+"/v3/clusters/"+clusters.Data[0].ID+"/topics/"+topic+"/records", body)
	req.Header.Set("X-Api-Key", key)
	req.Header.Set("Content-Type", "application/json")
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			if _, err := io.WriteString(write, `{"value":{"type":"JSON","data":1}}`+"\n"); err != nil {
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	go func() {
		defer cancel()
		defer func() { o.ended <- time.Now() }()
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return
		}
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			if line := lines.Text(); strings.Contains(line, `"error_code":4`) && !strings.Contains(line, `"error_code":400`) {
				return
			}
		}
	}()
	return o
}

// Whatever callers show who they are with, and whatever klamm is given to know them
// by, is nowhere to be read.
func TestNoSecretIsShownAnywhere(t *testing.T) {
	dir := t.TempDir()
	audit := filepath.Join(dir, "audit.jsonl")
	const password, made, signed = "hunter2-7531", "not-the-key-0123456789abcdefghijklm", "4d34b25ed917f33e192ab762c52fe38f1a122d1e57659e70d573d026a78278ed"
	users := filepath.Join(dir, "users")
	const hash = "$2y$04$abcdefghijklmnopqrstuuFLnvpxzYOTNPEIHbdSl8Sy1fnHgPjTa"
	if err := os.WriteFile(users, []byte("dora:"+hash+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, keysOf("root", "device")+`
  basic: {file: `+users+`}
  iam: {keys: [{access_key_id: AKIAKLAMMEXAMPLE0001, secret: {value: very-secret-access-key-12345}, user: alice}]}
audit: {file: `+audit+`}
`+rootMay, filepath.Join(dir, "data"))
	id := fmt.Sprint(time.Now().UnixNano())
	var text strings.Builder
	note := func(status int, answer string) { fmt.Fprintln(&text, status, answer) }
	token := "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.c2lnbmF0dXJl"
	for _, header := range []map[string]string{
		{"X-Api-Key": made}, {"Authorization": "Bearer " + token}, {"Authorization": "Basic ZG9yYTpodW50ZXIyLTc1MzE="},
		{"Authorization": "AWS4-HMAC-SHA256 Credential=AKIAKLAMMEXAMPLE0001/20260115/us-east-1/execute-api/aws4_request, SignedHeaders=host;x-amz-date, Signature=" + signed, "X-Amz-Date": time.Now().UTC().Format("20060102T150405Z")},
		{"X-Api-Key": keyOf("device")},
	} {
		note(r.ask(asking{method: "GET", target: "/topics/shown-" + id, header: header}))
		note(r.ask(asking{method: "GET", target: "/topics?access_token=" + token + "&X-Amz-Signature=" + signed, header: header}))
	}
	var key struct{ ID, Key string }
	if err := json.Unmarshal([]byte(r.want(asking{caller: "root", method: "POST", target: "/klamm/v1/keys", media: "application/json", body: `{"name":"planted` + id + `"}`})), &key); err != nil || key.Key == "" {
		t.Fatal(err)
	}
	r.want(asking{caller: "root", method: "PUT", target: "/klamm/v1/policies/planted-" + id, media: "application/json", body: `{"kind":"rule","rule":{"who":["User:x` + id + `"],"can":["produce"],"topics":["x` + id + `"]}}`})
	r.want(asking{caller: "root", method: "DELETE", target: "/klamm/v1/policies/planted-" + id})
	for _, target := range []string{"/klamm/v1/keys", "/klamm/v1/policies", "/klamm/v1/status", "/metrics", "/ready"} {
		note(r.ask(asking{caller: "root", method: "GET", target: target}))
	}
	r.want(asking{caller: "root", method: "DELETE", target: "/klamm/v1/keys/" + key.ID})
	r.stop()
	lines, err := os.ReadFile(audit)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"policy:planted-` + id + `"`, `"key:planted` + id + `"`, `"User:device"`, `"unauthenticated"`, `"DELETE"`} {
		if !strings.Contains(string(lines), want) {
			t.Errorf("the audit log does not have %s", want)
		}
	}
	secrets := []string{password, "ZG9yYTpodW50ZXIyLTc1MzE=", made, signed, token, strings.Split(token, ".")[2], "very-secret-access-key", hash, keyOf("root"), keyOf("device"), key.Key, key.Key[len("klm_12345678_"):]}
	for place, content := range map[string]string{"audit log": string(lines), "answers": text.String(), "log": r.log.String()} {
		for _, s := range secrets {
			if strings.Contains(content, s) {
				t.Errorf("the %s shows %s", place, s)
			}
		}
	}
}
