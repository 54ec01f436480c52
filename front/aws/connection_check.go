package aws

import (
	"fmt"
	"regexp"
)

const (
	credentialForm = `[ \t]*[^\x00-\x1F:\x7F]+([ \t]+[^\x00-\x1F:\x7F]+)*[ \t]*`
	passwordForm   = `[ \t]*[^\x00-\x1F\x7F]+([ \t]+[^\x00-\x1F\x7F]+)*[ \t]*`
	resourceForm   = `arn:[a-z0-9\-]+:vpc-lattice:[a-zA-Z0-9\-]+:\d{12}:resourceconfiguration/rcfg-[0-9a-z]{17}`
)

var (
	credentialShape = like(1, 512, credentialForm).as(`^` + credentialForm + `$`)
	// The API says the same of a password. klamm takes colons: Basic ends with it (RFC 7617 2).
	passwordShape = like(1, 512, passwordForm).as(`^` + credentialForm + `$`).hidden()
	keyShape      = like(0, 512, "[!#$%&'*+-.^_`|~0-9a-zA-Z]+").as("^[!#$%&'*+-.^_`|~0-9a-zA-Z]+$")
	headerShape   = like(0, 512, `[ \t]*[\x20-\x7E]+([ \t]+[\x20-\x7E]+)*[ \t]*`).as(`^[ \t]*[\x20-\x7E]+([ \t]+[\x20-\x7E]+)*[ \t]*$`).hidden()
	queryKeyShape = like(0, 512, `[^\x00-\x1F\x7F]+`)
	queryShape    = like(0, 512, `[^\x00-\x09\x0B\x0C\x0E-\x1F\x7F]+`).hidden()
	networkShape  = like(0, 2048, `(`+resourceForm+`)?`).as(`^(?:^` + resourceForm + `$|^$)`)
	headerToken   = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9a-zA-Z-]+$")
)

// mostParameters is how many parameters of one kind a connection may have.
const mostParameters = 100

// A connectivity names a private network by which AWS reaches an endpoint. klamm is in
// the network where it runs: it keeps what is given, and shows it.
type connectivity struct {
	ResourceParameters *struct {
		ResourceConfigurationArn *string `json:",omitempty"`
		ResourceAssociationArn   *string `json:",omitempty"` // in answers alone
	} `json:",omitempty"`
}

func (c *connectivity) check(v *violations, path string) {
	if c == nil {
		return
	}
	if path += ".resourceParameters"; c.ResourceParameters == nil {
		v.add(path, nil, "not be null")
		return
	}
	v.required(path+".resourceConfigurationArn", c.ResourceParameters.ResourceConfigurationArn, networkShape)
}

// associated is what descriptions of a connection have in the place of a connectivity:
// the model wants an association to be named, and there is none but by name.
func (a *API) associated(c *connection, given *connectivity) *connectivity {
	if given == nil || given.ResourceParameters == nil {
		return nil
	}
	own := *given.ResourceParameters
	letters := regexp.MustCompile(`[^0-9a-z]`).ReplaceAllString(c.ID, "")
	arn := "arn:aws:vpc-lattice:" + a.cfg.Region + ":" + a.cfg.Account + ":servicenetworkresourceassociation/snra-" + letters[:17]
	own.ResourceAssociationArn = &arn
	return &connectivity{ResourceParameters: &own}
}

// check checks what the model says of a connection; creates says that it is a new one.
func (q *connectionRequest) check(v *violations, creates bool) {
	v.required("name", q.Name, nameShape)
	v.text("description", q.Description, long(0, 512))
	if creates && q.AuthorizationType == nil {
		v.add("authorizationType", nil, "not be null")
	}
	v.oneOf("authorizationType", q.AuthorizationType, basic, oauth, apiKey)
	switch {
	case q.AuthParameters != nil:
		q.AuthParameters.check(v, creates)
	case creates:
		v.add("authParameters", nil, "not be null")
	}
	q.InvocationConnectivityParameters.check(v, "invocationConnectivityParameters")
	v.text("kmsKeyIdentifier", q.KmsKeyIdentifier, kmsAnchored)
}

func (p *authParameters) check(v *violations, creates bool) {
	const at = "authParameters."
	// What a new connection must have, and a changed one need not name again.
	credential := func(path string, value *string, s shape) {
		if creates {
			v.required(path, value, s)
			return
		}
		v.text(path, value, s)
	}
	if b := p.BasicAuthParameters; b != nil {
		credential(at+"basicAuthParameters.username", b.Username, credentialShape)
		credential(at+"basicAuthParameters.password", b.Password, passwordShape)
	}
	if o := p.OAuthParameters; o != nil {
		const at = at + "oAuthParameters."
		switch c := o.ClientParameters; {
		case c != nil:
			credential(at+"clientParameters.clientID", c.ClientID, credentialShape)
			credential(at+"clientParameters.clientSecret", c.ClientSecret, credentialShape.hidden())
		case creates:
			v.add(at+"clientParameters", nil, "not be null")
		}
		credential(at+"authorizationEndpoint", o.AuthorizationEndpoint, endpointShape)
		if creates && o.HttpMethod == nil {
			v.add(at+"httpMethod", nil, "not be null")
		}
		v.oneOf(at+"httpMethod", o.HttpMethod, "GET", "POST", "PUT")
		o.OAuthHttpParameters.check(v, at+"oAuthHttpParameters")
	}
	if k := p.ApiKeyAuthParameters; k != nil {
		credential(at+"apiKeyAuthParameters.apiKeyName", k.ApiKeyName, credentialShape)
		credential(at+"apiKeyAuthParameters.apiKeyValue", k.ApiKeyValue, credentialShape.hidden())
		if k.ApiKeyName != nil && credentialShape.form.MatchString(*k.ApiKeyName) && !headerToken.MatchString(*k.ApiKeyName) {
			v.say(at+"apiKeyAuthParameters.apiKeyName", "want the name of an HTTP header")
		}
	}
	p.InvocationHttpParameters.check(v, at+"invocationHttpParameters")
	p.ConnectivityParameters.check(v, at+"connectivityParameters")
}

func (h *connectionHTTP) check(v *violations, path string) {
	if h == nil {
		return
	}
	checkParameters(v, path+".headerParameters", h.HeaderParameters, keyShape, headerShape)
	checkParameters(v, path+".queryStringParameters", h.QueryStringParameters, queryKeyShape, queryShape)
	checkParameters(v, path+".bodyParameters", h.BodyParameters, shape{}, shape{secret: true})
}

func checkParameters(v *violations, path string, list []parameter, key, value shape) {
	v.count(path, len(list), 0, mostParameters)
	for i, p := range list[:min(len(list), mostParameters)] {
		at := fmt.Sprintf("%s.%d.member.", path, i+1)
		v.required(at+"key", p.Key, key)
		if p.Value != nil && *p.Value != "" { // an empty one is none
			v.text(at+"value", p.Value, value)
		}
	}
}
