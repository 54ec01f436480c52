package main

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMain keeps the contexts of whoever runs the tests out of them.
func TestMain(m *testing.M) {
	directory, err := os.MkdirTemp("", "klamm-config")
	if err != nil {
		panic(err)
	}
	for name, value := range map[string]string{"XDG_CONFIG_HOME": directory, "KLAMM_CONTEXT": "", "KLAMM_USER": "", "KLAMM_PASSWORD": ""} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	status := m.Run()
	_ = os.RemoveAll(directory)
	os.Exit(status)
}

const twoTopics = `{"topics":[{"topic":"orders","partitions":3,"replication":1,"troubled":0},{"topic":"x\u001b[31m","partitions":1,"replication":1,"troubled":1}]}`

func TestOutputs(t *testing.T) {
	a := serveAPI(t, http.StatusOK, "application/json", twoTopics)
	t.Setenv("KLAMM_SERVER", a.url)
	for _, c := range []struct{ name, args, want string }{
		{"json", "-o json", `{"topic":"orders","partitions":3,"replication":1,"troubled":0}` + "\n" + `{"topic":"x\u001b[31m","partitions":1,"replication":1,"troubled":1}` + "\n"},
		{"name", "-o name", "orders\nx\ufffd[31m\n"},
		{"wide", "-o wide", "TOPIC   PARTITIONS  REPLICATION  TROUBLED\norders  3           1            0\nx\ufffd[31m  1           1            1\n"},
		{"query", "--query [?partitions>`1`].topic", "[\"orders\"]\n"},
		{"query of one", "--query [0]", `{"partitions":3,"replication":1,"topic":"orders","troubled":0}` + "\n"},
		{"query for names", "--query [].topic -o name", "orders\nx\ufffd[31m\n"},
		{"query for a number", "--query length(@) -o name", "2\n"},
		{"query as YAML", "--query [0].{t:topic,p:partitions} -o yaml", "p: 3\nt: orders\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, errs, status := typed(t, "", append([]string{"topic", "list"}, strings.Fields(c.args)...)...)
			if diff := cmp.Diff(c.want, out); diff != "" || status != 0 || errs != "" {
				t.Errorf("exit %d, %s (-want +got):\n%s", status, errs, diff)
			}
		})
	}
	lists := serveAPI(t, http.StatusOK, "application/json", `{"pipes":[{"pipe":"p","topics":["a","b"],"target":"log","partitions":[{"partition":0}],"lag":3}]}`)
	none := serveAPI(t, http.StatusOK, "application/json", `{"topics":[],"dead_letters":[]}`)
	letters := serveAPI(t, http.StatusOK, "application/json", `{"dead_letters":[{"pipe":"p","topic":"t","id":"0-17"},{"pipe":"p","topic":"t","id":"1-2"}]}`)
	for _, c := range []struct{ name, server, args, want string }{
		{"wide with a list", lists.url, "pipe list -o wide", "a,b"},
		{"wide and empty", none.url, "topic list -o wide", "TOPIC  PARTITIONS  REPLICAS  TROUBLED\n"},
		{"empty for scripts", none.url, "topic list -o json", ""},
		{"what is found in nothing", none.url, "topic list --query [].topic", "[]\n"},
		{"names of letters", letters.url, "dlq list --pipe p -o name", "0-17\n1-2\n"},
		{"of letters, what is wanted", letters.url, "dlq list --pipe p --query [].topic -o name", "t\nt\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, errs, status := typed(t, "", append(strings.Fields(c.args), "--server", c.server)...)
			if status != 0 || errs != "" || out != c.want && (c.server != lists.url || !strings.Contains(out, c.want)) {
				t.Errorf("exit %d, %q %q; want %q", status, out, errs, c.want)
			}
		})
	}
	out, _, status := typed(t, "", "topic", "list", "-o", "yaml")
	if status != 0 || !strings.HasPrefix(out, "- topic: orders\n  partitions: 3\n") || strings.Contains(out, "\x1b") {
		t.Errorf("exit %d, %q", status, out)
	}
	for args, want := range map[string]string{"--query [": "--query", "-o xml": "--output", "--query abs(@)": "--query"} {
		if out, errs, status := typed(t, "", append([]string{"topic", "list"}, strings.Fields(args)...)...); status != 2 || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%s: exit %d, %q %q", args, status, out, errs)
		}
	}
}

