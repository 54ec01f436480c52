package gate

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/klamm-gateway/klamm/iam"
)

// A Question asks what would be decided.
type Question struct {
	// As is the caller, such as User:alice or the ARN of a role; empty: a caller
	// without credentials.
	As string
	// Groups are those of the caller, beside the ones that are known.
	Groups []string
	// Action is such as kafka-cluster:WriteData.
	Action string
	// Resource is topic:NAME, group:NAME, cluster:*, pipe:NAME, key:NAME, policy:NAME,
	// execute-api:/STAGE/METHOD/PATH, or an ARN.
	Resource string
	// Context has values of condition keys, instead of those that a call would have.
	Context map[string][]string
}

// An Explanation is the answer to a Question.
type Explanation struct {
	// Decision is "allow", "implicit deny" or "explicit deny".
	Decision string `json:"decision"`
	As       string `json:"as"`
	Action   string `json:"action"`
	Resource string `json:"resource"`
	// Policy, Kind, Statement (from 1) and Sid say which statement has decided, and
	// Reason why nothing allows it.
	Policy    string `json:"policy,omitempty"`
	Kind      string `json:"kind,omitempty"`
	Statement int    `json:"statement,omitempty"`
	Sid       string `json:"sid,omitempty"`
	Reason    string `json:"reason,omitempty"`
	// Groups are those that the caller was taken to be in.
	Groups []string `json:"groups,omitempty"`
	// Needs are what an operation with this action needs beside it, each explained.
	Needs []Explanation `json:"needs,omitempty"`
}

// Allowed says whether the action itself may be done.
func (e *Explanation) Allowed() bool { return e.Decision == string(iam.Allow) }

// Explain says what would be decided and by which statement. What the caller would
// bring with a request, such as an address, is only there if the question says so.
// An action or resource that is none is an error of kind Invalid.
func (a *Authority) Explain(ctx context.Context, ask Question) (Explanation, error) {
	if a.sightless() {
		return Explanation{}, errBlind
	}
	l := a.law.Load()
	action, err := iam.ParseAction(ask.Action)
	if err != nil {
		return Explanation{}, &Error{Invalid, "action: " + err.Error()}
	}
	who, err := l.person(ctx, ask)
	if err != nil {
		return Explanation{}, err
	}
	q := &question{law: l, call: &Call{Principal: who, Action: Action(action.String())}}
	if q.cluster, err = a.idOf(ctx, l); err != nil {
		return Explanation{}, err
	}
	if q.call.Resource, err = q.named(ask.Resource); err != nil {
		return Explanation{}, err
	}
	if strings.HasPrefix(action.String(), "klamm:") {
		q.cluster = ""
	}
	q.identity = l.identityOf(&q.call.Principal)
	q.request = iam.Request{Identity: &q.identity, Context: given{q, lowered(ask.Context)}}
	e := q.explain(action, q.call.Resource)
	for _, need := range q.needs() {
		e.Needs = append(e.Needs, q.explain(actionOf(need.Action), need.Resource))
	}
	return e, nil
}

// person is the caller that a question is about.
func (l *law) person(ctx context.Context, ask Question) (Principal, error) {
	who := Principal{Name: ask.As}
	switch {
	case ask.As == "" || ask.As == "anonymous":
		who = Anonymous
	case strings.HasPrefix(ask.As, "arn:"):
		if err := iam.CheckAttach(iam.Identities, ask.As); err != nil {
			return who, &Error{Invalid, "as: " + err.Error()}
		}
		who = principalOfARN(ask.As)
	case !strings.HasPrefix(ask.As, "User:"):
		return who, &Error{Invalid, fmt.Sprintf("as %q: want User:NAME, or the ARN of a user, role or session", ask.As)}
	}
	if l.known != nil {
		if known, ok := l.known(ctx, who.Name); ok {
			who = known
		}
	}
	who.Groups = append(append([]string(nil), who.Groups...), ask.Groups...)
	return who, nil
}

// principalOfARN is the user or session that an ARN names. A role stands for any of
// its sessions.
func principalOfARN(arn string) Principal {
	parts := strings.Split(arn, ":")
	kind, name, _ := strings.Cut(parts[5], "/")
	last := name[strings.LastIndexByte(name, '/')+1:]
	who := Principal{Name: "User:" + last, Scheme: SchemeSigV4, ARN: arn, AccountID: parts[4]}
	switch kind {
	case "role":
		who.Name, who.RoleARN, who.ARN = "User:role/"+last, arn, ""
	case "assumed-role":
		role, _, _ := strings.Cut(name, "/")
		who.Name, who.RoleARN = "User:role/"+role, "arn:aws:iam::"+parts[4]+":role/"+role
	}
	return who
}

