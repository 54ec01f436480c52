package rule

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// many joins the texts that f makes with commas.
func many(n int, f func(i int) string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(f(i))
	}
	return b.String()
}

func same(text string) func(int) string { return func(int) string { return text } }

// spent runs f and says how long it took and how many bytes it allocated.
func spent(f func()) (time.Duration, uint64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	f()
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	return took, after.TotalAlloc - before.TotalAlloc
}

// largest is the length of the largest events. The race detector, which finds nothing
// in one goroutine, makes everything ten times slower.
var largest = 10 << 20 / slowdown

// TestHostileEventsAreBounded takes events that would cost a careless matcher
// forever, alone and together with a thousand other patterns.
func TestHostileEventsAreBounded(t *testing.T) {
	deep := func(depth int, open, close string) string {
		return strings.Repeat(open, depth) + "1" + strings.Repeat(close, depth)
	}
	for _, c := range []struct {
		name, pattern, event string
		want                 bool
		err                  error
		// perByte is how much may be allocated for each byte of the event,
		// besides a megabyte.
		perByte float64
	}{
		{name: "megabytes that no path names", pattern: `{"b":["x"]}`, event: `{"a":"` + strings.Repeat("x", largest) + `","b":"x"}`, want: true},
		{name: "megabytes of escapes that no path names", pattern: `{"c":["x"]}`, event: `{"b":"` + strings.Repeat(`\"`, largest/2) + `","c":"x"}`, want: true},
		{name: "megabytes of small objects that no path names", pattern: `{"a":["x"],"b":["x"]}`, event: `{"a":[` + many(largest/3, same("{}")) + `,"x"],"b":"x"}`, want: true},
		{name: "megabytes of text", pattern: `{"a":[{"suffix":"y"}]}`, event: `{"a":"` + strings.Repeat("x", largest) + `y"}`, want: true},
		{name: "megabytes of escaped text", pattern: `{"a":[{"suffix":"y"}]}`, event: `{"a":"` + strings.Repeat(`\n`, largest/2) + `y"}`, want: true, perByte: 8},
		{name: "megabytes of text that ignores case", pattern: `{"a":[{"equals-ignore-case":"x"}]}`, event: `{"a":"` + strings.Repeat("X", largest) + `"}`, perByte: 2},
		{name: "a key of megabytes", pattern: `{"a":{"b":["x"]}}`, event: `{"` + strings.Repeat("a.", largest/2) + `":1}`, perByte: 1},
		{name: "a number of megabytes", pattern: `{"a":[{"numeric":[">",1]}]}`, event: `{"a":` + strings.Repeat("9", largest) + `}`},
		{name: "zeros of megabytes", pattern: `{"a":[{"numeric":[">",1]}]}`, event: `{"a":0.` + strings.Repeat("0", largest) + `1}`, perByte: 2},
		{name: "an exponent of megabytes", pattern: `{"a":[{"numeric":[">",1]}]}`, event: `{"a":1e` + strings.Repeat("9", largest) + `}`},
		{name: "many values", pattern: `{"a":[{"numeric":[">",1]}]}`, event: `{"a":[` + many(largest/10, same("1")) + `]}`, perByte: 100},
		{name: "many elements", pattern: `{"a":{"b":[2],"c":[3]}}`, event: `{"a":[` + many(largest/50, same(`{"b":2}`)) + `,{"c":3}]}`, perByte: 100},
		{name: "a million keys", pattern: `{"b":["x"]}`, event: "{" + many(largest/10, func(i int) string { return fmt.Sprintf(`"k%d":1`, i) }) + `,"b":"x"}`, want: true},
		{name: "a million times one key", pattern: `{"k":[2]}`, event: "{" + many(largest/10, same(`"k":1`)) + `}`, perByte: 60},
		{name: "10,000 arrays deep", pattern: `{"a":[1]}`, event: `{"a":` + deep(9_998, "[", "]") + `}`, want: true, perByte: 100},
		{name: "deeper", pattern: `{"a":[1]}`, event: `{"a":` + deep(10_002, "[", "]") + `}`, err: ErrEvent},
		{name: "5 million objects deep that no path names", pattern: `{"b":["x"]}`, event: `{"a":` + strings.Repeat(`{"":`, largest/5) + "1" + strings.Repeat("}", largest/5) + `,"b":"x"}`, want: true},
		{name: "megabytes of opening brackets", pattern: `{"b":["x"]}`, event: `{"a":` + strings.Repeat("[", largest), err: ErrEvent},
		{name: "values 9,000 elements deep", pattern: `{"a":[2]}`, event: `{"a":` + strings.Repeat("[[1],", 4_500) + "1" + strings.Repeat("]", 4_500) + `}`, perByte: 60},
		{name: "a cross product of arrays", pattern: "{" + many(6, func(i int) string { return fmt.Sprintf(`"a%d":{"x":[1]}`, i) }) + `,"z":{"x":[2],"y":[1]}}`,
			event: "{" + many(6, func(i int) string { return fmt.Sprintf(`"a%d":[%s]`, i, many(300, same(`{"x":1}`))) }) + `,"z":[{"x":2},{"y":1}]}`, perByte: 400},
		{name: "wildcards on a text that nearly matches", pattern: `{"a":[{"wildcard":"*aaaaaa*b"}]}`, event: `{"a":"` + strings.Repeat("a", largest) + `"}`},
		{name: "wildcards that share what they look for", pattern: `{"a":[` + many(6, func(i int) string { return fmt.Sprintf(`{"wildcard":"*a%sb*c*"}`, strings.Repeat("a", i)) }) + `]}`,
			event: `{"a":"` + strings.Repeat("a", 1<<20) + `"}`, perByte: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := mustCompile(t, c.pattern)
			var set Set[int]
			set.Add(0, p)
			for i := range 1_000 {
				set.Add(1+i, mustCompile(t, fmt.Sprintf(`{"source":["s%d"],"a":["v%d",{"prefix":"p%d"}]}`, i, i, i)))
			}
			event := []byte(c.event)
			var got, inSet bool
			took, allocated := spent(func() {
				var err error
				if got, err = p.Match(event); !errors.Is(err, c.err) {
					t.Errorf("alone: %v, want %v", err, c.err)
				}
				var ids []int
				if ids, err = set.Match(nil, event); !errors.Is(err, c.err) {
					t.Errorf("in a set: %v, want %v", err, c.err)
				}
				inSet = len(ids) == 1
			})
			if got != c.want || inSet != c.want {
				t.Errorf("got %v, in a set %v; want %v", got, inSet, c.want)
			}
			if took > time.Minute {
				t.Errorf("took %s", took)
			}
			if most := uint64(1<<20 + 2*c.perByte*float64(len(event))); allocated > most {
				t.Errorf("allocated %d bytes for an event of %d; want at most %d", allocated, len(event), most)
			}
		})
	}
}

