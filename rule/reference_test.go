package rule

import (
	"bytes"
	"encoding/json"
	"math/big"
	"net/netip"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"unicode"
)

// This is the pattern language once more, as plainly as possible: what Pattern
// and Set answer is compared with it. It knows nothing of speed, and takes only
// patterns that Compile accepts.

// An ordered object keeps duplicate members, which encoding/json does not.
type refObject []refMember

type refMember struct {
	key   string
	value any // refObject, []any, string, json.Number, bool or nil
}

func refParse(text []byte) (any, bool) {
	if !json.Valid(text) {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return refRead(d), true
}

func refRead(d *json.Decoder) any {
	t, _ := d.Token()
	switch t {
	case json.Delim('{'):
		o := refObject{}
		for d.More() {
			key, _ := d.Token()
			o = append(o, refMember{key.(string), refRead(d)})
		}
		_, _ = d.Token()
		return o
	case json.Delim('['):
		a := []any{}
		for d.More() {
			a = append(a, refRead(d))
		}
		_, _ = d.Token()
		return a
	}
	return t
}

// A refValue is a scalar of the event, with the element index for every array
// around it that was reached through an object or an inner array.
type refValue struct {
	value any
	at    map[int]int
}

type refFlattener struct {
	values map[string][]refValue
	arrays int
}

func (f *refFlattener) walk(path []string, v any, at map[int]int) {
	switch v := v.(type) {
	case refObject:
		for _, m := range v {
			f.walk(append(path[:len(path):len(path)], m.key), m.value, at)
		}
	case []any:
		f.arrays++
		array := f.arrays
		for i, item := range v {
			inner := at
			switch item.(type) {
			case refObject, []any:
				inner = map[int]int{array: i}
				for a, k := range at {
					inner[a] = k
				}
			}
			f.walk(path, item, inner)
		}
	default:
		p := strings.Join(path, ".")
		f.values[p] = append(f.values[p], refValue{v, at})
	}
}

// A refPattern is a pattern's alternatives: the matchers by path.
type refPattern []map[string][]any

// A refEvent is an event's values by path.
type refEvent map[string][]refValue

func refCompile(pattern []byte) (refPattern, bool) {
	p, ok := refParse(pattern)
	if !ok {
		return nil, false
	}
	return refExpand(p.(refObject), nil, []map[string][]any{{}}), true
}

func refFlatten(event []byte) (refEvent, bool) {
	e, ok := refParse(event)
	if !ok {
		return nil, false
	}
	if _, ok = e.(refObject); !ok {
		return nil, false
	}
	f := refFlattener{values: map[string][]refValue{}}
	f.walk(nil, e, map[int]int{})
	return f.values, true
}

// refMatch says whether a valid pattern matches an event.
func refMatch(pattern, event []byte) (matched, ok bool) {
	p, ok := refCompile(pattern)
	if !ok {
		return false, false
	}
	e, ok := refFlatten(event)
	return ok && p.matches(e), ok
}

func (p refPattern) matches(e refEvent) bool {
	for _, alternative := range p {
		var paths []string
		for path := range alternative {
			paths = append(paths, path)
		}
		sort.Strings(paths)
		if refSearch(alternative, paths, e, map[int]int{}) {
			return true
		}
	}
	return false
}

// refExpand adds an object's fields to each alternative so far.
func refExpand(o refObject, path []string, all []map[string][]any) []map[string][]any {
	for _, m := range o {
		if m.key == "$or" {
			var next []map[string][]any
			for _, branch := range m.value.([]any) {
				var copies []map[string][]any
				for _, a := range all {
					c := map[string][]any{}
					for k, v := range a {
						c[k] = v
					}
					copies = append(copies, c)
				}
				next = append(next, refExpand(branch.(refObject), path, copies)...)
			}
			all = next
			continue
		}
		below := append(path[:len(path):len(path)], m.key)
		switch v := m.value.(type) {
		case refObject:
			all = refExpand(v, below, all)
		case []any:
			for _, a := range all {
				a[strings.Join(below, ".")] = v
			}
		}
	}
	return all
}

func refSearch(a map[string][]any, paths []string, values map[string][]refValue, fixed map[int]int) bool {
	if len(paths) == 0 {
		return true
	}
	absent, wanted := true, false
	for _, m := range a[paths[0]] {
		if o, ok := m.(refObject); ok && o[0].key == "exists" && o[0].value == false {
			wanted = true
		}
	}
candidates:
	for _, v := range values[paths[0]] {
		chosen := map[int]int{}
		for k, i := range fixed {
			chosen[k] = i
		}
		for k, i := range v.at {
			if j, ok := fixed[k]; ok && i != j {
				continue candidates
			}
			chosen[k] = i
		}
		absent = false
		for _, m := range a[paths[0]] {
			if refMatches(m, v.value) && refSearch(a, paths[1:], values, chosen) {
				return true
			}
		}
	}
	return wanted && absent && refSearch(a, paths[1:], values, fixed)
}

func refMatches(m, v any) bool {
	o, isOperator := m.(refObject)
	if !isOperator {
		if s, ok := m.(string); ok {
			if a, ok := refAddress(s); ok {
				text, _ := v.(string)
				b, ok := refAddress(text)
				return ok && a == b
			}
		}
		return refEqual(m, v)
	}
	name, operand := o[0].key, o[0].value
	text, isString := v.(string)
	switch name {
	case "exists":
		return operand == true
	case "exactly":
		return refEqual(operand, v)
	case "numeric":
		n, ok := v.(json.Number)
		return ok && refNumeric(operand.([]any), n)
	case "anything-but":
		return refAnythingBut(operand, v)
	case "cidr":
		a, ok := refAddress(text)
		host, bits, _ := strings.Cut(operand.(string), "/")
		h, _ := refAddress(host)
		n, _ := strconv.Atoi(bits)
		return isString && ok && netip.PrefixFrom(h, n).Contains(a)
	}
	if !isString {
		return false
	}
	if nested, ok := operand.(refObject); ok {
		fold := refFold(nested[0].value.(string))
		if name == "prefix" {
			return refRegexp(`(?s)^` + fold).MatchString(text)
		}
		return refRegexp(`(?s)` + fold + `$`).MatchString(text)
	}
	s := operand.(string)
	switch name {
	case "prefix":
		return strings.HasPrefix(text, s)
	case "suffix":
		return strings.HasSuffix(text, s)
	case "equals-ignore-case":
		return refRegexp(`(?s)^` + refFold(s) + `$`).MatchString(text)
	case "wildcard":
		return refRegexp(refWildcard(s)).MatchString(text)
	}
	panic(name)
}

// refRegexps are kept, because they take long to compile. The tests that use them
// do so one after the other, each in a process of its own when fuzzing.
var refRegexps = map[string]*regexp.Regexp{}

func refRegexp(text string) *regexp.Regexp {
	r := refRegexps[text]
	if r == nil {
		r = regexp.MustCompile(text)
		if len(refRegexps) < 10_000 {
			refRegexps[text] = r
		}
	}
	return r
}

func refAnythingBut(operand, v any) bool {
	items, name := []any{operand}, ""
	if o, ok := operand.(refObject); ok {
		name, items = o[0].key, []any{o[0].value}
	}
	if list, ok := items[0].([]any); ok {
		items = list
	}
	for _, item := range items {
		if name != "" {
			item = refObject{{name, item}}
		}
		if name != "" && refMatches(item, v) || name == "" && refEqual(item, v) {
			return false
		}
	}
	return true
}

func refEqual(a, b any) bool {
	m, ok := a.(json.Number)
	if !ok {
		return a == b
	}
	n, ok := b.(json.Number)
	if !ok {
		return false
	}
	x, exactX := refDouble(m)
	y, exactY := refDouble(n)
	if exactX && exactY {
		return x == y
	}
	return m == n
}

// refDouble is exact if the shortest decimal of the double is the number.
func refDouble(n json.Number) (float64, bool) {
	f, err := strconv.ParseFloat(n.String(), 64)
	if err != nil {
		return 0, false
	}
	if _, exponent, ok := strings.Cut(strings.ToLower(n.String()), "e"); ok {
		// Not written out by math/big in reasonable time.
		if e, err := strconv.Atoi(exponent); err != nil || e > 5000 || e < -5000 {
			return 0, f == 0 && !strings.ContainsAny(strings.ToLower(n.String())[:strings.IndexAny(n.String(), "eE")], "123456789")
		}
	}
	decimal, _ := new(big.Rat).SetString(n.String())
	shortest, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
	return f, decimal.Cmp(shortest) == 0
}

func refNumeric(operand []any, n json.Number) bool {
	f, ok := refDouble(n)
	for i := 0; i < len(operand); i += 2 {
		bound, _ := refDouble(operand[i+1].(json.Number))
		switch operand[i] {
		case "=":
			ok = ok && f == bound
		case "<":
			ok = ok && f < bound
		case "<=":
			ok = ok && f <= bound
		case ">":
			ok = ok && f > bound
		case ">=":
			ok = ok && f >= bound
		}
	}
	return ok
}

func refWildcard(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '*':
			b.WriteString(`.*`)
			continue
		case '\\':
			i++
		}
		end := i + 1
		for end < len(s) && s[end] != '*' && s[end] != '\\' {
			end++
		}
		b.WriteString(regexp.QuoteMeta(s[i:end]))
		i = end - 1
	}
	return `(?s)^` + b.String() + `$`
}

func refFold(operand string) string {
	var b strings.Builder
	for _, r := range operand {
		b.WriteString("(?:")
		for i, form := range []rune{r, unicode.ToLower(r), unicode.ToUpper(r)} {
			if i > 0 {
				b.WriteByte('|')
			}
			b.WriteString(regexp.QuoteMeta(string(form)))
		}
		if r == 'ß' {
			b.WriteString("|SS")
		}
		b.WriteByte(')')
	}
	return b.String()
}

var refGroups = regexp.MustCompile(`^0*([0-9]{1,3})\.0*([0-9]{1,3})\.0*([0-9]{1,3})\.0*([0-9]{1,3})$`)

func refAddress(s string) (netip.Addr, bool) {
	if len(s) > 45 {
		return netip.Addr{}, false
	}
	if g := refGroups.FindStringSubmatch(s); g != nil {
		for i := range g {
			if g[i] = strings.TrimLeft(g[i], "0"); g[i] == "" {
				g[i] = "0"
			}
		}
		a, err := netip.ParseAddr(strings.Join(g[1:], "."))
		return a, err == nil
	}
	if strings.ContainsAny(s, ".%") {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	return a, err == nil
}
