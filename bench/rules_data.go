package bench

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// ruleEvents is how many events are matched in turn, and eventSeed makes them
// the same everywhere.
const (
	ruleEvents = 1_000
	eventSeed  = 20_261_121
)

// features are GeoJSON features in the manner of a city's land register: a few
// short properties, and a polygon that is most of the text, about 800 bytes in
// all. Its points are arrays of numbers, and so are not what most patterns look
// at; the first of them stands beside it as an object.
func features() [][]byte {
	r := rand.New(rand.NewPCG(eventSeed, 1))
	events := make([][]byte, ruleEvents)
	for i := range events {
		points := make([]string, 8+r.IntN(3))
		for j := range points {
			points[j] = fmt.Sprintf("[ %v, %v, 0.0 ]", longitude(r), latitude(r))
		}
		events[i] = fmt.Appendf(nil, `{ "type": "Feature", "properties": { %s }, "geometry": { "type": "Polygon", `+
			`"firstCoordinates": { "x": %v, "y": %v, "z": 0.0 }, "coordinates": [ [ %s ] ] } }`,
			properties(r, i), longitude(r), latitude(r), strings.Join(points, ", "))
	}
	return events
}

// objects are the same features with points that are objects, so that a pattern
// can ask for the numbers of one point.
func objects() [][]byte {
	r := rand.New(rand.NewPCG(eventSeed, 2))
	events := make([][]byte, ruleEvents)
	for i := range events {
		points := make([]string, 7+r.IntN(3))
		for j := range points {
			points[j] = fmt.Sprintf(`{ "x": %v, "y": %v, "z": 0.0 }`, longitude(r), latitude(r))
		}
		events[i] = fmt.Appendf(nil, `{ "type": "Feature", "properties": { %s }, "geometry": { "type": "Polygon", "coordinates": [ [ %s ] ] } }`,
			properties(r, i), strings.Join(points, ", "))
	}
	return events
}

func properties(r *rand.Rand, i int) string {
	block, lot := 1+i*9, 1+r.IntN(120)
	from := 1 + 2*r.IntN(2000)
	return fmt.Sprintf(`"MAPBLKLOT": "%04d%03d", "BLKLOT": "%04d%03d", "BLOCK_NUM": "%04d", "LOT_NUM": "%03d", "FROM_ST": "%d", "TO_ST": "%d", "STREET": "%s", "ST_TYPE": %s, "ODD_EVEN": "%s", "AREA": %d.%02d`,
		block, lot, block, lot, block, lot, from, from+2*r.IntN(20), street(r.IntN(len(streets)*2)), streetType(r.IntN(5)), []string{"E", "O"}[r.IntN(2)], 80+r.IntN(9000), r.IntN(100))
}

func longitude(r *rand.Rand) float64 { return -122.36 - r.Float64()*0.15 }

func latitude(r *rand.Rand) float64 { return 37.70 + r.Float64()*0.11 }

var streets = []string{"JEFFERSON", "BEACH", "NORTH POINT", "BAY", "FRANCISCO", "CHESTNUT", "LOMBARD", "GREENWICH", "FILBERT", "UNION", "GREEN", "VALLEJO", "BROADWAY", "PACIFIC",
	"JACKSON", "WASHINGTON", "CLAY", "SACRAMENTO", "CALIFORNIA", "PINE", "BUSH", "SUTTER", "POST", "GEARY", "FULTON", "HAIGHT", "MISSION", "HARRISON"}

// street i: the first are of the list, the next have a number behind.
func street(i int) string {
	if i < len(streets) {
		return streets[i]
	}
	return fmt.Sprintf("%s %d", streets[i%len(streets)], i/len(streets))
}

func streetType(i int) string { return []string{`"ST"`, `"ST"`, `"AVE"`, `"BLVD"`, "null"}[i] }

// A ruleKind is one kind of patterns. Few are five that an event often
// satisfies; of many, each differs from the others.
type ruleKind struct {
	name   string
	events func() [][]byte
	few    []string
	many   func(i int) string
}

