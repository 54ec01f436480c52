package iam

import (
	"errors"
	"fmt"
	"strings"
)

// A Resource is what an action is done to: an ARN, split once. The zero value is nothing
// that has a name of its own, which only a lone star in a policy matches.
type Resource struct {
	parts [6]string // as in arn:PARTITION:SERVICE:REGION:ACCOUNT:REST
	kind  string    // of a Kafka or klamm resource: topic, group, cluster, pipe, ...
	name  string    // of such a resource, within its cluster
	path  string    // of a route: /STAGE/METHOD/PATH
	// segments are those of TYPE/CLUSTER/UUID/NAME, if the last part has three
	// slashes and no more.
	segments  [4]string
	segmented bool
}

// ParseResource splits an ARN; its six parts may be empty, but the first.
func ParseResource(arn string) (Resource, error) {
	var r Resource
	rest := arn
	for i := range 5 {
		part, after, ok := strings.Cut(rest, ":")
		if !ok {
			return Resource{}, fmt.Errorf("%q is no ARN: want arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE", clip(arn))
		}
		r.parts[i], rest = part, after
	}
	r.parts[5] = rest
	if r.parts[0] != "arn" {
		return Resource{}, fmt.Errorf("%q is no ARN: it has to begin with \"arn\"", clip(arn))
	}
	r.split()
	return r, nil
}

// NewResource returns what arn:aws:SERVICE:REGION:ACCOUNT:REST names.
func NewResource(service, region, account, rest string) Resource {
	r := Resource{parts: [6]string{"arn", "aws", service, region, account, rest}}
	r.split()
	return r
}

// split takes the last part apart.
func (r *Resource) split() {
	rest := r.parts[5]
	if r.segmented = strings.Count(rest, "/") == 3; r.segmented {
		left := rest
		for i := range r.segments {
			r.segments[i], left, _ = strings.Cut(left, "/")
		}
	}
	switch r.parts[2] {
	case "kafka":
		r.kind, r.name, _ = strings.Cut(rest, "/")
		if cluster, after, ok := strings.Cut(r.name, "/"); r.kind != "cluster" {
			_, r.name, _ = strings.Cut(after, "/")
		} else if ok {
			r.name = cluster
		}
	case "klamm":
		r.kind, r.name, _ = strings.Cut(rest, "/")
	case "execute-api":
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			r.path = rest[i:]
		}
	}
}

// String returns the ARN, and * for the zero value.
func (r Resource) String() string {
	if r.parts[0] == "" {
		return "*"
	}
	return strings.Join(r.parts[:], ":")
}

// Account returns the account that the resource belongs to.
func (r Resource) Account() string { return r.parts[4] }

// A resourcePattern is one entry of a Resource or NotResource element.
type resourcePattern struct {
	all   bool
	never bool
	// kind and parts[5] are those of klamm's short forms: a kind and a pattern
	// over the name alone.
	kind  string
	parts [6]*pattern
	// segments are the last part's, if that has three slashes and no variables.
	// Where the resource has three slashes too, each of the pattern's has to match
	// one of them, so that no wildcard can reach over one.
	segments  [4]*pattern
	segmented bool
}

// kinds of resources that have a short form KIND:NAME, with their services.
var kinds = map[string]string{"topic": "kafka", "group": "kafka", "cluster": "kafka", "transactional-id": "kafka", "pipe": "klamm"}

// routePrefix begins the short form of a route, and is also that of its kind.
const routePrefix = "execute-api:/"

// compileResource compiles an entry (gateway-policies.md 2.2, 2.3). Without
// variables, ${...} is plain text. Entries with fewer than six parts are padded
// in identity policies, and elsewhere if they have a wildcard.
func compileResource(text string, variables, identity bool) (*resourcePattern, error) {
	if text == "*" {
		return &resourcePattern{all: true}, nil
	}
	if text == "" {
		return nil, errors.New("a resource cannot be empty")
	}
	p := &resourcePattern{}
	last := func(s string) (err error) {
		if !variables {
			p.parts[5] = compilePattern(s, false)
			return nil
		}
		p.parts[5], err = compileVariables(s, false)
		return err
	}
	if strings.HasPrefix(text, routePrefix) {
		p.kind = routePrefix
		return p, last(text[len(routePrefix)-1:])
	}
	if kind, name, ok := strings.Cut(text, ":"); ok && kinds[kind] != "" {
		p.kind = kind
		return p, last(name)
	}
	parts := splitARN(text)
	if len(parts) < 6 {
		if !identity && !strings.ContainsAny(text, "*?") {
			return &resourcePattern{never: true}, nil
		}
		for len(parts) < 6 {
			parts = append(parts, "*")
		}
	}
	for i := range 5 {
		p.parts[i] = compilePattern(parts[i], false)
	}
	if tail := parts[5]; strings.Count(tail, "/") == 3 && !strings.Contains(tail, "${") {
		p.segmented = true
		for i, text := range strings.SplitN(tail, "/", 4) {
			p.segments[i] = compilePattern(text, false)
		}
	}
	return p, last(parts[5])
}

// splitARN splits at the first five colons that do not stand in a variable.
func splitARN(text string) []string {
	var parts []string
	begin, inside := 0, false
	for i := 0; i < len(text) && len(parts) < 5; i++ {
		switch {
		case strings.HasPrefix(text[i:], "${"):
			inside = true
		case text[i] == '}':
			inside = false
		case text[i] == ':' && !inside:
			parts = append(parts, text[begin:i])
			begin = i + 1
		}
	}
	return append(parts, text[begin:])
}

func (p *resourcePattern) match(r *Resource, q *query) bool {
	switch {
	case p.all:
		return true
	case p.never:
		return false
	case p.kind == routePrefix:
		return r.parts[2] == "execute-api" && p.parts[5].match(r.path, q)
	case p.kind != "":
		return p.kind == r.kind && p.parts[5].match(r.name, q)
	}
	// The name tells most resources apart, so it comes first.
	if p.segmented && r.segmented {
		for i := 3; i >= 0; i-- {
			if !p.segments[i].match(r.segments[i], nil) {
				return false
			}
		}
	} else if !p.parts[5].match(r.parts[5], q) {
		return false
	}
	for i := 4; i >= 0; i-- {
		if !p.parts[i].match(r.parts[i], nil) {
			return false
		}
	}
	return true
}

// usable says whether some resource of a kind that names knows could match: what
// no such resource can match is probably a mistake.
func (p *resourcePattern) usable(kind string) bool {
	if p.all || p.kind == routePrefix {
		return p.all || kind == "route"
	}
	if p.never {
		return false
	}
	if p.kind != "" {
		return p.kind == kind || kind == "klamm"
	}
	service := map[string]string{"route": "execute-api", "klamm": "klamm"}[kind]
	if service == "" {
		service = "kafka"
	}
	if !p.parts[2].match(service, nil) {
		return false
	}
	t := p.parts[5].tokens
	if service != "kafka" || len(t) == 0 || t[0].kind != textToken {
		return true
	}
	head, want := t[0].text, kind+"/"
	return strings.HasPrefix(head, want) || strings.HasPrefix(want, head)
}
