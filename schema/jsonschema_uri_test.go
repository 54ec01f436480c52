package schema

import "testing"

func TestURIFormats(t *testing.T) {
	for _, tt := range []struct {
		in              string
		reference, full bool
	}{
		{"http://example.com/a?b=c%20d#e", true, true},
		{"urn:example:a:b", true, true},
		{"mailto:a@example.com", true, true},
		{"http://[::1]:80/", true, true},
		{"http://[::1/", false, false},
		{"/a/b?x=[1]", false, false},
		{"/a/b", true, false},
		{"../b;v=1?x=1&y=2", true, false},
		{"#part", true, false},
		{"//host/path", true, false},
		{"", true, false},
		{"a b", false, false},
		{"/a b", false, false},
		{"http://example.com/a b", false, false},
		{"http://example.com/?q=a b", false, false},
		{"http://example.com/#a b", false, false},
		{"http://example.com/<a>", false, false},
		{`http://example.com/\a`, false, false},
		{"http://example.com/ä", false, false},
		{"/%zz", false, false},
		{"/?a=%", false, false},
		{"#a#b", false, false},
		{"a\nb", false, false},
	} {
		if err := checkURI(tt.in, false); (err == nil) != tt.reference {
			t.Errorf("uri-reference %q: %v", tt.in, err)
		}
		if err := checkURI(tt.in, true); (err == nil) != tt.full {
			t.Errorf("uri %q: %v", tt.in, err)
		}
	}
	if checkURI(1, true) != nil {
		t.Error("a number")
	}
	for _, draft := range []string{"4", "6", "7", "2019-09", "2020-12"} {
		for name, want := range map[string]int{"uri": 1, "uri-reference": 1} {
			s := compile(t, `{"format":"`+name+`"}`, JSONOptions{Draft: draft, AssertFormat: true})
			if got, _ := s.Check([]byte(`"/a b"`)); len(got) != want {
				t.Errorf("draft %s, %s: %v", draft, name, got)
			}
		}
		// A schema may still refer to what has such a name.
		compile(t, `{"definitions":{"a b<c>":{"type":"string"}},"properties":{"x":{"$ref":"#/definitions/a b<c>"}}}`, JSONOptions{Draft: draft, AssertFormat: true})
	}
}
