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
		{[]string{"text/plain;q=-1, text/html;q=9"}, 1},
		{[]string{"image/png", "application/x-json"}, -1},
		{[]string{"application/json-seq"}, -1},
		{[]string{strings.Repeat("a/b,", mostAccepted), "text/plain"}, -1},
	} {
		if got := preferred(tt.accept, offers); got != tt.want {
			t.Errorf("%.80q: got %d, want %d", tt.accept, got, tt.want)
		}
	}
}
