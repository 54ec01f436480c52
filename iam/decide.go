package iam

// An Effect is the outcome of a decision.
type Effect string

// The outcomes of a decision.
const (
	Allow        Effect = "allow"
	ImplicitDeny Effect = "implicit deny"
	ExplicitDeny Effect = "explicit deny"
)

// A Decision says what was decided and why.
type Decision struct {
	Effect Effect
	// Policy is the name of the policy that has decided, Kind its kind, Statement
	// the number of the statement in it, from 1, and Sid the statement's id. They
	// are empty for an implicit denial.
	Policy    string
	Kind      Kind
	Statement int
	Sid       string
	// Reason says in words why nothing allows the request; empty otherwise.
	Reason string
	// Considered is how many policies are attached to the caller and the resource, as
	// far as one had to look.
	Considered int
}

// Allowed says whether the request may be done.
func (d Decision) Allowed() bool { return d.Effect == Allow }

// Decide decides a request (gateway-policies.md 2.5). It is safe for concurrent use
// as long as the request's context is.
func (s *Set) Decide(r *Request) Decision {
	t := tally{set: s, request: r}
	t.identities(r.Identity)
	t.resources()
	d := t.decision()
	d.Considered = t.seen
	return d
}

// Barred decides a request as far as that can be done before anybody knows who makes
// it: the outcome is an explicit denial where a resource policy denies it to everybody,
// by conditions that are about the request alone, and otherwise an implicit one
// (gateway-policies.md 2.5). The identity of the request may be of anybody.
func (s *Set) Barred(r *Request) Decision {
	t := tally{set: s, request: r, bars: true}
	if s.bars {
		t.resources()
	}
	if t.deny.number > 0 {
		return t.deny.decision(ExplicitDeny)
	}
	return implicit("nothing is denied to everybody")
}

// A mark is a statement that was found.
type mark struct {
	policy *Policy
	number int // from 1; 0: none was found
}

// A tally is what the statements that match say.
type tally struct {
	set     *Set
	request *Request

	deny     mark
	identity mark // an identity policy allows
	resource mark // a resource policy does, and names the caller
	account  mark // a resource policy does, and names the caller's account
	boundary mark // a boundary does
	bounded  bool // there is a boundary
	exact    bool // a resource policy that allows names exactly this caller
	seen     int  // policies looked at
	about    bool // there is a policy of the resource
	bars     bool // only what denies something to everybody counts
}

// identities looks at the policies and boundaries of the caller.
func (t *tally) identities(id *Identity) {
	for _, p := range id.Policies {
		t.scan(p, &t.identity, false)
	}
	t.attached(&t.set.callers, &t.identity)
	t.attached(&t.set.boundaries, &t.boundary)
}

// attached looks at the policies that are attached to the caller.
func (t *tally) attached(a *attached, allow *mark) {
	id := t.request.Identity
	t.list(a.everyone, allow)
	if !a.any {
		return
	}
	if id.Name != "" {
		t.list(a.named[id.Name], allow)
	}
	if id.ARN != "" {
		t.list(a.named[id.ARN], allow)
	}
	if id.RoleARN != "" {
		t.list(a.named[id.RoleARN], allow)
	}
	if id.Anonymous {
		t.list(a.named["anonymous"], allow)
	}
	if id.Key != "" {
		t.list(a.keys[id.Key], allow)
	}
	for _, g := range id.Groups {
		t.list(a.groups[g], allow)
	}
	for _, r := range id.Roles {
		t.list(a.roles[r], allow)
	}
	for _, s := range id.Scopes {
		t.list(a.scopes[s], allow)
	}
	if !id.GroupsUnknown {
		return
	}
	for _, p := range a.grouped {
		t.bounded = t.bounded || p.Kind == Boundaries
		t.scan(p, allow, true)
	}
}

func (t *tally) list(policies []*Policy, allow *mark) {
	for _, p := range policies {
		t.bounded = t.bounded || p.Kind == Boundaries
		t.scan(p, allow, false)
	}
}

