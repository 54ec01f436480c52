package confluent3

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/kafka"
)

type aclResource struct {
	head
	ResourceType string `json:"resource_type"`
	ResourceName string `json:"resource_name"`
	PatternType  string `json:"pattern_type"`
	Principal    string `json:"principal"`
	Host         string `json:"host"`
	Operation    string `json:"operation"`
	Permission   string `json:"permission"`
}

// An aclField is one of the enumerated fields of an ACL.
type aclField struct {
	name, enum string
	values     []string // of an entry
	filters    []string // of a filter, beside them
	of         func(*kafka.ACL) *string
}

var aclFields = []aclField{
	{"resource_type", "ResourceType", []string{"TOPIC", "GROUP", "CLUSTER", "TRANSACTIONAL_ID", "DELEGATION_TOKEN"}, []string{"ANY", "UNKNOWN"},
		func(a *kafka.ACL) *string { return &a.ResourceType }},
	{"pattern_type", "PatternType", []string{"LITERAL", "PREFIXED"}, []string{"ANY", "MATCH", "UNKNOWN"}, func(a *kafka.ACL) *string { return &a.PatternType }},
	{"operation", "Operation", []string{"ALL", "READ", "WRITE", "CREATE", "DELETE", "ALTER", "DESCRIBE", "CLUSTER_ACTION", "DESCRIBE_CONFIGS",
		"ALTER_CONFIGS", "IDEMPOTENT_WRITE"}, []string{"ANY", "UNKNOWN"}, func(a *kafka.ACL) *string { return &a.Operation }},
	{"permission", "Permission", []string{"ALLOW", "DENY"}, []string{"ANY", "UNKNOWN"}, func(a *kafka.ACL) *string { return &a.Permission }},
}

func (f aclField) known(value string) bool {
	return slices.Contains(f.values, value) || slices.Contains(f.filters, value)
}

// aclQuery is the query that selects entries, in the order of the API.
func aclQuery(a kafka.ACL) string {
	var b strings.Builder
	for _, p := range []struct{ name, value string }{{"resource_type", a.ResourceType}, {"resource_name", a.ResourceName}, {"pattern_type", a.PatternType},
		{"principal", a.Principal}, {"host", a.Host}, {"operation", a.Operation}, {"permission", a.Permission}} {
		if p.value == "" {
			continue
		}
		sep := byte('&')
		if b.Len() == 0 {
			sep = '?'
		}
		b.WriteByte(sep)
		b.WriteString(p.name + "=" + formEscaper.Replace(url.QueryEscape(p.value)))
	}
	return b.String()
}

// formEscaper makes of a value as net/url escapes it the same value as a form does,
// and Java's clients of the API, who compare links as they stand.
var formEscaper = strings.NewReplacer("%2A", "*", "~", "%7E")

func (c *call) acl(a kafka.ACL) aclResource {
	return aclResource{c.head("KafkaAcl", c.url("acls")+aclQuery(a), ""), a.ResourceType, a.ResourceName, a.PatternType, a.Principal, a.Host, a.Operation, a.Permission}
}

// aclFilter reads the filter of a query. Names of enumerations are taken in any
// case.
func aclFilter(q url.Values) (a kafka.ACL, err error) {
	for _, f := range aclFields {
		value := strings.ToUpper(q.Get(f.name))
		if value != "" && !f.known(value) {
			return a, unknownValue(f.enum, q.Get(f.name))
		}
		*f.of(&a) = value
	}
	a.ResourceName, a.Principal, a.Host = q.Get("resource_name"), q.Get("principal"), q.Get("host")
	return a, nil
}

// listACLs serves GET C/acls.
func (a *api) listACLs(c *call) error {
	filter, err := aclFilter(c.r.URL.Query())
	if err != nil {
		return err
	}
	found, err := a.gate.ACLs(c.r.Context(), c.who, filter)
	if err != nil {
		return err
	}
	var data []aclResource
	for _, entry := range found {
		data = append(data, c.acl(entry))
	}
	return c.answer(http.StatusOK, listOf("KafkaAclList", c.url("acls")+aclQuery(filter), data))
}

// deleteACLs serves DELETE C/acls. Four of the seven fields must be given.
func (a *api) deleteACLs(c *call) error {
	filter, err := aclFilter(c.r.URL.Query())
	if err != nil {
		return err
	}
	for _, f := range aclFields {
		if v := *f.of(&filter); v == "" || v == "UNKNOWN" {
			return badRequest("%s cannot be unspecified or UNKNOWN", f.name)
		}
	}
	gone, err := a.gate.DeleteACLs(c.r.Context(), c.who, filter)
	if err != nil {
		return err
	}
	data := []aclResource{}
	for _, entry := range gone {
		data = append(data, c.acl(entry))
	}
	return c.answer(http.StatusOK, struct {
		Data []aclResource `json:"data"`
	}{data})
}

// aclBody is one entry as it is created.
type aclBody struct {
	ResourceType *string `json:"resource_type"`
	ResourceName *string `json:"resource_name"`
	PatternType  *string `json:"pattern_type"`
	Principal    *string `json:"principal"`
	Host         *string `json:"host"`
	Operation    *string `json:"operation"`
	Permission   *string `json:"permission"`
}

// entry checks a body and returns the ACL that it describes.
func (b aclBody) entry() (a kafka.ACL, err error) {
	for _, p := range []struct {
		name string
		from *string
		to   *string
	}{
		{"resource_type", b.ResourceType, &a.ResourceType}, {"resource_name", b.ResourceName, &a.ResourceName}, {"pattern_type", b.PatternType, &a.PatternType},
		{"principal", b.Principal, &a.Principal}, {"host", b.Host, &a.Host}, {"operation", b.Operation, &a.Operation}, {"permission", b.Permission, &a.Permission},
	} {
		if p.from == nil || *p.from == "" {
			return a, badRequest("%s cannot be unspecified", p.name)
		}
		*p.to = *p.from
	}
	for _, f := range aclFields {
		v := f.of(&a)
		*v = strings.ToUpper(*v)
		switch {
		case !f.known(*v):
			return a, badRequest("the valid values for %s do not include '%s'", f.enum, clipped(*v))
		case !slices.Contains(f.values, *v):
			return a, badRequest("%s cannot be %s", f.name, *v)
		}
	}
	return a, nil
}

// createACL serves POST C/acls.
func (a *api) createACL(c *call) error {
	var body aclBody
	if err := c.decode(&body, "Request body is empty. Data is required."); err != nil {
		return err
	}
	entry, err := body.entry()
	if err != nil {
		return err
	}
	if err := a.gate.CreateACLs(c.r.Context(), c.who, entry); err != nil {
		return err
	}
	c.w.Header().Set("Location", c.url("acls")+aclQuery(entry))
	c.w.WriteHeader(http.StatusCreated)
	return nil
}

// createACLs serves POST C/acls:batch. It answers 204 as the original does,
// whatever its documentation says.
func (a *api) createACLs(c *call) error {
	var body struct {
		Data []aclBody `json:"data"`
	}
	const empty = "Request body is empty. Data is required."
	if err := c.decode(&body, empty); err != nil {
		return err
	}
	if body.Data == nil {
		return payload(empty)
	}
	entries := make([]kafka.ACL, len(body.Data))
	for i, b := range body.Data {
		var err error
		if entries[i], err = b.entry(); err != nil {
			return err
		}
	}
	if len(entries) > 0 {
		if err := a.gate.CreateACLs(c.r.Context(), c.who, entries...); err != nil {
			return err
		}
	}
	return c.done()
}
