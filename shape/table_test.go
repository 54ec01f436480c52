package shape

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFindTakesTheMostSpecialPattern(t *testing.T) {
	var table Table[string]
	for _, text := range []string{"GET /topics/{topic}", "GET /topics/orders", "ANY /topics/{topic}", "POST /topics/{topic}/partitions/{partition}", "ANY /old/{proxy+}", "GET /", "/{any+}"} {
		p, err := ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := table.Add(p, p.String()); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	tests := []struct {
		method, path, want string
		values             []Value
	}{
		{"GET", "/topics/orders", "GET /topics/orders", nil},
		{"HEAD", "/topics/orders", "GET /topics/orders", nil},
		{"GET", "/topics/other", "GET /topics/{topic}", []Value{{"topic", "other"}}},
		{"GET", "/topics/a%2Fb", "GET /topics/{topic}", []Value{{"topic", "a/b"}}},
		{"PUT", "/topics/other", "ANY /topics/{topic}", []Value{{"topic", "other"}}},
		{"PUT", "/topics/orders", "ANY /topics/{topic}", []Value{{"topic", "orders"}}},
		{"POST", "/topics/orders/partitions/3", "POST /topics/{topic}/partitions/{partition}", []Value{{"topic", "orders"}, {"partition", "3"}}},
		{"POST", "/old/a/b%20c/d", "ANY /old/{proxy+}", []Value{{"proxy", "a/b%20c/d"}}},
		{"GET", "/", "GET /", nil},
		{"GET", "/nope/at/all", "ANY /{any+}", []Value{{"any", "nope/at/all"}}},
	}
	for _, tt := range tests {
		got, values, ok := table.Find(tt.method, tt.path)
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s %s: got %q, want %q", tt.method, tt.path, got, tt.want)
		}
		if diff := cmp.Diff(tt.values, values); diff != "" {
			t.Errorf("%s %s: %s", tt.method, tt.path, diff)
		}
	}
	if got := table.Methods("/topics/orders"); len(got) != 6 {
		t.Errorf("methods: %v", got)
	}
}

func TestPatternsThatCannotBe(t *testing.T) {
	tests := []struct{ in, want string }{
		{"FETCH /a", "no method"}, {"GET a", "METHOD /PATH"}, {"GET /a//b", "neither"}, {"GET /{a+}/b", "last segment"}, {"GET /{a}/{a}", "twice"},
		{"GET /{}", "neither"}, {"GET /a/..", "neither"}, {"GET /%2e%2e", "neither"}, {"GET /a?b", "neither"}, {"GET " + strings.Repeat("/a", 40), "more than"},
	}
	for _, tt := range tests {
		if _, err := ParsePattern(tt.in); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.in, err, tt.want)
		}
	}
}

func TestPatternsThatContradict(t *testing.T) {
	for _, tt := range [][2]string{{"GET /a/{x}", "POST /a/{y}"}, {"GET /a", "GET /a"}, {"/{p+}", "GET /{q+}"}} {
		var table Table[int]
		first, _ := ParsePattern(tt[0])
		second, _ := ParsePattern(tt[1])
		if err := table.Add(first, 1); err != nil {
			t.Fatal(err)
		}
		if err := table.Add(second, 2); err == nil {
			t.Errorf("%s beside %s", tt[1], tt[0])
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add("GET /a/{b}/{c+}", "/a/b/c/d")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		p, err := ParsePattern(pattern)
		if err != nil {
			return
		}
		var table Table[bool]
		if err := table.Add(p, true); err != nil {
			t.Fatal(err)
		}
		if _, values, ok := table.Find("GET", path); ok && len(values) != len(p.Variables()) {
			t.Errorf("%s on %s: %v", pattern, path, values)
		}
	})
}
