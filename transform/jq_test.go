package transform

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/itchyny/gojq"
)

func TestJQ(t *testing.T) {
	const doc = `{"topic":"orders","offset":9007199254740993,"value":{"id":7,"sum":12.50,"tags":["a","b"],"name":"Kim \"K\""}}`
	for _, c := range []struct{ name, in, want string }{
		{"identity keeps numbers", `.`, `{"offset":9007199254740993,"topic":"orders","value":{"id":7,"name":"Kim \"K\"","sum":12.50,"tags":["a","b"]}}`},
		{"object", `{id: .value.id, from: .topic}`, `{"from":"orders","id":7}`},
		{"string", `"\(.value.id) of \(.topic)"`, `"7 of orders"`},
		{"arithmetic", `.value.id * 2 + .value.sum - 1`, `25.5`},
		{"array", `[.value.tags[] | ascii_upcase]`, `["A","B"]`},
		{"null", `.nope`, `null`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := apply(t, Spec{JQ: c.in}, Vars{}, doc); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	record := `{"key":"` + b64("k") + `","value":"` + b64(`{"id":7}`) + `"}`
	if got, want := apply(t, Spec{JQ: "[.key, .value.id]", Encoded: true}, Vars{}, record), `["aw==",7]`; got != want {
		t.Errorf("encoded: got %s, want %s", got, want)
	}
}

// What the guards add must not change what programs mean.
func TestGuardedProgramsMeanTheSame(t *testing.T) {
	const doc = `{"a":[3,1,2],"b":{"c":"x,y","d":null,"e":[[1,2],[3]]},"n":4,"s":"abcabc","o":{"k":1,"_u":2},"z":[{"k":"p","v":1},{"k":"q","v":2},{"k":"p","v":3}]}`
	for _, in := range []string{
		`.`, `.a[]`, `.a[1:]`, `.a[-1]`, `.["b"].c`, `."b"."c"`, `.a as [$x,$y] | $x - $y`, `.b as {c: $c, $d} | [$c,$d]`, `.o as {_u: $u} | {_u: $u, $u}`, `.o as {$k, _u: $v} | {$k, v: $v}`,
		`(1,2)*(3,4)`, `(1,2)-(3,4)`, `[(1,2)+(3,4)]`, `"ab" * 3`, `3 * "ab"`, `"ab" * 0`, `{a:{b:1}} * {a:{c:2}}`, `[1,2,3,2] - [2]`, `.n *= 3`, `.n -= (1,2)`, `.a[0] += 5`, `.n /= 2`, `.n %= 3`, `.q //= 1`,
		`.a |= map(. * 2)`, `(.a, .b.e[]) |= length`, `.a[] |= select(. > 1)`, `del(.a[0], .b)`, `path(..)`, `[paths]`, `[paths(type == "number")]`, `to_entries | map(.key)`, `with_entries(.value |= type)`,
		`reduce .a[] as $x (0; . + $x)`, `foreach .a[] as $x (0; . + $x; [$x, .])`, `def f(g): g | g; .n | f(. + 1)`, `def f($x; $y): $x * $y; f(2; 3)`, `def fac: if . <= 1 then 1 else . * (. - 1 | fac) end; .n | fac`,
		`[limit(3; repeat(1))]`, `first(range(10; 0; -3))`, `[range(0; 10; 4)]`, `until(. == 0; 0)`, `[.n | while(. > 0; . - 1)]`, `[recurse(if . < 3 then . + 1 else empty end)?]`, `[.. | numbers]`,
		`.s | test("b")`, `.s | [match("b"; "g").offset]`, `.s | sub("b"; "X")`, `.s | gsub("(?<l>[ab])"; "<\(.l)>")`, `.s | [scan("a.")]`, `.s | split("b")`, `.s | split("b"; null)`, `[.s | splits("c")]`, `.s | capture("(?<x>b)")`, `.s | test(["B", "i"])`,
		`.a | join(",")`, `.a | join(",", "-")`, `[["a",null,1,true] | join("-")]`, `.b.e | transpose`, `.b.e | flatten`, `.a | contains([1])`, `[1] | inside([1, 2])`, `.a | index(1)`, `.s | indices("b")`, `.s | rindex("c")`, `.s | index("c", "a")`,
		`.a | sort | unique | add`, `.z | group_by(.k) | map({k: .[0].k, v: map(.v) | add})`, `.z | INDEX(.k)`, `.z | min_by(.v), max_by(.v)`, `[.z[] | .k] | unique`, `.z | map(select(.v > 1))`, `.z | from_entries?`,
		`tojson | fromjson`, `@base64 "x\(.s)"`, `.s | @base64 | @base64d`, `[.a[] | tostring] | @csv`, `@json`, `"\(.a) and \(.b.c)"`, `.s | ltrimstr("a") | ascii_upcase | explode | implode`,
		`try error("x") catch .`, `.a.b? // "alt"`, `[.[]?]`, `try (1, error("y"), 3) catch "c"`, `label $out | 1, break $out, 2`, `if .n > 3 then "big" elif .n > 2 then "mid" else "small" end`, `.n as $n | [$n, -$n]`, `-(.n)`, `[.a[] as $x | $x | -$x]`,
		`[tostream]`, `fromstream(tostream)`, `fromstream(1 | truncate_stream([[0],1],[[1,0],2],[[1,0]],[[1]]))`, `setpath(["x","y"]; 1)`, `setpath(["x"], ["y"]; (1, 2))`, `getpath(["b","c"])`, `pick(.b.c)`, `[splits("a")?]`, `[getpath(["a", 0], ["b", "d"])]`, `delpaths([["a"],["b"]])`,
		`(.a | select(length > 1)) |= sort`, `(.z[] | select(.k == "p") | .v) |= . * 10`, `(.a | first) |= 9`, `(.b | getpath(["c"])) = 1`, `first(.a[]) |= 8`, `.a | (.[1:] | first) = 0`, `[.a[] | if . > 1 then . else empty end]`, `any(.a[]; . > 2), all(.a[]; . > 2)`, `isempty(empty)`,
		`walk(if type == "number" then . + 1 else . end)`, `[.a | combinations?]`, `[[1,2],[3,4]] | [combinations]`, `.a | .[1] as $m | map(. == $m)`, `.b.e[0][1] = 5`, `.new[2] = 1`, `$__loc__`, `[.[] | type]`, `.a | map(., .)`, `.a[.n - 3]`, `.a[.n - 4:.n - 2]`, `"\("\(.n)")"`,
		`ltrimstr("x")`, `input_line_number?`, `splits("x")?`, `error(null)?`, `[.a[] | . as $x | {"k\($x)": $x}] | add`, `{(.s, "t"): .n}`, `{"a b": 1, "c\(.n)": 2}`, `.a | @sh`, `[1, [2]] | .[1][0]`, `now | type`, `0 | todate`, `"2015-03-05T23:51:47Z" | fromdate`, `[1,2] | .[0] -= 1`, `1 - 1 - 1`, `2 * 3 * 4 - 5`,
	} {
		var plain, guarded []any
		var input any
		if err := json.Unmarshal([]byte(doc), &input); err != nil {
			t.Fatal(err)
		}
		collect := func(q *gojq.Query, options ...gojq.CompilerOption) (all []any) {
			code, err := gojq.Compile(q, options...)
			if err != nil {
				return []any{"compile: " + err.Error()}
			}
			for results := code.Run(input); ; {
				v, ok := results.Next()
				if !ok {
					return all
				}
				if err, failed := v.(error); failed {
					return append(all, "error: "+err.Error())
				}
				all = append(all, v)
			}
		}
		q, err := gojq.Parse(in)
		if err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		plain = collect(q)
		q, _ = gojq.Parse(in)
		if err := guardQuery(q); err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		guarded = collect(q, guards(&expressions{met: map[string]bool{}})...)
		if diff := cmp.Diff(plain, guarded, cmp.Comparer(func(a, b json.Number) bool { return a == b })); diff != "" {
			t.Errorf("%s (-plain +guarded):\n%s", in, diff)
		}
	}
}

func TestJQFailures(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"no value", `empty`, "gave no value"},
		{"two values", `1, 2`, "more than one value"},
		{"error behind the first value", `1, error("x")`, "jq: error"},
		{"type error without the value", `.secret | .[]`, "jq: cannot iterate over"},
		{"own error without the value", `error(.secret)`, "jq: error"},
		{"halt", `halt`, "jq: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr, err := Compile(Spec{JQ: c.in}, Vars{})
			if err != nil {
				t.Fatal(err)
			}
			out, err := tr.Apply([]byte("x"), []byte(`{"secret":"hunter2"}`), noon)
			var program *ProgramError
			if !errors.As(err, &program) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") || string(out) != "x" {
				t.Errorf("got %s, %v, want a ProgramError with %q", out, err, c.want)
			}
		})
	}
	for _, c := range []struct{ name, in, want string }{
		{"inner function", `_multiply("x"; 1e9)`, "must not begin with _"},
		{"our function", `klamm_fits`, "must not begin with _ or klamm_"},
		{"our variable", `1 as $klamm_r | .`, "must not begin with"},
		{"module", `import "a" as a; .`, "no modules"},
		{"shadowed function", `def join(x): "y"; join(",")`, "join is a function of jq"},
		{"unknown function", `nope`, "function not defined: nope/0"},
		{"no input", `input`, "input"},
		{"syntax", `"ä" | )`, `jq: character 7: unexpected ")"`},
		{"computed flags", `test("a"; .flags)`, "must be written out"},
		{"too short", `.a |`, "jq: character 5: the program ends too early"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Compile(Spec{JQ: c.in}, Vars{})
			var spec *SpecError
			if !errors.As(err, &spec) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a SpecError with %q", err, c.want)
			}
		})
	}
}