func TestTitles(t *testing.T) {
	for in, want := range map[string]string{"delivery_id": "DELIVERY ID", "FunctionArn": "FUNCTION ARN", "UUID": "UUID", "p95_ms": "P95 MS", "CodeSha256": "CODE SHA256"} {
		if got := titled(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

// TestWhatIsMissing wants what is not there told with what shows what there is.
func TestWhatIsMissing(t *testing.T) {
	for _, c := range []struct {
		args, kind, body, want string
	}{
		{"bus show b", "ResourceNotFoundException", `{"message":"Event bus b does not exist."}`, "ResourceNotFoundException: Event bus b does not exist at %s; klamm bus list shows the buses there are"},
		{"archive show a", "ResourceNotFoundException", `{"message":"Archive a does not exist."}`, "klamm archive list shows"},
		{"mapping show m", "ResourceNotFoundException", `{"Message":"The resource you requested does not exist."}`, "klamm mapping list shows"},
		{"function delete f", "ResourceNotFoundException", `{"Message":"Function not found: arn:aws:lambda:us-east-1:000000000000:function:f"}`, "klamm function list shows"},
		{"schema show s", "", `{"error_code":40401,"message":"Subject 's' not found."}`, "Subject 's' not found at %s; klamm schema list shows"},
		{"connector show c", "", `{"error_code":404,"message":"Connector c not found"}`, "klamm connector list shows"},
		{"key rotate k", "", `{"error_code":404,"message":"no such key"}`, "no such key at %s; klamm key list shows"},
		{"bus put b --source s --detail-type d", "ValidationException", `{"message":"Event bus b is odd."}`, "ValidationException: Event bus b is odd."},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			status := http.StatusNotFound
			if c.kind != "" {
				w.Header().Set("X-Amzn-Errortype", c.kind)
				status = http.StatusBadRequest
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, c.body)
		}))
		want := strings.ReplaceAll(c.want, "%s", s.URL)
		out, errs, status := typed(t, "", append(strings.Fields(c.args), "--server", s.URL)...)
		s.Close()
		if status != 1 || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, want) || strings.Contains(want, "odd") && strings.Contains(errs, "klamm bus list") {
			t.Errorf("klamm %s: exit %d, %q %q; want %q", c.args, status, out, errs, want)
		}
	}
}

// TestRulesOfABus lists rules page by page.
func TestRulesOfABus(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ EventBusName, NextToken string }
		_ = json.NewDecoder(r.Body).Decode(&asked)
		w.Header().Set("X-Request-Id", "1")
		w.Header().Set("X-Amzn-Requestid", "1")
		switch {
		case r.Header.Get("X-Amz-Target") != "AWSEvents.ListRules" || asked.EventBusName != "shop":
			w.WriteHeader(http.StatusBadRequest)
		case asked.NextToken == "":
			_, _ = io.WriteString(w, `{"Rules":[{"Name":"large","Arn":"a","State":"ENABLED","EventPattern":"{\"source\":[\"shop\"]}"}],"NextToken":"2"}`)
		default:
			_, _ = io.WriteString(w, `{"Rules":[{"Name":"nightly","Arn":"b","State":"DISABLED","ScheduleExpression":"rate(1 day)"}]}`)
		}
	}))
	t.Cleanup(s.Close)
	for args, want := range map[string]string{
		"":                  "RULE     STATE     PATTERN OR SCHEDULE\nlarge    ENABLED   {\"source\":[\"shop\"]}\nnightly  DISABLED  rate(1 day)\n",
		"-o name":           "large\nnightly\n",
		"--query [1].State": "\"DISABLED\"\n",
	} {
		out, errs, status := typed(t, "", append([]string{"rule", "list", "shop", "--server", s.URL}, strings.Fields(args)...)...)
		if out != want || status != 0 {
			t.Errorf("%s: exit %d, %q %q; want %q", args, status, out, errs, want)
		}
	}
}

