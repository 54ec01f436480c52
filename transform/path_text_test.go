package transform

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPathsFindValuesTogether(t *testing.T) {
	var p Paths
	for i, path := range []string{"$.value.id", "$.value.lines[*].sku", "$.gone", "$.value", "$.value.note", "$.value.id", "$['odd > name']"} {
		if n, err := p.Add(path); err != nil || n != i {
			t.Fatalf("%s: number %d, %v", path, n, err)
		}
	}
	doc := `{"odd > name":1e3,"value":{"id": 7, "lines":[{"sku":"A"},{},{"sku":"B"}], "note":"a\"\u00e9"}}`
	for range 2 {
		err := p.Find([]byte(doc), func(values [][]byte) error {
			var got []string
			for _, v := range values {
				got = append(got, string(AppendText(nil, v)))
			}
			want := []string{"7", `["A","B"]`, "", `{"id":7,"lines":[{"sku":"A"},{},{"sku":"B"}],"note":"a\"\u00e9"}`, `a"é`, "7", "1e3"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if err := p.Find([]byte("{"), nil); !errors.Is(err, ErrDocument) {
		t.Error(err)
	}
	if names, all := p.Fields(); all || len(names) != 3 {
		t.Errorf("%q, %v", names, all)
	}
	var none Paths
	if err := none.Find(nil, func(values [][]byte) error { return nil }); err != nil || none.Len() != 0 {
		t.Error(err)
	}
}

func TestCutPath(t *testing.T) {
	for _, c := range []struct {
		name, in   string
		path, rest string
		bad        bool
	}{
		{"to the end of the placeholder", "$.a.b> and", "$.a.b", "> and", false},
		{"a name with the end mark in it", "$['a>b']>", "$['a>b']", ">", false},
		{"the document", "$>", "$", ">", false},
		{"no path", "a", "", "", true},
		{"not closed", "$['a", "", "", true},
		{"too long", "$." + strings.Repeat("a", maxPath), "", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, rest, err := CutPath(c.in)
			var spec *SpecError
			if path != c.path || rest != c.rest || (err != nil) != c.bad || c.bad && !errors.As(err, &spec) {
				t.Errorf("%q, %q, %v", path, rest, err)
			}
		})
	}
}
