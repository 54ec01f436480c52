package gate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/table"
	"github.com/klamm-gateway/klamm/waittest"
)

// law is what the file says in these tests.
var law = gate.Law{Account: "111122223333", Region: "eu-west-3", Rules: []gate.Rule{
	{Who: []string{"User:root"}, Can: []string{"all"}, Topics: []string{"*"}, Groups: []string{"*"}},
}}

// process is one klamm process with what it decides by.
func process(t *testing.T, c *kafka.Cluster, law gate.Law) (*gate.Authority, *gate.Policies) {
	t.Helper()
	a, err := gate.NewAuthority(law, c, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	p := gate.NewPolicies(a, c, false, slog.New(slog.DiscardHandler))
	t.Cleanup(p.Close)
	return a, p
}

func ready(t *testing.T, p *gate.Policies) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.Await(ctx); err != nil {
		t.Fatal(err)
	}
}

// may is the kind of the error of a call, or -1 if it may be made.
func may(t *testing.T, a *gate.Authority, who gate.Principal, action gate.Action, topic string) gate.Kind {
	t.Helper()
	err := a.Check(t.Context(), &gate.Call{Principal: who, Action: action, Resource: gate.Resource{Kind: "topic", Name: topic}})
	if err == nil {
		return -1
	}
	return gate.Classify(err)
}

func produceRule(who, topic string) gate.KeptPolicy {
	return gate.KeptPolicy{Kind: gate.KindRule, Rule: &gate.Rule{Who: []string{who}, Can: []string{"produce"}, Topics: []string{topic}}}
}

func TestPoliciesMadeAtRunTimeCountInEveryProcess(t *testing.T) {
	c := cluster(t)
	here, made := process(t, c, law)
	there, others := process(t, c, law)
	ready(t, made)
	ready(t, others)
	root, ann := gate.Principal{Name: "User:root"}, gate.Principal{Name: "User:ann"}
	id := fmt.Sprint(time.Now().UnixNano())
	topic, name := "made-"+id, "ann-"+id
	how := gate.PolicyChange{By: root, Expect: 0}
	rule := produceRule("User:ann", topic)
	rule.Name = name

	one, err := made.Put(t.Context(), rule, how)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = made.Delete(context.WithoutCancel(t.Context()), name, gate.PolicyChange{By: root, Expect: -1})
	})
	if got := may(t, here, ann, gate.WriteData, topic); got != -1 {
		t.Errorf("after the change, in the process that made it: kind %d", got)
	}
	waittest.Until(t, "the other process lets her pass", func() bool { return may(t, there, ann, gate.WriteData, topic) == -1 })
	if one.Version <= 0 || one.ChangedBy != "User:root" || one.Changed.IsZero() {
		t.Errorf("the policy is shown as %+v", one)
	}

	if _, err := others.Put(t.Context(), rule, how); gate.Classify(err) != gate.Conflict {
		t.Errorf("made a second time: %v", err)
	}
	deny := gate.KeptPolicy{Name: name, Kind: "identity", Attach: []string{"User:ann"}, Document: json.RawMessage(
		`{"Version":"2012-10-17","Statement":{"Sid":"No","Effect":"Deny","Action":"kafka-cluster:WriteData","Resource":"topic:` + topic + `"}}`)}
	two, err := others.Put(t.Context(), deny, gate.PolicyChange{By: root, Expect: one.Version})
	if err != nil || two.Version <= one.Version {
		t.Fatalf("replaced: version %d after %d, %v", two.Version, one.Version, err)
	}
	waittest.Until(t, "the replacement counts", func() bool { return may(t, here, ann, gate.WriteData, topic) != -1 })
	if e, err := here.Explain(t.Context(), gate.Question{As: "User:ann", Action: "kafka-cluster:WriteData", Resource: "topic:" + topic}); err != nil || e.Policy != name || e.Sid != "No" {
		t.Errorf("explained: %+v, %v", e, err)
	}
	if _, err := made.Put(t.Context(), rule, gate.PolicyChange{By: root, Expect: one.Version}); gate.Classify(err) != gate.Conflict {
		t.Errorf("an old version changed: %v", err)
	}
	if got, err := made.Get(t.Context(), name); err != nil || got.Kind != "identity" || got.Version != two.Version {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := made.Delete(t.Context(), name, gate.PolicyChange{By: root, Expect: two.Version}); err != nil {
		t.Fatal(err)
	}
	if err := made.Delete(t.Context(), name, gate.PolicyChange{By: root, Expect: -1}); gate.Classify(err) != gate.NotFound {
		t.Errorf("deleted a second time: %v", err)
	}
}

