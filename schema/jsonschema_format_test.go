package schema

import "testing"

// What describes values in one draft and refuses them in another does, where it is to be
// ignored, neither.
func TestFormatIsIgnoredInEveryDraft(t *testing.T) {
	for _, draft := range []string{"4", "6", "7", "2019-09", "2020-12"} {
		for _, c := range []struct {
			schema, value string
			fits          bool
		}{
			{`{"format":"ipv4"}`, `"x"`, true},
			{`{"properties":{"format":{"format":"date","maxLength":2}}}`, `{"format":"xx"}`, true},
			{`{"properties":{"format":{"format":"date","maxLength":2}}}`, `{"format":"xxx"}`, false},
			{`{"properties":{"enum":{"format":"uuid"},"default":{"type":"array","items":{"format":"email"}}}}`, `{"enum":"x","default":["y"]}`, true},
			{`{"enum":[{"format":"ipv4"}]}`, `{"format":"ipv4"}`, true},
			{`{"enum":[{"format":"ipv4"}]}`, `{}`, false},
			{`{"allOf":[{"not":{"format":"regex","type":"number"}},{"format":"regex"}]}`, `"("`, true},
			{`{"definitions":{"a":{"format":"uri"}},"items":{"$ref":"#/definitions/a"}}`, `["no uri"]`, true},
		} {
			got, _ := compile(t, c.schema, JSONOptions{Draft: draft, IgnoreFormat: true}).Check([]byte(c.value))
			if (len(got) == 0) != c.fits {
				t.Errorf("draft %s, %s of %s: %v", draft, c.schema, c.value, got)
			}
		}
		got, _ := compile(t, `{"format":"ipv4"}`, JSONOptions{Draft: draft}).Check([]byte(`"x"`))
		if refuses := len(draft) == 1; (len(got) > 0) != refuses {
			t.Errorf("draft %s by itself: %v", draft, got)
		}
		if got, _ := compile(t, `{"format":"ipv4"}`, JSONOptions{Draft: draft, AssertFormat: true}).Check([]byte(`"x"`)); len(got) != 1 {
			t.Errorf("draft %s, asserted: %v", draft, got)
		}
	}
}
