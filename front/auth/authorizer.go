package auth

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/iam"
)

const (
	// rememberedAnswers bounds those of one authorizer, and deniedFor is how long
	// a denial is kept at most.
	rememberedAnswers = 100_000
	deniedFor         = time.Minute
	// largestAnswer bounds an authorizer's answer.
	largestAnswer = 256 << 10
	// longestMethodARN bounds what is asked about, in bytes.
	longestMethodARN = 1600
	// longestResource bounds the resources of a policy that it returns, in characters.
	longestResource = 512
	// longestIdentity bounds what identifies a caller, in bytes.
	longestIdentity = 16 << 10
)

// An authorizer asks somebody over HTTP who is calling and what they may do, and
// remembers the policy, not the verdict (gateway-policies.md 1.8).
type authorizer struct {
	cfg      Authorizer
	env      Env
	secret   string
	keys     *apiKeys // nil: there are none
	identity []identityPart
	form     *regexp.Regexp // of the token; nil: any
	ttl      time.Duration
	http     *http.Client
	known    *cache[string, judgement]
	asking   flights[string, judgement]
	narrow   sync.Once // the warning that policies are about one method only
}

// A judgement is an authorizer's answer.
type judgement struct {
	who  gate.Principal
	set  *iam.Set // nil: whoever is authorized may do everything
	deny bool     // and otherwise nothing
	no   bool     // nobody is calling
	key  string   // the API key that the caller counts as; "": none
	at   time.Time
}

// An identityPart is where a part of a caller's identity is.
type identityPart struct{ kind, name string }

func parseIdentity(text string) (identityPart, error) {
	kind, name, _ := strings.Cut(text, ":")
	p := identityPart{kind, name}
	switch {
	case kind == "header" && headerForm.MatchString(name), (kind == "query" || kind == "stage") && name != "":
		return p, nil
	case kind == "context" && (name == "routeKey" || name == "path" || name == "httpMethod" || name == "sourceIp"):
		return p, nil
	}
	return p, errors.New("want header:NAME, query:NAME, stage:NAME or context:NAME")
}

func newAuthorizer(ctx context.Context, cfg Authorizer, c *Chain) (*authorizer, error) {
	env := c.env
	a := &authorizer{cfg: cfg, env: env, keys: c.keys, ttl: 5 * time.Minute, known: newCache[string, judgement](rememberedAnswers), http: &http.Client{
		Timeout: cfg.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{MaxIdleConnsPerHost: 32, IdleConnTimeout: time.Minute},
	}}
	if a.http.Timeout == 0 {
		a.http.Timeout = 5 * time.Second
	}
	if cfg.TTL != nil {
		a.ttl = *cfg.TTL
	}
	parts := cfg.Identity
	if parts == nil {
		parts = []string{"header:Authorization"}
	}
	for _, text := range parts {
		p, err := parseIdentity(text)
		if err != nil {
			return nil, fmt.Errorf("identity: %w", err)
		}
		a.identity = append(a.identity, p)
	}
	var err error
	if cfg.Validation != "" {
		if a.form, err = regexp.Compile("^(?:" + cfg.Validation + ")$"); err != nil {
			return nil, fmt.Errorf("validation: %w", err)
		}
	}
	if !cfg.Secret.IsZero() {
		if a.secret, err = env.Secret(ctx, cfg.Secret); err != nil {
			return nil, fmt.Errorf("secret: %w", err)
		}
	}
	return a, nil
}

func refuseUnauthorized() error {
	message := "Unauthorized"
	return front.RefuseAWS(gate.Unauthenticated, http.StatusUnauthorized, "UnauthorizedException", "message", &message)
}

func refuseAccess(explicit bool) error {
	message := "User is not authorized to access this resource"
	if explicit {
		message += " with an explicit deny"
	}
	return front.RefuseAWS(gate.Denied, http.StatusForbidden, "AccessDeniedException", "Message", &message)
}

// misconfigured is the answer to an answer that is none.
func misconfigured() error {
	return front.RefuseAWS(gate.Internal, http.StatusInternalServerError, "AuthorizerConfigurationException", "message", nil)
}

// authenticate asks, or remembers, and judges the request by the policy.
func (a *authorizer) authenticate(r *http.Request) (gate.Principal, error) { return a.check(r, 0) }

// renew is authenticate by an answer of a moment ago.
func (a *authorizer) renew(r *http.Request) (gate.Principal, error) {
	return a.check(r, renewedWithin)
}

