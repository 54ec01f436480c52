package kafka

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// An ACL is one access control entry of the cluster. As a filter, an empty
// string stands for everything that the field can be.
type ACL struct {
	ResourceType string // such as "TOPIC"
	ResourceName string
	PatternType  string // such as "LITERAL"
	Principal    string // such as "User:ada"
	Host         string
	Operation    string // such as "READ"
	Permission   string // "ALLOW" or "DENY"
}

// The names of what an ACL may say, by Kafka's numbers. ANY and MATCH have a
// meaning in filters only, UNKNOWN nowhere.
var (
	aclResourceTypes = []string{"UNKNOWN", "ANY", "TOPIC", "GROUP", "CLUSTER", "TRANSACTIONAL_ID", "DELEGATION_TOKEN", "USER"}
	aclPatternTypes  = []string{"UNKNOWN", "ANY", "MATCH", "LITERAL", "PREFIXED"}
	aclOperations    = []string{"UNKNOWN", "ANY", "ALL", "READ", "WRITE", "CREATE", "DELETE", "ALTER", "DESCRIBE", "CLUSTER_ACTION",
		"DESCRIBE_CONFIGS", "ALTER_CONFIGS", "IDEMPOTENT_WRITE", "CREATE_TOKENS", "DESCRIBE_TOKENS", "TWO_PHASE_COMMIT"}
	aclPermissions = []string{"UNKNOWN", "ANY", "DENY", "ALLOW"}
)

// number returns Kafka's number for a name; 1, ANY, for an empty one.
func number(names []string, name string) (int8, error) {
	if name == "" {
		return 1, nil
	}
	n := slices.Index(names, name)
	if n < 0 {
		return 0, fmt.Errorf("an ACL cannot say %q", name)
	}
	return int8(n), nil
}

func nameOf[N ~int8](names []string, n N) string {
	if n < 0 || int(n) >= len(names) {
		return names[0]
	}
	return names[n]
}

// numbers are the four enumerated fields of an ACL.
type numbers struct{ resource, pattern, operation, permission int8 }

func numbersOf(a ACL) (n numbers, err error) {
	for _, f := range []struct {
		to    *int8
		names []string
		name  string
	}{
		{&n.resource, aclResourceTypes, a.ResourceType}, {&n.pattern, aclPatternTypes, a.PatternType},
		{&n.operation, aclOperations, a.Operation}, {&n.permission, aclPermissions, a.Permission},
	} {
		if *f.to, err = number(f.names, f.name); err != nil {
			return n, err
		}
	}
	return n, nil
}

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// ACLs returns the entries that fit a filter, sorted field by field in the
// order of ACL's fields. A cluster without an authorizer is
// kerr.SecurityDisabled, a filter that says UNKNOWN kerr.InvalidRequest.
func (c *Cluster) ACLs(ctx context.Context, filter ACL) ([]ACL, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	n, err := numbersOf(filter)
	if err != nil {
		return nil, err
	}
	// A broker hangs up on who asks for it, which would look like a broker that is gone.
	if min(n.resource, n.pattern, n.operation, n.permission) == 0 {
		return nil, &explanation{"The filter of ACLs must not contain UNKNOWN elements.", kerr.InvalidRequest}
	}
	req := kmsg.NewPtrDescribeACLsRequest()
	req.ResourceType, req.ResourcePatternType = kmsg.ACLResourceType(n.resource), kmsg.ACLResourcePatternType(n.pattern)
	req.Operation, req.PermissionType = kmsg.ACLOperation(n.operation), kmsg.ACLPermissionType(n.permission)
	req.ResourceName, req.Principal, req.Host = orNil(filter.ResourceName), orNil(filter.Principal), orNil(filter.Host)
	resp, err := req.RequestWith(ctx, c.reader)
	if err != nil {
		return nil, fmt.Errorf("ACLs: %w", c.unreachable(err))
	}
	if err := explained(resp.ErrorCode, resp.ErrorMessage); err != nil {
		return nil, err
	}
	var found []ACL
	for _, r := range resp.Resources {
		for _, a := range r.ACLs {
			found = append(found, ACL{nameOf(aclResourceTypes, r.ResourceType), r.ResourceName, nameOf(aclPatternTypes, r.ResourcePatternType),
				a.Principal, a.Host, nameOf(aclOperations, a.Operation), nameOf(aclPermissions, a.PermissionType)})
		}
	}
	sortACLs(found)
	return found, nil
}

func sortACLs(acls []ACL) {
	slices.SortFunc(acls, func(a, b ACL) int {
		return cmp.Or(cmp.Compare(a.ResourceType, b.ResourceType), cmp.Compare(a.ResourceName, b.ResourceName), cmp.Compare(a.PatternType, b.PatternType),
			cmp.Compare(a.Principal, b.Principal), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Permission, b.Permission))
	})
}

// CreateACLs creates entries. Those before the first that fails have been
// created; one that exists already is no error.
func (c *Cluster) CreateACLs(ctx context.Context, acls ...ACL) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	req := kmsg.NewPtrCreateACLsRequest()
	for _, a := range acls {
		n, err := numbersOf(a)
		if err != nil {
			return err
		}
		rc := kmsg.NewCreateACLsRequestCreation()
		rc.ResourceType, rc.ResourcePatternType = kmsg.ACLResourceType(n.resource), kmsg.ACLResourcePatternType(n.pattern)
		rc.Operation, rc.PermissionType = kmsg.ACLOperation(n.operation), kmsg.ACLPermissionType(n.permission)
		rc.ResourceName, rc.Principal, rc.Host = a.ResourceName, a.Principal, a.Host
		req.Creations = append(req.Creations, rc)
	}
	resp, err := req.RequestWith(ctx, c.reader)
	if err != nil {
		return fmt.Errorf("create ACLs: %w", c.unreachable(err))
	}
	for _, r := range resp.Results {
		if err := explained(r.ErrorCode, r.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

// DeleteACLs deletes the entries that fit a filter and returns them, sorted as
// ACLs does.
func (c *Cluster) DeleteACLs(ctx context.Context, filter ACL) ([]ACL, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	n, err := numbersOf(filter)
	if err != nil {
		return nil, err
	}
	rf := kmsg.NewDeleteACLsRequestFilter()
	rf.ResourceType, rf.ResourcePatternType = kmsg.ACLResourceType(n.resource), kmsg.ACLResourcePatternType(n.pattern)
	rf.Operation, rf.PermissionType = kmsg.ACLOperation(n.operation), kmsg.ACLPermissionType(n.permission)
	rf.ResourceName, rf.Principal, rf.Host = orNil(filter.ResourceName), orNil(filter.Principal), orNil(filter.Host)
	req := kmsg.NewPtrDeleteACLsRequest()
	req.Filters = append(req.Filters, rf)
	resp, err := req.RequestWith(ctx, c.reader)
	if err != nil {
		return nil, fmt.Errorf("delete ACLs: %w", c.unreachable(err))
	}
	var gone []ACL
	for _, r := range resp.Results {
		if err := explained(r.ErrorCode, r.ErrorMessage); err != nil {
			return nil, err
		}
		for _, m := range r.MatchingACLs {
			if err := explained(m.ErrorCode, m.ErrorMessage); err != nil {
				return nil, err
			}
			gone = append(gone, ACL{nameOf(aclResourceTypes, m.ResourceType), m.ResourceName, nameOf(aclPatternTypes, m.ResourcePatternType),
				m.Principal, m.Host, nameOf(aclOperations, m.Operation), nameOf(aclPermissions, m.PermissionType)})
		}
	}
	sortACLs(gone)
	return gone, nil
}
