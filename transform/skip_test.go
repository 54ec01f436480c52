package transform

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/klamm-gateway/klamm/scan"
)

// skip is compared with the scanner that other packages use, and what it finds
// with encoding/json.
func FuzzSkip(f *testing.F) {
	deep := strings.Repeat(`{"a":[`, 50) + `1` + strings.Repeat(`]}`, 50)
	for _, doc := range append([]string{
		deep, `{"b":` + deep + `,"a":[1, 2]}`, `{"a" :1 , "b" : [ ] , "c":{ } }`, `{"a":1,"\u0061":2.5,"b":{"a":3}}`, `[{"a":1},{"a":2}]`, `{"a":"12345678"}`, `{"a":"1234567"}`, `{"a":"\""}`, `{"12345678":1,"a":""}`,
		"{\"a\":\"\x1f\"}", "{\"a\x1f\":1}", "{\"a\":\"\x7f\x80\xff\"}", `0`, `-0.5e+10`, `01`, `1.`, `10.e1`, `1.5E-3`, `12`, `.5`, `1e`, `-`, `nul`, `truefalse`, `"a`, `{`, `[1,]`, `{"a":1,}`, `{"a":1]`, `[1}`, `{"a"}`, `{"a",1}`, ``, `é`,
	}, fuzzDocuments...) {
		f.Add([]byte(doc), "a")
	}
	f.Fuzz(func(t *testing.T, doc []byte, name string) {
		seek := sought{name: name}
		end, compact, ok := skip(doc, 0, &seek)
		v, wantOK := scan.Look(doc, 0)
		if ok != wantOK || ok && (end != v.End || compact != v.Compact) {
			t.Fatalf("%q: got %d, %v, %v, want %+v, %v", doc, end, compact, ok, v, wantOK)
		}
		if e, c, o := skip(doc, 0, nil); e != end || c != compact || o != ok {
			t.Fatalf("%q: got %d, %v, %v without a name, and %d, %v, %v with one", doc, e, c, o, end, compact, ok)
		}
		if !ok || !utf8.Valid(doc) || !utf8.ValidString(name) || bytes.Contains(doc, []byte(`\`)) && strings.Contains(name, "\ufffd") {
			return
		}
		var members map[string]json.RawMessage
		_ = json.Unmarshal(doc[:end], &members)
		want, there := members[name]
		if got := doc[seek.start:seek.end]; there != (seek.end > 0) || there && !bytes.Equal(got, want) {
			t.Errorf("%q, name %q: got %q, want %q", doc, name, got, want)
		}
	})
}