// TestVerdictsForScripts has what klamm rule says in each form.
func TestVerdictsForScripts(t *testing.T) {
	for _, c := range []struct {
		args, want string
		status     int
	}{
		{`test --event {"a":"b"} -o json`, `{"matched":true}` + "\n", 0},
		{`test --event {"a":"c"} -o yaml`, "matched: false\n", 1},
		{`test --event {"a":"c"} -o wide`, "no match\n", 1},
		{`test --events - -o json`, `{"matched":true}` + "\n" + `{"matched":false}` + "\n", 0},
		{`explain --event {"a":"b"} --query why.findings[0].path`, "\"a\"\n", 0},
		{`explain --event {"a":"c"} --query matched -o name`, "false\n", 1},
		{`test --event {"a":"c"} --query [`, "", 2},
		{`test --event {"a":"c"} --query abs(@)`, "", 2},
		{`test --events - --query abs(@)`, "", 2},
	} {
		out, errs, status := typed(t, "{\"a\":\"b\"}\n{\"a\":\"x\"}\n", append([]string{"rule"}, strings.Fields(c.args+` --pattern {"a":["b"]}`)...)...)
		if out != c.want || status != c.status || status == 2 && strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: exit %d, %q %q; want %d %q", c.args, status, out, errs, c.status, c.want)
		}
	}
}

// TestCurlInsteadOfCalls wants a call of every command that makes one, and no secret.
func TestCurlInsteadOfCalls(t *testing.T) {
	t.Setenv("KLAMM_SERVER", "http://127.0.0.1:1/base") // nobody is asked
	t.Setenv("KLAMM_KEY", "s3cret")
	for path, args := range callsOf(t) {
		args = append(append(strings.Fields(path), args...), "--curl")
		out, errs, status := typed(t, "x\n", args...)
		if status != 0 || strings.Count(out, "curl ") != 1 || !strings.HasPrefix(out, "curl -sS ") || !strings.Contains(out, `-H "X-Api-Key: $KLAMM_KEY"`) || !strings.Contains(out, "'http://127.0.0.1:1/base") || strings.Contains(out+errs, "s3cret") {
			t.Errorf("klamm %q: exit %d, %q %q", args, status, out, errs)
		}
	}
	out, _, _ := typed(t, "", "topic", "create", "t", "-p", "2", "--curl")
	want := `curl -sS -X POST -H 'Accept: application/json, application/x-ndjson, application/problem+json' -H 'Content-Type: application/json' -H "X-Api-Key: $KLAMM_KEY"` +
		` --data-binary '{"partitions":2,"replication":0,"settings":{},"topic":"t"}' 'http://127.0.0.1:1/base/klamm/v1/topics'` + "\n"
	if out != want {
		t.Errorf("%s\nwant\n%s", out, want)
	}
	if out, _, _ = typed(t, "@odd", "function", "invoke", "f", "--data", "-", "--curl"); strings.Contains(out, "--data-binary '@") {
		t.Errorf("curl would read a file: %s", out)
	}
	for args, want := range map[string]string{
		"": "records?count=1000&offset=earliest'", "-c 5 -o 17 -p 2": "/partitions/2/records?count=5&offset=17'",
		"-o end": "offset=latest'", "-o s@1767225600000": "records?count=1000&since=2026-01-01T00%3A00%3A00Z'",
	} {
		if out, _, _ := typed(t, "", append([]string{"consume", "t", "--curl"}, strings.Fields(args)...)...); !strings.Contains(out, want) {
			t.Errorf("%s: %s", args, out)
		}
	}
	if got := quoted("a'b"); got != `'a'\''b'` {
		t.Error(got)
	}
}

