package rule

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
)

// eventNumber is what a search finds a number in an event to be.
func eventNumber(t testing.TB, text string) number {
	t.Helper()
	p, err := Compile([]byte(`{"n":[1]}`))
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSearch(&p.machine, []byte(`{"n":`+text+`}`))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer s.done()
	v := s.load(0)
	if v.exact() {
		return number{v.key(), true}
	}
	return number{}
}

// Numbers of events are read by other means than those of patterns.
func TestNumbersOfEventsAreThoseOfPatterns(t *testing.T) {
	texts := []string{"0", "-0", "-0.0", "0.000", "1", "1.0", "10e-1", "3.5", "-1e0", "0.1", "9007199254740993", "9007199254740992", "1e400", "-1e400", "5e-324", "4e-324",
		"37.807807921694092", "37.80780792169409", "1e22", "1e23", "123456789012345678", "1234567890123456789", "12345678901234567890", "0.1234567890123456789", "0.12345678901234567890",
		"18446744073709551615", "18446744073709551616", "9999999999999999999", "0.00000000000000000001", "100000000000000000000", "2.2250738585072011e-308", "1.7976931348623157e308",
		"0.30000000000000004", "-122.42200352825247", "-122.422003528252475", "17.6", "1.0000000000000002", "1.00000000000000022", "9007199254740993.5", "4503599627370497.5"}
	r := rand.New(rand.NewPCG(3, 4))
	for range 5_000 {
		f := (r.Float64() - 0.5) * []float64{1, 10, 300, 1e6, 1e15, 1e-5}[r.IntN(6)]
		texts = append(texts, strconv.FormatFloat(f, 'g', -1, 64), strconv.FormatFloat(f, 'f', r.IntN(20), 64),
			fmt.Sprintf("%d.%0*d", r.IntN(1000), 1+r.IntN(18), r.IntN(1_000_000)), fmt.Sprint(r.Uint64()>>r.IntN(64)))
	}
	for _, text := range texts {
		want := number{}
		if f, ok := refDouble(json.Number(text)); ok {
			want = number{keyOf(f), true}
		}
		if got := parseNumber(text); got != want {
			t.Errorf("a pattern's %s is %+v, want %+v", text, got, want)
		}
		if got := eventNumber(t, text); got != want {
			t.Errorf("an event's %s is %+v, want %+v", text, got, want)
		}
	}
}

func TestNumbersThatAreNone(t *testing.T) {
	p, err := Compile([]byte(`{"n":[1]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"01", "-", "-01", "1.", ".5", "1.e5", "1e", "1e+", "1x", "0x1", "00", "1.2.3", "--1", "+1", "1 2", "12345678.", "1.1234567x"} {
		if _, err := p.Match([]byte(`{"n":` + text + `}`)); err == nil {
			t.Errorf("%s passes as a number", text)
		}
	}
}
