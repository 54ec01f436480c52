package rule

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// The events are parcels of land in the manner of a city's register: about 800
// bytes, a few short fields and a polygon, which is most of the text.
func parcels() [][]byte {
	r := rand.New(rand.NewPCG(7, 7))
	events := make([][]byte, 1000)
	for i := range events {
		var points []string
		for range 9 + r.IntN(3) {
			points = append(points, fmt.Sprintf("[ %.15f, %.15f, 0.0 ]", -122.4-r.Float64()/10, 37.7+r.Float64()/10))
		}
		events[i] = fmt.Appendf(nil, `{ "type": "Feature", "properties": { "MAPBLKLOT": "%04d%03d", "BLKLOT": "%04d%03d", "BLOCK_NUM": "%04d", "LOT_NUM": "%03d", "FROM_ST": "%d", "TO_ST": "%d", "STREET": "%s", "ST_TYPE": %s, "ODD_EVEN": "%s", "AREA": %d.%d }, "geometry": { "type": "Polygon", "coordinates": [ [ %s ] ] } }`,
			i, i%1000, i, i%1000, i, i%1000, r.IntN(900), r.IntN(900), streets[r.IntN(len(streets))], []string{`"ST"`, `"AVE"`, "null"}[r.IntN(3)], []string{"E", "O"}[r.IntN(2)], r.IntN(5000), r.IntN(10),
			strings.Join(points, ", "))
	}
	return events
}

var streets = []string{"JEFFERSON", "BEACH", "NORTH POINT", "BAY", "FRANCISCO", "CHESTNUT", "LOMBARD", "GREENWICH", "FILBERT", "UNION", "GREEN", "VALLEJO", "BROADWAY", "PACIFIC", "JACKSON", "CLAY"}

// nested are events of nested arrays: orders with lines of numbers.
func nested() [][]byte {
	r := rand.New(rand.NewPCG(8, 8))
	events := make([][]byte, 1000)
	for i := range events {
		var lines []string
		for range 5 {
			var lots []string
			for range 3 {
				lots = append(lots, fmt.Sprintf(`{"count":%d,"price":%d.%02d}`, r.IntN(100), r.IntN(500), r.IntN(100)))
			}
			lines = append(lines, fmt.Sprintf(`{"sku":%d,"weight":%d.5,"lots":[%s]}`, r.IntN(1000), r.IntN(50), strings.Join(lots, ",")))
		}
		events[i] = fmt.Appendf(nil, `{"type":"order","id":%d,"lines":[%s],"note":"%s"}`, i, strings.Join(lines, ","), strings.Repeat("x", 100))
	}
	return events
}

// rulesOf are five patterns of each kind.
var rulesOf = []struct {
	name     string
	events   func() [][]byte
	patterns []string
}{
	{"exact", parcels, []string{
		`{"properties":{"MAPBLKLOT":["0037037"]}}`, `{"properties":{"MAPBLKLOT":["0512512"]}}`, `{"properties":{"STREET":["FRANCISCO"]}}`, `{"properties":{"STREET":["BAY"],"ST_TYPE":["AVE"]}}`, `{"type":["Feature"],"properties":{"BLOCK_NUM":["0100"]}}`}},
	{"prefix", parcels, []string{
		`{"properties":{"STREET":[{"prefix":"FRA"}]}}`, `{"properties":{"STREET":[{"prefix":"B"}]}}`, `{"properties":{"MAPBLKLOT":[{"prefix":"03"}]}}`, `{"properties":{"MAPBLKLOT":[{"prefix":"0512"}]}}`, `{"properties":{"STREET":[{"prefix":"NOWHERE"}]}}`}},
	{"suffix", parcels, []string{
		`{"properties":{"STREET":[{"suffix":"ON"}]}}`, `{"properties":{"STREET":[{"suffix":"WAY"}]}}`, `{"properties":{"MAPBLKLOT":[{"suffix":"7"}]}}`, `{"properties":{"MAPBLKLOT":[{"suffix":"512"}]}}`, `{"properties":{"STREET":[{"suffix":"NOWHERE"}]}}`}},
	{"equals-ignore-case", parcels, []string{
		`{"properties":{"STREET":[{"equals-ignore-case":"jefferson"}]}}`, `{"properties":{"STREET":[{"equals-ignore-case":"Bay"}]}}`, `{"properties":{"STREET":[{"equals-ignore-case":"north point"}]}}`, `{"properties":{"ST_TYPE":[{"equals-ignore-case":"ave"}]}}`, `{"type":[{"equals-ignore-case":"polygon"}]}`}},
	{"wildcard", parcels, []string{
		`{"properties":{"STREET":[{"wildcard":"J*N"}]}}`, `{"properties":{"STREET":[{"wildcard":"*EE*"}]}}`, `{"properties":{"STREET":[{"wildcard":"B*A*"}]}}`, `{"properties":{"MAPBLKLOT":[{"wildcard":"0*7"}]}}`, `{"properties":{"MAPBLKLOT":[{"wildcard":"*12*"}]}}`}},
	{"anything-but", parcels, []string{
		`{"properties":{"STREET":[{"anything-but":"BAY"}]}}`, `{"properties":{"STREET":[{"anything-but":["BAY","UNION","GREEN"]}]}}`, `{"properties":{"ST_TYPE":[{"anything-but":["ST","AVE"]}]}}`, `{"properties":{"ODD_EVEN":[{"anything-but":"E"}]}}`, `{"type":[{"anything-but":{"prefix":"Fea"}}]}`}},
	{"numeric", parcels, []string{
		`{"properties":{"AREA":[{"numeric":[">",1000,"<",2000]}]}}`, `{"properties":{"AREA":[{"numeric":["<",100]}]}}`, `{"properties":{"AREA":[{"numeric":["=",512.5]}]}}`, `{"geometry":{"coordinates":[{"numeric":[">=",40]}]}}`, `{"geometry":{"coordinates":[{"numeric":["<",-122.49]}]}}`}},
	{"numeric-in-arrays", nested, []string{
		`{"lines":{"sku":[{"numeric":["<",500]}],"weight":[{"numeric":[">",40]}]}}`, `{"lines":{"lots":{"count":[{"numeric":["<",5]}],"price":[{"numeric":[">",450]}]}}}`,
		`{"lines":{"sku":[{"numeric":[">",900]}],"lots":{"price":[{"numeric":["<",10]}]}}}`, `{"lines":{"weight":[{"numeric":["=",10.5]}],"lots":{"count":[{"numeric":["=",7]}]}}}`,
		`{"id":[{"numeric":[">",100]}],"lines":{"lots":{"count":[{"numeric":[">",95]}],"price":[{"numeric":["<",20]}]}}}`}},
}