// check is authenticate by an answer that was given within a time at most; 0 is as
// configured.
func (a *authorizer) check(r *http.Request, within time.Duration) (gate.Principal, error) {
	values, ok := a.values(r)
	if !ok {
		return gate.Principal{}, front.ErrNotMine
	}
	if a.form != nil && !a.form.MatchString(values[0]) {
		return gate.Principal{}, refuseUnauthorized()
	}
	called := front.RequestOf(r)
	arn := methodARN(a.env, called)
	if len(arn) > longestMethodARN {
		message := "The method ARN is too long"
		return gate.Principal{}, front.RefuseAWS(gate.TooLarge, http.StatusRequestURITooLong, "RequestTooLongException", "message", &message)
	}
	if err := a.barred(r, called); err != nil {
		return gate.Principal{}, err
	}
	j, err := a.judge(r, called, values, arn, within)
	if err != nil {
		return gate.Principal{}, err
	}
	who, err := j.decide(r, a.env, called)
	if err != nil || j.key == "" || a.keys == nil {
		return who, err
	}
	key, err := a.keys.holder(r, j.key)
	who.KeyID, who.KeyName, who.Plans = key.KeyID, key.KeyName, key.Plans
	return who, err
}

// barred is the refusal of a request that nobody may make: then nobody is asked.
func (a *authorizer) barred(r *http.Request, called *gate.Request) error {
	if a.env.Barred == nil {
		return nil
	}
	who := gate.Anonymous
	who.Source, who.Secure = a.env.source(r), a.env.Links.Secure(r)
	if err := a.env.Barred(who, called); err != nil {
		return &front.Refusal{Kind: gate.Denied, Message: err.Error()}
	}
	return nil
}

// values are the parts of the caller's identity; false means that one is missing.
func (a *authorizer) values(r *http.Request) ([]string, bool) {
	values := make([]string, len(a.identity))
	total := 0
	for i, p := range a.identity {
		switch p.kind {
		case "header":
			values[i] = strings.Join(r.Header.Values(p.name), ",")
		case "query":
			values[i] = r.URL.Query().Get(p.name)
		case "stage":
			values[i] = front.StageVariables(r)[p.name]
		default:
			values[i] = a.contextValue(r, p.name)
		}
		if total += len(values[i]); values[i] == "" || total > longestIdentity {
			return nil, false
		}
	}
	return values, true
}

func (a *authorizer) contextValue(r *http.Request, name string) string {
	switch name {
	case "routeKey":
		return r.Pattern
	case "path":
		return r.URL.Path
	case "httpMethod":
		return r.Method
	}
	return a.env.source(r).String()
}

// methodARN names what is called, as policies do (gateway-policies.md 2.2).
func methodARN(env Env, called *gate.Request) string {
	return "arn:aws:execute-api:" + env.Region + ":" + env.Account + ":" + called.RouteName()
}

// judge returns the authorizer's answer. Requests with the same identity wait for
// one question.
func (a *authorizer) judge(r *http.Request, called *gate.Request, values []string, arn string, within time.Duration) (judgement, error) {
	// With their lengths, so that nothing can move from one to the next.
	var key strings.Builder
	for _, v := range append([]string{front.StageOf(r)}, values...) {
		fmt.Fprintf(&key, "%d:%s", len(v), v)
	}
	digest := sha256.Sum256([]byte(key.String()))
	id := string(digest[:])
	if j, ok := a.known.get(id, a.env.now()); ok && a.ttl > 0 && (within == 0 || a.env.now().Sub(j.at) < within) {
		return j, nil
	}
	if a.ttl == 0 { // each question is about its own request
		return a.ask(r, values, arn)
	}
	one, first := a.asking.join(id)
	if !first {
		select {
		case <-one.done:
			return one.value, one.err
		case <-r.Context().Done():
			return judgement{}, r.Context().Err()
		}
	}
	// Who waits must not lose the answer because the first of them has left.
	j, err := a.ask(r.WithContext(context.WithoutCancel(r.Context())), values, arn)
	if j.at = a.env.now(); err == nil && !j.no {
		until := a.env.now().Add(a.ttl)
		if _, denied := j.decide(r, a.env, called); denied != nil {
			until = a.env.now().Add(min(a.ttl, deniedFor))
		}
		a.known.put(id, j, until)
	}
	a.asking.land(id, one, j, err)
	return j, err
}

