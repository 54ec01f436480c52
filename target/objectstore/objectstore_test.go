package objectstore

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

func opened(t *testing.T, c Config, batch string) target.Target {
	t.Helper()
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	tg, err := Kind().Open(raw, targettest.Env(t, batch))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tg.Close() })
	return tg
}

// objects are the files below a directory that are no temporary ones.
func objects(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), temporary) {
			return err
		}
		body, err := os.ReadFile(filepath.Join(dir, path))
		all[path] = string(body)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// events makes a batch of one partition, from an offset on.
func events(offset int64, values ...string) (all []*event.Event) {
	for i, v := range values {
		all = append(all, targettest.Event(offset+int64(i), "k", v))
	}
	return all
}

func TestDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "objects")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var order []string
	away := func(gone bool) {
		from, to := dir, dir+".away"
		if !gone {
			from, to = to, from
		}
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	targettest.Run(t, targettest.Subject{
		// The suite delivers the same offsets again and again, which are the same
		// objects: each is counted when it is seen for the first time.
		Kind: Kind(), Config: Config{Directory: dir}, Fail: away, Stall: away,
		Received: func() []string {
			all := objects(t, dir)
			for _, key := range slices.Sorted(mapKeys(all)) {
				order = append(order, strings.TrimSuffix(all[key], "\n"))
				if err := os.Remove(filepath.Join(dir, key)); err != nil {
					t.Fatal(err)
				}
			}
			return order
		},
	})
}

