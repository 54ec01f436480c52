package schema

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEcho(t *testing.T) {
	long := strings.Repeat("ü", 101)
	value := `{"a/b~c d":[1,{"x":"é"}],"n":12345678901234567890.50,"t":true,"z":null,"o":{},"l":"` + long + `"}`
	tests := []struct{ name, value, pointer, want string }{
		{"in an array below a name that is escaped", value, "#/a~1b~0c%20d/1/x", `"é"`},
		{"a number as it was written", value, "#/n", "12345678901234567890.50"},
		{"true", value, "#/t", "true"},
		{"null", value, "#/z", "null"},
		{"an object", value, "#/o", ""},
		{"an array", value, "#/a~1b~0c%20d", ""},
		{"a long text", value, "#/l", `"` + strings.Repeat("ü", 100) + `…"`},
		{"nothing there", value, "#/missing", ""},
		{"no such element", value, "#/a~1b~0c%20d/2", ""},
		{"a negative element", value, "#/a~1b~0c%20d/-1", ""},
		{"below a number", value, "#/n/x", ""},
		{"a pointer that is none", value, "#/%zz", ""},
		{"all of it", `"<b>"`, "#", `"\u003cb\u003e"`},
		{"no JSON", `d-1`, "#", `"d-1"`},
		{"no text", "\xff", "#", ""},
		{"a number too long to repeat", strings.Repeat("1", 101), "#", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found := []Violation{{Pointer: tt.pointer}}
			Echo(found, []byte(tt.value))
			if diff := cmp.Diff(tt.want, found[0].Actual); diff != "" {
				t.Error(diff)
			}
		})
	}
	found := []Violation{{Pointer: "#"}}
	if EchoText(found, "12"); found[0].Actual != `"12"` {
		t.Errorf("got %s", found[0].Actual)
	}
}
