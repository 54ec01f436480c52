package bench

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sample is a report with one case of every kind of cell.
func sample() *Report {
	c := Case{Door: "front", Name: "batch", Title: "100 records a request, 64 connections", Sides: []Side{
		{Name: "yardstick", Runs: []Figures{
			{Records: 100_000, Requests: 100_000, Seconds: 5, RecordsPerSecond: 20_000, P50Micros: 1500, P99Micros: 4200, CPUMicros: 21.25, PeakBytes: 40 << 20},
			{Records: 125_000, Requests: 125_000, Seconds: 5, RecordsPerSecond: 25_000, P50Micros: 1300, P99Micros: 4000, CPUMicros: 20.25, PeakBytes: 42 << 20},
			{Records: 50_000, Requests: 50_000, Seconds: 5, RecordsPerSecond: 10_000, P50Micros: 3000, P99Micros: 150_000, CPUMicros: 22.25, PeakBytes: 42 << 20},
		}},
		{Name: "native", Runs: []Figures{{RecordsPerSecond: 400_000}, {RecordsPerSecond: 400_000}, {RecordsPerSecond: 400_000}}},
		{Name: "klamm v2", Runs: []Figures{
			{Records: 1_000_000, Requests: 10_000, Seconds: 5, RecordsPerSecond: 200_000, P50Micros: 800, P99Micros: 1200, CPUMicros: 2.5, PeakBytes: 60 << 20},
			{Records: 1_000_000, Requests: 10_000, Seconds: 5, RecordsPerSecond: 200_000, P50Micros: 800, P99Micros: 1200, CPUMicros: 2.5, PeakBytes: 60 << 20},
			{Records: 600_000, Requests: 6_000, Seconds: 5, RecordsPerSecond: 120_000, P50Micros: 800, P99Micros: 1200, CPUMicros: 2.5, PeakBytes: 60 << 20},
		}},
	}}
	compare(&c, []contender{{name: "yardstick", yardstick: true}, {name: "native", yardstick: true}, {name: "klamm v2"}})
	return &Report{
		Machine: Machine{CPUs: 2, OS: "linux", Arch: "amd64", Go: "go1.26"}, Broker: "embedded", ValueBytes: 1024, Seconds: 5, Rounds: 3,
		Cases: []Case{c},
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := sample().WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	want := `2 CPUs, linux/amd64, go1.26; broker: embedded; values of 1024 bytes; medians of 3 rounds

front: 100 records a request, 64 connections
               records/s   requests/s      p50      p99   CPU/record   peak RSS
   yardstick      20,000       20,000   1.5 ms   4.2 ms      21.2 µs     42 MiB
      native     400,000            -        -        -            -          -
    klamm v2     200,000        2,000   800 µs   1.2 ms       2.5 µs     60 MiB
   klamm v2: 1000 % of yardstick's records/s, 12 % of its CPU/record
   klamm v2: 50 % of native's records/s
`
	got := b.String()
	lines := strings.Split(got, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	if diff := cmp.Diff(want, strings.Join(lines, "\n")); diff != "" {
		t.Errorf("table differs (-want +got):\n%s", diff)
	}
}

// A share is compared within a round: the median of the shares, not the share
// of the medians.
func TestSharesAreMediansOfRounds(t *testing.T) {
	got := sample().Cases[0].Shares
	want := []Share{
		{Of: "yardstick", Side: "klamm v2", Median: 10, Runs: []float64{10, 8, 12}, CPU: 2.5 / 21.25},
		{Of: "native", Side: "klamm v2", Median: 0.5, Runs: []float64{0.5, 0.5, 0.3}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("shares differ (-want +got):\n%s", diff)
	}
}

func TestJSONHasTheNamesThatScriptsUse(t *testing.T) {
	document, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Cases []struct {
			Door, Name string
			Sides      []struct {
				Name   string
				Median map[string]float64
				Runs   []map[string]float64
			}
			Shares []struct {
				Of, Side string
				Median   float64
			}
		}
	}
	if err := json.Unmarshal(document, &got); err != nil {
		t.Fatal(err)
	}
	side := got.Cases[0].Sides[0]
	want := map[string]float64{
		"records": 100_000, "requests": 100_000, "bytes": 0, "seconds": 5, "records_per_second": 20_000, "p50_us": 1500, "p99_us": 4200,
		"cpu_us_per_record": 21.25, "peak_rss_bytes": 42 << 20, "repeated": 0,
	}
	if diff := cmp.Diff(want, side.Median); diff != "" {
		t.Errorf("median of %s differs (-want +got):\n%s", side.Name, diff)
	}
	if len(side.Runs) != 3 || got.Cases[0].Shares[0].Median != 10 {
		t.Errorf("runs %v, shares %v", side.Runs, got.Cases[0].Shares)
	}
}

func TestFiguresSettle(t *testing.T) {
	f := Figures{Records: 1000, Seconds: 2}
	f.settle(20 * time.Millisecond)
	if f.RecordsPerSecond != 500 || f.CPUMicros != 20 {
		t.Errorf("got %+v", f)
	}
	var none Figures
	none.settle(time.Second)
	if none != (Figures{}) {
		t.Errorf("nothing settles as %+v", none)
	}
}

func TestCells(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{thousands(0), "-"},
		{thousands(999.6), "1,000"},
		{thousands(42), "42"},
		{thousands(1234567), "1,234,567"},
		{micros(0), "-"},
		{micros(2.25), "2.2 µs"},
		{micros(150), "150 µs"},
		{micros(1500), "1.5 ms"},
		{micros(150_000), "150 ms"},
		{mebibytes(0), "-"},
		{mebibytes(3 << 20), "3 MiB"},
	} {
		if c.in != c.want {
			t.Errorf("got %q, want %q", c.in, c.want)
		}
	}
}