func mapKeys(m map[string]string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestSameBatchIsTheSameObject(t *testing.T) {
	dir := t.TempDir()
	tg := opened(t, Config{Directory: dir}, "ndjson")
	for range 3 {
		if err := tg.Deliver(t.Context(), events(7, `{"n":1}`, "text", "{\n\"n\": 2}")); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{"source/2023/11/14/3-7-9-7d92543ffab0affc.ndjson": "{\"n\":1}\n\"text\"\n{\"n\":2}\n"}
	if diff := cmp.Diff(want, objects(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestFormats(t *testing.T) {
	batch := events(7, `{"id":1,"name":"a, \"b\"\nc","ok":true}`, `{"id":2,"nested":{"x":[1, 2]}}`, "not JSON", "\xff", `{"id":null}`)
	batch = append(batch, &event.Event{Record: &kgo.Record{Topic: "source", Partition: 3, Offset: 12, Timestamp: time.UnixMilli(1_700_000_000_000)}})
	columns := []Column{{Name: "id", Path: "$.value.id"}, {Name: "name", Path: "$.value.name"}, {Name: "x", Path: "$.value.nested"}, {Name: "at", Path: "$.offset"}}
	for _, test := range []struct {
		name   string
		in     Config
		want   string
		failed []int
	}{
		{"json", Config{Format: "json"}, `[{"id":1,"name":"a, \"b\"\nc","ok":true},{"id":2,"nested":{"x":[1, 2]}},"not JSON","/w==",{"id":null},null]`, nil},
		{"ndjson", Config{}, "{\"id\":1,\"name\":\"a, \\\"b\\\"\\nc\",\"ok\":true}\n{\"id\":2,\"nested\":{\"x\":[1, 2]}}\n\"not JSON\"\n\"/w==\"\n{\"id\":null}\nnull\n", nil},
		{"csv", Config{Format: "csv", CSV: &CSV{Columns: columns, Header: true}},
			"id,name,x,at\n1,\"a, \"\"b\"\"\nc\",,7\n2,,\"{\"\"x\"\":[1,2]}\",8\n,,,11\n,,,12\n", []int{2, 3}},
		{"csv without columns", Config{Format: "csv"},
			"source,3,7,1700000000000,k,\"{\"\"id\"\":1,\"\"name\"\":\"\"a, \\\"\"b\\\"\"\\nc\"\",\"\"ok\"\":true}\"\nsource,3,8,1700000000000,k,\"{\"\"id\"\":2,\"\"nested\"\":{\"\"x\"\":[1,2]}}\"\n" +
				"source,3,11,1700000000000,k,\"{\"\"id\"\":null}\"\nsource,3,12,1700000000000,,\n", []int{2, 3}},
		{"csv of coordinates", Config{Format: "csv", CSV: &CSV{Columns: []Column{{Name: "o", Path: "$.offset"}}}}, "7\n8\n9\n10\n11\n12\n", nil},
		{"an empty cell alone is a line", Config{Format: "csv", CSV: &CSV{Columns: []Column{{Name: "n", Path: "$.value.name"}}}}, "\"a, \"\"b\"\"\nc\"\n\"\"\n\"\"\n\"\"\n", []int{2, 3}},
	} {
		for _, compress := range []string{"", "none", "gzip", "zstd"} {
			t.Run(test.name+" "+compress, func(t *testing.T) {
				dir := t.TempDir()
				test.in.Directory, test.in.Compression = dir, compress
				if problems := problemsOf(&test.in); len(problems) > 0 {
					t.Fatal(problems)
				}
				err := opened(t, test.in, "json").Deliver(t.Context(), batch)
				if diff := cmp.Diff(test.failed, failures(t, err)); diff != "" {
					t.Error(diff)
				}
				all := objects(t, dir)
				if len(all) != 1 {
					t.Fatalf("%d objects", len(all))
				}
				for key, body := range all {
					if diff := cmp.Diff(test.want, unpack(t, key, body)); diff != "" {
						t.Error(key, diff)
					}
				}
			})
		}
	}
}

// failures are the positions of a PartialError, all of which must be permanent.
func failures(t *testing.T, err error) (all []int) {
	t.Helper()
	if err == nil {
		return nil
	}
	var partial *target.PartialError
	if !errors.As(err, &partial) {
		t.Fatal(err)
	}
	for i, err := range partial.Failed {
		if !target.FailureOf(err).Final {
			t.Errorf("%d: %v is not permanent", i, err)
		}
		all = append(all, i)
	}
	slices.Sort(all)
	return all
}

func unpack(t *testing.T, key, body string) string {
	t.Helper()
	var r io.Reader = strings.NewReader(body)
	var err error
	switch {
	case strings.HasSuffix(key, ".gz"):
		r, err = gzip.NewReader(r)
	case strings.HasSuffix(key, ".zst"):
		r, err = zstd.NewReader(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestNothingIsWrittenOfABatchThatFails(t *testing.T) {
	dir := t.TempDir()
	tg := opened(t, Config{Directory: dir, Format: "csv"}, "json")
	if got := failures(t, tg.Deliver(t.Context(), events(1, "a", "b"))); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("failed: %v", got)
	}
	if err := tg.Deliver(t.Context(), events(1, "a")); !target.FailureOf(err).Final || strings.Contains(err.Error(), `"a"`) {
		t.Errorf("got %v", err)
	}
	if all := objects(t, dir); len(all) > 0 {
		t.Errorf("wrote %v", all)
	}
}

func problemsOf(c *Config) (all []string) {
	c.Validate(func(path, problem string) { all = append(all, path+": "+problem) })
	slices.Sort(all)
	return all
}

func TestConfigProblems(t *testing.T) {
	s := secret.Ref{Value: "s"}
	for _, test := range []struct {
		name string
		in   Config
		want []string // beginnings
	}{
		{"nothing", Config{}, []string{": want either directory"}},
		{"both", Config{Directory: "d", Endpoint: "http://h"}, []string{": want either directory"}},
		{"a directory with a bucket's keys", Config{Directory: "d", Bucket: "b", Region: "r", AccessKey: s, SecretKey: s, PathStyle: true},
			[]string{"access_key: goes", "bucket: goes", "path_style: goes", "region: goes", "secret_key: goes"}},
		{"an endpoint alone", Config{Endpoint: "https://h"}, []string{"access_key: want a secret", "bucket: want", "secret_key: want a secret"}},
		{"bad endpoint, bucket, region", Config{Endpoint: "https://h/bucket", Bucket: "A", Region: "a b", AccessKey: s, SecretKey: s}, []string{"bucket: ", "endpoint: ", "region: "}},
		{"credentials in the URL", Config{Endpoint: "https://a:b@h", Bucket: "abc", AccessKey: s, SecretKey: s}, []string{"endpoint: credentials"}},
		{"bad names", Config{Directory: "d", Format: "xml", Compression: "lz4"}, []string{"compression: want none", "format: want ndjson"}},
		{"sections of other formats", Config{Directory: "d", CSV: &CSV{}, Parquet: &Parquet{Value: "x"}}, []string{"csv: goes with", "parquet.value: want", "parquet: goes with"}},
		{"columns", Config{Directory: "d", Format: "parquet", Parquet: &Parquet{Columns: []Column{
			{Name: "", Path: "$.value"}, {Name: "topic", Path: "$.value"}, {Name: "a", Path: "value"}, {Name: "a", Path: "$.value x", Type: "date"}}}},
			[]string{"parquet.columns[0].name: want", "parquet.columns[1].name: every row", "parquet.columns[2].path: want a path", "parquet.columns[3].name: there is", "parquet.columns[3].path: want", "parquet.columns[3].type: want text"}},
		{"a type in csv", Config{Directory: "d", Format: "csv", CSV: &CSV{Columns: []Column{{Name: "a", Path: "$.value", Type: "text"}}}}, []string{"csv.columns[0].type: goes with parquet"}},
		{"a key", Config{Directory: "d", Key: "{topic}"}, []string{"key: has no {partition}"}},
		{"all of a bucket", Config{Endpoint: "https://h:9000", Bucket: "abc", Region: "eu-1", AccessKey: s, SecretKey: s, PathStyle: true}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := problemsOf(&test.in)
			if len(got) != len(test.want) {
				t.Fatalf("got %q, want %q", got, test.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], test.want[i]) {
					t.Errorf("got %q, want %q", got[i], test.want[i])
				}
			}
		})
	}
}

func TestCompressionIsRepeatable(t *testing.T) {
	text := []byte(strings.Repeat("abc", 10_000))
	for name, compress := range compressions {
		a, err := compress(nil, text)
		if err != nil {
			t.Fatal(err)
		}
		b, err := compress([]byte("before"), text)
		if err != nil || !bytes.Equal(append([]byte("before"), a...), b) {
			t.Errorf("%s: differs: %v", name, err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	var batch []*event.Event
	for i := range 1000 {
		batch = append(batch, targettest.Event(int64(i), fmt.Sprint(i), fmt.Sprintf(`{"id":%d,"name":"somebody","total":%d.5,"tags":["a","b"]}`, i, i)))
	}
	columns := []Column{{Name: "id", Path: "$.value.id"}, {Name: "total", Path: "$.value.total"}}
	for _, c := range []Config{{}, {Compression: "zstd"}, {Format: "csv", CSV: &CSV{Columns: columns}}, {Format: "parquet"}, {Format: "parquet", Parquet: &Parquet{Columns: columns}}} {
		b.Run(fmt.Sprintf("%s %s %v", c.Format, c.Compression, c.Parquet != nil), func(b *testing.B) {
			encode, err := c.encoding()
			if err != nil {
				b.Fatal(err)
			}
			size := 0
			for b.Loop() {
				body, _, err := encode(batch)
				if err != nil {
					b.Fatal(err)
				}
				size = len(body)
			}
			b.ReportMetric(float64(size)/1000, "B/record")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/record")
		})
	}
}