// TestContexts follows what counts before what, and that secrets go to their own server only.
func TestContexts(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Setenv("HOOK", "from-environment")
	asked := map[string]string{}
	server := func(name string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Request-Id", "1")
			user, password, _ := r.BasicAuth()
			asked[name] = r.Header.Get("X-Api-Key") + user + password
			_, _ = io.WriteString(w, `{"topics":[]}`)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	must := func(in string, args ...string) string {
		t.Helper()
		out, errs, status := typed(t, in, args...)
		if status != 0 {
			t.Fatalf("klamm %q: exit %d, %s", args, status, errs)
		}
		return out
	}
	one, two, three := server("one"), server("two"), server("three")
	must("stored-key\n", "context", "add", "one", "--server", one, "--key", "-")
	must("", "context", "add", "two", "--server", two, "--key", "env:HOOK")
	must("", "context", "add", "three", "--server", three, "--user", "alice", "--password", "env:HOOK")
	info, err := os.Stat(filepath.Join(home, "klamm", "contexts.yaml"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	for _, c := range []struct {
		name string
		env  map[string]string
		args []string
		want map[string]string
	}{
		{"the context in use", nil, nil, map[string]string{"one": "stored-key"}},
		{"a flag names another", nil, []string{"--context", "two"}, map[string]string{"two": "from-environment"}},
		{"the environment names another", map[string]string{"KLAMM_CONTEXT": "three"}, nil, map[string]string{"three": "alicefrom-environment"}},
		{"the environment has a key", map[string]string{"KLAMM_KEY": "k"}, nil, map[string]string{"one": "k"}},
		{"a flag before the environment's key", map[string]string{"KLAMM_KEY": "k"}, []string{"--context", "two"}, map[string]string{"two": "from-environment"}},
		{"a flag before the environment's server", map[string]string{"KLAMM_SERVER": one}, []string{"--context", "two"}, map[string]string{"two": "from-environment"}},
		{"another server gets no secret", nil, []string{"--server", three}, map[string]string{"three": ""}},
		{"the environment's server gets no secret", map[string]string{"KLAMM_SERVER": two, "KLAMM_CONTEXT": "one"}, nil, map[string]string{"two": ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			clear(asked)
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			must("", append([]string{"topic", "list"}, c.args...)...)
			if diff := cmp.Diff(c.want, asked); diff != "" {
				t.Error(diff)
			}
		})
	}
	must("", "context", "use", "two")
	out := must("", "context", "list", "-o", "json") + must("", "context", "show", "one") + must("", "context", "list")
	if strings.Contains(out, "stored-key") || strings.Contains(out, "from-environment") || !strings.Contains(out, `"context":"two","server":"`+two+`","current":true,"key":"env:HOOK"`) {
		t.Error(out)
	}
	must("", "context", "remove", "two")
	for _, args := range [][]string{
		{"context", "use", "two"}, {"topic", "list", "--context", "two"}, {"context", "add", "x"}, {"context", "add", "x", "--server", one, "--key", "plain"},
		{"context", "add", "a b", "--server", one}, {"context", "add", "x", "--server", one, "--user", "u"}, {"context", "add", "x", "--server", "http://u:p@h"},
	} {
		if out, errs, status := typed(t, "", args...); status != 2 || out != "" || strings.Count(errs, "\n") != 1 {
			t.Errorf("klamm %q: exit %d, %q %q", args, status, out, errs)
		}
	}
	if err := os.WriteFile(filepath.Join(home, "klamm", "contexts.yaml"), []byte("contexts:\n- name: x\n  secret: hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errs, status := typed(t, "", "context", "list"); status != 2 && status != 1 || strings.Contains(errs, "hunter2") || strings.Count(errs, "\n") != 1 {
		t.Errorf("exit %d, %q", status, errs)
	}
}

// TestSignAndVerify has the example of the specification of Standard Webhooks.
func TestSignAndVerify(t *testing.T) {
	t.Setenv("HOOK_SECRET", "whsec_"+base64.StdEncoding.EncodeToString([]byte("0123456789abcdef01234567")))
	out, errs, status := typed(t, "", "sign", "--secret", "env:HOOK_SECRET", "--body", `{"id":17}`, "--id", "m1", "--at", "2026-01-01T00:00:00Z", "-o", "json")
	var signed map[string]string
	if status != 0 || json.Unmarshal([]byte(out), &signed) != nil || signed["webhook-timestamp"] != "1767225600" {
		t.Fatal(status, out, errs)
	}
	verify := func(body string, more ...string) (string, int) {
		args := []string{"verify", "--secret", "env:HOOK_SECRET", "--body", body}
		for name, value := range signed {
			args = append(args, "-H", name+": "+value)
		}
		out, _, status := typed(t, "", append(args, more...)...)
		return out, status
	}
	for _, c := range []struct {
		body, want string
		more       []string
		status     int
	}{
		{`{"id":17}`, "valid\n", []string{"--tolerance", "0s"}, 0},
		{`{"id":17}`, "more than 5m0s away", nil, 1},
		{`{"id":18}`, "invalid: no signature", []string{"--tolerance", "0s"}, 1},
		{`{"id":17}`, "invalid: no signature", []string{"--tolerance", "0s", "-H", "webhook-id: m2"}, 1},
		{`{"id":17}`, "there is no webhook-signature", []string{"-H", "webhook-signature:"}, 1},
	} {
		if out, status := verify(c.body, c.more...); status != c.status || !strings.Contains(out, c.want) {
			t.Errorf("%s %q: exit %d %q, want %d %q", c.body, c.more, status, out, c.status, c.want)
		}
	}
	t.Setenv("HOOK_SECRET", "whsec_short")
	if out, errs, status := typed(t, "", "sign", "--secret", "env:HOOK_SECRET", "--body", "x"); status != 2 || out != "" || strings.Contains(errs, "short") {
		t.Errorf("exit %d, %q %q", status, out, errs)
	}
}

func TestDiffLines(t *testing.T) {
	for _, c := range []struct{ name, before, after, want string }{
		{"the same", "a b", "a b", "  a|  b"},
		{"nothing", "", "", "  "},
		{"one more", "a c", "a b c", "  a|+ b|  c"},
		{"one less", "a b c", "a c", "  a|- b|  c"},
		{"changed", "a x b y c", "a 1 b 2 c", "  a|- x|+ 1|  b|- y|+ 2|  c"},
	} {
		if got := strings.Join(diffLines(strings.Split(c.before, " "), strings.Split(c.after, " ")), "|"); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestManPages wants a page for every command that people see.
func TestManPages(t *testing.T) {
	directory := t.TempDir()
	if _, errs, status := typed(t, "", "man", directory); status != 0 {
		t.Fatal(errs)
	}
	for name, want := range map[string]string{"klamm.1": ".B consume\n", "klamm-consume.1": "\\-o, \\-\\-offset", "klamm-topic-tail.1": ".SH EXAMPLES"} {
		text, err := os.ReadFile(filepath.Join(directory, name))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v, no %q", name, err, want)
		}
	}
}

func TestOpenPrintsTheConsole(t *testing.T) {
	out, errs, status := typed(t, "", "open", "topics/a b", "--server", "https://u:p@klamm.example/base/", "--print")
	if out != "https://klamm.example/base/#/topics/a%20b\n" || status != 0 {
		t.Errorf("exit %d, %q %q", status, out, errs)
	}
}

// TestListenForwards makes a pipe to itself and passes on what it delivers.
func TestListenForwards(t *testing.T) {
	t.Setenv("KLAMM_SERVER", startWith(t, `{egress: {allow: [127.0.0.0/8]}}`))
	program := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Klamm-Topic") == "" || r.URL.Path != "/hook" {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	t.Cleanup(program.Close)
	topic := "heard" + strings.ReplaceAll(filepath.Base(t.TempDir()), "-", "") + filepath.Base(filepath.Dir(t.TempDir()))
	if _, errs, status := typed(t, "", "topic", "create", topic, "-p", "1"); status != 0 {
		t.Fatal(errs)
	}
	if _, errs, status := typed(t, "{\"a\": 1}\n", "produce", "-t", topic, "-k", "k"); status != 0 {
		t.Fatal(errs)
	}
	out, errs, status := typed(t, "", "listen", "--topic", topic, "--start", "earliest", "-c", "1", "-o", "json", program.URL+"/hook")
	var heard struct {
		Headers map[string]string
		Body    json.RawMessage
		Status  int
	}
	if err := json.Unmarshal([]byte(out), &heard); err != nil || status != 0 || heard.Status != http.StatusOK || heard.Headers["Klamm-Key"] != "k" || string(heard.Body) != `{"a":1}` {
		t.Errorf("exit %d, %v: %q %q", status, err, out, errs)
	}
	if out, _, _ := typed(t, "", "pipe", "list", "-o", "json"); strings.Contains(out, "listen-") {
		t.Errorf("its pipe is still there: %s", out)
	}
}

// TestGroupsThatGoOn resets a group that has read, by a dry run and then in earnest.
func TestGroupsThatGoOn(t *testing.T) {
	t.Setenv("KLAMM_SERVER", startWith(t, `{}`))
	topic := "grouped-" + strings.ToLower(filepath.Base(filepath.Dir(t.TempDir())))
	must := func(in string, args ...string) string {
		t.Helper()
		out, errs, status := typed(t, in, args...)
		if status != 0 {
			t.Fatalf("klamm %q: exit %d, %s%s", args, status, out, errs)
		}
		return out
	}
	must("", "topic", "create", topic, "-p", "1")
	must("1\n2\n3\n", "produce", "-t", topic)
	group := "readers-of-" + topic
	if out := must("", "consume", "-G", group, topic, "-o", "beginning", "-e", "-f", "%s,"); out != "1,2,3," {
		t.Fatal(out)
	}
	lag := func() string { return must("", "group", "lag", group, "--query", "[0].[committed,end,lag]") }
	within(t, "the group is empty and at the end", func() bool {
		return lag() == "[3,3,0]\n" && strings.Contains(must("", "group", "show", group), "EMPTY")
	})
	want := `{"topic":"` + topic + `","partition":0,"from":3,"to":1,"lag":2}` + "\n"
	if out := must("", "group", "reset", group, "--to", "1", "-o", "json"); out != want || lag() != "[3,3,0]\n" {
		t.Errorf("the dry run: %s%s", out, lag())
	}
	if out := must("", "group", "reset", group, "--topic", topic, "--to", "1", "--execute", "-o", "json"); out != want || lag() != "[1,3,2]\n" {
		t.Errorf("in earnest: %s%s", out, lag())
	}
	if out := must("", "consume", "-X", "group.id="+group, "-o", "stored", "-e", topic); out != "2\n3\n" {
		t.Error(out)
	}
	if out := must("", "group", "list", group, "-o", "name"); out != group+"\n" {
		t.Error(out)
	}
	must("", "group", "delete", group)
	if out, errs, status := typed(t, "", "consume", "-G", group, "no-such-"+topic, "-e"); status != 1 || out != "" || !strings.Contains(errs, "klamm topic list shows") {
		t.Errorf("exit %d, %q %q", status, out, errs)
	}
	if _, errs, status := typed(t, "", "consume", "-Q", "-t", "no-such-"+topic+":0:1"); status != 1 || !strings.Contains(errs, "no-such-"+topic+" [0]: ") || strings.Contains(errs, ".;") {
		t.Errorf("exit %d, %q", status, errs)
	}
	if _, errs, status := typed(t, "", "group", "show", "no-such-group"); status != 1 || !strings.Contains(errs, "klamm group list shows") {
		t.Errorf("exit %d, %q", status, errs)
	}
}
