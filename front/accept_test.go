package front

import (
	"strings"
	"testing"
)

func TestPreferred(t *testing.T) {
	offers := []string{"application/json", "text/html; charset=utf-8", "text/plain"}
	for _, tt := range []struct {
		accept []string
		want   int
	}{
		{nil, -1},
		{[]string{""}, -1},
		{[]string{"*/*"}, 0},
		{[]string{"text/*"}, 1},
		{[]string{"TEXT/HTML"}, 1},
		{[]string{"application/json;q=0.1, text/html"}, 1},
		{[]string{"text/html;q=0.2", "text/plain; q=0.3"}, 2},
		{[]string{"text/html;q=0, */*;q=0.5"}, 0},
		{[]string{"application/json;q=0,text/html;q=0,*/*"}, 2},
		{[]string{"text/*;q=0.9, text/html;q=0.1, application/json;q=0.5"}, 2},
		{[]string{"text/plain;level=1;q=0.7"}, 2},
		{[]string{"text/plain;q=x"}, -1},
		{[]string{"text/plain ; q = 0.1, image/png, *;q=0.05"}, 2},
		{[]string{"*"}, 0},
		{[]string{"*/plain", "/", "text/"}, -1},
		{[]string{"text/plain;q=-1, text/html;q=9"}, 1},
		{[]string{"image/png", "application/x-json"}, -1},
		{[]string{"application/json-seq"}, -1},
		{[]string{strings.Repeat("a/b,", mostAccepted), "text/plain"}, -1},
	} {
		if got := ParseAccept(tt.accept).Preferred(offers); got != tt.want {
			t.Errorf("%.80q: got %d, want %d", tt.accept, got, tt.want)
		}
	}
}

// FuzzParseAccept sees that anything can be read, and that qualities stay in their range.
func FuzzParseAccept(f *testing.F) {
	f.Add("application/json;q=0.5, */*", "text/html; q=0, *", "application/json")
	f.Fuzz(func(t *testing.T, one, two, offer string) {
		a := ParseAccept([]string{one, two})
		for _, m := range a {
			if !(m.Quality >= 0 && m.Quality <= 1) {
				t.Fatalf("%q, %q: %v", one, two, m)
			}
		}
		if quality, near := a.Quality(offer); near == 0 && quality != 0 || a.Preferred([]string{offer}) == 0 != (quality > 0) {
			t.Fatalf("%q, %q: %q has %v by %d", one, two, offer, quality, near)
		}
	})
}
