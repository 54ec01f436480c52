package gate

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klamm-gateway/klamm/iam"
	"github.com/klamm-gateway/klamm/kafka"
)

// names are what the names of resources are made of.
type names struct{ account, region string }

// clusterName is the name of klamm's own cluster in ARNs, and apiID that of its API.
const clusterName, apiID = "klamm", "klamm"

// routeARN is the name of a route. A HEAD is a GET without the body, and must not be
// a way around what is said of that.
func (n names) routeARN(stage, method, path string) string {
	return "arn:aws:execute-api:" + n.region + ":" + n.account + ":" + routeName(stage, method, path)
}

func routeName(stage, method, path string) string {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	return apiID + "/" + stage + "/" + method + "/" + strings.TrimPrefix(path, "/")
}

// A question is a call that is being decided. It is what conditions ask.
type question struct {
	law       *law
	call      *Call
	cluster   string // its id
	elsewhere *place // the cluster, where it is not klamm's own
	identity  iam.Identity
	request   iam.Request
	asked     Resource // what request is about
	partition int32    // of the records that are being decided about; negative: none in particular
	consulted bool     // the decision depends on more than who calls and what for
}

// resource is a resource's name in policies.
func (q *question) resource(r Resource) iam.Resource {
	n := &q.law.names
	switch r.Kind {
	case "route":
		method, path, _ := strings.Cut(r.Name, "/")
		return iam.NewResource("execute-api", n.region, n.account, routeName(q.stage(), method, path))
	case "arn":
		parsed, _ := iam.ParseResource(r.Name) // whoever made it has checked it; * is none
		return parsed
	case "cluster":
		if q.cluster == "" { // klamm's own actions
			return iam.NewResource("klamm", n.region, n.account, "gateway")
		}
		if at := q.elsewhere; at != nil {
			return at.resource(r.Kind, at.id, "")
		}
		return q.law.clusterResource(q.cluster)
	case "topic", "group", "transactional-id":
		return q.at().resource(r.Kind, q.cluster, r.Name)
	}
	return iam.NewResource("klamm", n.region, n.account, r.Kind+"/"+r.Name)
}

// clusterResource is the cluster with an id. Every call asks for it, so it is made
// once.
func (l *law) clusterResource(id string) iam.Resource {
	if known := l.whole.Load(); known != nil && known.id == id {
		return known.resource
	}
	one := &wholeCluster{id, l.home.resource("cluster", id, "")}
	l.whole.Store(one)
	return one.resource
}

// A wholeCluster is a cluster as a resource.
type wholeCluster struct {
	id       string
	resource iam.Resource
}

func (q *question) stage() string {
	if r := q.call.Principal.request; r != nil {
		return r.stage()
	}
	return DefaultStage
}

// identityOf is a caller as policies know them.
func (n names) identityOf(p *Principal) iam.Identity {
	return iam.Identity{
		Name: p.Name, ARN: p.ARN, RoleARN: p.RoleARN, AccountID: p.AccountID, Groups: p.Groups, Roles: p.Roles, Scopes: p.Scopes,
		GroupsUnknown: p.GroupsUnknown, Anonymous: isAnonymous(p), Key: p.KeyID,
	}
}

// Value returns the value of a condition key (gateway-policies.md 2.4).
func (q *question) Value(k iam.Key) iam.Value {
	q.consulted = true
	p := &q.call.Principal
	if family, rest, ok := strings.Cut(k.Name, "/"); ok {
		return q.member(family, rest, k)
	}
	if strings.HasPrefix(k.Name, "jwt:") {
		return claimValue(p.Claims, k.Written[len("jwt:"):])
	}
	switch k.Name {
	case "aws:sourceip":
		if p.Source.IsValid() {
			return iam.One(p.Source.String())
		}
		return iam.Value{}
	case "aws:securetransport":
		return iam.One(strconv.FormatBool(p.Secure))
	case "aws:currenttime":
		return iam.One(time.Now().UTC().Format(time.RFC3339))
	case "aws:epochtime":
		return iam.One(strconv.FormatInt(time.Now().Unix(), 10))
	case "aws:useragent":
		return q.header("User-Agent")
	case "aws:referer":
		return q.header("Referer")
	case "aws:requestedregion":
		return text(q.law.region)
	case "aws:tokenissuetime":
		if p.Issued.IsZero() {
			return iam.Value{}
		}
		return iam.One(p.Issued.UTC().Format(time.RFC3339))
	case "aws:multifactorauthpresent":
		if _, ok := p.Claims["amr"]; !ok {
			return iam.Value{}
		}
		methods := claimValue(p.Claims, "amr")
		return iam.One(strconv.FormatBool(slices.Contains(methods.Texts(), "mfa")))
	case "mtls:subjectdn":
		if p.Certificate != nil {
			return text(p.Certificate.SubjectDN)
		}
		return iam.Value{}
	}
	if strings.HasPrefix(k.Name, "klamm:") {
		return q.own(k.Name[len("klamm:"):])
	}
	return q.identityValue(k.Name)
}

