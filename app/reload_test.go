package app_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/target/all"
)

// load reads a configuration for a running klamm.
func load(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, problems := config.Load([]byte(text), all.Kinds())
	if len(problems) > 0 {
		t.Fatalf("configuration: %v", problems)
	}
	cfg.Listen = "127.0.0.1:0"
	if brokers := os.Getenv("KLAMM_TEST_BROKERS"); brokers != "" {
		cfg.Kafka.Brokers = strings.Split(brokers, ",")
	}
	return cfg
}

// statusOf makes a request and returns the status of its answer, and the body.
func statusOf(t *testing.T, url, agent string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", agent)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // a test's
	var text strings.Builder
	if _, err := io.Copy(&text, answer.Body); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, text.String()
}

func TestReloadIsAllOrNothing(t *testing.T) {
	log := filepath.Join(t.TempDir(), "access.log")
	k := start(t, `waf: {rules: [{name: a, match: {header: {user-agent: "^bad$"}}, action: block}]}`, t.TempDir())
	expect := func(when, agent string, want int) {
		t.Helper()
		if got, _ := statusOf(t, k.url+"/healthy", agent); got != want {
			t.Errorf("%s: %s is answered %d, want %d", when, agent, got, want)
		}
	}
	expect("at the start", "bad", 403)
	expect("at the start", "worse", 200)

	const second = `{name: b, match: {header: {user-agent: "^worse$"}}, action: block}`
	if err := k.app.Reload(context.Background(), load(t, "shutdown_timeout: 30s\naccess_log: {file: "+log+"}\nwaf: {rules: ["+second+"]}"), false); err != nil {
		t.Fatal(err)
	}
	expect("after a reload", "bad", 200)
	expect("after a reload", "worse", 403)
	if _, text := statusOf(t, k.url+"/ready", "x"); !strings.Contains(text, `"restart":["shutdown_timeout"]`) {
		t.Errorf("/ready does not tell of the key that waits for a restart: %s", text)
	}

	missing := filepath.Join(t.TempDir(), "nothing.txt")
	for name, bad := range map[string]string{
		"a list that is not there":   "waf: {rules: [{name: c, match: {ip_file: " + missing + "}, action: block}]}",
		"a log that cannot be made":  "access_log: {file: " + missing + "/access.log}",
		"a schema that is not there": "topics: [{match: t, value: {schema: {file: " + missing + "}, mode: enforce}}]",
	} {
		if err := k.app.Reload(context.Background(), load(t, bad), false); err == nil {
			t.Errorf("%s: taken over", name)
		}
		expect(name, "bad", 200)
		expect(name, "worse", 403)
		if status, text := statusOf(t, k.url+"/ready", "x"); status != 200 || !strings.Contains(text, `"error":`) {
			t.Errorf("%s: /ready says %d %s", name, status, text)
		}
	}

	if err := k.app.Reload(context.Background(), load(t, "access_log: {file: "+log+", format: clf}"), true); err != nil {
		t.Fatal(err)
	}
	expect("without rules", "worse", 200)
	if _, text := statusOf(t, k.url+"/ready", "x"); strings.Contains(text, "configuration") {
		t.Errorf("/ready is not well again: %s", text)
	}
	k.stop()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"wafRule":"b"`) || !strings.Contains(string(text), `"GET /healthy HTTP/1.1" 200`) {
		t.Errorf("the access log has not both formats: %s", text)
	}
}
