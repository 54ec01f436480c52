package iam

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// The evaluator of this file is slow and obvious: it reads the JSON anew for each
// decision and follows gateway-policies.md 2.3 to 2.5 sentence by sentence.

type plainStatement struct {
	Effect    string
	Principal map[string][]string
	Action    []string
	NotAction []string
	Resource  []string
	NotRes    []string `json:"NotResource"`
	Condition map[string]map[string][]string
}

type plainPolicy struct {
	kind       Kind
	statements []plainStatement
}

// slowMatch matches with * and ?.
func slowMatch(p, s []rune) bool {
	switch {
	case len(p) == 0:
		return len(s) == 0
	case p[0] == '*':
		return slowMatch(p[1:], s) || len(s) > 0 && slowMatch(p, s[1:])
	case len(s) == 0:
		return false
	}
	return (p[0] == '?' || p[0] == s[0]) && slowMatch(p[1:], s[1:])
}

func slowLike(p, s string) bool { return slowMatch([]rune(p), []rune(s)) }

func slowResource(p, s string) bool {
	if p == "*" {
		return true
	}
	a, b := strings.SplitN(p, ":", 6), strings.SplitN(s, ":", 6)
	for i := range 6 {
		if i < len(a) && !slowLike(a[i], b[i]) {
			return false
		}
	}
	return true
}

func slowCondition(operator string, want, have []string) bool {
	set := ""
	if i := strings.Index(operator, ":"); i >= 0 {
		set, operator = operator[:i], operator[i+1:]
	}
	operator, ifExists := strings.CutSuffix(operator, "IfExists")
	negated := strings.Contains(operator, "Not")
	one := func(v string) bool {
		hit := slices.ContainsFunc(want, func(w string) bool {
			switch operator {
			case "StringEquals", "StringNotEquals":
				return w == v
			case "StringLike", "StringNotLike":
				return slowLike(w, v)
			case "NumericLessThan":
				a, err := strconv.Atoi(v)
				b, err2 := strconv.Atoi(w)
				return err == nil && err2 == nil && a < b
			}
			panic(operator)
		})
		return hit != negated
	}
	switch {
	case operator == "Null":
		return slices.Contains(want, fmt.Sprint(len(have) == 0))
	case len(have) == 0 && ifExists:
		return true
	case len(have) == 0 && set == "":
		return negated
	case set == "ForAllValues" || set == "" && negated:
		return !slices.ContainsFunc(have, func(v string) bool { return !one(v) })
	}
	return slices.ContainsFunc(have, one)
}

func slowPrincipal(p map[string][]string, id *Identity) (who, acct bool) {
	for _, v := range p["AWS"] {
		who = who || v == "*" || v == id.ARN || v == id.RoleARN
		acct = acct || !id.Anonymous && v == id.AccountID
	}
	for _, v := range p["Klamm"] {
		who = who || v == id.Name && v != "" || v == "anonymous" && id.Anonymous
		for _, g := range id.Groups {
			who = who || v == "group:"+g
		}
	}
	return who, acct
}

func slowDecide(policies []plainPolicy, q *Request) Effect {
	var deny, identity, resource, acct, boundary, bounded bool
	for _, p := range policies {
		bounded = bounded || p.kind == Boundaries
		for _, s := range p.statements {
			action := slices.ContainsFunc(s.Action, func(a string) bool { return slowLike(strings.ToLower(a), q.Action.lower) })
			if s.NotAction != nil {
				action = !slices.ContainsFunc(s.NotAction, func(a string) bool { return slowLike(strings.ToLower(a), q.Action.lower) })
			}
			covered := slices.ContainsFunc(s.Resource, func(r string) bool { return slowResource(r, q.Resource.String()) })
			if s.NotRes != nil {
				covered = !slices.ContainsFunc(s.NotRes, func(r string) bool { return slowResource(r, q.Resource.String()) })
			}
			holds := true
			for operator, keys := range s.Condition {
				for key, want := range keys {
					v := q.Context.Value(NewKey(key))
					holds = holds && slowCondition(operator, want, v.Texts())
				}
			}
			who, account := slowPrincipal(s.Principal, q.Identity)
			if !action || !covered || !holds || p.kind == Resources && !who && !account {
				continue
			}
			switch {
			case s.Effect == "Deny":
				deny = true
			case p.kind == Identities:
				identity = true
			case p.kind == Boundaries:
				boundary = true
			case who:
				resource = true
			default:
				acct = true
			}
		}
	}
	same := q.Identity.AccountID == "" || q.Identity.AccountID == ownAccount
	switch {
	case deny:
		return ExplicitDeny
	case bounded && !boundary: // the properties name nobody exactly where there are boundaries
		return ImplicitDeny
	case same && (identity || resource), !same && identity && (resource || acct):
		return Allow
	}
	return ImplicitDeny
}

