package app_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/app"
	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/target/all"
)

// TestConfigurationsCanBeComparedAndRolledBack changes the file of a running klamm, and
// goes back and forth between both configurations.
func TestConfigurationsCanBeComparedAndRolledBack(t *testing.T) {
	const first, second = `waf: {rules: [{name: a, match: {header: {user-agent: "^bad$"}}, action: block}]}`, `waf: {rules: [{name: a, match: {header: {user-agent: "^worse$"}}, action: block}]}`
	file := filepath.Join(t.TempDir(), "klamm.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(first)
	parse := func(text []byte) (*config.Config, error) {
		if _, problems := config.Load(text, all.Kinds()); len(problems) > 0 {
			return nil, errors.New(problems[0].String())
		}
		return load(t, string(text)), nil
	}
	k := startFrom(t, first, t.TempDir(), &app.Source{Path: file, Again: make(chan os.Signal), Parse: parse, Load: func() (*config.Config, error) {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		return parse(text)
	}})
	call := func(method, path, body string) (int, string) {
		t.Helper()
		r, err := http.NewRequest(method, k.url+"/klamm/v1/configuration"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close() //nolint:errcheck // a test's
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(text)
	}
	blocks := func(when, agent string) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if status, _ := statusOf(t, k.url+"/healthy", agent); status == http.StatusForbidden {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %s is let in", when, agent)
			}
		}
	}
	if status, text := call("POST", "/rollback", ""); status != http.StatusConflict {
		t.Errorf("with nothing to go back to: %d %s", status, text)
	}
	if status, text := call("POST", "/diff", first); status != 200 || strings.TrimSpace(text) != `{"changes":[]}` {
		t.Errorf("the same: %d %s", status, text)
	}
	if status, text := call("POST", "/diff", second+"\nshutdown_timeout: 30s\n"); status != 200 ||
		!strings.Contains(text, `{"path":"waf.rules[a].match.header[user-agent]","was":"^bad$","is":"^worse$","restart":false}`) ||
		!strings.Contains(text, `{"path":"shutdown_timeout","was":"20s","is":"30s","restart":true}`) {
		t.Errorf("another: %d %s", status, text)
	}
	if status, text := call("POST", "/diff", "nonsense: 1"); status != http.StatusBadRequest || !strings.Contains(text, "unknown key") {
		t.Errorf("a file with a mistake: %d %s", status, text)
	}
	write(second)
	blocks("after a change of the file", "worse")
	if status, text := call("POST", "/rollback", ""); status != 200 || !strings.Contains(text, `"generation":3,`) {
		t.Errorf("back: %d %s", status, text)
	}
	blocks("after a rollback", "bad")
	if status, _ := statusOf(t, k.url+"/healthy", "worse"); status != 200 {
		t.Errorf("what was rolled back counts: %d", status)
	}
	if _, text := call("GET", "", ""); strings.Count(text, `"hash"`) != 3 {
		t.Errorf("got %s", text)
	}
	if status, text := call("POST", "/rollback", ""); status != 200 {
		t.Errorf("forth: %d %s", status, text)
	}
	blocks("after another rollback", "worse")
	write(first + "\n")
	blocks("after another change of the file", "bad")
}