func TestPoliciesOfTheFileComeFirst(t *testing.T) {
	c := cluster(t)
	id := fmt.Sprint(time.Now().UnixNano())
	topic, name := "made-"+id, "both-"+id
	root, ann := gate.Principal{Name: "User:root"}, gate.Principal{Name: "User:ann"}
	_, made := process(t, c, law)
	ready(t, made)
	rule := produceRule("User:ann", topic)
	rule.Name = name
	if _, err := made.Put(t.Context(), rule, gate.PolicyChange{By: root, Expect: -1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = made.Delete(context.WithoutCancel(t.Context()), name, gate.PolicyChange{By: root, Expect: -1})
	})

	withFile := law
	withFile.Policies = []gate.PolicyConfig{{Name: name, Kind: "identity", Attach: []string{"User:root", "User:ann"}, Document: json.RawMessage(
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"*"}}`)}}
	a, p := process(t, c, withFile)
	ready(t, p)
	if got := may(t, a, ann, gate.WriteData, topic); got == -1 {
		t.Error("a policy of the table counts although the file has one of its name")
	}
	if _, err := p.Put(t.Context(), rule, gate.PolicyChange{By: root, Expect: -1}); gate.Classify(err) != gate.Conflict {
		t.Errorf("changed a policy of the file: %v", err)
	}
	list, err := p.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, one := range list {
		if one.Name == name {
			found = append(found, fmt.Sprintf("%s in_file=%t shadowed=%t", one.Kind, one.InFile, one.Shadowed))
		}
	}
	if got, want := strings.Join(found, "; "), "identity in_file=true shadowed=false; rule in_file=false shadowed=true"; got != want {
		t.Errorf("listed %s, want %s", got, want)
	}
	// A new file that has it no more: what is kept counts.
	if err := a.Replace(law); err != nil {
		t.Fatal(err)
	}
	if got := may(t, a, ann, gate.WriteData, topic); got != -1 {
		t.Errorf("after the file has lost it: kind %d", got)
	}
}

func TestWrongPoliciesAreNotKept(t *testing.T) {
	c := cluster(t)
	_, made := process(t, c, law)
	ready(t, made)
	root := gate.Principal{Name: "User:root"}
	doc := json.RawMessage(`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"klamm:*","Resource":"*"}}`)
	for _, c := range []struct {
		name string
		in   gate.KeptPolicy
		want gate.Kind
	}{
		{"no name", gate.KeptPolicy{Kind: "identity", Attach: []string{"*"}, Document: doc}, gate.Invalid},
		{"a name with a slash", gate.KeptPolicy{Name: "a/b", Kind: "identity", Attach: []string{"*"}, Document: doc}, gate.Invalid},
		{"a name like a rule's", gate.KeptPolicy{Name: "rules[0]", Kind: "identity", Attach: []string{"*"}, Document: doc}, gate.Invalid},
		{"klamm's own name", gate.KeptPolicy{Name: "built-in", Kind: "identity", Attach: []string{"*"}, Document: doc}, gate.Invalid},
		{"another kind", gate.KeptPolicy{Name: "p", Kind: "other", Attach: []string{"*"}, Document: doc}, gate.Invalid},
		{"attached to nothing", gate.KeptPolicy{Name: "p", Kind: "identity", Document: doc}, gate.Invalid},
		{"no document", gate.KeptPolicy{Name: "p", Kind: "identity", Attach: []string{"*"}}, gate.Invalid},
		{"unknown operator", gate.KeptPolicy{Name: "p", Kind: "identity", Attach: []string{"*"}, Document: json.RawMessage(
			`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringAlmost":{"a":"b"}}}}`)}, gate.Invalid},
		{"a rule with a document", gate.KeptPolicy{Name: "p", Kind: "rule", Rule: &gate.Rule{Who: []string{"*"}, Can: []string{"all"}, Topics: []string{"*"}}, Document: doc}, gate.Invalid},
		{"a rule without rule", gate.KeptPolicy{Name: "p", Kind: "rule"}, gate.Invalid},
		{"a rule with an unknown word", gate.KeptPolicy{Name: "p", Kind: "rule", Rule: &gate.Rule{Who: []string{"*"}, Can: []string{"fly"}, Topics: []string{"*"}}}, gate.Invalid},
		{"more than a policy may list", gate.KeptPolicy{Name: "p", Kind: "identity", Attach: make([]string, 1001), Document: doc}, gate.Invalid},
		{"after which nobody could undo it", gate.KeptPolicy{Name: "p", Kind: "identity", Attach: []string{"*"}, Document: doc}, gate.Conflict},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := made.Put(t.Context(), c.in, gate.PolicyChange{By: root, Expect: -1}); err == nil || gate.Classify(err) != c.want {
				t.Errorf("got %v, want kind %d", err, c.want)
			}
		})
	}
	list, err := made.List(t.Context())
	if err != nil || len(list) == 0 || list[0].Name != "rules[0]" {
		t.Errorf("listed %v, %v", list, err)
	}
}