// ask sends the question.
func (a *authorizer) ask(r *http.Request, values []string, arn string) (judgement, error) {
	body, err := json.Marshal(a.event(r, values, arn))
	if err != nil {
		return judgement{}, err
	}
	q, err := http.NewRequestWithContext(r.Context(), http.MethodPost, a.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return judgement{}, err
	}
	q.Header.Set("Content-Type", "application/json")
	if a.secret != "" {
		at := strconv.FormatInt(a.env.now().Unix(), 10)
		q.Header.Set("Klamm-Signature", "t="+at+",v1="+hex.EncodeToString(sum([]byte(a.secret), []byte(at+"."+string(body)))))
	}
	answer, err := a.http.Do(q)
	if err != nil {
		return judgement{}, a.failed(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, largestAnswer+1))
	switch {
	case err != nil:
		return judgement{}, a.failed(err)
	case answer.StatusCode == http.StatusUnauthorized:
		return judgement{no: true}, nil
	case answer.StatusCode != http.StatusOK:
		return judgement{}, a.failed(fmt.Errorf("it answers with status %d", answer.StatusCode))
	}
	j, err := a.read(text)
	if err != nil {
		a.env.Log.Warn("the answer of an HTTP authorizer cannot be used", "authorizer", a.cfg.Name, "err", err)
		return judgement{}, misconfigured()
	}
	return j, nil
}

// failed is the outcome while an authorizer does not answer.
func (a *authorizer) failed(err error) error {
	a.env.Log.Warn("an HTTP authorizer does not answer", "authorizer", a.cfg.Name, "err", err)
	e := unavailable("the authorizer does not answer", "1")
	e.Header["X-Amzn-Errortype"] = []string{"AuthorizerFailureException"}
	return e
}

// event is the question. Signatures are not shown to anybody.
func (a *authorizer) event(r *http.Request, values []string, arn string) map[string]any {
	if a.cfg.Type == "token" {
		return map[string]any{"type": "TOKEN", "authorizationToken": values[0], "methodArn": arn}
	}
	headers := map[string]string{"Host": r.Host}
	for name, v := range r.Header {
		if name == "Authorization" && strings.HasPrefix(v[0], "AWS4-") {
			continue
		}
		headers[name] = strings.Join(v, ",")
	}
	query := map[string]string{}
	for name, v := range r.URL.Query() {
		query[name] = v[len(v)-1]
	}
	stage, variables := cmp.Or(front.StageOf(r), gate.DefaultStage), front.StageVariables(r)
	if variables == nil {
		variables = map[string]string{} // an object, not null
	}
	identity := map[string]any{"sourceIp": a.env.source(r).String(), "apiKey": r.Header.Get("X-Api-Key")}
	if a.env.Certificate != nil {
		if _, c, _, ok := a.env.Certificate(r); ok {
			identity["clientCert"] = map[string]any{"clientCertPem": certPEM(c.Raw), "subjectDN": c.SubjectDN, "issuerDN": c.IssuerDN, "serialNumber": c.Serial,
				"validity": map[string]string{"notBefore": certTime(c.NotBefore), "notAfter": certTime(c.NotAfter)}}
		}
	}
	_, resource, _ := strings.Cut(r.Pattern, " ")
	parameters := map[string]string{}
	for name := range pathParameters(resource) {
		parameters[name] = r.PathValue(name)
	}
	return map[string]any{
		"type": "REQUEST", "methodArn": arn, "resource": resource, "path": r.URL.Path, "httpMethod": r.Method, "headers": headers,
		"queryStringParameters": query, "pathParameters": parameters, "stageVariables": variables,
		"requestContext": map[string]any{"path": r.URL.Path, "accountId": a.env.Account, "resourceId": resource, "stage": stage, "httpMethod": r.Method,
			"requestId": front.IDOf(r), "identity": identity},
	}
}

