package gate

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/iam"
	"github.com/klamm-gateway/klamm/kafka"
)

// Invoke is the action of calling a route at all (gateway-policies.md 2.2).
const Invoke Action = "execute-api:Invoke"

// ManageConnections is the action of calling a route that writes to the WebSocket of
// somebody else, tells of it or ends it (gateway-policies.md 6.3). Nobody may unless a
// policy says so.
const ManageConnections Action = "execute-api:ManageConnections"

// actions that only the strict mode asks for.
const writeIdempotently Action = "kafka-cluster:WriteDataIdempotently"

// companions are the actions that an action on a topic or group needs beside
// itself, on the same resource (gateway-policies.md 2.6). Every action of Kafka's
// needs Connect too.
var companions = map[Action]Action{
	WriteData:           DescribeTopic,
	ReadData:            DescribeTopic,
	AlterTopic:          DescribeTopic,
	DeleteTopic:         DescribeTopic,
	AlterConfigs:        DescribeConfigs,
	AlterClusterConfigs: DescribeClusterConfigs,
	AlterGroup:          DescribeGroup,
	DeleteGroup:         DescribeGroup,
}

// DeleteGroup is the action of deleting a consumer group or its offsets.
const DeleteGroup Action = "kafka-cluster:DeleteGroup"

// parsed are the actions that operations ask for, as package iam knows them.
var parsed = parseActions(
	Invoke, ManageConnections, Connect, WriteData, ReadData, DescribeTopic, DescribeConfigs, DescribeCluster, AlterTopic, AlterConfigs, AlterCluster,
	DescribeClusterConfigs, AlterClusterConfigs, DescribeGroup, AlterGroup, DeleteGroup, CreateTopic, DeleteTopic, AdminRead, AdminWrite, writeIdempotently,
)

func parseActions(all ...Action) map[Action]iam.Action {
	known := map[Action]iam.Action{}
	for _, a := range all {
		one, err := iam.ParseAction(string(a))
		if err != nil {
			panic("gate: " + err.Error())
		}
		known[a] = one
	}
	return known
}

// An Authority decides by policy documents and rules (gateway-policies.md 2). It is
// a Policy. What it decides by can be replaced while it is in use.
//
// Two things are asked of it: whether a caller may call a route, and whether the
// caller may do what the route does to a topic, a group or the cluster. On a topic
// that the caller may not describe, the answer is that of one that does not exist.
type Authority struct {
	law     atomic.Pointer[law]
	alone   atomic.Pointer[law] // what the file says, alone
	blind   atomic.Bool         // what is kept in Kafka is not known: nobody may do anything
	dark    atomic.Bool         // the same of the policies of clusters
	cluster clusterID
	denials *prometheus.CounterVec
	log     *slog.Logger

	mu   sync.Mutex // guards what law is made of
	file *statutes
	made []*madePolicy
	owns map[string]*clusterPolicy // the policies of clusters, by the cluster's name
	told []func()                  // see Watch
}

// A law is what an authority decides by.
type law struct {
	names
	set      *iam.Set
	internal *iam.Set // by it, callers may write to Kafka's internal topics
	open     bool     // there are no policies: rules decide, and every route may be called
	policied bool     // there are policies, of the file or made at run time, beside rules
	settings Authorize
	groups   []string
	named    map[string]bool // ARNs that rules name
	ruled    map[string]bool // ARNs of clusters that have policies; "" is klamm's own
	home     place           // of klamm's own cluster
	known    func(ctx context.Context, name string) (Principal, bool)
	whole    atomic.Pointer[wholeCluster] // the cluster that was asked about last
	passed   *passed                      // of the law that is decided by; nil: it has not been yet
}

// NewAuthority returns an authority that decides by cfg. It asks the cluster for
// its id when a decision needs it first; nil is a cluster without one, for
// decisions on paper.
func NewAuthority(cfg Law, cluster *kafka.Cluster, metrics prometheus.Registerer, log *slog.Logger) (*Authority, error) {
	a := &Authority{cluster: clusterID{cluster: cluster}, log: log, denials: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "klamm_gate_denials_total", Help: "Calls that policies have refused, by the action that was not allowed.",
	}, []string{"action"})}
	if metrics != nil {
		metrics.MustRegister(a.denials)
	}
	return a, a.Replace(cfg)
}