// scan looks at the statements of a policy of the caller. Once something is found,
// statements that could only say the same are passed over.
func (t *tally) scan(p *Policy, allow *mark, denials bool) {
	t.seen++
	if t.deny.number > 0 {
		return
	}
	for i := range p.Document.statements {
		s := &p.Document.statements[i]
		if !s.concerns(&t.request.Action) || s.misses(&t.request.Resource) || !s.deny && (denials || allow.number > 0) || !s.holds(t.request) {
			continue
		}
		if s.deny {
			t.deny = mark{p, i + 1}
			return
		}
		*allow = mark{p, i + 1}
	}
}

// resources looks at the policies of the resource.
func (t *tally) resources() {
	r := &t.request.Resource
	for _, p := range t.request.Policies {
		t.scanResource(p)
	}
	for _, p := range t.set.named[[2]string{r.kind, r.name}] {
		t.scanResource(p)
	}
	for i := range t.set.matching {
		if a := &t.set.matching[i]; a.covers(r) {
			t.scanResource(a.policy)
		}
	}
}

func (t *tally) scanResource(p *Policy) {
	t.seen++
	t.about = true
	if t.deny.number > 0 {
		return
	}
	id := t.request.Identity
	for i := range p.Document.statements {
		s := &p.Document.statements[i]
		if s.principals == nil || t.bars && !s.bars || !s.concerns(&t.request.Action) || s.misses(&t.request.Resource) {
			continue
		}
		var g grasp
		switch {
		case s.exempt && s.deny:
			if s.principals.match(id, t.set.account) == missed {
				g = direct
			}
		case s.exempt: // grants nothing
		case s.deny:
			g = s.principals.mayMatch(id, t.set.account)
		default:
			g = s.principals.match(id, t.set.account)
		}
		if g == missed || !s.holds(t.request) {
			continue
		}
		m := mark{p, i + 1}
		switch {
		case s.deny:
			t.deny = m
			return
		case g == account:
			t.account = m
		default:
			t.resource = m
			t.exact = t.exact || g == exact
		}
	}
}

// decision weighs what was found, from step 4 on.
func (t *tally) decision() Decision {
	id := t.request.Identity
	other := id.AccountID != "" && id.AccountID != t.owner()
	switch {
	case t.deny.number > 0:
		return t.deny.decision(ExplicitDeny)
	case t.bounded && t.boundary.number == 0 && !t.exact:
		return implicit("no boundary of the caller allows it")
	case !other && t.request.Named && t.about && t.resource.number == 0:
		return implicit("a resource policy is there, and does not allow it to the caller")
	case !other && t.identity.number > 0:
		return t.identity.decision(Allow)
	case !other && t.resource.number > 0:
		return t.resource.decision(Allow)
	case !other && t.account.number > 0:
		return implicit("a resource policy allows it to the account, and no identity policy of the caller does")
	case !other:
		return implicit("no statement allows it")
	case t.identity.number == 0:
		return implicit("no identity policy of the caller allows it, and the caller's account is not the resource's")
	case t.resource.number == 0 && t.account.number == 0:
		return implicit("no resource policy allows it to the caller, whose account is not the resource's")
	case t.resource.number > 0:
		return t.resource.decision(Allow)
	}
	return t.account.decision(Allow)
}

// owner is the account of the resource. What is in Kafka may belong to another one
// than klamm itself.
func (t *tally) owner() string {
	if r := &t.request.Resource; r.parts[2] == "kafka" && r.parts[4] != "" {
		return r.parts[4]
	}
	return t.set.account
}

func implicit(reason string) Decision { return Decision{Effect: ImplicitDeny, Reason: reason} }

func (m mark) decision(e Effect) Decision {
	return Decision{Effect: e, Policy: m.policy.Name, Kind: m.policy.Kind, Statement: m.number, Sid: m.policy.Document.statements[m.number-1].sid}
}
