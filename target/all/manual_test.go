package all_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/target/all"
)

// TestManual checks that the examples of the manual are valid: whole files, which
// have a name, and targets.
func TestManual(t *testing.T) {
	page, err := os.ReadFile("../../docs/targets.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml( [^\n]+)?\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 6 {
		t.Errorf("only %d examples", len(blocks))
	}
	for _, b := range blocks {
		text := b[2]
		if b[1] == "" {
			text = "pipes:\n- name: p\n  topics: [orders]\n  target:\n    " + strings.ReplaceAll(text, "\n", "\n    ")
		}
		_, problems := config.Load([]byte(text), all.Kinds())
		for _, p := range problems {
			t.Errorf("%s in\n%s", p, text)
		}
	}
}
