package iam

import (
	"errors"
	"fmt"
	"strings"
)

// A Policy is a document and what it is attached to.
type Policy struct {
	Name string
	Kind Kind
	// Attach lists callers or, for a policy of kind Resources, what is called; see
	// NewSet.
	Attach   []string
	Document *Document
}

// A Set is policies by what they are attached to. It is not changed any more and
// may be used by many goroutines.
type Set struct {
	account    string
	callers    attached // identity policies
	boundaries attached
	named      map[[2]string][]*Policy // resource policies of one topic or group: by kind and name
	matching   []attachment            // other resource policies
	bars       bool                    // some of their statements deny something to everybody
}

// attached are policies by callers.
type attached struct {
	everyone []*Policy
	grouped  []*Policy            // all of those that are attached to a group
	named    map[string][]*Policy // by User:NAME, anonymous, or an ARN
	keys     map[string][]*Policy // of API keys, and the others by what stands behind their kind
	groups   map[string][]*Policy
	roles    map[string][]*Policy
	scopes   map[string][]*Policy
	any      bool // there are policies that are not everyone's
}

func newAttached() attached {
	none := func() map[string][]*Policy { return map[string][]*Policy{} }
	return attached{named: none(), keys: none(), groups: none(), roles: none(), scopes: none()}
}

// An attachment is a resource policy and what it is attached to.
type attachment struct {
	policy  *Policy
	service string // as in an ARN; empty: what matches
	matches *resourcePattern
}

// NewSet sorts policies. The account is the one that identities without another
// belong to.
//
// A policy of kind Identities or Boundaries is attached to User:NAME, group:ID,
// role:NAME (of a token), scope:NAME, key:ID (of an API key), anonymous, * (for
// everybody), or the ARN of an IAM user, role or session. One of kind Resources
// is attached to gateway (every route, and klamm's own resources), stage:NAME, a route
// as execute-api:/STAGE/METHOD/PATH, cluster (everything in Kafka), topic:PATTERN,
// group:PATTERN, or an ARN, in which wildcards may stand.
func NewSet(account string, policies []*Policy) (*Set, error) {
	s := &Set{account: account, callers: newAttached(), boundaries: newAttached(), named: map[[2]string][]*Policy{}}
	for _, p := range policies {
		for i, to := range p.Attach {
			if err := s.attach(p, to); err != nil {
				return nil, fmt.Errorf("policy %q: attach %d: %w", p.Name, i+1, err)
			}
		}
	}
	return s, nil
}

// CheckAttach says what is wrong with what a policy is to be attached to.
func CheckAttach(kind Kind, to string) error {
	_, err := NewSet("", []*Policy{{Kind: kind, Attach: []string{to}, Document: &Document{}}})
	return errors.Unwrap(err)
}

func (s *Set) attach(p *Policy, to string) error {
	switch p.Kind {
	case Identities:
		return s.callers.add(p, to)
	case Boundaries:
		return s.boundaries.add(p, to)
	case Resources:
		return s.attachResource(p, to)
	}
	return fmt.Errorf("kind %q: want identity, resource or boundary", clip(string(p.Kind)))
}

func (a *attached) add(p *Policy, to string) error {
	if to == "*" {
		a.everyone = append(a.everyone, p)
		return nil
	}
	by, key := a.named, to
	switch kind, name, _ := strings.Cut(to, ":"); {
	case to == "anonymous", kind == "User" && name != "":
	case kind == "key" && name != "":
		by, key = a.keys, name
	case kind == "role" && name != "":
		by, key = a.roles, name
	case kind == "scope" && name != "":
		by, key = a.scopes, name
	case kind == "group" && name != "":
		by, key = a.groups, name
		a.grouped = append(a.grouped, p)
	case kind == "arn":
		var check principals
		if err := check.addAWS(to); err != nil {
			return err
		}
		if len(check.accounts) > 0 {
			return fmt.Errorf("%q: want a user, role or session of the account", clip(to))
		}
	default:
		return fmt.Errorf("%q: want User:NAME, group:ID, role:NAME, scope:NAME, key:ID, anonymous, an ARN or *", clip(to))
	}
	a.any = true
	by[key] = append(by[key], p)
	return nil
}

func (s *Set) attachResource(p *Policy, to string) error {
	a := attachment{policy: p}
	for i := range p.Document.statements {
		s.bars = s.bars || p.Document.statements[i].bars
	}
	kind, name, _ := strings.Cut(to, ":")
	switch {
	case to == "gateway":
		a.service = "execute-api"
	case to == "cluster":
		a.service = "kafka"
	case kind == "stage" && name != "":
		to = "execute-api:/" + name + "/*"
	case kind == "topic" || kind == "group" || kind == "arn" || strings.HasPrefix(to, routePrefix):
	default:
		return fmt.Errorf("%q: want gateway, stage:NAME, execute-api:/STAGE/METHOD/PATH, cluster, topic:PATTERN, group:PATTERN or an ARN", clip(to))
	}
	if a.service == "" {
		m, err := compileResource(to, false, false)
		if err != nil {
			return err
		}
		if m.never {
			return fmt.Errorf("%q: want an ARN, which has six parts", clip(to))
		}
		if m.kind != "" && m.kind != routePrefix && m.parts[5].shape == literal {
			key := [2]string{m.kind, m.parts[5].text}
			s.named[key] = append(s.named[key], p)
			return nil
		}
		a.matches = m
	}
	s.matching = append(s.matching, a)
	return nil
}

// covers says whether a resource policy applies to a resource.
func (a *attachment) covers(r *Resource) bool {
	if a.matches != nil {
		return a.matches.match(r, nil)
	}
	return r.parts[2] == a.service || a.service == "execute-api" && r.parts[2] == "klamm"
}