// Expressions that come with the documents must not stay in memory.
func TestExpressionsOfJQAreBounded(t *testing.T) {
	tr, err := Compile(Spec{JQ: `.re as $re | "text" | test($re)`}, Vars{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * maxExpressions {
		out, err := tr.Apply(nil, fmt.Appendf(nil, `{"re":"^t|%d"}`, i), noon)
		if err != nil || string(out) != "true" {
			t.Fatalf("document %d: got %s, %v", i, out, err)
		}
		if n := len(tr.program.current.Load().seen.met); n > manyExpression+1 {
			t.Fatalf("document %d: %d expressions are kept", i, n)
		}
	}
	if tr, err = Compile(Spec{JQ: `[range(10000)] | map(. as $i | "x" | test("\($i)")) | length`}, Vars{}); err != nil {
		t.Fatal(err)
	}
	if out, err := tr.Apply(nil, []byte("{}"), noon); err == nil {
		t.Errorf("got %s, want an error", out)
	}
}

func TestStepsOfJQAreBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second")
	}
	tr, err := Compile(Spec{JQ: "last(range(1e12))"}, Vars{})
	if err != nil {
		t.Fatal(err)
	}
	var program *ProgramError
	if out, err := tr.Apply(nil, []byte("{}"), noon); !errors.As(err, &program) || !strings.Contains(err.Error(), "5000000 steps") {
		t.Errorf("got %s, %v, want a ProgramError with the limit", out, err)
	}
}

