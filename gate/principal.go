package gate

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/klamm-gateway/klamm/kafka"
)

// A Principal is who a call is made for (gateway-policies.md 1.1). The zero value
// is nobody. It is copied freely; its slices and maps are shared and must not be
// changed once it has been handed to anybody.
type Principal struct {
	// Name is such as "User:alice"; "User:ANONYMOUS" for a caller without
	// credentials.
	Name string
	// Groups are the names or ids of the groups that the caller is a member of,
	// with their case.
	Groups []string
	// GroupsUnknown says that the caller may be a member of groups that Groups
	// does not name: nobody can be asked. What is denied to a group counts then as
	// denied to the caller.
	GroupsUnknown bool `json:",omitempty"`

	// GroupsFailed says that Groups could not be looked up now, and GroupsUnknown is true
	// therefore: a call that is not allowed by anything else is to be made again later.
	GroupsFailed bool `json:",omitempty"`

	// Scheme says how the caller has shown who they are: one of the Scheme
	// constants, or "" where klamm serves everybody.
	Scheme string `json:",omitempty"`
	// ARN is the caller's name in policy documents. IAM users and role sessions
	// have one of AWS's forms; for everybody else it is "".
	ARN string `json:",omitempty"`
	// RoleARN is the role of a role session, such as
	// arn:aws:iam::111122223333:role/ingest; otherwise "".
	RoleARN string `json:",omitempty"`
	// AccountID is the AWS account of an IAM user or role session; "" is klamm's
	// own.
	AccountID string `json:",omitempty"`
	// Scopes and Roles are those of a token: delegated permissions, and the roles
	// that the application was given.
	Scopes []string `json:",omitempty"`
	Roles  []string `json:",omitempty"`
	// Claims are the members of a token as encoding/json makes them, with numbers
	// as json.Number; nil for other schemes.
	Claims map[string]any `json:",omitempty"`
	// Tags are the caller's own (aws:PrincipalTag/*).
	Tags map[string]string `json:",omitempty"`
	// Context is what an HTTP authorizer said about the caller beside its policy.
	Context map[string]string `json:",omitempty"`
	// Issued is when a token or session began, and Expires when it ends: streams
	// are cut then. The zero time is none.
	Issued  time.Time `json:",omitzero"`
	Expires time.Time `json:",omitzero"`
	// KeyID is the public id of the API key that came with the call, whichever
	// scheme the caller used; "" without one.
	KeyID string `json:",omitempty"`
	// KeyName is that key's name, which keys that replace each other share; "" is
	// KeyID. Plans are the usage plans that the key itself names.
	KeyName string   `json:",omitempty"`
	Plans   []string `json:",omitempty"`
	// Policy is the policy document that an HTTP authorizer gave for the caller;
	// nil for other schemes. It counts as an identity policy.
	Policy json.RawMessage `json:",omitempty"`

	// Session is the access key id of the temporary credentials, given by klamm, that the
	// caller has come with; "" without such. All else says whom they were given to.
	Session string `json:",omitempty"`

	// Source is the address that the call came from, unmapped; the zero value is
	// not known.
	Source netip.Addr
	// Secure says that the call came over TLS.
	Secure bool `json:",omitempty"`
	// Certificate is the client certificate that was verified, whichever scheme
	// the caller used; nil without one.
	Certificate *Certificate `json:",omitempty"`

	// Stage is the stage that the call came in by, and TopicPrefix what stands there
	// before the names of topics; both are empty without stages. Names that the gate
	// takes and gives are without the prefix, and topics without it do not exist.
	Stage       string `json:",omitempty"`
	TopicPrefix string `json:",omitempty"`
	// Cluster is the further cluster, by its name in kafka.clusters, that the stage
	// stands before; "" is klamm's own.
	Cluster string `json:",omitempty"`

	caller   *kafka.Caller // what can be shown to Kafka; nil: nothing; see WithCaller
	identity string        // see As
	stamped  *bool         // nil: as is usual; see Stamped
	subjects []string      // of the schemas that records are written with; see Gate.Naming
	claim    *Claim        // nil: what is written may be written again; see Under
	request  *Request      // what the call is made for; nil: not known; see Within
	standing *standing     // nil: who the caller is counts for ever; see Renewable
	visit    *Visit        // what limits know of the request; nil: nothing limits it
}

// A Certificate is what policies and logs may know of a verified client
// certificate.
type Certificate struct {
	// SubjectDN and IssuerDN are in the form of RFC 2253, the most special part
	// first.
	SubjectDN, IssuerDN string
	// Serial is in lower-case hexadecimal bytes with colons between them.
	Serial              string
	NotBefore, NotAfter time.Time
	// URIs and DNSNames are alternative names of the subject.
	URIs, DNSNames []string
	// Raw is the certificate itself, in DER; nil where it is only known by what it says.
	Raw []byte `json:"-"`
}

// The schemes by which callers show who they are.
const (
	SchemeSigV4      = "sigv4"
	SchemeJWT        = "jwt"
	SchemeIntrospect = "introspect"
	SchemeAPIKey     = "apikey"
	SchemeBasic      = "basic"
	SchemeMTLS       = "mtls"
	SchemeAuthorizer = "authorizer"
	SchemeAnonymous  = "anonymous"
)

// ByToken says whether the caller has come with a bearer token, which is what has scopes.
func (p *Principal) ByToken() bool {
	return p.Scheme == SchemeJWT || p.Scheme == SchemeIntrospect
}

// Anonymous is the principal of callers without credentials, where they are
// allowed.
var Anonymous = Principal{Name: "User:ANONYMOUS"}