// Replace makes the authority decide by cfg from the next call on, streams
// included. If it returns an error, everything is as before.
func (a *Authority) Replace(cfg Law) error {
	file, err := cfg.compile()
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	l, err := file.with(a.made, a.owns)
	if err != nil {
		return err
	}
	alone, err := file.with(nil, nil)
	if err != nil {
		return err
	}
	for _, w := range file.warnings {
		a.log.Warn("a policy says something odd", "policy", w.policy, "problem", w.text)
	}
	a.file = file
	a.alone.Store(alone)
	a.enact(l)
	return nil
}

// enact makes a law the one that is decided by. The mutex is held.
func (a *Authority) enact(l *law) {
	l.passed = newPassed()
	a.law.Store(l)
	a.tell()
}

// Groups returns the groups that policies and rules mention, sorted: others need
// not be asked for.
func (a *Authority) Groups() []string { return slices.Clone(a.law.Load().groups) }

// A Denial is the error of what policies do not allow. It is one of kind Denied.
type Denial struct {
	Action   Action
	Resource string // the ARN, with the account masked
	Decision iam.Decision
	text     string
}

func (e *Denial) Error() string { return e.text }

// Unwrap makes a denial an Error.
func (e *Denial) Unwrap() error { return &Error{Denied, e.text} }

// Explicit says whether a statement denies the call, rather than none allowing it.
func (e *Denial) Explicit() bool { return e.Decision.Effect == iam.ExplicitDeny }

// A hiding is a denial that looks as if the topic did not exist.
type hiding struct{ denial *Denial }

func (e *hiding) Error() string { return kerr.UnknownTopicOrPartition.Error() }

// Unwrap makes it the error of a topic that does not exist; DenialOf finds the
// denial.
func (e *hiding) Unwrap() error { return kerr.UnknownTopicOrPartition }

// DenialOf returns the denial behind an error, also where the caller is told that
// the topic does not exist; nil if policies have nothing to do with it.
func DenialOf(err error) *Denial {
	switch e := err.(type) { //nolint:errorlint // only what Check returns, unwrapped, is one
	case *Denial:
		return e
	case *hiding:
		return e.denial
	case interface{ Denial() *Denial }: // a dialect's, which tells it in another form
		return e.Denial()
	}
	return nil
}

// errBlind is the answer while nobody knows what the policies in Kafka say.
var errBlind = &Error{Unavailable, "the policies cannot be read now; the brokers do not answer, or do not let klamm read them"}

// ErrGroups is the answer while nobody can say which groups a caller is in, to calls that
// nothing else allows (gateway-policies.md 1.5).
var ErrGroups error = &Error{Unavailable, "the groups of the caller cannot be looked up now, and nothing else allows this call; come again in a moment"}

// Check decides a call.
func (a *Authority) Check(ctx context.Context, c *Call) error {
	if a.sightless() {
		return a.blindly(ctx, c)
	}
	l := a.law.Load()
	q := questions.Get().(*question)
	defer func() {
		*q = question{}
		questions.Put(q)
	}()
	if err := a.prepare(ctx, q, l, c); err != nil {
		return err
	}
	if d := l.passed.of(q); d != nil {
		c.decision = *d
		return nil
	}
	d := a.judge(q)
	switch {
	case d == nil:
		l.passed.keep(q)
		return nil
	case c.Principal.GroupsFailed:
		return ErrGroups
	}
	return a.refuse(q, d)
}

// Barred decides a request before anybody knows who makes it: the error is a *Denial
// where a resource policy denies the route to everybody, and otherwise nil
// (gateway-policies.md 2.5). The caller's address and transport are those of who.
func (a *Authority) Barred(who Principal, r *Request) error {
	l := a.law.Load()
	q := l.entrance(who, r)
	if d := l.set.Barred(&q.request); d.Effect == iam.ExplicitDeny {
		return q.denial(Invoke, d)
	}
	return nil
}

