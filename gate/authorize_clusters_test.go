package gate_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/table"
	"github.com/klamm-gateway/klamm/waittest"
)

const (
	consumerRole = "arn:aws:iam::222222222222:role/team/consumer"
	producerARN  = "arn:aws:kafka:eu-west-3:333333333333:cluster/producer/0f2c-7"
)

// ruling is a law in which a role of another account may do everything, as far as that
// is its own account's to say.
func ruling(more ...gate.PolicyConfig) gate.Law {
	return gate.Law{Account: "111122223333", Region: "eu-west-3", Policies: append(more, gate.PolicyConfig{
		Name: "role", Kind: "identity", Attach: []string{consumerRole}, Document: document(`{"Effect":"Allow","Action":"*","Resource":"*"}`),
	})}
}

func document(statements string) json.RawMessage {
	return json.RawMessage(`{"Version":"2012-10-17","Statement":[` + statements + `]}`)
}

// granting is what a cluster allows to a role: one topic and one group.
func granting(role, arn, topic, group string) string {
	in := func(kind, name string) string {
		return `"` + strings.Replace(arn, ":cluster/", ":"+kind+"/", 1) + "/" + name + `"`
	}
	who := `"Effect":"Allow","Principal":{"AWS":"` + role + `"},`
	return string(document(`{` + who + `"Action":"kafka-cluster:Connect","Resource":"` + arn + `"},
		{` + who + `"Action":["kafka-cluster:DescribeTopic","kafka-cluster:ReadData"],"Resource":` + in("topic", topic) + `},
		{` + who + `"Action":["kafka-cluster:DescribeGroup","kafka-cluster:AlterGroup"],"Resource":` + in("group", group) + `}`))
}