// named is the resource that a question names.
func (q *question) named(text string) (Resource, error) {
	kind, name, _ := strings.Cut(text, ":")
	switch kind {
	case "topic", "group", "pipe", "key", "policy", "transactional-id":
		if name != "" {
			return Resource{Kind: kind, Name: name}, nil
		}
	case "cluster":
		return Resource{Kind: kind}, nil
	case "execute-api":
		if stage, rest, ok := strings.Cut(strings.TrimPrefix(name, "/"), "/"); ok {
			q.call.Principal.request = &Request{Stage: stage, Bytes: -1}
			return Resource{Kind: "route", Name: rest}, nil
		}
	case "arn":
		if _, err := iam.ParseResource(text); err == nil {
			return Resource{Kind: "arn", Name: text}, nil
		}
	}
	return Resource{}, &Error{Invalid, fmt.Sprintf("resource %q: want topic:NAME, group:NAME, cluster:*, pipe:NAME, key:NAME, policy:NAME, execute-api:/STAGE/METHOD/PATH or an ARN", text)}
}

// A need is an action that an operation asks for beside its own.
type need struct {
	Action   Action
	Resource Resource
}

func (q *question) needs() []need {
	var all []need
	if !strings.HasPrefix(string(q.call.Action), "kafka-cluster:") {
		return nil
	}
	if companion, ok := companions[q.call.Action]; ok {
		all = append(all, need{companion, q.call.Resource})
	}
	if q.call.Action != Connect {
		all = append(all, need{Connect, Resource{Kind: "cluster"}})
	}
	if q.law.settings.Strict && q.call.Action == WriteData {
		all = append(all, need{writeIdempotently, Resource{Kind: "cluster"}})
	}
	return all
}

// explain decides one action.
func (q *question) explain(action iam.Action, r Resource) Explanation {
	q.request.Action = action
	q.about(r)
	q.request.Named = Action(action.String()) == Invoke && q.mustBeNamed()
	d := q.law.set.Decide(&q.request)
	q.request.Named = false
	internal := Action(action.String()) == WriteData && r.Kind == "topic" && strings.HasPrefix(r.Name, "__")
	switch {
	case internal && !q.decideBy(q.law.internal, WriteData, r).Allowed():
		d = iam.Decision{Effect: iam.ExplicitDeny, Policy: builtIn, Kind: iam.Identities, Statement: 1, Sid: "InternalTopics"}
	case (Action(action.String()) == Invoke || Action(action.String()) == ManageConnections) && !q.required():
		d = outsider
	case Action(action.String()) != Invoke || d.Effect != iam.ImplicitDeny:
	case q.law.open:
		d = iam.Decision{Effect: iam.Allow, Policy: builtIn, Sid: "NoPolicies"}
	case d.Considered == 0 && q.law.settings.Default == "authenticated" && !q.identity.Anonymous:
		d = iam.Decision{Effect: iam.Allow, Policy: builtIn, Sid: "Default"}
	}
	who := q.call.Principal
	return Explanation{
		Decision: string(d.Effect), As: who.Name, Action: action.String(), Resource: q.request.Resource.String(),
		Policy: d.Policy, Kind: string(d.Kind), Statement: d.Statement, Sid: d.Sid, Reason: d.Reason, Groups: who.Groups,
	}
}

// given has the values of a question before those of its caller.
type given struct {
	*question
	values map[string][]string // by lower-case key
}

// Value returns a value of the question or, failing that, of the caller.
func (g given) Value(k iam.Key) iam.Value {
	list, ok := g.values[k.Name]
	switch {
	case !ok:
		return g.question.Value(k)
	case len(list) == 1 && k.Name != "klamm:groups" && k.Name != "klamm:scopes" && k.Name != "klamm:roles":
		return iam.One(list[0])
	}
	return iam.Many(list)
}

func lowered(context map[string][]string) map[string][]string {
	values := make(map[string][]string, len(context))
	for key, list := range maps.All(context) {
		values[strings.ToLower(key)] = append(values[strings.ToLower(key)], list...)
	}
	return values
}