// identityValue returns the values that say who a caller with credentials is.
func (q *question) identityValue(name string) iam.Value {
	p := &q.call.Principal
	if q.identity.Anonymous {
		return iam.Value{}
	}
	_, last, _ := strings.Cut(p.ARN, ":user/")
	switch name {
	case "aws:username":
		return text(last[strings.LastIndexByte(last, '/')+1:])
	case "aws:userid":
		if role, session, ok := strings.Cut(strings.TrimPrefix(p.ARN, "arn:aws:sts::"+p.AccountID+":assumed-role/"), "/"); ok && p.RoleARN != "" {
			return text(role + ":" + session)
		}
		return text(strings.TrimPrefix(p.Name, "User:"))
	case "aws:principalarn":
		if p.ARN != "" {
			return iam.One(p.ARN)
		}
		return iam.One("arn:aws:klamm::" + q.account() + ":user/" + strings.TrimPrefix(p.Name, "User:"))
	case "aws:principalaccount":
		return text(q.account())
	case "aws:principaltype":
		if p.RoleARN != "" {
			return iam.One("AssumedRole")
		}
		return iam.One("User")
	}
	return iam.Value{}
}

func (q *question) account() string {
	if id := q.call.Principal.AccountID; id != "" {
		return id
	}
	return q.law.account
}

// own returns the values of klamm's own keys.
func (q *question) own(name string) iam.Value {
	p, r := &q.call.Principal, q.call.Principal.request
	switch name {
	case "principal":
		return text(p.Name)
	case "authmethod":
		return text(p.Scheme)
	case "session":
		return text(p.Session)
	case "groups":
		return iam.Many(p.Groups)
	case "scopes":
		return iam.Many(p.Scopes)
	case "roles":
		return iam.Many(p.Roles)
	case "groupsunknown":
		return iam.One(strconv.FormatBool(p.GroupsUnknown))
	case "stage":
		return iam.One(q.stage())
	case "topic", "group":
		if q.call.Resource.Kind == name {
			return text(q.call.Resource.Name)
		}
		if name == "group" {
			return text(q.call.Group)
		}
	case "schemasubject":
		if q.call.Resource.Kind == "subject" {
			return text(q.call.Resource.Name)
		}
		return iam.Many(p.subjects)
	case "recordcount":
		if q.call.Action == WriteData {
			return iam.One(strconv.Itoa(len(q.call.Records)))
		}
	case "partition":
		switch p := q.call.Partition; {
		case p != nil:
			return iam.One(strconv.Itoa(int(*p)))
		case len(q.call.Records) > 0 && q.partition >= 0:
			return iam.One(strconv.Itoa(int(q.partition)))
		}
	}
	if r == nil {
		return iam.Value{}
	}
	switch name {
	case "route":
		return text(r.Pattern)
	case "requestbytes":
		if n := r.size(); n >= 0 {
			return iam.One(strconv.FormatInt(n, 10))
		}
	case "contenttype":
		return q.header("Content-Type")
	case "format":
		return text(formatOf(r.Header["Content-Type"]))
	}
	return iam.Value{}
}

// formatOf is the embedded format that a media type of the REST dialects names, as
// json in application/vnd.kafka.json.v2+json.
func formatOf(types []string) string {
	if len(types) == 0 {
		return ""
	}
	media, _, _ := mime.ParseMediaType(types[0])
	rest, ok := strings.CutPrefix(media, "application/vnd.kafka.")
	if !ok {
		return ""
	}
	format, _, found := strings.Cut(rest, ".")
	if !found {
		return ""
	}
	return format
}