// Nobody gets in while the policies are not known.
func TestPoliciesThatCannotBeReadLetNobodyIn(t *testing.T) {
	root := gate.Principal{Name: "User:root"}
	t.Run("no broker", func(t *testing.T) {
		c, err := kafka.Open(kafka.Config{Brokers: []string{"127.0.0.1:1"}}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		closed := law
		closed.Policies = []gate.PolicyConfig{{Name: "out", Kind: "identity", Attach: []string{"User:out"}, Document: []byte(`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}`)}}
		a, _ := process(t, c, closed)
		// What the file denies outright is denied all the same.
		for who, want := range map[string]gate.Kind{"User:out": gate.Denied, "User:root": gate.Unavailable, "User:other": gate.Unavailable} {
			if err := a.Check(t.Context(), &gate.Call{Principal: gate.Principal{Name: who}, Action: gate.AdminRead, Resource: gate.Resource{Kind: "cluster"}}); err == nil || gate.Classify(err) != want {
				t.Errorf("%s: got %v, want kind %d", who, err, want)
			}
		}
		if err := a.Check(t.Context(), &gate.Call{Principal: root, Action: gate.AdminRead, Resource: gate.Resource{Kind: "cluster"}}); err == nil || gate.Classify(err) != gate.Unavailable {
			t.Errorf("got %v, want what is not available", err)
		}
		if _, err := a.Explain(t.Context(), gate.Question{As: "User:root", Action: "klamm:AdminRead", Resource: "pipe:p"}); gate.Classify(err) != gate.Unavailable {
			t.Errorf("explained: %v", err)
		}
	})
	t.Setenv("KLAMM_TEST_BROKERS", "") // others share the table there
	for name, value := range map[string]string{
		"not JSON": "{", "of a later version": `{"name":"x","kind":"identity","attach":["*"],"document":{"Version":"2012-10-17","Statement":[]},"unless":"something"}`,
		"of another name": `{"name":"y","kind":"rule","rule":{"who":["*"],"can":["all"],"topics":["*"]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster(t)
			a, p := process(t, c, law)
			ready(t, p)
			if got := may(t, a, root, gate.WriteData, "t"); got != -1 {
				t.Fatalf("at first: kind %d", got)
			}
			kept, err := table.Open(t.Context(), c, "__klamm_policies", table.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer kept.Close()
			if _, err := kept.Put(t.Context(), "x", []byte(value), table.Any); err != nil {
				t.Fatal(err)
			}
			waittest.Until(t, "nobody gets in", func() bool { return may(t, a, root, gate.WriteData, "t") == gate.Unavailable })
			if err := kept.Delete(t.Context(), "x", table.Any); err != nil {
				t.Fatal(err)
			}
			waittest.Until(t, "everything is as before", func() bool { return may(t, a, root, gate.WriteData, "t") == -1 })
		})
	}
}