var (
	someActions   = []string{"*", "kafka-cluster:*", "kafka-cluster:ReadData", "kafka-cluster:Write*", "KAFKA-cluster:*data", "kafka-cluster:?eadData", "execute-api:Invoke"}
	someResources = []string{"*", topicARN + "/a.b", topicARN + "/a.*", "arn:aws:kafka:*:*:topic/*/*/?.b", "arn:*:kafka", "arn:aws:kafka:*:*:topic/main*b", "arn:aws:kafka:*:*:topic/*/b", "arn:aws:kafka:*:*:*/*/*/?.*", groupARN + "/*"}
	someValues    = []string{"a", "b", "ab", "a*", "*b", "?", "9", "10", "100"}
	someOperators = []string{"StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "NumericLessThan"}
	somePeople    = []string{"alice", "session", "stranger", "anonymous"}
)

func drawStatement(t *rapid.T, kind Kind) plainStatement {
	s := plainStatement{Effect: rapid.SampledFrom([]string{"Allow", "Allow", "Deny"}).Draw(t, "effect")}
	list := func(of []string) []string { return rapid.SliceOfN(rapid.SampledFrom(of), 1, 3).Draw(t, "list") }
	s.Action, s.Resource = list(someActions), list(someResources)
	if rapid.IntRange(0, 4).Draw(t, "notAction") == 0 {
		s.Action, s.NotAction = nil, s.Action
	}
	if rapid.IntRange(0, 4).Draw(t, "notResource") == 0 {
		s.Resource, s.NotRes = nil, s.Resource
	}
	if kind == Resources {
		s.Principal = rapid.SampledFrom([]map[string][]string{
			{"AWS": {"*"}}, {"AWS": {ownAccount}}, {"AWS": {"222222222222"}}, {"AWS": {"arn:aws:iam::111122223333:role/ingest"}}, {"Klamm": {"group:g-ingest", "anonymous"}},
		}).Draw(t, "principal")
	}
	if rapid.Bool().Draw(t, "conditional") {
		operator := rapid.SampledFrom(someOperators).Draw(t, "operator")
		if rapid.IntRange(0, 3).Draw(t, "ifExists") == 0 {
			operator += "IfExists"
		}
		operator = rapid.SampledFrom([]string{"", "", "ForAnyValue:", "ForAllValues:"}).Draw(t, "set") + operator
		values := list(someValues)
		if rapid.IntRange(0, 5).Draw(t, "null") == 0 {
			operator, values = "Null", []string{rapid.SampledFrom([]string{"true", "false"}).Draw(t, "absent")}
		}
		s.Condition = map[string]map[string][]string{operator: {rapid.SampledFrom([]string{"k:one", "K:Two"}).Draw(t, "key"): values}}
	}
	return s
}

func TestDecisionsAreThoseOfTheReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var plain []plainPolicy
		var fast []*Policy
		for range rapid.IntRange(0, 4).Draw(t, "policies") {
			p := plainPolicy{kind: rapid.SampledFrom([]Kind{Identities, Identities, Resources, Boundaries}).Draw(t, "kind")}
			for range rapid.IntRange(1, 4).Draw(t, "statements") {
				p.statements = append(p.statements, drawStatement(t, p.kind))
			}
			plain, fast = append(plain, p), append(fast, compilePlain(t, p))
		}
		set, err := NewSet(ownAccount, fast)
		if err != nil {
			t.Fatal(err)
		}
		context := values{"k:one": rapid.SliceOfN(rapid.SampledFrom(someValues), 0, 2).Draw(t, "one"), "k:two": rapid.SliceOfN(rapid.SampledFrom(someValues), 0, 3).Draw(t, "two")}
		id := people[rapid.SampledFrom(somePeople).Draw(t, "who")].Identity
		q := Request{Identity: &id, Context: context}
		q.Action, _ = ParseAction(rapid.SampledFrom([]string{"kafka-cluster:ReadData", "kafka-cluster:WriteData", "kafka-cluster:AlterGroup", "lambda:Data"}).Draw(t, "action"))
		q.Resource, _ = ParseResource(rapid.SampledFrom([]string{topicARN + "/a.b", topicARN + "/x/b", "arn:aws:kafka:eu-west-3:111122223333:topic/b", groupARN + "/a.b"}).Draw(t, "resource"))
		if got, want := set.Decide(&q).Effect, slowDecide(plain, &q); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	})
}