// books is a catalog that an authority follows.
func books(t *testing.T, law gate.Law) (*gate.Authority, *catalog.Store, string) {
	t.Helper()
	t.Setenv("KLAMM_TEST_BROKERS", "") // what these tests store decides on the calls of all others
	c := cluster(t)
	a, err := gate.NewAuthority(law, c, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	store := catalog.NewStore(catalog.StoreConfig{Cluster: c, Log: slog.New(slog.DiscardHandler)})
	a.FollowClusters(store, false, slog.New(slog.DiscardHandler))
	arn, err := a.ClusterARN(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := may(t, a, gate.Principal{Name: "User:x"}, gate.ReadData, "t"); got != gate.Unavailable {
		t.Errorf("before the policies of clusters are known: kind %d", got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		store.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	waittest.Until(t, "the catalog is read", func() bool { return may(t, a, gate.Principal{Name: "User:x"}, gate.ReadData, "t") != gate.Unavailable })
	return a, store, arn
}

func rule(t *testing.T, store *catalog.Store, name, arn, policy string) {
	t.Helper()
	body, err := json.Marshal(gate.KeptClusterPolicy{ARN: arn, Policy: policy})
	if err == nil {
		_, err = store.Put(t.Context(), catalog.Document{Kind: catalog.KindClusterPolicy, Name: name, Dialect: "aws", By: "User:x", Body: body}, catalog.Any)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestPolicyOfTheOwnCluster(t *testing.T) {
	a, store, arn := books(t, ruling(gate.PolicyConfig{Name: "home", Kind: "identity", Attach: []string{"User:home"}, Document: document(`{"Effect":"Allow","Action":"*","Resource":"*"}`)}))
	theirs := gate.Principal{
		Name: "User:role/consumer", ARN: "arn:aws:sts::222222222222:assumed-role/consumer/s1", RoleARN: consumerRole, AccountID: "222222222222", Scheme: gate.SchemeSigV4,
	}
	home, told := gate.Principal{Name: "User:home"}, make(chan struct{}, 100)
	a.Watch(func() { told <- struct{}{} })
	reads := func(who gate.Principal, topic string) bool { return may(t, a, who, gate.ReadData, topic) == -1 }
	if reads(theirs, "shared") || !reads(home, "shared") {
		t.Error("without a policy of the cluster: a stranger reads, or who is at home does not")
	}
	rule(t, store, gate.OwnCluster, "", granting(consumerRole, arn, "shared", "app-1"))
	waittest.Until(t, "the stranger reads", func() bool { return reads(theirs, "shared") })
	select {
	case <-told:
	default:
		t.Error("nobody was told of the change")
	}
	for _, c := range []struct {
		name     string
		action   gate.Action
		resource gate.Resource
		want     bool
	}{
		{"another topic", gate.ReadData, gate.Resource{Kind: "topic", Name: "closed"}, false},
		{"write", gate.WriteData, gate.Resource{Kind: "topic", Name: "shared"}, false},
		{"the group", gate.AlterGroup, gate.Resource{Kind: "group", Name: "app-1"}, true},
		{"another group", gate.AlterGroup, gate.Resource{Kind: "group", Name: "app-2"}, false},
		{"look", gate.DescribeTopic, gate.Resource{Kind: "topic", Name: "shared"}, true},
	} {
		if err := a.Check(t.Context(), &gate.Call{Principal: theirs, Action: c.action, Resource: c.resource}); (err == nil) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	rule(t, store, gate.OwnCluster, "", string(document(`{"Effect":"Deny","Principal":"*","Action":"kafka-cluster:ReadData","Resource":"topic:shared"}`)))
	waittest.Until(t, "the denial counts at home too", func() bool { return !reads(home, "shared") && reads(home, "other") })
	if err := store.Delete(t.Context(), catalog.KindClusterPolicy, gate.OwnCluster, catalog.Any); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the denial is gone", func() bool { return reads(home, "shared") })
}

func TestRolesOfFunctions(t *testing.T) {
	a, store, arn := books(t, ruling())
	use := gate.RoleUse{Role: consumerRole, Session: "f", Cluster: producerARN, Topic: "customer", Group: "msk-lambda-iam"}
	allowed := func(use gate.RoleUse) bool {
		t.Helper()
		err := a.CheckRole(t.Context(), use)
		if err != nil && gate.DenialOf(err) == nil {
			t.Errorf("%+v: %v", use, err)
		}
		return err == nil
	}
	if allowed(use) {
		t.Error("a role of another account reads from a cluster without a policy")
	}
	rule(t, store, "producer", producerARN, granting(consumerRole, producerARN, "customer", "msk-lambda-iam"))
	waittest.Until(t, "the role may read", func() bool { return allowed(use) })
	for name, change := range map[string]func(*gate.RoleUse){
		"another topic":   func(u *gate.RoleUse) { u.Topic = "other" },
		"another group":   func(u *gate.RoleUse) { u.Group = "other" },
		"another role":    func(u *gate.RoleUse) { u.Role = "arn:aws:iam::222222222222:role/other" },
		"another cluster": func(u *gate.RoleUse) { u.Cluster = strings.Replace(producerARN, "0f2c-7", "0f2c-8", 1) },
		"klamm's own":     func(u *gate.RoleUse) { u.Cluster = "" },
		"its failures":    func(u *gate.RoleUse) { u.Failures = "failed" },
	} {
		other := use
		if change(&other); allowed(other) {
			t.Errorf("%s is allowed", name)
		}
	}
	rule(t, store, gate.OwnCluster, "", granting(consumerRole, arn, "*", "*"))
	own := use
	own.Cluster = ""
	waittest.Until(t, "the role may read here", func() bool { return allowed(own) })
}

// A role is only kept where no policy is about it.
func TestRolesWithoutPolicies(t *testing.T) {
	a, store, _ := books(t, gate.Law{Account: "111122223333", Region: "eu-west-3", Rules: []gate.Rule{{Who: []string{"User:a"}, Can: []string{"all"}, Topics: []string{"*"}}}})
	use := gate.RoleUse{Role: "arn:aws:iam::111122223333:role/r", Session: "f", Topic: "t", Group: "g"}
	if err := a.CheckRole(t.Context(), use); err != nil {
		t.Errorf("without a policy: %v", err)
	}
	rule(t, store, gate.OwnCluster, "", string(document(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/other"},"Action":"kafka-cluster:*","Resource":"*"}`)))
	waittest.Until(t, "the role counts", func() bool { return gate.DenialOf(a.CheckRole(t.Context(), use)) != nil })
	use.Role = "arn:aws:iam::111122223333:role/other"
	if err := a.CheckRole(t.Context(), use); err != nil {
		t.Errorf("the role that the policy names: %v", err)
	}
}

// What a policy that nobody understands denies must not become allowed.
func TestUnreadableClusterPolicy(t *testing.T) {
	a, store, _ := books(t, ruling(gate.PolicyConfig{Name: "home", Kind: "identity", Attach: []string{"User:home"}, Document: document(`{"Effect":"Allow","Action":"*","Resource":"*"}`)}))
	who := gate.Principal{Name: "User:home"}
	rule(t, store, "odd", producerARN, `{"Version":"2030-01-01","Statement":[]}`)
	waittest.Until(t, "nobody may do anything", func() bool { return may(t, a, who, gate.ReadData, "t") == gate.Unavailable })
	if err := a.CheckRole(t.Context(), gate.RoleUse{Role: consumerRole, Session: "f", Topic: "t", Group: "g"}); err == nil || gate.DenialOf(err) != nil {
		t.Errorf("a role meanwhile: %v", err)
	}
	if err := store.Delete(t.Context(), catalog.KindClusterPolicy, "odd", catalog.Any); err != nil && !errors.Is(err, table.ErrConflict) {
		t.Fatal(err)
	}
	waittest.Until(t, "callers are served again", func() bool { return may(t, a, who, gate.ReadData, "t") == -1 })
}

func TestClusterPoliciesAreChecked(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
	}{
		{"good", granting(consumerRole, producerARN, "t", "g"), ""},
		{"unknown member", `{"Extra":1,"Version":"2012-10-17","Statement":[]}`, "Extra"},
		{"no principal", string(document(`{"Effect":"Allow","Action":"kafka-cluster:Connect","Resource":"*"}`)), "Principal"},
		{"a wildcard in a principal", string(document(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:role/*"},"Action":"kafka-cluster:Connect","Resource":"*"}`)), "wildcards"},
		{"unknown operator", string(document(`{"Effect":"Allow","Principal":"*","Action":"kafka-cluster:Connect","Resource":"*","Condition":{"StringAlike":{"aws:username":"x"}}}`)), "StringAlike"},
		{"too long", string(document(`{"Sid":"` + strings.Repeat("x", 21<<10) + `","Effect":"Allow","Principal":"*","Action":"kafka-cluster:Connect","Resource":"*"}`)), "at most"},
		{"not JSON", "x", "JSON"},
	} {
		err := gate.CheckClusterPolicy([]byte(c.in))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