// ruleKinds lists what is measured.
func ruleKinds() []ruleKind {
	return []ruleKind{
		{"exact", features, []string{
			`{"properties":{"MAPBLKLOT":["0901037"]}}`, `{"properties":{"STREET":["FRANCISCO","BAY"]}}`, `{"properties":{"STREET":["FULTON"],"ST_TYPE":["AVE"]}}`,
			`{"properties":{"BLOCK_NUM":["0100"]}}`, `{"type":["Feature"],"properties":{"ODD_EVEN":["E"],"ST_TYPE":["BLVD"]}}`,
		}, exactPattern},
		{"prefix", features, []string{
			`{"properties":{"STREET":[{"prefix":"FRA"}]}}`, `{"properties":{"STREET":[{"prefix":"B"}]}}`, `{"properties":{"MAPBLKLOT":[{"prefix":"03"}]}}`,
			`{"properties":{"MAPBLKLOT":[{"prefix":"0512"}]}}`, `{"properties":{"STREET":[{"prefix":"NOWHERE"}]}}`,
		}, func(i int) string {
			if i%2 == 0 {
				return fmt.Sprintf(`{"properties":{"STREET":[{"prefix":"%s"}],"MAPBLKLOT":[{"prefix":"%04d"}]}}`, street(i)[:3], i)
			}
			return fmt.Sprintf(`{"properties":{"BLKLOT":[{"prefix":"%05d"}]}}`, i*9)
		}},
		{"suffix", features, []string{
			`{"properties":{"STREET":[{"suffix":"ON"}]}}`, `{"properties":{"STREET":[{"suffix":"WAY"}]}}`, `{"properties":{"MAPBLKLOT":[{"suffix":"7"}]}}`,
			`{"properties":{"MAPBLKLOT":[{"suffix":"9012"}]}}`, `{"properties":{"STREET":[{"suffix":"NOWHERE"}]}}`,
		}, func(i int) string {
			if i%2 == 0 {
				return fmt.Sprintf(`{"properties":{"STREET":[{"suffix":"%s"}],"MAPBLKLOT":[{"suffix":"%04d"}]}}`, street(i)[1:], i*7%10_000)
			}
			return fmt.Sprintf(`{"properties":{"BLKLOT":[{"suffix":"%05d"}]}}`, i*13%100_000)
		}},
		{"wildcard", features, []string{
			`{"properties":{"STREET":[{"wildcard":"J*N"}]}}`, `{"properties":{"STREET":[{"wildcard":"*EE*"}]}}`, `{"properties":{"STREET":[{"wildcard":"B*A*"}]}}`,
			`{"properties":{"MAPBLKLOT":[{"wildcard":"0*7"}]}}`, `{"properties":{"MAPBLKLOT":[{"wildcard":"*12*"}]}}`,
		}, func(i int) string {
			if i%2 == 0 {
				return fmt.Sprintf(`{"properties":{"MAPBLKLOT":[{"wildcard":"%04d*%d"}]}}`, i*9+1, i%10)
			}
			return fmt.Sprintf(`{"properties":{"BLKLOT":[{"wildcard":"*%04d"}]}}`, i*7%10_000)
		}},
		{"equals-ignore-case", features, []string{
			`{"properties":{"STREET":[{"equals-ignore-case":"jefferson"}]}}`, `{"properties":{"STREET":[{"equals-ignore-case":"Bay"}]}}`,
			`{"properties":{"STREET":[{"equals-ignore-case":"north point"}]}}`, `{"properties":{"ST_TYPE":[{"equals-ignore-case":"ave"}]}}`, `{"properties":{"ST_TYPE":[{"equals-ignore-case":"Blvd"}]}}`,
		}, func(i int) string {
			return fmt.Sprintf(`{"properties":{"STREET":[{"equals-ignore-case":"%s"}]}}`, strings.ToLower(street(i)))
		}},
		{"anything-but", features, []string{
			`{"properties":{"STREET":[{"anything-but":"BAY"}]}}`, `{"properties":{"STREET":[{"anything-but":["BAY","UNION","GREEN"]}]}}`, `{"properties":{"ST_TYPE":[{"anything-but":["ST","AVE"]}]}}`,
			`{"properties":{"ODD_EVEN":[{"anything-but":"E"}]}}`, `{"properties":{"STREET":[{"anything-but":{"prefix":"F"}}]}}`,
		}, func(i int) string {
			return fmt.Sprintf(`{"properties":{"MAPBLKLOT":[{"prefix":"%04d"}],"STREET":[{"anything-but":"%s"}]}}`, i*9+1, street(i))
		}},
		{"numeric", features, []string{
			`{"properties":{"AREA":[{"numeric":[">",1000,"<",2000]}]}}`, `{"properties":{"AREA":[{"numeric":["<",300]}]}}`, `{"properties":{"AREA":[{"numeric":["=",512.5]}]}}`,
			`{"geometry":{"firstCoordinates":{"x":[{"numeric":["<",-122.5]}]}}}`, `{"geometry":{"firstCoordinates":{"y":[{"numeric":[">=",37.75,"<",37.76]}]}}}`,
		}, func(i int) string {
			if i%2 == 0 {
				return fmt.Sprintf(`{"properties":{"AREA":[{"numeric":[">=",%d.5,"<",%d.5]}]}}`, i*9, i*9+9)
			}
			return fmt.Sprintf(`{"geometry":{"firstCoordinates":{"x":[{"numeric":[">",%.5f,"<=",%.5f]}]}}}`, -122.36015-float64(i)*0.00015, -122.36-float64(i)*0.00015)
		}},
		{"numeric in nested arrays", objects, []string{
			`{"geometry":{"coordinates":{"x":[{"numeric":["<",-122.5]}],"y":[{"numeric":[">",37.8]}]}}}`, `{"geometry":{"coordinates":{"x":[{"numeric":[">",-122.38,"<",-122.37]}],"z":[0]}}}`,
			`{"geometry":{"coordinates":{"x":[{"numeric":[">=",-122.40]}],"y":[{"numeric":["<",37.71]}]}}}`, `{"geometry":{"coordinates":{"y":[{"numeric":["<",37.7]}]}}}`,
			`{"geometry":{"coordinates":{"y":[{"numeric":["=",37.75]}],"z":[{"numeric":[">",0]}]}}}`,
		}, func(i int) string {
			x, y := -122.36-float64(i%40)*0.00375, 37.70+float64(i/40%25)*0.0044
			return fmt.Sprintf(`{"geometry":{"coordinates":{"x":[{"numeric":[">",%.5f,"<=",%.5f]}],"y":[{"numeric":[">=",%.4f,"<",%.4f]}]}}}`, x-0.00375, x, y, y+0.0044)
		}},
		{"mixed", features, []string{
			`{"properties":{"MAPBLKLOT":["0901037"],"STREET":[{"anything-but":"BAY"}]}}`, `{"properties":{"STREET":[{"prefix":"FRA"}],"AREA":[{"numeric":[">",1000]}]}}`,
			`{"properties":{"STREET":[{"wildcard":"*EE*"}],"ST_TYPE":[{"equals-ignore-case":"ave"}]}}`, `{"$or":[{"properties":{"BLKLOT":[{"suffix":"7"}]}},{"properties":{"LOT_NUM":["012"]}}],"type":["Feature"]}`,
			`{"properties":{"ODD_EVEN":["E"],"OWNER":[{"exists":false}]}}`,
		}, mixedPattern},
	}
}

