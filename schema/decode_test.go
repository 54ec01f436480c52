package schema

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// decodable are texts that decoding may stumble over.
var decodable = []string{
	"", " ", "null", "true", " false\n", `"a"`, `"\u00e9\ud83d\ude00\ud800"`, "\"\xff\"", "\"a\nb\"", "1", "-1.5e3", "1e1000", "1e1001", "-1e-1001", "1E99999999999999999999", "01", "1.", "nul",
	"[]", "[1,[2,{}],{\"a\":[null]}]", "{}", `{"a":1,"a":2}`, `{"\u0061":1,"a":{"b":"c"}}`, "{\"\xff\":1}", `{"a":}`, `[1,]`, `[1] 2`, "\ufeff1",
	strings.Repeat("[", 256) + strings.Repeat("]", 256), strings.Repeat("[", 257) + strings.Repeat("]", 257), strings.Repeat(`{"a":`, 257) + "1" + strings.Repeat("}", 257),
	strings.Repeat("1", 1000), "-" + strings.Repeat("1", 1000), strings.Repeat("1", 1001), "[1e9999," + strings.Repeat("[", 300),
}

func TestDecodeIsWhatEncodingJSONDecodes(t *testing.T) {
	for _, text := range decodable {
		expectSameDecoded(t, text)
	}
}

func FuzzDecode(f *testing.F) {
	for _, text := range decodable {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { expectSameDecoded(t, text) })
}

func expectSameDecoded(t *testing.T, text string) {
	t.Helper()
	got, gotErr := decode([]byte(text))
	want, wantErr := decodeSlowly([]byte(text))
	if fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
		t.Fatalf("%q: got error %v, want %v", text, gotErr, wantErr)
	}
	if gotErr == nil && !reflect.DeepEqual(got, want) {
		t.Errorf("%q: got %v, want %v", text, got, want)
	}
}

func BenchmarkDecode(b *testing.B) {
	text := []byte(`{"deviceid":"d-17","heartrate":72,"pad":"` + strings.Repeat("x", 900) + `","tags":["a","b"],"at":{"lat":48.85,"lon":2.35}}`)
	for name, decode := range map[string]func([]byte) (any, error){"tape": decode, "encoding/json": decodeSlowly} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decode(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
