package accesslog

import "time"

// An Entry is what is known of one request. What is empty or zero is logged as "-",
// unless it says otherwise.
type Entry struct {
	// Event is request, or for answers without an end open and close.
	Event string
	// RequestID is the request's own, and ExtendedID the one that a client cannot
	// choose.
	RequestID, ExtendedID string
	// Account, API and Stage are where the request was made, in the terms of AWS;
	// Domain is the host that it named, without its port.
	Account, API, Stage, Domain string
	// BasePath is the prefix that a custom domain has taken off the path.
	BasePath string
	// Method, Path, Query and Protocol are the request's own. Path is as it came,
	// still encoded. Query is masked when it is logged.
	Method, Path, Query, Protocol string
	// Pattern is the path of the route's pattern, such as /topics/{topic}; Route is
	// the route's name and Dialect its HTTP API.
	Pattern, Route, Dialect string
	// Time is when the request came, and Latency how long the answer took.
	Time    time.Time
	Latency time.Duration
	// Status is that of the answer; 0, which is logged as such: the connection was cut
	// before there was one.
	Status int
	// Sent are the bytes of the answer's body, and Received those of the request's
	// as far as they are known. Both are logged also when they are 0.
	Sent, Received int64
	// Error is why the request was not served.
	Error Error
	// Identity is who has made it.
	Identity Identity
	// Authenticate, Authorize and WAF are steps before the request was served.
	Authenticate, Authorize, WAF Step
	// WAFRule is the rule that has decided about the request, if one has.
	WAFRule string
	// TraceID is of W3C: 32 hexadecimal digits.
	TraceID string
	// Kafka is what the request has done to Kafka.
	Kafka Kafka
	// Limit is the limit that was nearest: its rule, and what is left of it.
	LimitRule, LimitLeft string
	// Decision is what policies have said: allow or deny. Statement is the one that
	// has settled it.
	Decision, Statement string
	// Cache is hit or miss where the answer may be kept; empty: it may not.
	Cache string
	// Canary says whether the request was served by a stage's canary.
	Canary string
	// TLS is about the connection; the zero value is none.
	TLS TLS
}

// An Error is why a request was not served, in the terms of gateway responses
// (gateway-policies.md 5.6). Nothing in it comes from credentials.
type Error struct {
	Message, Type, Validation string
}

// A Step is one of the things that happen before a request is served.
type Step struct {
	Status  int
	Latency time.Duration
	Error   string
}

// An Identity is who has made a request.
type Identity struct {
	// Source is the client's address.
	Source string
	// UserAgent is as the client has said.
	UserAgent string
	// Name is the principal's name in klamm, as in User:alice, and Scheme how it was
	// shown.
	Name, Scheme string
	// User and Caller are the ids of an AWS caller, ARN its name, Account its
	// account.
	User, Caller, ARN, Account string
	// APIKeyID is the public id of an API key. The key itself is never logged.
	APIKeyID string
	// Claims are the members of a token, and Context what an authorizer has said.
	Claims  map[string]any
	Context map[string]string
	// Certificate is the client's; nil: there is none.
	Certificate *Certificate
}

// A Certificate is what is logged of a client certificate.
type Certificate struct {
	// PEM is the certificate itself, made when a format asks for it.
	PEM                     func() string
	Subject, Issuer, Serial string
	NotBefore, NotAfter     time.Time
}

// Kafka is what a request has done to Kafka. Records is 0 if it has produced
// nothing; Topic is then the one that it named, if any.
type Kafka struct {
	Cluster   string
	Topic     string
	Partition int32
	Offset    int64
	// Placed says whether Partition and Offset are known: of the first record.
	Placed  bool
	Records int
	Bytes   int64
	// Called says whether Kafka was asked at all.
	Called  bool
	Latency time.Duration
	Error   string
}

// TLS is what is logged of a connection.
type TLS struct {
	Version, Cipher, SNI string
}