// certPEM is a certificate as the original shows it; empty for none.
func certPEM(der []byte) string {
	if der == nil {
		return ""
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// certTime is a time as the original shows it.
func certTime(t time.Time) string { return t.UTC().Format("Jan _2 15:04:05 2006 GMT") }

// pathParameters are the names in braces of a pattern.
func pathParameters(pattern string) map[string]bool {
	names := map[string]bool{}
	for {
		_, rest, ok := strings.Cut(pattern, "{")
		if !ok {
			return names
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok {
			return names
		}
		names[strings.TrimSuffix(name, "...")] = true
		pattern = after
	}
}

// read reads an answer in one of its two forms.
func (a *authorizer) read(text []byte) (judgement, error) {
	if len(text) > largestAnswer {
		return judgement{}, errors.New("it is too long")
	}
	answer, err := decodeObject(text)
	if err != nil {
		return judgement{}, err
	}
	var j judgement
	j.who.Scheme = gate.SchemeAuthorizer
	if j.who.Context, err = contextOf(answer["context"]); err != nil {
		return j, err
	}
	if usage, there := answer["usageIdentifierKey"]; there && usage != nil {
		if j.key, _ = usage.(string); j.key == "" {
			return j, errors.New("usageIdentifierKey is no text")
		}
	}
	name, _ := answer["principalId"].(string)
	if simple, there := answer["isAuthorized"]; there {
		allowed, ok := simple.(bool)
		if !ok {
			return j, errors.New("isAuthorized is neither true nor false")
		}
		if name == "" {
			name = a.cfg.Name
		}
		j.deny = !allowed
	} else {
		var raw struct {
			Policy json.RawMessage `json:"policyDocument"`
		}
		if err := json.Unmarshal(text, &raw); err != nil || len(raw.Policy) == 0 {
			return j, errors.New("there is no policyDocument")
		}
		document, err := iam.Parse(raw.Policy, iam.Identities)
		if err != nil {
			return j, fmt.Errorf("policyDocument: %w", err)
		}
		if document.LongestResource() > longestResource {
			return j, fmt.Errorf("policyDocument: a resource has more than %d characters", longestResource)
		}
		j.set, err = iam.NewSet(a.env.Account, []*iam.Policy{{Name: a.cfg.Name, Kind: iam.Identities, Attach: []string{"*"}, Document: document}})
		if err != nil {
			return j, fmt.Errorf("policyDocument: %w", err)
		}
		j.who.Policy = raw.Policy
		if a.ttl > 0 && ofOneMethod(raw.Policy) {
			a.narrow.Do(func() {
				a.env.Log.Warn("an HTTP authorizer allows one method only: its policy counts for all calls of the caller until its ttl is over, so that other methods are denied; have it name all that the caller may do, or set ttl: 0s",
					"authorizer", a.cfg.Name)
			})
		}
	}
	if !validName(name) {
		return j, errors.New("principalId is missing, or no name")
	}
	j.who.Name = "User:" + name
	return j, nil
}

// ofOneMethod says whether all that a policy allows is one method of one path: whoever
// wrote it may have thought that it counts for one request only (gateway-policies.md 7).
func ofOneMethod(policy json.RawMessage) bool {
	type statement struct {
		Effect   string
		Resource any
	}
	var document struct{ Statement json.RawMessage }
	if json.Unmarshal(policy, &document) != nil {
		return false
	}
	var all []statement
	if json.Unmarshal(document.Statement, &all) != nil {
		var one statement
		if json.Unmarshal(document.Statement, &one) != nil {
			return false
		}
		all = []statement{one}
	}
	if len(all) != 1 || all[0].Effect != "Allow" {
		return false
	}
	resources := scalars(all[0].Resource)
	return len(resources) == 1 && !strings.ContainsAny(resources[0], "*?") && strings.Contains(resources[0], "execute-api:")
}

// contextOf reads what an authorizer says beside its verdict: texts, numbers and
// truth values.
func contextOf(v any) (map[string]string, error) {
	if v == nil {
		return nil, nil
	}
	members, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("context is no object")
	}
	out := make(map[string]string, len(members))
	for name, v := range members {
		text := scalars(v)
		if _, list := v.([]any); list || len(text) != 1 {
			return nil, fmt.Errorf("context: a member is neither text nor number nor truth value")
		}
		out[name] = text[0]
	}
	return out, nil
}

// decide says whether the answer lets a request pass. The policy is asked for each
// request anew: it may have been given for another route.
func (j judgement) decide(r *http.Request, env Env, called *gate.Request) (gate.Principal, error) {
	switch {
	case j.no:
		return gate.Principal{}, refuseUnauthorized()
	case j.set == nil && j.deny:
		return gate.Principal{}, refuseAccess(false)
	case j.set == nil:
		return j.who, nil
	}
	// Conditions may ask for all that is known of the request and of the caller.
	who := j.who
	who.Source, who.Secure = env.source(r), env.Links.Secure(r)
	if env.Certificate != nil {
		_, who.Certificate, _, _ = env.Certificate(r)
	}
	if d := gate.DecideRoute(j.set, env.Account, env.Region, who, called); !d.Allowed() {
		return gate.Principal{}, refuseAccess(d.Effect == iam.ExplicitDeny)
	}
	return j.who, nil
}
