package iam

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A grasp says how closely a statement names an identity.
type grasp byte

const (
	missed  grasp = iota
	account       // by its account: an Allow then needs an identity policy beside it
	direct        // by something that the identity is or belongs to, or as anybody
	exact         // as this user or session
)

// principals are the entries of a Principal or NotPrincipal element.
type principals struct {
	everybody bool
	anonymous bool
	accounts  []string
	users     []string // ARNs of users and sessions
	roleARNs  []string
	names     []string // User:...
	groups    []string
	roles     []string
	scopes    []string
}

// add adds an entry of one of the element's members. Nobody is a service, federated or a
// canonical user here, not even by a star: it stands for all of that kind.
func (p *principals) add(kind, text string) error {
	switch {
	case kind != "AWS" && kind != "Klamm":
		return nil
	case text == "*":
		p.everybody = true
		return nil
	case kind == "AWS":
		return p.addAWS(text)
	}
	return p.addOwn(text)
}

func (p *principals) addAWS(text string) error {
	if strings.ContainsAny(text, "*?") {
		return fmt.Errorf("%q: a principal is either * or has no wildcards", clip(text))
	}
	if isAccount(text) {
		p.accounts = append(p.accounts, text)
		return nil
	}
	parts := strings.Split(text, ":")
	if len(parts) != 6 || parts[0] != "arn" || !isAccount(parts[4]) {
		return fmt.Errorf("%q: want an account of 12 digits, or the ARN of a user, role or session", clip(text))
	}
	switch kind, name, _ := strings.Cut(parts[5], "/"); {
	case parts[2] == "iam" && parts[5] == "root":
		p.accounts = append(p.accounts, parts[4])
	case parts[2] == "iam" && kind == "user" && name != "", parts[2] == "sts" && kind == "assumed-role" && strings.Contains(name, "/"):
		p.users = append(p.users, text)
	case parts[2] == "iam" && kind == "role" && name != "":
		p.roleARNs = append(p.roleARNs, text)
	default:
		return fmt.Errorf("%q: want the ARN of a user, role or session", clip(text))
	}
	return nil
}

func isAccount(s string) bool { return len(s) == 12 && strings.Trim(s, "0123456789") == "" }

// addOwn adds an entry in klamm's own form, as in {"Klamm": "group:ingest"}.
func (p *principals) addOwn(text string) error {
	kind, name, _ := strings.Cut(text, ":")
	var list *[]string
	switch kind {
	case "User":
		list, name = &p.names, text
	case "group":
		list = &p.groups
	case "role":
		list = &p.roles
	case "scope":
		list = &p.scopes
	}
	switch {
	case text == "anonymous":
		p.anonymous = true
	case list == nil || name == "" || name == "User:":
		return fmt.Errorf("%q: want User:NAME, group:ID, role:NAME, scope:NAME, anonymous or *", clip(text))
	default:
		*list = append(*list, name)
	}
	return nil
}

// errPrincipals is the mistake of an element with no entries.
var errPrincipals = errors.New(`want "*", or an object with the members AWS or Klamm`)

// match says how closely the entries name an identity. Own is the account that
// identities without one belong to.
func (p *principals) match(id *Identity, own string) grasp {
	if id.ARN != "" && slices.Contains(p.users, id.ARN) || id.Name != "" && slices.Contains(p.names, id.Name) {
		return exact
	}
	if p.everybody || p.anonymous && id.Anonymous || id.RoleARN != "" && slices.Contains(p.roleARNs, id.RoleARN) ||
		common(p.groups, id.Groups) || common(p.roles, id.Roles) || common(p.scopes, id.Scopes) {
		return direct
	}
	if !id.Anonymous && len(p.accounts) > 0 {
		if id.AccountID != "" {
			own = id.AccountID
		}
		if slices.Contains(p.accounts, own) {
			return account
		}
	}
	return missed
}

// mayMatch is match for a denial: an identity whose groups are not known counts as
// a member of any.
func (p *principals) mayMatch(id *Identity, own string) grasp {
	if id.GroupsUnknown && len(p.groups) > 0 {
		return direct
	}
	return p.match(id, own)
}

func common(a, b []string) bool {
	for _, s := range b {
		if slices.Contains(a, s) {
			return true
		}
	}
	return false
}
