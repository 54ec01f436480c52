package iam

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
)

// groupsKey is the condition key of the caller's groups.
const groupsKey = "klamm:Groups"

// A condition is one key of one operator (gateway-policies.md 2.4).
type condition struct {
	key      Key
	set      setOperator
	ifExists bool
	negated  bool
	tests    []test
	null     nullTest // instead of tests, where the operator is Null
	groups   bool     // the key is klamm:Groups
	denies   bool     // the statement is a Deny
}

type setOperator byte

const (
	noSet setOperator = iota
	forAnyValue
	forAllValues
)

// A nullTest says which of absent and present the document asks for.
type nullTest struct{ absent, present bool }

// A test compares one value of a request with one of the document.
type test func(value string, q *query) bool

// compiled is a value of the document, as an operator understands it.
type compiled struct {
	test test
	uses *pattern // what has variables; nil: nothing
	odd  string   // why the value makes no sense and so equals nothing; empty: it does
}

// An operator compares values. What negates another one is that one and a flag.
type operator struct {
	negated bool
	compile func(value string, variables bool) (compiled, error)
}

// negations are the operators that are another's opposite.
var negations = map[string]string{
	"StringNotEquals": "StringEquals", "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase", "StringNotLike": "StringLike",
	"NumericNotEquals": "NumericEquals", "DateNotEquals": "DateEquals", "NotIpAddress": "IpAddress",
	"ArnNotEquals": "ArnEquals", "ArnNotLike": "ArnLike",
}

// operatorOf returns the operator of a name without set prefix and IfExists.
func operatorOf(name string) (operator, bool) {
	kind, negated := negations[name]
	if !negated {
		kind = name
	}
	compile := compilers[kind]
	if compile == nil {
		for family, of := range families {
			if r := relations[strings.TrimPrefix(kind, family)]; r != nil && strings.HasPrefix(kind, family) {
				compile = fixed(of(r))
			}
		}
	}
	return operator{negated, compile}, compile != nil
}

var compilers = map[string]func(string, bool) (compiled, error){
	"StringEquals":           func(v string, variables bool) (compiled, error) { return compileText(v, variables, true) },
	"StringEqualsIgnoreCase": compileFold,
	"StringLike":             func(v string, variables bool) (compiled, error) { return compileText(v, variables, false) },
	"ArnEquals":              compileARN,
	"ArnLike":                compileARN,
	"Bool":                   compileBool,
	"BinaryEquals":           fixed(compareBinary),
	"IpAddress":              fixed(compareAddress),
}

var families = map[string]func(relation) func(string) (test, string){"Numeric": compareNumbers, "Date": compareDates}

// A relation says whether the outcome of a comparison is the wanted one.
type relation func(int) bool

var relations = map[string]relation{
	"Equals":            func(c int) bool { return c == 0 },
	"LessThan":          func(c int) bool { return c < 0 },
	"LessThanEquals":    func(c int) bool { return c <= 0 },
	"GreaterThan":       func(c int) bool { return c > 0 },
	"GreaterThanEquals": func(c int) bool { return c >= 0 },
}

// fixed makes an operator whose values have no variables of one that says what is
// odd about a value.
func fixed(of func(string) (test, string)) func(string, bool) (compiled, error) {
	return func(value string, _ bool) (compiled, error) {
		t, odd := of(value)
		if odd != "" {
			t = func(string, *query) bool { return false }
		}
		return compiled{test: t, odd: odd}, nil
	}
}

// withVariables compiles a value in which variables may stand.
func withVariables(value string, variables, plain bool) (*pattern, error) {
	if !variables {
		return compilePattern(value, plain), nil
	}
	return compileVariables(value, plain)
}

func compileText(value string, variables, plain bool) (compiled, error) {
	p, err := withVariables(value, variables, plain)
	if err != nil {
		return compiled{}, err
	}
	return compiled{test: p.match, uses: p}, nil
}

func compileFold(value string, variables bool) (compiled, error) {
	p, err := withVariables(value, variables, true)
	if err != nil {
		return compiled{}, err
	}
	return compiled{uses: p, test: func(v string, q *query) bool {
		want, ok := p.expand(q)
		return ok && strings.EqualFold(v, want)
	}}, nil
}

func compileBool(value string, variables bool) (compiled, error) {
	p, err := withVariables(value, variables, true)
	if err != nil {
		return compiled{}, err
	}
	c := compiled{uses: p, test: func(v string, q *query) bool {
		want, ok := p.expand(q)
		return ok && (strings.EqualFold(v, "true") || strings.EqualFold(v, "false")) && strings.EqualFold(v, want)
	}}
	if p.shape == literal && !strings.EqualFold(p.text, "true") && !strings.EqualFold(p.text, "false") {
		c.odd = "want true or false"
	}
	return c, nil
}