func exactPattern(i int) string {
	switch i % 4 {
	case 0:
		return fmt.Sprintf(`{"properties":{"MAPBLKLOT":["%04d%03d"]}}`, i*9+1, i%120+1)
	case 1:
		return fmt.Sprintf(`{"properties":{"BLOCK_NUM":["%04d"],"ST_TYPE":["ST"]}}`, i*9+1)
	case 2:
		return fmt.Sprintf(`{"properties":{"STREET":["%s"],"LOT_NUM":["%03d"]}}`, street(i%len(streets)), i%120)
	}
	return fmt.Sprintf(`{"type":["Feature"],"properties":{"FROM_ST":["%d"],"ODD_EVEN":["E"]}}`, i)
}

// mixedPattern takes all kinds in turn, each with a field that few events
// satisfy.
func mixedPattern(i int) string {
	switch i % 8 {
	case 0:
		return fmt.Sprintf(`{"properties":{"MAPBLKLOT":["%04d%03d"]}}`, i, i%120)
	case 1:
		return fmt.Sprintf(`{"properties":{"STREET":["%s"],"MAPBLKLOT":[{"prefix":"%04d"}]}}`, street(i%len(streets)), i)
	case 2:
		return fmt.Sprintf(`{"properties":{"BLKLOT":[{"suffix":"%04d%03d"}]}}`, i, i%120)
	case 3:
		return fmt.Sprintf(`{"properties":{"STREET":[{"equals-ignore-case":"%s"}]}}`, strings.ToLower(street(i)))
	case 4:
		return fmt.Sprintf(`{"properties":{"MAPBLKLOT":[{"wildcard":"%04d*"}],"ODD_EVEN":["E"]}}`, i)
	case 5:
		return fmt.Sprintf(`{"properties":{"AREA":[{"numeric":[">",%d.25,"<",%d.75]}]}}`, i, i)
	case 6:
		return fmt.Sprintf(`{"properties":{"BLOCK_NUM":["%04d"],"STREET":[{"anything-but":"BAY"}]}}`, i)
	}
	return fmt.Sprintf(`{"type":["Feature"],"properties":{"LOT_NUM":["%03d"],"BLKLOT":["%04d%03d"]}}`, i%120, i, i%120)
}

// overlappingPattern is a wildcard with two numbers of one or two digits anywhere:
// a text has parts of thousands of them.
func overlappingPattern(i int) string {
	return fmt.Sprintf(`{"properties":{"BLKLOT":[{"wildcard":"*%d*%d*"}]}}`, i/100%100, i%100)
}