// DecideRoute decides whether a caller may call the route of a request, by one set of
// policies and nothing else, such as those that an HTTP authorizer has given. The account
// and the region are klamm's own.
func DecideRoute(set *iam.Set, account, region string, who Principal, r *Request) iam.Decision {
	l := &law{names: names{account, region}}
	return set.Decide(&l.entrance(who, r).request)
}

// entrance returns the question whether a caller may call the route of a request.
func (l *law) entrance(who Principal, r *Request) *question {
	c := &Call{Principal: who.Within(r), Action: Invoke, Resource: Resource{Kind: "route", Name: r.Method + r.Path}}
	q := &question{law: l, call: c, identity: l.identityOf(&c.Principal)}
	q.request = iam.Request{Identity: &q.identity, Context: q, Action: parsed[Invoke]}
	q.about(c.Resource)
	return q
}

// questions are used again: nothing of a question outlives its answer.
var questions = sync.Pool{New: func() any { return new(question) }}

// ask returns the question of a call.
func (a *Authority) ask(ctx context.Context, l *law, c *Call) (*question, error) {
	q := &question{}
	return q, a.prepare(ctx, q, l, c)
}

// prepare makes an empty question that of a call.
func (a *Authority) prepare(ctx context.Context, q *question, l *law, c *Call) error {
	q.law, q.call = l, c
	q.identity = l.identityOf(&c.Principal)
	q.request.Identity, q.request.Context = &q.identity, q
	q.request.Policies = c.Policies
	if strings.HasPrefix(string(c.Action), "kafka-cluster:") {
		var err error
		if q.cluster, err = a.idOf(ctx, l); err != nil {
			return err
		}
	}
	if len(c.Principal.Policy) > 0 {
		p, err := authorizerPolicies.get(c.Principal.Policy)
		if err != nil {
			return &Error{Internal, "the policy of the HTTP authorizer cannot be used: " + err.Error()}
		}
		q.identity.Policies = []*iam.Policy{p}
	}
	return nil
}

// judge decides everything that a call needs, and returns what is denied first. Where
// records are meant for several partitions, each has to be allowed: what is said of one
// must not be got around by a record for another.
func (a *Authority) judge(q *question) *Denial {
	records := q.call.Records
	if len(records) == 0 {
		return a.judgeOne(q)
	}
	q.partition = records[0].Partition
	if d := a.judgeOne(q); d != nil {
		return d
	}
	var seen map[int32]bool
	for _, r := range records {
		switch {
		case r.Partition == records[0].Partition, seen[r.Partition]:
			continue
		case seen == nil:
			seen = map[int32]bool{}
		}
		seen[r.Partition] = true
		q.partition = r.Partition
		if d := a.judgeOne(q); d != nil {
			return d
		}
	}
	return nil
}

// judgeOne is judge for records of one partition.
func (a *Authority) judgeOne(q *question) *Denial {
	c := q.call
	switch c.Action {
	case Invoke:
		return q.invoke()
	case ManageConnections:
		if !q.required() {
			return q.outside(c.Action)
		}
	}
	if strings.HasPrefix(string(c.Action), "kafka-cluster:") {
		if d := q.require(Connect, Resource{Kind: "cluster"}); d != nil {
			return d
		}
	}
	if companion, ok := companions[c.Action]; ok {
		if d := q.require(companion, c.Resource); d != nil {
			return d
		}
	}
	if d := q.strict(); d != nil {
		return d
	}
	if c.Action == WriteData && strings.HasPrefix(c.Resource.Name, "__") && !q.decideBy(q.law.internal, c.Action, c.Resource).Allowed() {
		return q.denial(c.Action, iam.Decision{Effect: iam.ExplicitDeny, Policy: builtIn, Kind: iam.Identities, Statement: 1, Sid: "InternalTopics"})
	}
	return q.require(c.Action, c.Resource)
}

// builtIn is the name of the policy that the program itself has.
const builtIn = "built-in"

// strict asks for what only MSK asks for.
func (q *question) strict() *Denial {
	switch {
	case !q.law.settings.Strict:
	case q.call.Action == WriteData:
		return q.require(writeIdempotently, Resource{Kind: "cluster"})
	case q.call.Action == ReadData:
		return q.require(AlterGroup, Resource{Kind: "group", Name: q.call.Group})
	}
	return nil
}