// compileARN compares the six parts one by one, so that no wildcard reaches from
// one into the next.
func compileARN(value string, variables bool) (compiled, error) {
	texts := splitARN(value)
	if value == "*" {
		texts = []string{"*", "*", "*", "*", "*", "*"}
	}
	var parts []*pattern
	whole := &pattern{}
	for _, text := range texts {
		p, err := withVariables(text, variables, false)
		if err != nil {
			return compiled{}, err
		}
		parts = append(parts, p)
		whole.tokens = append(whole.tokens, p.tokens...)
	}
	c := compiled{uses: whole, test: func(v string, q *query) bool {
		for i, p := range parts {
			part, rest, more := v, "", false
			if i < 5 {
				part, rest, more = strings.Cut(v, ":")
			}
			if i < 5 && !more || !p.match(part, q) {
				return false
			}
			v = rest
		}
		return true
	}}
	if len(parts) != 6 {
		c.odd = "want an ARN, which has six parts"
		c.test = func(string, *query) bool { return false }
	}
	return c, nil
}

func compareBinary(value string) (test, string) {
	want, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return nil, "want base64"
	}
	return func(v string, _ *query) bool {
		got, err := base64.StdEncoding.DecodeString(v)
		return err == nil && string(got) == string(want)
	}, ""
}

func compareAddress(value string) (test, string) {
	within, err := netip.ParsePrefix(value)
	if err != nil {
		addr, err := netip.ParseAddr(value)
		if err != nil || addr.Zone() != "" {
			return nil, "want an address or a prefix, such as 192.0.2.0/24"
		}
		addr = addr.Unmap()
		within = netip.PrefixFrom(addr, addr.BitLen())
	}
	if mapped := within.Addr(); mapped.Is4In6() && within.Bits() >= 96 {
		within = netip.PrefixFrom(mapped.Unmap(), within.Bits()-96)
	}
	within = within.Masked()
	return func(v string, _ *query) bool {
		addr, err := netip.ParseAddr(v)
		return err == nil && within.Contains(addr.Unmap().WithZone(""))
	}, ""
}

// compileCondition compiles the values of one key.
func compileCondition(name, key string, values []string, variables bool) (c *condition, uses []*pattern, odd []string, err error) {
	c = &condition{key: NewKey(key), groups: strings.EqualFold(key, groupsKey)}
	kind := name
	if rest, ok := strings.CutPrefix(kind, "ForAnyValue:"); ok {
		c.set, kind = forAnyValue, rest
	} else if rest, ok := strings.CutPrefix(kind, "ForAllValues:"); ok {
		c.set, kind = forAllValues, rest
	}
	if kind == "Null" && c.set == noSet {
		return c, nil, nil, c.compileNull(values)
	}
	kind, c.ifExists = strings.CutSuffix(kind, "IfExists")
	op, ok := operatorOf(kind)
	if !ok {
		return nil, nil, nil, fmt.Errorf("there is no operator %q", clip(name))
	}
	c.negated = op.negated
	for _, value := range values {
		v, err := op.compile(value, variables)
		if err != nil {
			return nil, nil, nil, err
		}
		c.tests = append(c.tests, v.test)
		if v.uses != nil {
			uses = append(uses, v.uses)
		}
		if v.odd != "" {
			odd = append(odd, fmt.Sprintf("%q: %s; it equals nothing", clip(value), v.odd))
		}
	}
	return c, uses, odd, nil
}

func (c *condition) compileNull(values []string) error {
	for _, value := range values {
		switch strings.ToLower(value) {
		case "true":
			c.null.absent = true
		case "false":
			c.null.present = true
		default:
			return fmt.Errorf("%q: want true or false", clip(value))
		}
	}
	return nil
}

// match says whether the condition holds. Where the caller's groups are not known,
// what asks for them holds for a denial and for nothing else.
func (c *condition) match(q *query) bool {
	if c.groups && q != nil && q.Identity.GroupsUnknown {
		return c.denies
	}
	v := q.value(c.key)
	n := v.count()
	switch {
	case c.tests == nil:
		return n == 0 && c.null.absent || n > 0 && c.null.present
	case n > 0:
	case c.ifExists:
		return true
	case c.set == noSet:
		return c.negated
	default:
		return c.set == forAllValues
	}
	all := c.set == forAllValues || c.set == noSet && c.negated
	for i := range n {
		if c.holds(v.at(i), q) != all {
			return !all
		}
	}
	return all
}

// holds says whether one value of the request passes.
func (c *condition) holds(value string, q *query) bool {
	for _, t := range c.tests {
		if t(value, q) {
			return !c.negated
		}
	}
	return c.negated
}
