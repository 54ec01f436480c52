package gate

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What is remembered of calls changes no decision: an authority that has seen many calls
// decides each as one that has seen none.
func TestRememberedCallsAreDecidedAsTheFirst(t *testing.T) {
	law := Law{
		Settings: Authorize{Default: "deny", Strict: true},
		Policies: []PolicyConfig{
			policy("group:in", door+","+see+`,{"Effect":"Allow","Action":"kafka-cluster:WriteData","Resource":["topic:a","topic:own-${aws:username}"]},
				{"Effect":"Deny","Action":"kafka-cluster:WriteData","Resource":"topic:a","Condition":{"NumericEquals":{"klamm:Partition":"2"}}}`),
			policy("group:out", `{"Effect":"Deny","Action":"kafka-cluster:ReadData","Resource":"*"}`),
			policy("User:ann", see+`,{"Effect":"Allow","Action":["kafka-cluster:ReadData","kafka-cluster:WriteData"],"Resource":"topic:b"},
				{"Effect":"Allow","Action":"kafka-cluster:ReadData","Resource":"topic:c","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}`),
			policy("key:k1", door+","+see+`,{"Effect":"Allow","Action":"kafka-cluster:WriteData","Resource":"topic:c"}`),
			policy("scope:write", `{"Effect":"Allow","Action":["kafka-cluster:ReadData","kafka-cluster:WriteData"],"Resource":"topic:*"}`),
			policy("anonymous", door),
			policy("role:writer", `{"Effect":"Allow","Action":"kafka-cluster:WriteData","Resource":"topic:b"}`),
			policy("arn:aws:iam::111122223333:user/bob", `{"Effect":"Allow","Action":["kafka-cluster:Connect","kafka-cluster:DescribeTopic"],"Resource":"*"}`),
			policy("group:out", `{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"arn:aws:execute-api:*:*:*/prod/GET/y"}`),
			policy("*", `{"Effect":"Allow","Action":"kafka-cluster:WriteDataIdempotently","Resource":"*"},{"Effect":"Allow","Action":["kafka-cluster:AlterGroup","kafka-cluster:DescribeGroup"],"Resource":"group:g"}`),
		},
	}
	for i := range law.Policies {
		law.Policies[i].Name = fmt.Sprintf("p%d", i)
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // calls need not be a secret
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	some := func(from ...string) (out []string) {
		for _, one := range from {
			if random.IntN(2) == 0 {
				out = append(out, one)
			}
		}
		return out
	}
	remembers, forgets := newAuthority(t, law), newAuthority(t, law)
	change := []func(c *Call){
		func(c *Call) { c.Principal.Name = pick("User:ann", "User:bob", "User:ANONYMOUS") },
		func(c *Call) { c.Principal.Groups = some("in", "out") },
		func(c *Call) { c.Principal.Scopes = some("write") },
		func(c *Call) { c.Principal.Roles = some("writer") },
		func(c *Call) { c.Principal.KeyID = pick("", "k1", "k2") },
		func(c *Call) { c.Principal.Scheme = pick(SchemeJWT, SchemeAPIKey, SchemeAnonymous) },
		func(c *Call) { c.Principal.GroupsUnknown = !c.Principal.GroupsUnknown },
		func(c *Call) {
			c.Principal.ARN = pick("", "arn:aws:iam::111122223333:user/ann", "arn:aws:iam::111122223333:user/bob")
		},
		func(c *Call) { c.Principal.Source = netip.MustParseAddr(pick("10.1.2.3", "192.0.2.1")) },
		func(c *Call) { c.Principal.request = &Request{Method: "GET", Path: "/x", Stage: pick("", "prod")} },
		func(c *Call) { c.Group = pick("", "g") },
		func(c *Call) { c.Action = Action(pick(string(ReadData), string(WriteData), string(DescribeTopic))) },
		func(c *Call) { c.Resource = Resource{"topic", pick("a", "b", "c", "own-ann", "own-bob")} },
		func(c *Call) { c.Action, c.Resource = Invoke, Resource{"route", pick("GET/x", "GET/y")} },
		func(c *Call) {
			c.Records = []*kgo.Record{{Partition: int32(random.IntN(3))}, {Partition: int32(random.IntN(3))}}
		},
		func(c *Call) {
			c.Principal.Policy = nil
			if random.IntN(2) == 0 {
				c.Principal.Policy = json.RawMessage(`{"Version":"2012-10-17","Statement":[` + pick(door, see) + `]}`)
			}
		},
	}
	let := 0
	for range 1000 {
		var c Call
		for _, one := range change[:13] {
			one(&c)
		}
		for range 10 {
			first, again := c, c
			forgets.law.Load().passed.seed = maphash.MakeSeed() // nothing is found any more
			got, want := remembers.Check(t.Context(), &again), forgets.Check(t.Context(), &first)
			if fmt.Sprint(got) != fmt.Sprint(want) || again.decision != first.decision {
				t.Fatalf("%s on %s by %+v: %v by %+v, at first %v by %+v", c.Action, c.Resource.Name, c.Principal, got, again.decision, want, first.decision)
			}
			if got == nil {
				let++
			}
			change[random.IntN(len(change))](&c)
		}
	}
	if let < 200 {
		t.Errorf("%d of the calls passed; too few to say anything", let)
	}
}

// A law that takes the place of another one remembers nothing of it.
func TestNewPoliciesAreDecidedBy(t *testing.T) {
	a := newAuthority(t, Law{Policies: []PolicyConfig{policy("User:ann", door)}})
	c := Call{Principal: Principal{Name: "User:ann"}, Action: Invoke, Resource: Resource{"route", "GET/x"}}
	for range 2 {
		if err := a.Check(t.Context(), &c); err != nil {
			t.Fatal(err)
		}
	}
	law := Law{Policies: []PolicyConfig{policy("User:bob", door)}}
	law.Account, law.Region = "111122223333", "eu-west-3"
	if err := a.Replace(law); err != nil {
		t.Fatal(err)
	}
	if got := outcomeOf(a.Check(t.Context(), &c)); got != refused {
		t.Errorf("got %s, want %s", got, refused)
	}
}
