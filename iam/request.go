package iam

import "strings"

// A Request is what is decided about. It is only read.
type Request struct {
	Identity *Identity // required
	Action   Action
	Resource Resource
	// Context has the values of condition keys; nil: there are none.
	Context Context
	// Named says that the policies of the resource have to allow the request, where
	// there are any: an identity policy is not enough.
	Named bool
	// Policies are resource policies that came with the resource; they count beside
	// those of the set.
	Policies []*Policy
}

// An Identity is who asks. The zero value is somebody without credentials.
type Identity struct {
	// Name is such as "User:alice"; empty for a caller without credentials.
	Name string
	// ARN is that of an IAM user or role session, and RoleARN that of the session's
	// role; empty: the identity has none.
	ARN, RoleARN string
	// AccountID is the AWS account; empty: the one that everything belongs to.
	AccountID string
	// Groups, Roles and Scopes are what the caller belongs to or was given.
	Groups, Roles, Scopes []string
	// GroupsUnknown says that Groups may not be all of them: what is denied to any
	// group is then denied to the caller.
	GroupsUnknown bool
	// Anonymous says that the caller has shown no credentials; Name may be set all
	// the same.
	Anonymous bool
	// Key is the id of the API key that came with the call.
	Key string
	// Policies are identity policies that came with the caller.
	Policies []*Policy
}

// A Context has the values of condition keys. It is asked from one goroutine.
type Context interface {
	// Value returns the value of a key; the zero Value where there is none.
	Value(k Key) Value
}

// A Key names a value of a request, such as aws:SourceIp. Its case does not
// matter.
type Key struct {
	// Name is in lower case, and Written as the document has it.
	Name, Written string
}

// NewKey returns the key of a name.
func NewKey(name string) Key { return Key{strings.ToLower(name), name} }

// foreseen says whether the key is about the request alone, so that it has its value
// before anybody knows who makes it.
func (k Key) foreseen() bool {
	switch k.Name {
	case "aws:sourceip", "aws:securetransport", "aws:currenttime", "aws:epochtime", "aws:useragent", "aws:referer", "aws:requestedregion", "klamm:stage", "klamm:route":
		return true
	}
	return strings.HasPrefix(k.Name, "request:")
}

// A Value is what a request has for a key. The zero value is nothing, and so is a
// list without elements.
type Value struct {
	kind valueKind
	text string
	list []string
}

type valueKind byte

const (
	absent valueKind = iota
	single
	multiple
)

// One returns the value of a key that has one.
func One(text string) Value { return Value{kind: single, text: text} }

// Many returns the value of a key that may have several. The list must not be
// changed while it is in use.
func Many(list []string) Value {
	if len(list) == 0 {
		return Value{}
	}
	return Value{kind: multiple, list: list}
}

// Texts returns the values in a new list.
func (v Value) Texts() []string {
	switch v.kind {
	case single:
		return []string{v.text}
	case multiple:
		return append([]string(nil), v.list...)
	}
	return nil
}

// count is how many values there are.
func (v *Value) count() int {
	switch v.kind {
	case single:
		return 1
	case multiple:
		return len(v.list)
	}
	return 0
}

// at returns one of the values.
func (v *Value) at(i int) string {
	if v.kind == single {
		return v.text
	}
	return v.list[i]
}

// query is a request while it is being decided; nil has no values.
type query = Request

func (r *Request) value(k Key) Value {
	if r == nil || r.Context == nil {
		return Value{}
	}
	return r.Context.Value(k)
}
