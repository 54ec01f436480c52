package config_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/auth"
	"github.com/klamm-gateway/klamm/front/confluent2"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/target/all"
	"github.com/klamm-gateway/klamm/transform"
)

var update = flag.Bool("update", false, "write the expected problems in testdata anew")

// TestProblemsOfFiles loads each file of testdata. Beside one that is wrong lies
// a file with the problems.
func TestProblemsOfFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*-*.[yj]*")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			_, problems := config.Load(text, all.Kinds())
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("took %s", took)
			}
			var got strings.Builder
			for _, p := range problems {
				fmt.Fprintf(&got, "%s:%s\n", filepath.Base(file), p)
			}
			if strings.HasPrefix(name, "right-") {
				if got.Len() > 0 {
					t.Errorf("got problems:\n%s", &got)
				}
				return
			}
			golden := filepath.Join("testdata", name+".problems")
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" || got.Len() == 0 {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func load(t *testing.T, file string) *config.Config {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	cfg, problems := config.Load(text, all.Kinds())
	if len(problems) > 0 {
		t.Fatalf("%s: %v", file, problems)
	}
	return cfg
}

func TestEveryKeyArrives(t *testing.T) {
	want := &config.Config{
		Listen: "[::1]:0", PublicURL: "https://kafka.example.com/gate", H2C: true, ShutdownTimeout: 90 * time.Second,
		Kafka: kafka.Config{Brokers: []string{"127.0.0.1:9092", "kafka-2.example.com:9092"}},
		Auth:  auth.Config{Anonymous: true},
		AWS:   config.Default().AWS,
		Sizes: front.Sizes{Body: 64 << 20, InFlight: 256 << 20},
		Rest:  config.Rest{V2: confluent2.Config{StrictMediaTypes: true, TopicNotFoundCode: 40401}},
		Pipes: []catalog.Pipe{{
			Name: "orders-to-hook", Topics: []string{"orders", "returns"}, Group: "klamm-orders", Start: "2026-01-31T12:00:00Z",
			Filter:    json.RawMessage(`{"value":{"total":[{"numeric":[">",10]}]}}`),
			Transform: &transform.Spec{Template: `{"id": <$.value.id>}`},
			Target: catalog.Target{Kind: "webhook", Config: json.RawMessage(
				`{"url":"http://127.0.0.1:9000/hook","method":"PUT","headers":{"X-Env":"test","X-Version":"1.10"}}`)},
			Delivery: catalog.Delivery{
				Attempts: 5, MaxAge: 24 * time.Hour, Timeout: 2500 * time.Millisecond,
				Backoff:  catalog.Backoff{Min: 100 * time.Millisecond, Max: 30 * time.Second},
				Batch:    catalog.Batch{Records: 10, Bytes: 1e6, Wait: 250 * time.Millisecond, Format: "ndjson"},
				InFlight: 8, Order: "partition", DeadLetter: "orders.dead",
			},
		}},
		Egress: config.Egress{Allow: []string{"127.0.0.0/8", "fd00::/8", "192.0.2.7"}},
	}
	hidden := cmp.Exporter(func(reflect.Type) bool { return true })
	if diff := cmp.Diff(want, load(t, "right-every-key.yaml"), hidden); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestEmptyFilesAreTheDefault(t *testing.T) {
	for _, file := range []string{"right-empty.yaml", "right-only-comments.yaml", "right-only-document-marks.yaml"} {
		if got := load(t, file); !reflect.DeepEqual(got, config.Default()) {
			t.Errorf("%s: got %+v", file, got)
		}
	}
}

func TestAnchorsAndMergeKeys(t *testing.T) {
	cfg := load(t, "right-anchors-and-merge-keys.yaml")
	backoff := catalog.Backoff{Min: time.Second, Max: 5 * time.Minute}
	want := []catalog.Delivery{
		{Timeout: time.Minute, Backoff: backoff},
		{Timeout: time.Minute, Backoff: backoff},
		{Timeout: 2 * time.Minute, Backoff: backoff, Attempts: 3},
		{Timeout: 3 * time.Minute, Backoff: backoff},
	}
	for i, p := range cfg.Pipes {
		if diff := cmp.Diff(want[i], p.Delivery); diff != "" || len(p.Topics) != 1 || p.Topics[0] != "t" {
			t.Errorf("pipe %s, topics %v, delivery (-want +got):\n%s", p.Name, p.Topics, diff)
		}
	}
}

// TestYAMLAsJSON puts YAML where JSON is kept.
func TestYAMLAsJSON(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"order of keys", "{z: 1, a: 2, m: {y: 1, b: 2}}", `{"z":1,"a":2,"m":{"y":1,"b":2}}`},
		{"numbers keep their text", "[1, 1.0, 1.10, 1e2, 1E+2, -0, 123456789012345678901234567890, 0.1e-400]", `[1,1.0,1.10,1e2,1E+2,-0,123456789012345678901234567890,0.1e-400]`},
		{"plain texts", "[a, a b, 'it''s', \"a\\tb\", 1.2.3, 2026-01-31, yes, 1_0x]", `["a","a b","it's","a\tb","1.2.3","2026-01-31","yes","1_0x"]`},
		{"quoted numbers are texts", `["1", '2']`, `["1","2"]`},
		{"literals", "[true, false, null, ~]", `[true,false,null,null]`},
		{"signs of HTML", `["<a>&"]`, `["<a>&"]`},
		{"escapes of JSON", `["\u00e9\/\\\"\b\f\n\r\t", "\ud83d\ude00"]`, `["é/\\\"\b\f\n\r\t","😀"]`},
		{"a key that is a number", "{1: a, 1.10: b}", `{"1":"a","1.10":"b"}`},
		{"a block", "\n      a:\n      - b\n      - c: |\n          d\n           e\n        f: >\n          g\n          h\n", `{"a":["b",{"c":"d\n e\n","f":"g h\n"}]}`},
		{"an alias", "[&x {a: [1]}, *x]", `[{"a":[1]},{"a":[1]}]`},
		{"a merge key", "[&x {a: 1, b: 2}, {b: 3, <<: *x, c: 4}]", `[{"a":1,"b":2},{"b":3,"c":4,"a":1}]`},
		{"a quoted merge key", `{"<<": {a: 1}}`, `{"<<":{"a":1}}`},
		{"empty", "[{}, [], '']", `[{},[],""]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := "pipes:\n- name: p\n  topics: [t]\n  target: {topic: {name: u}}\n  transform:\n    constant: " + tt.in + "\n"
			cfg, problems := config.Load([]byte(text), all.Kinds())
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			if got := string(cfg.Pipes[0].Transform.Constant); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestSizes(t *testing.T) {
	tests := []struct {
		in   string
		want int64 // -1: a problem
	}{
		{"5000", 5000}, {"5000B", 5000}, {"1KB", 1000}, {"3MB", 3e6}, {"1GB", 1e9}, {"64KiB", 64 << 10}, {"2MiB", 2 << 20}, {"1GiB", 1 << 30},
		{"'64 MiB'", 64 << 20}, {"64  MiB", -1}, {"1.5MiB", -1}, {"64mib", -1}, {"64M", -1}, {"-1", -1}, {"MiB", -1}, {"9223372036854775808", -1}, {"[1]", -1},
	}
	for _, tt := range tests {
		cfg, problems := config.Load([]byte("sizes: {body: "+tt.in+"}"), nil)
		if got := cfg.Sizes.Body; len(problems) == 0 && got != tt.want || len(problems) > 0 != (tt.want < 0) {
			t.Errorf("%s: got %d, %v; want %d", tt.in, got, problems, tt.want)
		}
	}
}

func TestFileSizeIsBounded(t *testing.T) {
	text := []byte("listen: 127.0.0.1:0\n" + strings.Repeat("#", config.MaxFile))
	if _, problems := config.Load(text, nil); len(problems) != 1 || !strings.Contains(problems[0].Text, "larger") {
		t.Errorf("got %v", problems)
	}
}

// TestHostileFiles holds Load to its time on files that are made to take long:
// something again and again, in different places.
func TestHostileFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	begins := []string{"", "[", "pipes: |\n  ", "pipes:\n- filter:\n  - ", "{pipes: [{filter: {"}
	units := []string{"- a\n", "a,", "[],", "- ", "? ", "!a ", "&a ", "&a\n", "a:\n", "a: b\n", "- a: 1\n", "'", "\"", "\n", "\r\n", "*a ", "<<: ", "- &a b\n", "- ? a\n"}
	const size = 32 << 10
	for _, begin := range begins {
		for _, unit := range units {
			start := time.Now()
			_, problems := config.Load([]byte(begin+strings.Repeat(unit, size/len(unit))), all.Kinds())
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("%q, then %q: %s", begin, unit, took)
			}
			if len(problems) == 0 && begin+unit != "\n" && begin+unit != "\r\n" {
				t.Errorf("%q, then %q: no problem", begin, unit)
			}
		}
	}
}

func FuzzLoad(f *testing.F) {
	files, _ := filepath.Glob("testdata/*-*.[yj]*")
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		_, problems := config.Load(text, all.Kinds())
		lines := strings.Split(strings.TrimPrefix(string(text), "\ufeff"), "\n")
		for i, p := range problems {
			if p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > utf8.RuneCountInString(lines[p.Line-1])+1 || p.Text == "" {
				t.Errorf("problem %s lies outside the file", p)
			}
			if i > 0 && (problems[i-1].Line > p.Line || problems[i-1].Line == p.Line && problems[i-1].Column > p.Column) {
				t.Errorf("%s comes before %s", problems[i-1], p)
			}
			if strings.ContainsAny(p.Text, "\n\r") {
				t.Errorf("problem %q is more than a line", p.Text)
			}
		}
		if _, again := config.Load(text, all.Kinds()); !cmp.Equal(problems, again) {
			t.Errorf("problems differ from call to call:\n%s", cmp.Diff(problems, again))
		}
	})
}
