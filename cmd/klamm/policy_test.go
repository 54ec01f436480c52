package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Policies are made, shown, replaced and removed while klamm runs, and explained at
// once; keys that were made meanwhile are known too.
func TestPoliciesByCommandLine(t *testing.T) {
	const root = "root-key-0123456789abcdefghijklmnopqrstuvwxyz"
	url := startWith(t, `
auth: {apikeys: {keys: [{name: root, key: {value: `+root+`}}]}}
rules:
  - {who: ["User:root"], can: [all], topics: ["*"], groups: ["*"]}
`)
	t.Setenv("KLAMM_KEY", root)
	must := func(want int, args ...string) string {
		t.Helper()
		out, errs, status := operate(t, append(args, "--server", url)...)
		if status != want {
			t.Fatalf("klamm %s: exit %d, want %d: %s%s", strings.Join(args, " "), status, want, out, errs)
		}
		return out + errs
	}
	id := fmt.Sprint(time.Now().UnixNano())
	rule, doc, caller := "rule-"+id, "doc-"+id, "sensor-"+id
	t.Cleanup(func() {
		for _, name := range []string{rule, doc} {
			_, _, _ = operate(t, "policy", "delete", name, "--server", url)
		}
	})
	may := []string{"access", "explain", "--as", "User:" + caller, "--action", "kafka-cluster:WriteData", "--resource", "topic:iot." + id}
	must(1, may...)
	must(0, "key", "create", caller, "--group", "sensors-"+id)
	must(0, "policy", "put", rule, "--who", "group:sensors-"+id, "--can", "produce", "--topic", "iot.*", "--version", "0")
	within(t, "the key's group is known", func() bool {
		out, _, status := operate(t, append(may, "--server", url)...)
		return status == 0 && strings.Contains(out, rule)
	})
	must(1, "policy", "put", rule, "--who", "*", "--deny", "produce", "--topic", "iot.*", "--version", "0")

	file := filepath.Join(t.TempDir(), "document.json")
	if err := os.WriteFile(file, []byte(`{"Version":"2012-10-17","Statement":{"Sid":"Stop","Effect":"Deny","Action":"kafka-cluster:WriteData","Resource":"topic:iot.`+id+`"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	must(0, "policy", "put", doc, "--attach", "User:"+caller, "--file", file)
	if out := must(1, may...); !strings.Contains(out, doc) || !strings.Contains(out, "Stop") {
		t.Errorf("explained: %s", out)
	}
	shown := must(0, "policy", "show", doc)
	if err := os.WriteFile(file, []byte(shown), 0o600); err != nil {
		t.Fatal(err)
	}
	must(0, "policy", "put", doc, "--file", file)
	list := must(0, "policy", "list")
	for _, want := range []string{"rules[0]", "in the file", rule, doc, "User:root"} {
		if !strings.Contains(list, want) {
			t.Errorf("the list has no %s: %s", want, list)
		}
	}
	must(1, "policy", "put", "lock-"+id, "--who", "*", "--deny", "all", "--topic", "*", "--consumer-group", "*", "--version", "7")
	must(0, "policy", "delete", doc)
	must(0, may...)
	must(1, "policy", "delete", doc)
	must(2, "policy", "put", doc)
	must(2, "policy", "put", doc, "--file", file, "--who", "*")
	must(2, "policy", "put", "bad name", "--who", "*", "--can", "produce", "--topic", "x")
	must(2, "policy", "put", doc, "--who", "*", "--can", "fly", "--topic", "x")
	t.Setenv("KLAMM_KEY", "")
	must(1, "policy", "list")
}
