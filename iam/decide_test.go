package iam

import (
	"os"
	"strings"
	"testing"
)

const (
	gatewayARN = "arn:aws:execute-api:eu-west-3:111122223333:gw01"
	topicARN   = "arn:aws:kafka:eu-west-3:111122223333:topic/main/0000-1"
	groupARN   = "arn:aws:kafka:eu-west-3:111122223333:group/main/0000-1"
	ownAccount = "111122223333"
)

var shortened = strings.NewReplacer("$GR/", groupARN+"/", "$G/", gatewayARN+"/", "$T/", topicARN+"/")

// people are those who ask in the cases.
var people = map[string]struct {
	Identity
	context values
}{
	"alice": {
		Identity{Name: "User:alice", ARN: "arn:aws:iam::111122223333:user/alice", AccountID: ownAccount, Groups: []string{"g-ingest"}},
		values{"aws:username": {"alice"}, "klamm:groups": {"g-ingest"}},
	},
	"session": {
		Identity{Name: "User:role/ingest", ARN: "arn:aws:sts::111122223333:assumed-role/ingest/s1", RoleARN: "arn:aws:iam::111122223333:role/ingest", AccountID: ownAccount}, nil,
	},
	"stranger": {
		Identity{Name: "User:role/consumer", ARN: "arn:aws:sts::222222222222:assumed-role/consumer/s1", RoleARN: "arn:aws:iam::222222222222:role/consumer", AccountID: "222222222222"}, nil,
	},
	"unknown":   {Identity{Name: "User:app", GroupsUnknown: true}, nil},
	"anonymous": {Identity{Name: "User:ANONYMOUS", Anonymous: true}, nil},
}

// values are a context for tests. Keys are in lower case; groups are always a
// list.
type values map[string][]string

func (v values) Value(k Key) Value {
	list := v[k.Name]
	if len(list) == 1 && k.Name != "klamm:groups" {
		return One(list[0])
	}
	return Many(list)
}

// A decisionCase is one block of testdata/decisions.txt.
type decisionCase struct {
	name     string
	policies []*Policy
	request  Request
	want     Effect
}

func decisionCases(t testing.TB) []decisionCase {
	t.Helper()
	text, err := os.ReadFile("testdata/decisions.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []decisionCase
	for block := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		lines := strings.Split(block, "\n")
		c := decisionCase{name: lines[0], want: Effect(lines[len(lines)-1])}
		for _, line := range lines[1 : len(lines)-2] {
			c.policies = append(c.policies, policyOf(t, line))
		}
		c.request = requestOf(t, strings.Fields(shortened.Replace(lines[len(lines)-2])))
		all = append(all, c)
	}
	return all
}

// policyOf makes a policy of KIND VERSION STATEMENTS, attached to everybody or
// everything.
func policyOf(t testing.TB, line string) *Policy {
	t.Helper()
	f := strings.SplitN(line, " ", 3)
	kind := Kind(f[0])
	d, err := Parse([]byte(shortened.Replace(`{"Version":"`+f[1]+`","Statement":`+f[2]+`}`)), kind)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	p := &Policy{Name: f[0], Kind: kind, Attach: []string{"*"}, Document: d}
	if kind == Resources {
		p.Attach = []string{"gateway", "cluster"}
	}
	return p
}

// requestOf makes a request of: ask WHO ACTION RESOURCE KEY=VALUE...
func requestOf(t testing.TB, f []string) Request {
	t.Helper()
	who, ok := people[f[1]]
	action, err := ParseAction(f[2])
	resource, err2 := ParseResource(f[3])
	if !ok || err != nil || err2 != nil {
		t.Fatal(f, ok, err, err2)
	}
	context := values{}
	for k, v := range who.context {
		context[k] = v
	}
	id := who.Identity
	for _, pair := range f[4:] {
		k, v, _ := strings.Cut(pair, "=")
		context[strings.ToLower(k)] = nil
		if v != "" {
			context[strings.ToLower(k)] = strings.Split(v, ",")
		}
		if k == "klamm:Groups" {
			id.Groups = context["klamm:groups"]
		}
	}
	return Request{Identity: &id, Action: action, Resource: resource, Context: context}
}

func TestDecisions(t *testing.T) {
	for _, c := range decisionCases(t) {
		t.Run(c.name, func(t *testing.T) {
			set, err := NewSet(ownAccount, c.policies)
			if err != nil {
				t.Fatal(err)
			}
			got := set.Decide(&c.request)
			if got.Effect != c.want {
				t.Errorf("got %+v, want %s", got, c.want)
			}
			if (got.Effect == ImplicitDeny) != (got.Policy == "") || (got.Effect == ImplicitDeny) != (got.Reason != "") {
				t.Errorf("got %+v: either a statement has decided, or there is a reason", got)
			}
		})
	}
}

func TestResourcePoliciesCountWhereTheyAreAttached(t *testing.T) {
	everything, err := Parse([]byte(`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}}`), Resources)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		attach, resource string
		counts           bool
	}{
		{"gateway", gatewayARN + "/prod/GET/topics", true},
		{"gateway", topicARN + "/a", false},
		{"stage:prod", gatewayARN + "/prod/GET/topics", true},
		{"stage:prod", gatewayARN + "/production/GET/topics", false},
		{"execute-api:/prod/GET/topics", gatewayARN + "/prod/GET/topics", true},
		{"execute-api:/prod/GET/topics", gatewayARN + "/prod/GET/topics/a", false},
		{"execute-api:/*/POST/topics/*", gatewayARN + "/prod/POST/topics/a", true},
		{"execute-api:/*/POST/topics/*", gatewayARN + "/prod/GET/topics/a", false},
		{gatewayARN + "/prod/GET/topics", gatewayARN + "/prod/GET/topics", true},
		{"cluster", topicARN + "/a", true},
		{"cluster", gatewayARN + "/prod/GET/topics", false},
		{"topic:a", topicARN + "/a", true},
		{"topic:a", groupARN + "/a", false},
		{"topic:a.*", topicARN + "/a.b", true},
		{"group:a", groupARN + "/a", true},
		{topicARN + "/*", topicARN + "/a", true},
	} {
		set, err := NewSet(ownAccount, []*Policy{{Name: "p", Kind: Resources, Attach: []string{c.attach}, Document: everything}})
		if err != nil {
			t.Errorf("%s: %v", c.attach, err)
			continue
		}
		action := "kafka-cluster:ReadData"
		if strings.HasPrefix(c.resource, gatewayARN) {
			action = "execute-api:Invoke"
		}
		r := requestOf(t, []string{"ask", "alice", action, c.resource})
		if got := set.Decide(&r).Effect == ExplicitDeny; got != c.counts {
			t.Errorf("attached to %s, %s is denied: %t, want %t", c.attach, c.resource, got, c.counts)
		}
	}
}