func compilePlain(t *rapid.T, p plainPolicy) *Policy {
	var list []map[string]any
	for _, s := range p.statements {
		m := map[string]any{"Effect": s.Effect}
		for name, v := range map[string][]string{"Action": s.Action, "NotAction": s.NotAction, "Resource": s.Resource, "NotResource": s.NotRes} {
			if v != nil {
				m[name] = v
			}
		}
		if s.Principal != nil {
			m["Principal"] = s.Principal
		}
		if s.Condition != nil {
			m["Condition"] = s.Condition
		}
		list = append(list, m)
	}
	text, _ := json.Marshal(map[string]any{"Version": "2008-10-17", "Statement": list})
	d, err := Parse(text, p.kind)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	out := &Policy{Name: "p", Kind: p.kind, Attach: []string{"*"}, Document: d}
	if p.kind == Resources {
		out.Attach = []string{"gateway", "cluster", "arn:aws:lambda:*:*:*"}
	}
	return out
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"a*b", "*", "a?*b*", "", "??", "*é", "a**b", "topic/*/*/a.*"} {
		f.Add(s, "aé/b")
	}
	f.Fuzz(func(t *testing.T, p, s string) {
		if len(p) > 30 || len(s) > 60 || !utf8.ValidString(p) || !utf8.ValidString(s) || strings.Count(p, "*") > 4 {
			t.Skip()
		}
		if got, want := compilePattern(p, false).match(s, nil), slowLike(p, s); got != want {
			t.Errorf("%q against %q: got %v, want %v", p, s, got, want)
		}
	})
}

func FuzzResource(f *testing.F) {
	for _, s := range []string{"*", "arn:aws:kafka:*:*:topic/*/*/x", "topic:a*", "execute-api:/prod/*", "arn:aws:kafka", "${a:b}:c", "topic:${aws:username, 'x'}*"} {
		f.Add(s, topicARN+"/a.b")
	}
	f.Fuzz(func(t *testing.T, p, s string) {
		if len(p) > 60 || len(s) > 200 || strings.Count(p, "*") > 8 {
			t.Skip()
		}
		m, err := compileResource(p, true, true)
		r, err2 := ParseResource(s)
		if err != nil || err2 != nil {
			return
		}
		got := m.match(&r, nil)
		if short, _, _ := strings.Cut(p, ":"); kinds[short] != "" || short == "execute-api" || strings.Contains(p, "${") || !utf8.ValidString(p) || !utf8.ValidString(s) || strings.Count(p, "*") > 4 {
			return
		}
		if want := slowResource(p, s); got != want {
			t.Errorf("%q against %q: got %v, want %v", p, s, got, want)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, c := range []string{
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`,
		`{"Statement":[{"Sid":"x","Effect":"Deny","NotPrincipal":{"AWS":["111122223333"]},"NotAction":["kafka-cluster:*Topic"],"NotResource":"topic:${aws:username, 'x'}","Condition":{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}}]}`,
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForAnyValue:StringLikeIfExists":{"a":["b",1,true]},"Null":{"c":"true"},"DateLessThan":{"d":"2026-01"},"NumericEquals":{"e":"1.5"},"ArnLike":{"f":"arn:aws:iam::*:user/${g}"}}}}`,
	} {
		f.Add([]byte(c), "a")
	}
	f.Fuzz(func(t *testing.T, text []byte, value string) {
		for _, kind := range []Kind{Identities, Resources, Boundaries} {
			d, err := Parse(text, kind)
			if err != nil {
				continue
			}
			p := &Policy{Name: "p", Kind: kind, Attach: []string{"*"}, Document: d}
			if kind == Resources {
				p.Attach = []string{"cluster"}
			}
			set, err := NewSet(ownAccount, []*Policy{p})
			if err != nil {
				t.Fatal(err)
			}
			q := requestOf(t, []string{"ask", "alice", "kafka-cluster:ReadData", topicARN + "/a"})
			q.Context = sameForAll(value)
			set.Decide(&q)
		}
	})
}

// sameForAll has one value for every key.
type sameForAll string

func (s sameForAll) Value(Key) Value { return One(string(s)) }