// Programs that would run without end or take all memory are stopped.
func TestExplodingPrograms(t *testing.T) {
	doc := []byte(`{"s":"` + strings.Repeat("a", 1<<18) + `","l":[` + strings.Repeat("1,", 30_000) + `1]}`)
	for _, in := range []string{
		`def f: f; f`, `def f: 1 + f; f`, `until(false; .)`, `[range(1e12)]`, `[repeat(1)]`, `last(range(1e12))`, `[limit(1e12; repeat("x"))] | length`,
		`"x" * 1e9`, `1e9 * "x"`, `"x" | . *= 1e9`, `reduce range(100) as $i ("x"; . + .)`, `reduce range(100) as $i ("x"; "\(.)\(.)")`, `[limit(60; "x" | repeat(. + .))] | last`,
		`reduce range(60) as $i (1; [., .]) | tojson`, `reduce range(60) as $i (1; [., .])`, `reduce range(60) as $i (1; {a: ., b: .}) | tostring`, `reduce range(60) as $i ({}; .a = . | .b = .a)`, `reduce range(60) as $i ({}; .a = . | .b = .a) | . == .`,
		`reduce range(100) as $i (2; . * .)`, `reduce range(60) as $i (1; map(., .)?  // [., .])`, strings.Repeat("[.,.]|", 60) + "tojson", `.[0:1] = ([range(4000000)])`,
		`[] | .[400000000] = 1`, `[] | setpath([400000000]; 1)`, `[] | .[4e8] |= 1`, `4e8 as $n | [] | .[$n] = 1`, `pick(.x[400000000])`, `fromstream([["x", 400000000], 1], [["x", 400000000]])`, `[range(1000)] | .[(0, 400000000)] = 1`,
		`[range(10000)] as $r | [$r, $r[] | [.]] | transpose`, `[[range(500000)], ([range(500000)] | .[])] | map([.]) | transpose | length`, `[range(100000)] | map("") | join("x" * 1000000)`,
		`[range(1000000)] | map(tostring) | contains(map(. + "x"))`, `.l - [.l[] | . + 1]`, `[.l, .l, .l, .l] | flatten | indices([1, 1, 1, 2])`, `.l | . -= map(. + 1)`, `[.s | match(""; "g")] | length`, `.s | gsub("(a)(a)"; "b")`, `reduce range(1000000) as $i (0; [.])`,
		`def f: [., .] | f; f`, `[.s, .s, .s] | combinations(100)?`, `[range(100)] as $x | [$x,$x,$x,$x,$x,$x] | [combinations]`, `.s | explode | map([., .]) | map([., .]) | map([., .])`, `try (reduce range(100) as $i ("x"; . + .)) catch . | until(false; .)`,
		`[.s | splits("")]`, `[.l[] as $x | .l[] as $y | $x + $y]`,
	} {
		t.Run(in[:min(len(in), 50)], func(t *testing.T) {
			tr, err := Compile(Spec{JQ: in}, Vars{})
			if err != nil {
				t.Fatal(err)
			}
			tr.program.steps = 200_000 // so that the test is fast
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			out, err := tr.Apply(nil, doc, noon)
			took := time.Since(began)
			runtime.ReadMemStats(&after)
			grown := int64(after.Sys) - int64(before.Sys)
			var program *ProgramError
			if !errors.As(err, &program) && len(out) > maxValue {
				t.Errorf("got %d bytes, %v, want a ProgramError", len(out), err)
			}
			t.Logf("%v after %v, %d MiB more", err, took.Round(time.Millisecond), grown>>20)
			if took > 30*maxRunTime {
				t.Errorf("took %v", took)
			}
			if grown > 1<<30 {
				t.Errorf("took %d MiB", grown>>20)
			}
		})
	}
}

// FuzzJQ looks for programs that get around the guards or make klamm fail.
func FuzzJQ(f *testing.F) {
	for _, p := range []string{`.value.id`, `[.a[] * 2] | join(",")`, `def f(g): g | f(g); f(. + .)`, `.a |= (.[0] -= 1) | tojson`, `"\(.)" | test("a(b)"; "g")`, `reduce .[] as [$x, {a: $y}] (0; . + $x)`, `fromstream(tostream)`, `.[1e9] = 1`} {
		f.Add(p, `{"value":{"id":7},"a":[1,2.50]}`)
	}
	f.Fuzz(func(t *testing.T, text, document string) {
		tr, err := Compile(Spec{JQ: text}, Vars{})
		if err != nil {
			var spec *SpecError
			if !errors.As(err, &spec) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		tr.program.steps = 20_000
		out, err := tr.Apply(nil, []byte(document), noon)
		if err == nil && !json.Valid(out) {
			t.Errorf("%q on %q: %q is not JSON", text, document, out)
		}
		if program := (*ProgramError)(nil); errors.As(err, &program) && strings.Contains(program.Reason, "interpreter fail") {
			t.Errorf("%q on %q: %s", text, document, program.Detail)
		}
	})
}