// What would take too much effort is given up.
func TestEffortIsBounded(t *testing.T) {
	// Which elements are chosen in the first arrays matters to the end, so that
	// all choices have to be tried.
	pattern := "{" + many(8, func(i int) string { return fmt.Sprintf(`"a%d":{"x":[1],"y":[2]}`, i) }) + "}"
	event := "{" + many(8, func(i int) string {
		y := 2
		if i == 7 {
			y = 3
		}
		return fmt.Sprintf(`"a%d":[%s]`, i, many(40, func(int) string { return fmt.Sprintf(`{"x":[1,1],"y":%d}`, y) }))
	}) + "}"
	p := mustCompile(t, pattern)
	took, allocated := spent(func() {
		if got, err := p.Match([]byte(event)); got || err != nil && !errors.Is(err, ErrEffort) {
			t.Errorf("got %v, %v; want no match, or ErrEffort", got, err)
		}
	})
	if took > time.Minute || allocated > 1<<30 {
		t.Errorf("took %s and %d bytes", took, allocated)
	}
}

// TestHostilePatternsAreRefused takes patterns beyond the limits, and those just
// within them.
func TestHostilePatternsAreRefused(t *testing.T) {
	or := func(n int, key string) string {
		return `"$or":[` + many(n, func(i int) string { return fmt.Sprintf(`{"%s":[%d]}`, key, i) }) + `]`
	}
	const complex = "Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a wildcard character"
	for _, c := range []struct{ name, pattern, want string }{
		{"64 KiB", `{"a":["` + strings.Repeat("x", 64<<10-10) + `"]}`, ""},
		{"a byte more", `{"a":["` + strings.Repeat("x", 64<<10-9) + `"]}`, "the pattern has 65537 bytes; at most 65536 are allowed"},
		{"200 levels deep", strings.Repeat(`{"a":`, 199) + `[1]` + strings.Repeat("}", 199), ""},
		{"more", strings.Repeat(`{"a":`, 201) + `[1]` + strings.Repeat("}", 201), "the pattern is nested more than 200 levels deep"},
		{"60 KiB of brackets", strings.Repeat("[", 30<<10) + strings.Repeat("]", 30<<10), "not JSON: invalid character '[' exceeded max depth, at byte 10001"},
		{"1000 alternatives", `{` + or(1000, "a") + `}`, ""},
		{"1001 alternatives", `{` + or(1001, "a") + `}`, "Too many $or combinations: more than 1000"},
		{"10 times 10 times 10", `{` + or(10, "a") + `,"b":{` + or(10, "b") + `},"c":{` + or(10, "c") + `}}`, ""},
		{"10 times 10 times 11", `{` + or(10, "a") + `,"b":{` + or(10, "b") + `},"c":{` + or(11, "c") + `}}`, "Too many $or combinations: more than 1000"},
		{"2 to the power of 190", strings.TrimSuffix(strings.Repeat(`{`+or(2, "a")+`,"b":`, 190)+`[1]`+strings.Repeat("}", 190), ""), "Too many $or combinations: more than 1000"},
		{"nested ones add", `{"$or":[{` + or(500, "a") + `},{` + or(500, "b") + `}]}`, ""},
		{"many alternatives of many fields", `{` + or(1000, "z") + `,` + many(200, func(i int) string { return fmt.Sprintf(`"k%d":[1]`, i) }) + `}`,
			"Too many $or combinations: they have more than 100000 fields in all"},
		{"a wildcard of many stars", `{"a":[{"wildcard":"*` + strings.Repeat("a*", 20_000) + `"}]}`, complex},
		{"a wildcard of complexity 10", `{"a":[{"wildcard":"` + strings.Repeat("*a", 5) + `"}]}`, ""},
		{"a wildcard of one long repetition", `{"a":[{"wildcard":"*` + strings.Repeat("a", 60_000) + `"}]}`, complex},
		{"a list of wildcards", `{"a":[` + many(2_000, func(i int) string { return fmt.Sprintf(`{"wildcard":"*%d*"}`, i) }) + `]}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var err error
			took, allocated := spent(func() { _, err = Compile([]byte(c.pattern)) })
			var syntax *SyntaxError
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%v", err)
			case c.want != "" && (!errors.As(err, &syntax) || syntax.Reason != c.want):
				t.Errorf("got %v, want %q", err, c.want)
			}
			if took > time.Minute || allocated > 256<<20 {
				t.Errorf("took %s and %d bytes", took, allocated)
			}
		})
	}
}

func TestComplexityOfWildcards(t *testing.T) {
	for _, c := range []struct {
		wildcard string
		want     int
	}{
		{"abc", 0}, {"*", 1}, {"a*b", 2}, {"/Users/*/dir/dir/dir/dir/dir/doc.txt", 7},
	} {
		g, err := parseGlob(c.wildcard)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.complexity(); got != c.want {
			t.Errorf("%s: got %d, want %d", c.wildcard, got, c.want)
		}
	}
}
