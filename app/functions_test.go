package app_test

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/waittest"
)

// TestMain lets the test's own binary be a function, too.
func TestMain(m *testing.M) {
	if api := os.Getenv("AWS_LAMBDA_RUNTIME_API"); api != "" {
		echo("http://" + api + "/2018-06-01/runtime/invocation/")
	}
	os.Exit(m.Run())
}

// echo is a custom runtime that answers with its event, and fails on "bad".
func echo(api string) {
	for {
		a, err := http.Get(api + "next")
		if err != nil || a.StatusCode != http.StatusOK {
			os.Exit(1)
		}
		event, _ := io.ReadAll(a.Body)
		a.Body.Close()
		to, body := "/response", event
		if string(event) == `"bad"` {
			to, body = "/error", []byte(`{"errorMessage":"bad","errorType":"E"}`)
		}
		fmt.Printf("%s %s\n", os.Getenv("MARK"), event)
		a, err = http.Post(api+a.Header.Get("Lambda-Runtime-Aws-Request-Id")+to, "application/json", bytes.NewReader(body))
		if err != nil {
			os.Exit(1)
		}
		a.Body.Close()
	}
}

// packageOf returns a zip, in base64, whose bootstrap is this test.
func packageOf(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	h := &zip.FileHeader{Name: "bootstrap"}
	h.SetMode(0o755)
	w, err := z.CreateHeader(h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(w, "#!/bin/sh\nexec '%s'\n", self); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(out.Bytes())
}

// lambda calls the Lambda API.
func (r *running) lambda(method, path, body string, header ...string) (int, http.Header, string) {
	r.t.Helper()
	q, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return a.StatusCode, a.Header, string(text)
}

func TestFunctions(t *testing.T) {
	name := fmt.Sprintf("f%d", time.Now().UnixNano())
	at := "/2015-03-31/functions/" + name
	topic := name + "-in"
	r := start(t, "pipes: [{name: "+name+", topics: ["+topic+"], start: earliest, target: {function: {name: "+name+"}}}]", t.TempDir())

	create := fmt.Sprintf(`{"FunctionName":%q,"Runtime":"provided.al2023","Handler":"h","Role":"arn:aws:iam::000000000000:role/r","Timeout":60,"Environment":{"Variables":{"MARK":"one"}},"Code":{"ZipFile":%q}}`, name, packageOf(t))
	if status, _, text := r.lambda("POST", "/2015-03-31/functions", create); status != 201 || !strings.Contains(text, `"State":"Active"`) {
		t.Fatalf("create: %d %s", status, text)
	}
	for _, c := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		want                     string // of the body
		error                    string // X-Amzn-Errortype or X-Amz-Function-Error
	}{
		{"invoke", "POST", at + "/invocations", `{"n":1}`, nil, 200, `{"n":1}`, ""},
		{"by ARN", "POST", "/2015-03-31/functions/arn:aws:lambda:us-east-1:000000000000:function:" + name + "/invocations", `7`, nil, 200, `7`, ""},
		{"fails", "POST", at + "/invocations", `"bad"`, nil, 200, `"errorMessage":"bad"`, "Unhandled"},
		{"dry run", "POST", at + "/invocations", `1`, []string{"X-Amz-Invocation-Type", "DryRun"}, 204, "", ""},
		{"no JSON", "POST", at + "/invocations", `{`, nil, 400, `"Type":"User"`, "InvalidRequestContentException"},
		{"no UTF-8", "POST", at + "/invocations", "\"\xff\"", nil, 400, `"Type":"User"`, "InvalidRequestContentException"},
		{"nobody", "POST", "/2015-03-31/functions/nobody/invocations", `1`, nil, 404, "Function not found", "ResourceNotFoundException"},
		{"again", "POST", "/2015-03-31/functions", create, nil, 409, name, "ResourceConflictException"},
		{"an alias", "GET", at + ":prod", "", nil, 404, "Function not found", "ResourceNotFoundException"},
		{"configuration", "GET", at + "/configuration", "", nil, 200, `"MARK":"one"`, ""},
		{"list", "GET", "/2015-03-31/functions", "", nil, 200, name, ""},
		{"list of some", "GET", "/2015-03-31/functions?Search=" + name[2:], "", nil, 200, name, ""},
		{"list of none", "GET", "/2015-03-31/functions?Search=" + name + "x", "", nil, 200, `{"Functions":[]}`, ""},
		{"unknown operation", "GET", at + "/policy", "", nil, 404, "", "UnknownOperationException"},
		{"unknown operation of another version", "GET", "/2018-10-31/layers", "", nil, 404, "", "UnknownOperationException"},
		{"no base64", "POST", "/2015-03-31/functions", `{"Code":{"ZipFile":"!"}}`, nil, 400, "not base64", "InvalidRequestContentException"},
		{"later", "POST", at + "/invocations", `{"later":1}`, []string{"X-Amz-Invocation-Type", "Event"}, 202, "", ""},
	} {
		status, header, text := r.lambda(c.method, c.path, c.body, c.header...)
		if got := header.Get("X-Amzn-Errortype") + header.Get("X-Amz-Function-Error"); status != c.status || !strings.Contains(text, c.want) || got != c.error {
			t.Errorf("%s: %d %q %s; want %d %q %s", c.name, status, got, text, c.status, c.error, c.want)
		}
	}
	if status, _, text := r.lambda("PUT", at+"/configuration", `{"Environment":{"Variables":{"MARK":"two"}}}`); status != 200 {
		t.Errorf("configure: %d %s", status, text)
	}
	if status, _, text := r.lambda("POST", "/topics/"+topic, `{"from":"pipe"}`); status != 200 {
		t.Fatalf("produce: %d %s", status, text)
	}
	// What it has written says who was asked, and by which configuration.
	log := "/topics/klamm.log..aws.lambda." + name + "/records?offset=earliest"
	for _, want := range []string{`one {\"n\":1}`, `{\"later\":1}`, `two {\"from\":\"pipe\"}`} {
		waittest.Until(t, want, func() bool {
			_, _, text := r.lambda("GET", log, "")
			return strings.Contains(text, want)
		})
	}
	if status, _, text := r.lambda("DELETE", at, ""); status != 204 {
		t.Errorf("delete: %d %s", status, text)
	}
	status, _, text := r.lambda("GET", at, "")
	var said struct{ Message string }
	if err := json.Unmarshal([]byte(text), &said); err != nil || status != 404 || said.Message != "Function not found: arn:aws:lambda:us-east-1:000000000000:function:"+name {
		t.Errorf("%d %s", status, text)
	}
}