func mustCompile(tb testing.TB, pattern string) *Pattern {
	tb.Helper()
	p, err := Compile([]byte(pattern))
	if err != nil {
		tb.Fatalf("%s: %v", pattern, err)
	}
	return p
}

// matchAll matches events in turn.
func matchAll(b *testing.B, set *Set[int], events [][]byte) {
	b.Helper()
	var ids []int
	bytes, found := 0, 0
	for _, e := range events {
		bytes += len(e)
	}
	b.SetBytes(int64(bytes / len(events)))
	b.ReportAllocs()
	start := processorTime()
	for i := 0; b.Loop(); i++ {
		var err error
		if ids, err = set.Match(ids[:0], events[i%len(events)]); err != nil {
			b.Fatal(err)
		}
		found += len(ids)
	}
	// On a machine that others use as well, time on the clock says little.
	if used := processorTime() - start; used > 0 {
		b.ReportMetric(float64(b.N)/used.Seconds(), "events/cpu-s")
	}
	b.ReportMetric(float64(found)/float64(b.N), "matches/op")
}

func BenchmarkFiveRules(b *testing.B) {
	for _, kind := range rulesOf {
		b.Run(kind.name, func(b *testing.B) {
			var set Set[int]
			for i, p := range kind.patterns {
				set.Add(i, mustCompile(b, p))
			}
			matchAll(b, &set, kind.events())
		})
	}
}

// pattern i of n, of all kinds in turn, each satisfied by few events.
func oneOfMany(i int) string {
	switch i % 8 {
	case 0:
		return fmt.Sprintf(`{"properties":{"MAPBLKLOT":["%04d%03d"]}}`, i, i%1000)
	case 1:
		return fmt.Sprintf(`{"properties":{"STREET":["%s"],"MAPBLKLOT":[{"prefix":"%04d"}]}}`, streets[i%len(streets)], i)
	case 2:
		return fmt.Sprintf(`{"properties":{"BLKLOT":[{"suffix":"%04d%03d"}]}}`, i, i%1000)
	case 3:
		return fmt.Sprintf(`{"properties":{"STREET":[{"equals-ignore-case":"street %d"}]}}`, i)
	case 4:
		return fmt.Sprintf(`{"properties":{"MAPBLKLOT":[{"wildcard":"%04d*"}],"ODD_EVEN":["E"]}}`, i)
	case 5:
		return fmt.Sprintf(`{"properties":{"AREA":[{"numeric":[">",%d.25,"<",%d.75]}]}}`, i, i)
	case 6:
		return fmt.Sprintf(`{"properties":{"BLOCK_NUM":["%04d"],"STREET":[{"anything-but":"BAY"}]}}`, i)
	}
	return fmt.Sprintf(`{"type":["Feature"],"properties":{"LOT_NUM":["%03d"],"BLKLOT":["%04d%03d"]}}`, i%1000, i, i%1000)
}

func BenchmarkManyRules(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var set Set[int]
			for i := range n {
				set.Add(i, mustCompile(b, oneOfMany(i)))
			}
			matchAll(b, &set, parcels())
		})
	}
}

func BenchmarkAdd(b *testing.B) {
	var set Set[int]
	const n = 10_000
	for i := range n {
		set.Add(i, mustCompile(b, oneOfMany(i)))
	}
	var patterns []*Pattern
	for i := range 1000 {
		patterns = append(patterns, mustCompile(b, oneOfMany(n+i)))
	}
	b.ReportAllocs()
	start := processorTime()
	for i := 0; b.Loop(); i++ {
		set.Add(n+i%1000, patterns[i%1000]) // removes its predecessor, too
	}
	b.ReportMetric(float64(processorTime()-start)/float64(b.N), "cpu-ns/op")
}

func BenchmarkPattern(b *testing.B) {
	for _, pattern := range []string{`{"properties":{"STREET":["BAY"]}}`, `{"properties":{"STREET":[{"prefix":"B"}],"AREA":[{"numeric":[">",1000]}]}}`} {
		b.Run(pattern, func(b *testing.B) {
			p, events := mustCompile(b, pattern), parcels()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := p.Match(events[i%len(events)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	pattern := []byte(`{"source":[{"prefix":"kafka-connect."}],"detail":{"topic":["orders","refunds"],"value":{"amount":[{"numeric":[">=",100]}],"test":[{"exists":false}]}}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(pattern); err != nil {
			b.Fatal(err)
		}
	}
}
