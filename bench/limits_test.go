package bench

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAcknowledged(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     bool
	}{
		{"v2", `{"offsets":[{"partition":0,"offset":0,"error_code":null,"error":null}],"key_schema_id":null}`, true},
		{"v2 refused", `{"offsets":[{"partition":null,"offset":null,"error_code":1,"error":"no"}]}`, false},
		{"v2 with no offset", `{"offsets":[{"partition":0,"offset":-1,"error_code":null}]}`, false},
		{"v2 of two", `{"offsets":[{"offset":1},{"offset":2}]}`, false},
		{"v3", `{"error_code":200,"cluster_id":"x","topic_name":"t","partition_id":0,"offset":5}`, true},
		{"v3 refused", `{"error_code":413,"message":"no"}`, false},
		{"nothing", `{}`, false},
		{"no JSON", `ok`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := acknowledged([]byte(c.in)); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestListsWantsEveryName(t *testing.T) {
	for _, c := range []struct {
		name, in string
		names    func([]byte) ([]string, error)
		ok       bool
	}{
		{"v1", `{"topics":["c","a","b"]}`, namesOfV1, true},
		{"v2", `["b","a","x"]`, namesOfV2, true},
		{"v3", `{"kind":"KafkaTopicList","data":[{"topic_name":"a"},{"topic_name":"b"}]}`, namesOfV3, true},
		{"one is missing", `["a","c"]`, namesOfV2, false},
		{"none", `[]`, namesOfV2, false},
		{"no list", `{}`, namesOfV2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := lists([]byte(c.in), []string{"a", "b"}, c.names); (err == nil) != c.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestLargeTextHasTheLength(t *testing.T) {
	for _, n := range []int{1_000, fillerBytes, fillerBytes + 1, 2*fillerBytes + 17} {
		text := largeText(n)
		if len(text) != n || strings.ContainsAny(string(text), "\"\\\n") {
			t.Errorf("%d bytes, want %d, none of which JSON escapes", len(text), n)
		}
	}
}

func TestLimitOptions(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*LimitOptions)
		want   string // in the error; empty: none
	}{
		{"defaults", func(*LimitOptions) {}, ""},
		{"larger than a body", func(o *LimitOptions) { o.RecordBytes = 1 << 30 }, "--record-bytes"},
		{"no records", func(o *LimitOptions) { o.StreamRecords = 0 }, "--stream-records"},
		{"too many consumers", func(o *LimitOptions) { o.Consumers = 1001 }, "--consumers"},
		{"no topics", func(o *LimitOptions) { o.Topics = 0 }, "--topics"},
		{"too short", func(o *LimitOptions) { o.ValueBytes = 10 }, "--value-bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := DefaultLimits()
			c.change(&o)
			err := o.Validate()
			if (c.want == "") != (err == nil) || err != nil && (!errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestLimitTable(t *testing.T) {
	r := &LimitReport{Machine: Machine{CPUs: 2, OS: "linux", Arch: "amd64", Go: "go1.26"}, Broker: "embedded", Limits: []Limit{
		{Name: "stream", Title: "a v3 stream of 1,000,000 records", Answered: 1_000_000, Bytes: 256_000_000, Seconds: 2.25, IdleBytes: 20 << 20, PeakBytes: 40 << 20},
		{Name: "record-v2", Title: "a record by v2", Answered: 1, Bytes: 40_000_000, Seconds: 0.51, IdleBytes: 20 << 20, PeakBytes: 137 << 20},
	}}
	want := `2 CPUs, linux/amd64, go1.26; broker: embedded

                                       answered      data    time   idle RSS   peak RSS
   a v3 stream of 1,000,000 records   1,000,000   244 MiB   2.2 s     20 MiB     40 MiB
                     a record by v2           1    38 MiB   0.5 s     20 MiB    137 MiB
`
	var b strings.Builder
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	if diff := cmp.Diff(want, strings.Join(lines, "\n")); diff != "" {
		t.Errorf("table differs (-want +got):\n%s", diff)
	}
}
