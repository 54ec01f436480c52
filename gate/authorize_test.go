package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

func newAuthority(t testing.TB, law Law) *Authority {
	t.Helper()
	law.Account, law.Region = "111122223333", "eu-west-3"
	a, err := NewAuthority(law, nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// policy is an identity policy of statements in IAM's JSON.
func policy(attach, statements string) PolicyConfig {
	return PolicyConfig{Name: "p", Kind: "identity", Attach: []string{attach}, Document: json.RawMessage(`{"Version":"2012-10-17","Statement":[` + statements + `]}`)}
}

const (
	door = `{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"*"}`
	see  = `{"Effect":"Allow","Action":["kafka-cluster:Connect","kafka-cluster:Describe*"],"Resource":"*"}`
)

// What a call ends with.
const (
	passes  = "passes"
	refused = "refused"
	missing = "looks missing"
)

func outcomeOf(err error) string {
	switch {
	case err == nil:
		return passes
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return missing
	case Classify(err) == Denied:
		return refused
	}
	return err.Error()
}

func TestRules(t *testing.T) {
	law := Law{Rules: []Rule{
		{Who: []string{"User:root"}, Can: []string{"all"}, Topics: []string{"*"}, Groups: []string{"*"}},
		{Who: []string{"*"}, Can: []string{"produce", "consume", "describe"}, Topics: []string{"mine-*"}, Groups: []string{"g-*"}},
		{Who: []string{"*"}, Can: []string{"describe"}, Topics: []string{"shown-*"}},
		{Who: []string{"group:analytics"}, Can: []string{"consume"}, Topics: []string{"*"}, ExceptTopics: []string{"pay.*"}, Groups: []string{"analytics-*"}},
		{Who: []string{"scope:kafka.write"}, Can: []string{"produce"}, Topics: []string{"by-scope"}},
		{Who: []string{"role:Writer"}, Can: []string{"produce"}, Topics: []string{"by-role"}},
		{Who: []string{"User:ops"}, Can: []string{"admin"}, Topics: []string{"*"}, Internal: true},
		{Who: []string{"User:careful"}, Can: []string{"admin"}, Topics: []string{"*"}},
		{Who: []string{"*"}, Deny: []string{"produce"}, Topics: []string{"mine-closed"}},
	}}
	a := newAuthority(t, law)
	device, root := Principal{Name: "User:device"}, Principal{Name: "User:root"}
	analyst := Principal{Name: "User:ann", Groups: []string{"x", "analytics"}}
	topic := func(name string) Resource { return Resource{Kind: "topic", Name: name} }
	group := func(name string) Resource { return Resource{Kind: "group", Name: name} }
	cluster := Resource{Kind: "cluster"}
	for _, c := range []struct {
		name     string
		who      Principal
		action   Action
		resource Resource
		want     string
	}{
		{"produce where allowed", device, WriteData, topic("mine-a"), passes},
		{"produce where only describing is", device, WriteData, topic("shown-a"), refused},
		{"produce where nothing is", device, WriteData, topic("hidden-a"), missing},
		{"produce where it is denied", device, WriteData, topic("mine-closed"), refused},
		{"root too", root, WriteData, topic("mine-closed"), refused},
		{"denying to produce is not denying to read", device, ReadData, topic("mine-closed"), passes},
		{"read", device, ReadData, topic("mine-a"), passes},
		{"read elsewhere", device, ReadData, topic("shown-a"), refused},
		{"describe", device, DescribeTopic, topic("shown-a"), passes},
		{"describe elsewhere", device, DescribeTopic, topic("hidden-a"), missing},
		{"settings are not part of it", device, DescribeConfigs, topic("mine-a"), refused},
		{"settings of a hidden topic", device, DescribeConfigs, topic("hidden-a"), missing},
		{"creating tells nothing", device, CreateTopic, topic("hidden-new"), refused},
		{"deleting", device, DeleteTopic, topic("mine-a"), refused},
		{"deleting a hidden one", device, DeleteTopic, topic("hidden-a"), missing},
		{"group", device, AlterGroup, group("g-1"), passes},
		{"group of others", device, AlterGroup, group("other"), refused},
		{"group behind a slash", device, AlterGroup, group("other/g-1"), refused},
		{"ACLs", device, DescribeCluster, cluster, refused},
		{"klamm's own", device, AdminRead, Resource{Kind: "pipe", Name: "p"}, refused},
		{"root and klamm's own", root, AdminWrite, Resource{Kind: "pipe", Name: "p"}, passes},
		{"root and ACLs", root, AlterCluster, cluster, passes},
		{"root and internal topics", root, WriteData, topic("__consumer_offsets"), refused},
		{"admin and internal topics", Principal{Name: "User:careful"}, WriteData, topic("__x"), refused},
		{"admin who may reach them", Principal{Name: "User:ops"}, WriteData, topic("__x"), passes},
		{"member of a group", analyst, ReadData, topic("web"), passes},
		{"except", analyst, ReadData, topic("pay.card"), refused},
		{"no member", device, ReadData, topic("web"), missing},
		{"scope", Principal{Name: "User:s", Scopes: []string{"kafka.write"}}, WriteData, topic("by-scope"), passes},
		{"part of a scope", Principal{Name: "User:s", Scopes: []string{"kafka.writer"}}, WriteData, topic("by-scope"), missing},
		{"role", Principal{Name: "User:r", Roles: []string{"Writer"}}, WriteData, topic("by-role"), passes},
		{"case of a topic", device, WriteData, topic("MINE-a"), missing},
		{"any route, without policies", device, Invoke, Resource{Kind: "route", Name: "GET/topics"}, passes},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := outcomeOf(a.Check(context.Background(), &Call{Principal: c.who, Action: c.action, Resource: c.resource})); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestPoliciesDecideByTheRequest(t *testing.T) {
	write := `{"Effect":"Allow","Action":"kafka-cluster:WriteData","Resource":"*","Condition":{%s}}`
	ask := &Request{Method: "POST", Path: "/topics/x", Pattern: "POST /topics/{topic}", Bytes: 17, Header: map[string][]string{
		"User-Agent": {"device/1"}, "X-Site": {"north", "south"}, "Content-Type": {"application/vnd.kafka.json.v2+json"},
	}, Query: map[string][]string{"v": {"2"}}}
	who := Principal{
		Name: "User:alice", ARN: "arn:aws:iam::111122223333:user/eng/alice", AccountID: "111122223333", Scheme: SchemeSigV4, Groups: []string{"g"},
		Tags: map[string]string{"Team": "iot"}, Claims: map[string]any{"tenant": map[string]any{"id": json.Number("7")}, "amr": []any{"pwd", "mfa"}},
		Source: netip.MustParseAddr("192.0.2.7"), Secure: true, Certificate: &Certificate{SubjectDN: "CN=a", URIs: []string{"spiffe://a"}},
	}.Within(ask)
	records := []*kgo.Record{{Partition: 3}, {Partition: 3}}
	for _, c := range []struct {
		name, in string
		want     bool
	}{
		{"source", `"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}`, true},
		{"TLS", `"Bool":{"aws:SecureTransport":"true"}`, true},
		{"now", `"DateGreaterThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}`, true},
		{"now in seconds", `"NumericGreaterThan":{"aws:EpochTime":"1577836800"}`, true},
		{"agent", `"StringLike":{"aws:UserAgent":"device/*"}`, true},
		{"referer is absent", `"Null":{"aws:Referer":"true"}`, true},
		{"user name", `"StringEquals":{"aws:username":"alice"}`, true},
		{"ARN", `"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/eng/*"}`, true},
		{"account", `"StringEquals":{"aws:PrincipalAccount":"111122223333"}`, true},
		{"type", `"StringEquals":{"aws:PrincipalType":"User"}`, true},
		{"region", `"StringEquals":{"aws:RequestedRegion":"eu-west-3"}`, true},
		{"tag", `"StringEquals":{"aws:PrincipalTag/team":"iot"}`, true},
		{"second factor", `"Bool":{"aws:MultiFactorAuthPresent":"true"}`, true},
		{"no issue time", `"Null":{"aws:TokenIssueTime":"true"}`, true},
		{"principal", `"StringEquals":{"klamm:Principal":"User:alice"}`, true},
		{"scheme", `"StringEquals":{"klamm:AuthMethod":"sigv4"}`, true},
		{"stage", `"StringEquals":{"klamm:Stage":"$default"}`, true},
		{"route", `"StringEquals":{"klamm:Route":"POST /topics/{topic}"}`, true},
		{"group of the caller", `"ForAnyValue:StringEquals":{"klamm:Groups":"g"}`, true},
		{"groups are known", `"Bool":{"klamm:GroupsUnknown":"false"}`, true},
		{"topic", `"StringEquals":{"klamm:Topic":"x"}`, true},
		{"no consumer group", `"Null":{"klamm:Group":"true"}`, true},
		{"partition", `"NumericEquals":{"klamm:Partition":"3"}`, true},
		{"records", `"NumericLessThanEquals":{"klamm:RecordCount":"2"}`, true},
		{"too many records", `"NumericLessThan":{"klamm:RecordCount":"2"}`, false},
		{"bytes", `"NumericEquals":{"klamm:RequestBytes":"17"}`, true},
		{"content type", `"StringLike":{"klamm:ContentType":"application/vnd.kafka.*"}`, true},
		{"format", `"StringEquals":{"klamm:Format":"json"}`, true},
		{"claim", `"StringEquals":{"jwt:tenant.id":"7"}`, true},
		{"claim of many values", `"ForAnyValue:StringEquals":{"jwt:amr":"pwd"}`, true},
		{"no claim", `"StringEquals":{"jwt:other":"7"}`, false},
		{"header", `"ForAnyValue:StringEquals":{"request:header/x-site":"south"}`, true},
		{"query", `"StringEquals":{"request:query/V":"2"}`, true},
		{"certificate", `"StringEquals":{"mtls:SubjectDN":"CN=a"}`, true},
		{"its names", `"StringLike":{"mtls:SAN/uri":"spiffe://*"}`, true},
		{"no network of AWS", `"Null":{"aws:SourceVpc":"true"}`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAuthority(t, Law{Policies: []PolicyConfig{policy("User:alice", see+","+fmt.Sprintf(write, c.in))}})
			err := a.Check(context.Background(), &Call{Principal: who, Action: WriteData, Resource: Resource{Kind: "topic", Name: "x"}, Records: records})
			if (err == nil) != c.want {
				t.Errorf("got %v", err)
			}
		})
	}
}

// What is said of one partition is not got around by records for others beside it.
func TestEachPartitionOfACallHasToBeAllowed(t *testing.T) {
	const only = `{"Effect":"Allow","Action":["kafka-cluster:WriteData","kafka-cluster:ReadData"],"Resource":"*","Condition":{"NumericEquals":{"klamm:Partition":["0","2"]}}}`
	const but = `{"Effect":"Allow","Action":["kafka-cluster:WriteData","kafka-cluster:ReadData"],"Resource":"*"},` +
		`{"Effect":"Deny","Action":["kafka-cluster:WriteData","kafka-cluster:ReadData"],"Resource":"*","Condition":{"NumericEquals":{"klamm:Partition":"1"}}}`
	for _, c := range []struct {
		name, statements string
		partitions       []int32
		want             string
	}{
		{"all of them are", only, []int32{2, 0, 2, 0}, passes},
		{"one of them is not", only, []int32{2, 0, 1}, refused},
		{"none in particular", only, []int32{0, -1}, refused},
		{"none is denied", but, []int32{0, 2, -1}, passes},
		{"one is denied", but, []int32{0, 1}, refused},
		{"the first is denied", but, []int32{1, 0}, refused},
		{"all are denied", but, []int32{1, 1}, refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAuthority(t, Law{Policies: []PolicyConfig{policy("User:alice", see+","+c.statements)}})
			write := &Call{Principal: Principal{Name: "User:alice"}, Action: WriteData, Resource: Resource{Kind: "topic", Name: "x"}}
			reads := passes
			for _, p := range c.partitions {
				write.Records = append(write.Records, &kgo.Record{Partition: p})
				read := &Call{Principal: write.Principal, Action: ReadData, Resource: write.Resource, Partition: &p}
				if p < 0 {
					read.Partition = nil
				}
				if err := a.Check(context.Background(), read); err != nil {
					reads = outcomeOf(err)
				}
			}
			if got := outcomeOf(a.Check(context.Background(), write)); got != c.want {
				t.Errorf("writing %v: %s, want %s", c.partitions, got, c.want)
			}
			if reads != c.want {
				t.Errorf("reading %v one by one: %s, want %s", c.partitions, reads, c.want)
			}
		})
	}
}

func TestBothLayersAreAsked(t *testing.T) {
	a := newAuthority(t, Law{Policies: []PolicyConfig{policy("User:a", `{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"arn:aws:execute-api:*:*:*/*/GET/topics/*"}`)}})
	for _, c := range []struct{ name, in, want string }{
		{"the route", "GET/topics/x", passes},
		{"its head", "HEAD/topics/x", passes},
		{"another method", "POST/topics/x", refused},
		{"another path", "GET/consumers/x", refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := outcomeOf(a.Check(context.Background(), &Call{Principal: Principal{Name: "User:a"}, Action: Invoke, Resource: Resource{Kind: "route", Name: c.in}})); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	if got := outcomeOf(a.Check(context.Background(), &Call{Principal: Principal{Name: "User:a"}, Action: DescribeTopic, Resource: Resource{Kind: "topic", Name: "x"}})); got != refused {
		t.Errorf("a topic behind an open route: got %s, want %s, since the caller may not connect", got, refused)
	}
}

func TestRefusalNamesCallerActionAndResource(t *testing.T) {
	a := newAuthority(t, Law{Policies: []PolicyConfig{policy("User:a", see+`,{"Effect":"Deny","Action":"execute-api:*","Resource":"*"}`)}})
	err := a.Check(context.Background(), &Call{Principal: Principal{Name: "User:a"}, Action: Invoke, Resource: Resource{Kind: "route", Name: "POST/topics/x"}})
	want := "User: a is not authorized to perform: execute-api:Invoke on resource: arn:aws:execute-api:eu-west-3:********3333:klamm/$default/POST/topics/x with an explicit deny"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	d := DenialOf(err)
	if d == nil || !d.Explicit() || d.Decision.Policy != "p" || d.Decision.Statement != 2 {
		t.Errorf("got %+v", d)
	}
}

func TestRefusalOfWhatHasNoName(t *testing.T) {
	a := newAuthority(t, Law{Policies: []PolicyConfig{policy("User:a", see)}})
	err := a.Check(context.Background(), &Call{Principal: Principal{Name: "User:a"}, Action: "lambda:ListFunctions", Resource: Resource{Kind: "arn", Name: "*"}})
	if want := "User: a is not authorized to perform: lambda:ListFunctions on resource: *"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestReplacingActsOnTheNextCall(t *testing.T) {
	law := Law{Rules: []Rule{{Who: []string{"*"}, Can: []string{"consume"}, Topics: []string{"x"}}}}
	a := newAuthority(t, law)
	call := func() string {
		return outcomeOf(a.Check(context.Background(), &Call{Principal: Principal{Name: "User:a"}, Action: ReadData, Resource: Resource{Kind: "topic", Name: "x"}}))
	}
	if got := call(); got != passes {
		t.Fatal(got)
	}
	if err := a.Replace(Law{Policies: []PolicyConfig{{Name: "odd", Kind: "identity"}}}); err == nil {
		t.Error("a policy without a document was taken")
	}
	if got := call(); got != passes {
		t.Errorf("after a replacement that failed: got %s, want %s", got, passes)
	}
	if err := a.Replace(Law{Rules: []Rule{{Who: []string{"*"}, Can: []string{"describe"}, Topics: []string{"x"}}}}); err != nil {
		t.Fatal(err)
	}
	if got := call(); got != refused {
		t.Errorf("after the grant was removed: got %s, want %s", got, refused)
	}
}

// TestConnectionsAreManagedByGrantAlone: where calling any route is open, managing
// connections is not, and what grants it need not grant calling routes.
func TestConnectionsAreManagedByGrantAlone(t *testing.T) {
	statement := func(action string) Law {
		return Law{Policies: []PolicyConfig{{Name: "p", Kind: "identity", Attach: []string{"User:a"}, Document: []byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"` + action + `","Resource":"execute-api:/$default/POST/@connections/*"}}`)}}}
	}
	inGroup := statement("execute-api:ManageConnections")
	inGroup.Settings = Authorize{RequireGroupsAny: []string{"G"}}
	for _, c := range []struct {
		name string
		law  Law
		in   Principal
		want string
	}{
		{"no policies", Law{}, Principal{Name: "User:a"}, refused},
		{"granted", statement("execute-api:ManageConnections"), Principal{Name: "User:a"}, passes},
		{"somebody else", statement("execute-api:ManageConnections"), Principal{Name: "User:b"}, refused},
		{"may call routes", statement("execute-api:Invoke"), Principal{Name: "User:a"}, refused},
		{"granted, but in no group", inGroup, Principal{Name: "User:a"}, refused},
		{"granted, in the group", inGroup, Principal{Name: "User:a", Groups: []string{"G"}}, passes},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAuthority(t, c.law)
			call := &Call{Principal: c.in, Action: ManageConnections, Resource: Resource{Kind: "route", Name: "POST/@connections/0.X"}}
			if got := outcomeOf(a.Check(context.Background(), call)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestMembersOfAGroupAlone(t *testing.T) {
	a := newAuthority(t, Law{Settings: Authorize{RequireGroupsAny: []string{"G"}}})
	for _, c := range []struct {
		name string
		in   Principal
		want string
	}{
		{"member", Principal{Name: "User:a", Groups: []string{"x", "G"}}, passes},
		{"outsider", Principal{Name: "User:a", Groups: []string{"x"}}, refused},
		{"groups not known", Principal{Name: "User:a", GroupsUnknown: true}, refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := outcomeOf(a.Check(context.Background(), &Call{Principal: c.in, Action: Invoke, Resource: Resource{Kind: "route", Name: "GET/topics"}})); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	if got := outcomeOf(a.Check(context.Background(), &Call{Principal: Principal{Name: "User:a", Groups: []string{"G"}}, Action: WriteData, Resource: Resource{Kind: "topic", Name: "x"}})); got != passes {
		t.Errorf("a member may do everything: got %s", got)
	}
	if got := a.Groups(); !slices.Equal(got, []string{"G"}) {
		t.Errorf("groups to ask for: got %v", got)
	}
}

func TestCallersWithTheirOwnPolicy(t *testing.T) {
	a := newAuthority(t, Law{})
	who := Principal{Name: "User:v", Scheme: SchemeAuthorizer, Policy: json.RawMessage(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"` + a.law.Load().routeARN(DefaultStage, "POST", "/topics/x") + `"}}`)}
	for _, c := range []struct{ name, in, want string }{
		{"what it allows", "POST/topics/x", passes},
		{"what it does not", "GET/topics/x", refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := outcomeOf(a.Check(context.Background(), &Call{Principal: who, Action: Invoke, Resource: Resource{Kind: "route", Name: c.in}})); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	who.Policy = json.RawMessage(`{}`)
	if err := a.Check(context.Background(), &Call{Principal: who, Action: Invoke, Resource: Resource{Kind: "route", Name: "POST/topics/x"}}); err == nil || Classify(err) != Internal {
		t.Errorf("a policy that is none: got %v", err)
	}
}

func TestExplain(t *testing.T) {
	a := newAuthority(t, Law{
		Policies: []PolicyConfig{policy("group:ingest", see+`,{"Sid":"Own","Effect":"Allow","Action":"kafka-cluster:WriteData","Resource":"topic:${aws:username}-*"},{"Sid":"NotThis","Effect":"Deny","Action":"*","Resource":"topic:alice-closed"}`)},
		Known: func(_ context.Context, name string) (Principal, bool) {
			return Principal{Name: "User:alice", ARN: "arn:aws:iam::111122223333:user/alice", Groups: []string{"ingest"}}, name == "User:alice"
		},
	})
	closed := newAuthority(t, Law{Settings: Authorize{RequireGroupsAny: []string{"ingest"}}})
	if e, err := closed.Explain(context.Background(), Question{As: "User:x", Action: "execute-api:Invoke", Resource: "execute-api:/$default/GET/topics"}); err != nil || e.Sid != "RequireGroupsAny" || e.Allowed() {
		t.Errorf("somebody outside the group: got %+v, %v", e, err)
	}
	for _, c := range []struct {
		name string
		in   Question
		want string // decision and Sid, or the kind of the error
	}{
		{"allowed", Question{As: "User:alice", Action: "kafka-cluster:writedata", Resource: "topic:alice-1"}, "allow Own"},
		{"denied", Question{As: "User:alice", Action: "kafka-cluster:WriteData", Resource: "topic:alice-closed"}, "explicit deny NotThis"},
		{"nothing", Question{As: "User:alice", Action: "kafka-cluster:WriteData", Resource: "topic:bob-1"}, "implicit deny "},
		{"stranger", Question{As: "User:x", Action: "kafka-cluster:DescribeTopic", Resource: "topic:x"}, "implicit deny "},
		{"with a group", Question{As: "User:x", Groups: []string{"ingest"}, Action: "kafka-cluster:DescribeTopic", Resource: "topic:x"}, "allow "},
		{"with a value", Question{As: "User:x", Groups: []string{"ingest"}, Action: "kafka-cluster:WriteData", Resource: "topic:x-1", Context: map[string][]string{"AWS:username": {"x"}}}, "allow Own"},
		{"internal", Question{As: "User:alice", Action: "kafka-cluster:WriteData", Resource: "topic:__x"}, "explicit deny InternalTopics"},
		{"nonsense", Question{As: "User:alice", Action: "nonsense", Resource: "topic:x"}, "error"},
		{"no caller", Question{As: "alice", Action: "kafka-cluster:WriteData", Resource: "topic:x"}, "error"},
		{"no resource", Question{As: "User:alice", Action: "kafka-cluster:WriteData", Resource: "x"}, "error"},
		{"role", Question{As: "arn:aws:iam::222222222222:role/r", Action: "kafka-cluster:WriteData", Resource: "topic:x"}, "implicit deny "},
		{"route", Question{Action: "execute-api:Invoke", Resource: "execute-api:/$default/GET/topics"}, "implicit deny "},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := a.Explain(context.Background(), c.in)
			got := e.Decision + " " + e.Sid
			if err != nil && Classify(err) == Invalid {
				got = "error"
			}
			if got != c.want {
				t.Errorf("got %q (%+v, %v), want %q", got, e, err, c.want)
			}
		})
	}
}

// TestNoCallIsDecidedByLess draws policies and calls and compares with a slow and
// obvious reading of the table of actions: every action of an operation has to be
// allowed, by itself.
func TestNoCallIsDecidedByLess(t *testing.T) {
	verbs := []string{"Connect", "DescribeTopic", "WriteData", "ReadData", "DeleteTopic", "DescribeTopicDynamicConfiguration", "AlterTopicDynamicConfiguration"}
	needs := map[string][]string{"DescribeTopic": nil, "WriteData": {"DescribeTopic"}, "ReadData": {"DescribeTopic"}, "DeleteTopic": {"DescribeTopic"}, "DescribeTopicDynamicConfiguration": nil,
		"AlterTopicDynamicConfiguration": {"DescribeTopicDynamicConfiguration"}}
	rapid.Check(t, func(t *rapid.T) {
		granted := rapid.SliceOfDistinct(rapid.SampledFrom(verbs), rapid.ID).Draw(t, "granted")
		verb := rapid.SampledFrom(verbs[1:]).Draw(t, "verb")
		name := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "topic")
		actions := `"klamm:ValidateOnly"`
		for _, v := range granted {
			actions += `,"kafka-cluster:` + v + `"`
		}
		law := Law{Account: "111122223333", Region: "r", Policies: []PolicyConfig{policy("*", `{"Effect":"Allow","Action":[`+actions+`],"Resource":["cluster:*","topic:x"]}`)}}
		a, err := NewAuthority(law, nil, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		has := func(v string) bool { return slices.Contains(granted, v) && (v == "Connect" || name == "x") }
		want := passes
		for _, v := range append([]string{verb}, needs[verb]...) {
			switch {
			case has(v):
			case has("DescribeTopic"):
				want = refused
			default:
				want = missing
			}
		}
		if !has("Connect") {
			want = refused
		}
		got := outcomeOf(a.Check(context.Background(), &Call{Principal: Principal{Name: "User:a"}, Action: Action("kafka-cluster:" + verb), Resource: Resource{Kind: "topic", Name: name}}))
		if got != want {
			t.Fatalf("%s on %s with %s: got %s, want %s", verb, name, strings.Join(granted, " "), got, want)
		}
	})
}

func BenchmarkCheckProduce(b *testing.B) {
	a := newAuthority(b, Law{Rules: []Rule{{Who: []string{"group:g"}, Can: []string{"produce"}, Topics: []string{"mine-*"}}}})
	call := &Call{Principal: Principal{Name: "User:a", Groups: []string{"g"}}, Action: WriteData, Resource: Resource{Kind: "topic", Name: "mine-a"}}
	b.ReportAllocs()
	for b.Loop() {
		if err := a.Check(context.Background(), call); err != nil {
			b.Fatal(err)
		}
	}
}

func TestResourcePoliciesForTokensAsCognitoHasThem(t *testing.T) {
	law := Law{Policies: []PolicyConfig{
		policy("*", door),
		{Name: "r", Kind: "resource", Attach: []string{"execute-api:/$default/GET/guarded/*"}, Document: json.RawMessage(
			`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Klamm":"User:ann"},"Action":"execute-api:Invoke","Resource":"*"}}`)},
	}}
	for _, c := range []struct {
		name, mode, who, scheme, route, want string
	}{
		{"table a: the identity policy is enough", "", "User:bob", SchemeJWT, "GET/guarded/x", passes},
		{"cognito: it is not", "cognito", "User:bob", SchemeJWT, "GET/guarded/x", refused},
		{"cognito: who is named", "cognito", "User:ann", SchemeJWT, "GET/guarded/x", passes},
		{"cognito: a route without a resource policy", "cognito", "User:bob", SchemeJWT, "GET/open/x", passes},
		{"cognito: callers without tokens", "cognito", "User:bob", SchemeAPIKey, "GET/guarded/x", passes},
	} {
		t.Run(c.name, func(t *testing.T) {
			law.Settings.Mode = c.mode
			a := newAuthority(t, law)
			who := Principal{Name: c.who, Scheme: c.scheme}
			if got := outcomeOf(a.Check(t.Context(), &Call{Principal: who, Action: Invoke, Resource: Resource{Kind: "route", Name: c.route}})); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestWhatIsDeniedToEverybodyNeedsNoCaller(t *testing.T) {
	statements := func(effect, principal, condition string) string {
		return `{"Effect":"` + effect + `","Principal":` + principal + `,"Action":"execute-api:Invoke","Resource":"*","Condition":{` + condition + `}}`
	}
	outside := `"NotIpAddress":{"aws:SourceIp":"192.0.2.0/24"}`
	for _, c := range []struct {
		name, statements, source string
		barred                   bool
	}{
		{"from elsewhere", statements("Deny", `"*"`, outside), "203.0.113.5", true},
		{"everybody spelled out", statements("Deny", `{"AWS":"*"}`, outside), "203.0.113.5", true},
		{"from there", statements("Deny", `"*"`, outside), "192.0.2.7", false},
		{"nothing is allowed", statements("Allow", `"*"`, `"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}`), "203.0.113.5", false},
		{"one caller", statements("Deny", `{"Klamm":"User:eve"}`, outside), "203.0.113.5", false},
		{"by who it is", statements("Deny", `"*"`, outside+`,"StringNotEquals":{"klamm:Principal":"User:root"}`), "203.0.113.5", false},
		{"by a variable of the caller", statements("Deny", `"*"`, `"StringLike":{"aws:UserAgent":"${aws:username, 'x'}*"}`), "203.0.113.5", false},
		{"by a header", statements("Deny", `"*"`, `"StringLike":{"request:header/X-Color":"r*"}`), "203.0.113.5", true},
		{"another header", statements("Deny", `"*"`, `"StringLike":{"request:header/X-Color":"b*"}`), "203.0.113.5", false},
		{"all but some", strings.Replace(statements("Deny", `{"Klamm":"User:root"}`, outside), "Principal", "NotPrincipal", 1), "203.0.113.5", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := policy("gateway", c.statements)
			p.Kind = "resource"
			a := newAuthority(t, Law{Policies: []PolicyConfig{p}})
			who := Anonymous
			who.Source = netip.MustParseAddr(c.source)
			err := a.Barred(who, &Request{Method: "GET", Path: "/topics", Header: http.Header{"X-Color": {"red"}}})
			if (err != nil) != c.barred {
				t.Fatalf("got %v", err)
			}
			if d := DenialOf(err); c.barred && (d == nil || !d.Explicit() || !strings.Contains(err.Error(), "User: anonymous is not authorized to perform: execute-api:Invoke on resource: arn:aws:execute-api:")) {
				t.Errorf("got %v", err)
			}
		})
	}
}
