package scan

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

var seeds = []string{
	`null`, ` true `, `false`, `0`, `-0.5e+10`, `01`, `1.`, `.5`, `-`, `1e`, `"a"`, `"a\u00e9\n"`, `"\x"`, `"\u12"`, "\"a\nb\"", "\"\x80\xff\"", `"`,
	`[]`, `[1,2,[3]]`, `[1,]`, `[,]`, `{}`, `{"a":1,"b":{"c":[null]}}`, `{"a"}`, `{"a":}`, `{a:1}`, `{"a":1,}`, `[}`, `{]`, `{} {}`, ``, ` `, `"12345678"`, `"1234567\""`, `"1234567\\`,
	strings.Repeat("[", 300) + strings.Repeat("]", 300), strings.Repeat(`{"a":[`, 200) + strings.Repeat("]}", 200), `tru`, `nul`, `nullx`, `[1 2]`, `"tab	"`,
}

func TestValidAgreesWithEncodingJSON(t *testing.T) {
	for _, s := range seeds {
		if got, want := Valid([]byte(s)), json.Valid([]byte(s)); got != want {
			t.Errorf("Valid(%.40q) = %v, want %v", s, got, want)
		}
	}
	for _, depth := range []int{Depth - 1, Depth, Depth + 1, 100_000} {
		s := strings.Repeat("[", depth) + strings.Repeat("]", depth)
		if got, want := Valid([]byte(s)), json.Valid([]byte(s)); got != want {
			t.Errorf("depth %d: got %v, want %v", depth, got, want)
		}
	}
}

func FuzzValid(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := Valid(b), json.Valid(b); got != want {
			t.Errorf("Valid(%q) = %v, want %v", b, got, want)
		}
	})
}

func FuzzLook(f *testing.F) {
	for _, s := range append(seeds, `{"a":[{"b":-12.5e3}],"c":[[[]]],"d":"[[[[["}`, "{ \"a b\" :\t[ 1 , 2 ]\n}") {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := Look(b, 0)
		if ok != (len(b) > 0 && !strings.ContainsRune(" \t\r\n", rune(b[0])) && json.Valid(b[:got.End])) {
			t.Fatalf("%q: %+v, %v", b, got, ok)
		}
		if !ok {
			return
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, b[:got.End]); err != nil {
			t.Fatal(err)
		}
		want := Survey{End: got.End, Compact: compact.Len() == got.End}
		d := json.NewDecoder(bytes.NewReader(b[:got.End]))
		d.UseNumber()
		for depth := 0; ; {
			token, err := d.Token()
			if err != nil {
				break
			}
			switch token := token.(type) {
			case json.Delim:
				if token == '{' || token == '[' {
					depth++
				} else {
					depth--
				}
				want.Depth = max(want.Depth, depth)
			case json.Number:
				want.Number = max(want.Number, len(token))
			}
		}
		if got != want {
			t.Errorf("%q: %+v, want %+v", b, got, want)
		}
	})
}

func BenchmarkValid(b *testing.B) {
	doc := []byte(`{"id":12345,"name":"sensor of the north hall","on":true,"tags":["a","b","c"],"place":{"lat":52.5200066,"lon":13.404954},"note":"` + strings.Repeat("some text ", 85) + `"}`)
	for name, valid := range map[string]func([]byte) bool{"scan": Valid, "encoding": json.Valid} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(doc)))
			for b.Loop() {
				if !valid(doc) {
					b.Fatal("not valid")
				}
			}
		})
	}
}

func FuzzCompact(f *testing.F) {
	for _, s := range append(seeds, "{ \"a b\" :\t[ 1 , 2 ]\n}") {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !json.Valid(b) {
			return
		}
		var want bytes.Buffer
		if err := json.Compact(&want, b); err != nil {
			t.Fatal(err)
		}
		if got := Compact(bytes.Clone(b)); !bytes.Equal(got, want.Bytes()) {
			t.Errorf("Compact(%q) = %q, want %q", b, got, want.Bytes())
		}
	})
}

func FuzzAppendUnescaped(f *testing.F) {
	for _, s := range []string{`plain`, `a\nb\"\\\/`, `\u00e9\ud83d\ude00`, `\ud83d`, `\ude00x`, `\ud83d\u0041`, `\uD83D\ud83d\ude00`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, inside string) {
		b := []byte(`"` + inside + `"`)
		var want string
		if json.Unmarshal(b, &want) != nil || !utf8.ValidString(inside) {
			return
		}
		if got := AppendUnescaped([]byte("before "), b[1:len(b)-1]); string(got) != "before "+want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := AppendUnescaped(b[1:1], b[1:len(b)-1]); string(got) != want {
			t.Errorf("in place: got %q, want %q", got, want)
		}
	})
}
