package webhook

import (
	"os"
	"regexp"
	"testing"

	"github.com/goccy/go-yaml"
)

// TestManual checks that the examples of the manual are valid.
func TestManual(t *testing.T) {
	page, err := os.ReadFile("../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml( [^\n]+)?\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 15 {
		t.Errorf("only %d examples", len(blocks))
	}
	for _, b := range blocks {
		type target struct{ Webhook Config }
		var whole struct {
			Pipes []struct {
				Target target
				Enrich struct{ Target target }
			}
		}
		var one target
		if b[1] == "" {
			err = yaml.UnmarshalWithOptions([]byte(b[2]), &one, yaml.Strict())
		} else {
			err = yaml.Unmarshal([]byte(b[2]), &whole)
		}
		if err != nil {
			t.Errorf("%v\n%s", err, b[2])
		}
		configs := []Config{one.Webhook}
		for _, p := range whole.Pipes {
			configs = append(configs, p.Target.Webhook, p.Enrich.Target.Webhook)
		}
		checked := 0
		for _, c := range configs {
			if c.URL != "" {
				checked++
				c.Validate(func(path, problem string) { t.Errorf("%s: %s\n%s", path, problem, b[2]) })
			}
		}
		if checked == 0 {
			t.Errorf("no webhook in\n%s", b[2])
		}
	}
}