// invoke decides whether a route may be called. Without policies that is open,
// except to callers that brought a policy.
func (q *question) invoke() *Denial {
	if !q.required() {
		return q.outside(Invoke)
	}
	q.request.Named = q.mustBeNamed()
	d := q.decideBy(q.law.set, Invoke, q.call.Resource)
	q.request.Named = false
	switch {
	case d.Allowed(), d.Effect == iam.ImplicitDeny && q.law.open && len(q.identity.Policies) == 0:
		q.call.decision = d
		return nil
	case d.Considered == 0 && q.law.settings.Default == "authenticated" && !q.identity.Anonymous:
		return nil
	}
	return q.denial(Invoke, d)
}

// outside denies the route to a caller who is in none of the groups that may call.
func (q *question) outside(action Action) *Denial {
	q.about(q.call.Resource)
	d := q.denial(action, outsider)
	d.text += ": the caller is in none of the groups that may call"
	return d
}

// outsider is the decision on callers that are in none of the groups that everybody has
// to be in one of.
var outsider = iam.Decision{Effect: iam.ExplicitDeny, Policy: "authorize", Sid: "RequireGroupsAny", Reason: "the caller is in none of the groups that may call"}

// mustBeNamed says whether a resource policy of a route has to allow the caller
// (gateway-policies.md 2.5, 8).
func (q *question) mustBeNamed() bool {
	return q.law.settings.Mode == "cognito" && q.call.Principal.Scheme == SchemeJWT
}

// required says whether the caller is in one of the groups that everybody has to be in
// one of.
func (q *question) required() bool {
	groups := q.law.settings.RequireGroupsAny
	return len(groups) == 0 || slices.ContainsFunc(q.identity.Groups, func(g string) bool { return slices.Contains(groups, g) })
}

// require decides one action.
func (q *question) require(action Action, r Resource) *Denial {
	d := q.decideBy(q.law.set, action, r)
	if !d.Allowed() {
		return q.denial(action, d)
	}
	q.call.decision = d
	return nil
}

// decideBy decides one action by the policies of a set.
func (q *question) decideBy(set *iam.Set, action Action, r Resource) iam.Decision {
	q.request.Action = actionOf(action)
	q.about(r)
	return set.Decide(&q.request)
}

// about makes the request one about a resource. Most calls ask for several actions on
// the same one.
func (q *question) about(r Resource) {
	if q.asked != r {
		q.asked, q.request.Resource = r, q.resource(r)
	}
}

// hides says whether a denial has to look as if the topic did not exist. Only
// making a topic tells nothing of those that there are.
func (q *question) hides(d *Denial) bool {
	if q.call.Resource.Kind != "topic" || !q.law.settings.hides() || d.Action == Connect || q.call.Action == CreateTopic {
		return false
	}
	return d.Action == DescribeTopic || !q.decideBy(q.law.set, DescribeTopic, q.call.Resource).Allowed()
}

// denial puts a refusal into words (gateway-policies.md 1.3.4, kafka-auth.md B4).
func (q *question) denial(action Action, d iam.Decision) *Denial {
	arn := maskAccount(q.request.Resource)
	text := fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s", shownName(&q.call.Principal), action, arn)
	if d.Effect == iam.ExplicitDeny {
		text += " with an explicit deny"
	}
	return &Denial{action, arn, d, text}
}

// shownName is a caller's name in a refusal.
func shownName(p *Principal) string {
	switch {
	case p.ARN != "":
		return p.ARN
	case isAnonymous(p):
		return "anonymous"
	}
	return strings.TrimPrefix(p.Name, "User:")
}

func isAnonymous(p *Principal) bool {
	return p.Scheme == SchemeAnonymous || p.Name == "" || p.Name == Anonymous.Name
}

// maskAccount hides all but the last four digits of a resource's account.
func maskAccount(r iam.Resource) string {
	account := r.Account()
	if len(account) <= 4 {
		return r.String()
	}
	masked := strings.Repeat("*", len(account)-4) + account[len(account)-4:]
	return strings.Replace(r.String(), ":"+account+":", ":"+masked+":", 1)
}