// member returns a value of a family of keys, such as request:header/x-color.
func (q *question) member(family, name string, k iam.Key) iam.Value {
	p, r := &q.call.Principal, q.call.Principal.request
	written := k.Written[len(k.Written)-len(name):]
	switch family {
	case "aws:principaltag":
		if key, ok := folded(p.Tags, written); ok {
			return iam.One(p.Tags[key])
		}
	case "request:header":
		if r != nil {
			return iam.Many(r.Header[http.CanonicalHeaderKey(name)])
		}
	case "request:query":
		if r != nil {
			if key, ok := folded(r.Query, written); ok {
				return iam.Many(r.Query[key])
			}
		}
	case "mtls:san":
		if p.Certificate != nil && name == "uri" {
			return iam.Many(p.Certificate.URIs)
		}
		if p.Certificate != nil && name == "dns" {
			return iam.Many(p.Certificate.DNSNames)
		}
	default:
		if strings.HasPrefix(k.Name, "jwt:") { // a claim whose name has a slash
			return claimValue(p.Claims, k.Written[len("jwt:"):])
		}
	}
	return iam.Value{}
}

// folded finds a key whatever its case: as it is written, else the first in order.
func folded[V any](m map[string]V, name string) (string, bool) {
	if _, ok := m[name]; ok {
		return name, true
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if strings.EqualFold(key, name) {
			return key, true
		}
	}
	return "", false
}

// claimValue is a claim as text; dots lead into objects, unless a claim has them in
// its name.
func claimValue(claims map[string]any, path string) iam.Value {
	if key, ok := folded(claims, path); ok {
		return valueOf(claims[key])
	}
	for i, c := range path {
		if c != '.' {
			continue
		}
		key, ok := folded(claims, path[:i])
		inner, isObject := claims[key].(map[string]any)
		if ok && isObject {
			return claimValue(inner, path[i+1:])
		}
	}
	return iam.Value{}
}

// valueOf is a value of JSON as text. Objects have none.
func valueOf(v any) iam.Value {
	switch v := v.(type) {
	case nil, map[string]any:
		return iam.Value{}
	case string:
		return iam.One(v)
	case []any:
		var list []string
		for _, one := range v {
			list = append(list, valueOf(one).Texts()...)
		}
		return iam.Many(list)
	}
	return iam.One(fmt.Sprint(v))
}

func (q *question) header(name string) iam.Value {
	r := q.call.Principal.request
	if r == nil || len(r.Header[name]) == 0 {
		return iam.Value{}
	}
	return iam.One(r.Header[name][0])
}

// text is a value that is not there if it is empty.
func text(s string) iam.Value {
	if s == "" {
		return iam.Value{}
	}
	return iam.One(s)
}

// A clusterID is asked for once. Without it nothing is decided: a statement that
// denies something may name it.
type clusterID struct {
	cluster *kafka.Cluster
	id      atomic.Pointer[string] // nil: not known yet
}

// unknownCluster stands for the id of a cluster that has none, and on paper.
const unknownCluster = "-"

func (c *clusterID) get(ctx context.Context) (string, error) {
	if c.cluster == nil {
		return unknownCluster, nil
	}
	if id := c.id.Load(); id != nil {
		return *id, nil
	}
	info, err := c.cluster.Info(ctx)
	if err != nil {
		return "", err
	}
	id := info.ID
	if id == "" {
		id = unknownCluster
	}
	c.id.Store(&id)
	return id, nil
}

// A policyCache keeps the policies of HTTP authorizers, compiled. It holds two
// generations; what is used moves to the younger one.
type policyCache struct {
	mu         sync.Mutex // guards what follows
	young, old map[string]*iam.Policy
}

var authorizerPolicies policyCache

// generation bounds the policies that are kept, twice.
const generation = 10_000

func (c *policyCache) get(document json.RawMessage) (*iam.Policy, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.young[string(document)]; p != nil {
		return p, nil
	}
	p := c.old[string(document)]
	if p == nil {
		d, err := iam.Parse(document, iam.Identities)
		if err != nil {
			return nil, err
		}
		p = &iam.Policy{Name: "authorizer", Kind: iam.Identities, Document: d}
	}
	if len(c.young) >= generation || c.young == nil {
		c.old, c.young = c.young, map[string]*iam.Policy{}
	}
	c.young[string(document)] = p
	return p, nil
}
