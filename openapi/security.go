package openapi

import (
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// A scheme is a way of showing who calls, as the document names it.
type scheme string

const (
	schemeKey        scheme = "an API key"
	schemeIAM        scheme = "a signature"
	schemeJWT        scheme = "a token"
	schemeAuthorizer scheme = "an authorizer"
	schemeUnknown    scheme = "something klamm does not know"
)

// A scopeGrant lets callers with a scope call a route.
type scopeGrant struct {
	scope, method, path string
}

var userPool = regexp.MustCompile(`^arn:aws[a-z-]*:cognito-idp:([a-z0-9-]+):[0-9]{12}:userpool/([A-Za-z0-9_-]+)$`)

// readSecurity reads the schemes and what the whole API asks for.
func (im *importer) readSecurity() {
	im.schemes = map[string]scheme{}
	all, at := im.root.object("components").object("securitySchemes"), "/components/securitySchemes/"
	if all == nil {
		all, at = im.root.object("securityDefinitions"), "/securityDefinitions/"
	}
	for _, name := range all.keys() {
		im.schemes[name] = im.readScheme(name, im.resolve(all[name]), at+escape(name))
	}
	if len(im.root.list("security")) > 0 {
		im.note(Differs, "/security", "API Gateway does not look at security of the whole document; klamm asks every caller for credentials")
	}
}

func (im *importer) readScheme(name string, s object, at string) scheme {
	if a := s.object("x-amazon-apigateway-authorizer"); a != nil {
		return im.readAuthorizer(name, s, a, at+"/x-amazon-apigateway-authorizer")
	}
	switch {
	case strings.EqualFold(s.text("x-amazon-apigateway-authtype"), "awsSigv4"):
		im.useIAM(at)
		return schemeIAM
	case s.text("type") == "apiKey" && s.text("in") == "header":
		header := strings.ToLower(s.text("name"))
		if !slices.Contains(im.keyHeaders, header) {
			im.keyHeaders = append(im.keyHeaders, header)
			im.note(Replace, at, "an export does not hold keys: export them as CSV and load them with klamm key import")
		}
		return schemeKey
	case s.text("type") == "openIdConnect" && s.text("openIdConnectUrl") != "":
		issuer, _, _ := strings.Cut(s.text("openIdConnectUrl"), "/.well-known/")
		im.jwt = append(im.jwt, yaml.MapSlice{{Key: "name", Value: name}, {Key: "issuer", Value: issuer}, {Key: "audiences", Value: []string{placeholder}}})
		im.note(Replace, at, "auth.jwt %s: the audience that tokens must have", name)
		return schemeJWT
	}
	im.note(Unsupported, at, "callers who show themselves by %q: see auth in the configuration reference", s.text("type"))
	return schemeUnknown
}

func (im *importer) useIAM(at string) {
	if !im.iam {
		im.iam = true
		im.note(Replace, at, "auth.iam.keys: the access keys that klamm shall know")
	}
}

// readAuthorizer reads what API Gateway asks about callers.
func (im *importer) readAuthorizer(name string, s, a object, at string) scheme {
	switch a.text("type") {
	case "jwt":
		c := a.object("jwtConfiguration")
		one := yaml.MapSlice{{Key: "name", Value: name}, {Key: "issuer", Value: c.text("issuer")}, {Key: "audiences", Value: plain(c.list("audience"))}}
		if len(c.list("audience")) == 0 {
			one[2].Value = []string{placeholder}
			im.note(Replace, at+"/jwtConfiguration", "auth.jwt %s: the audience that tokens must have", name)
		}
		im.jwt = append(im.jwt, append(one, im.sources(a, at)...))
		return schemeJWT
	case "cognito_user_pools":
		im.cognito = true
		for _, v := range a.list("providerARNs") {
			arn, _ := v.(string)
			m := userPool.FindStringSubmatch(arn)
			if m == nil {
				im.note(Unsupported, at+"/providerARNs", "%q is no user pool", arn)
				continue
			}
			im.jwt = append(im.jwt, append(yaml.MapSlice{
				{Key: "name", Value: strings.ToLower(name + "-" + m[2])}, {Key: "issuer", Value: "https://cognito-idp." + m[1] + ".amazonaws.com/" + m[2]},
				{Key: "audiences", Value: []string{placeholder}}, {Key: "accept_client_id_as_audience", Value: true}, {Key: "groups_claim", Value: "cognito:groups"},
			}, im.sources(object{"identitySource": "$request.header." + or(s.text("name"), "Authorization")}, at)...))
			im.note(Replace, at+"/providerARNs", "auth.jwt of pool %s: the app clients whose tokens are taken", m[2])
		}
		return schemeJWT
	case "request", "token":
		im.authorizers = append(im.authorizers, im.authorizer(name, s, a, at))
		return schemeAuthorizer
	}
	im.note(Unsupported, at, "an authorizer of type %q", a.text("type"))
	return schemeUnknown
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// sources says where tokens are, if not where klamm looks anyway.
func (im *importer) sources(a object, at string) yaml.MapSlice {
	sources := im.identity(a.text("identitySource"), at)
	for i, s := range sources {
		if strings.EqualFold(s, "header:Authorization") {
			sources[i] = "header:Authorization:Bearer"
		}
	}
	if len(sources) == 0 || len(sources) == 1 && sources[0] == "header:Authorization:Bearer" {
		return nil
	}
	return yaml.MapSlice{{Key: "sources", Value: sources}}
}

// identity translates a list of what an authorizer looks at.
func (im *importer) identity(text, at string) (out []string) {
	for _, one := range strings.Split(text, ",") {
		one = strings.TrimSpace(one)
		if one == "" {
			continue
		}
		known := false
		for _, p := range []struct{ theirs, ours string }{
			{"method.request.header.", "header:"}, {"$request.header.", "header:"}, {"method.request.querystring.", "query:"}, {"$request.querystring.", "query:"},
			{"stageVariables.", "stage:"}, {"$stageVariables.", "stage:"}, {"context.", "context:"}, {"$context.", "context:"},
		} {
			if rest, ok := strings.CutPrefix(one, p.theirs); ok {
				out, known = append(out, p.ours+rest), true
				break
			}
		}
		if !known {
			im.note(Unsupported, at+"/identitySource", "%q", one)
		}
	}
	return out
}

// authorizer makes an entry of auth.authorizers.
func (im *importer) authorizer(name string, s, a object, at string) yaml.MapSlice {
	kind := a.text("type")
	source := a.text("identitySource")
	if source == "" && kind == "token" {
		source = "method.request.header." + or(s.text("name"), "Authorization")
	}
	one := yaml.MapSlice{{Key: "name", Value: strings.ToLower(name)}, {Key: "type", Value: kind}, {Key: "url", Value: "https://" + placeholder + ".example.com/"}, {Key: "identity", Value: im.identity(source, at)}}
	im.note(Replace, at+"/authorizerUri", "auth.authorizers %s: the URL of a service that answers as the function did", strings.ToLower(name))
	if _, ok := a["authorizerResultTtlInSeconds"]; ok {
		one = append(one, yaml.MapItem{Key: "ttl", Value: seconds(numberOf(a["authorizerResultTtlInSeconds"]))})
	}
	if v := a.text("identityValidationExpression"); v != "" {
		one = append(one, yaml.MapItem{Key: "validation", Value: v})
	}
	if v := a.text("authorizerPayloadFormatVersion"); v == "2.0" && !a.flag("enableSimpleResponses") {
		im.note(Differs, at+"/authorizerPayloadFormatVersion", "klamm sends events of version 1.0 and takes answers of both")
	}
	return one
}

func (im *importer) authSection() yaml.MapSlice {
	var out yaml.MapSlice
	if im.iam {
		out = append(out, yaml.MapItem{Key: "iam", Value: yaml.MapSlice{{Key: "keys", Value: []any{}}}})
	}
	if len(im.jwt) > 0 {
		out = append(out, yaml.MapItem{Key: "jwt", Value: im.jwt})
	}
	if len(im.keyHeaders) > 0 {
		out = append(out, yaml.MapItem{Key: "apikeys", Value: yaml.MapSlice{{Key: "headers", Value: im.keyHeaders}}})
	}
	if len(im.authorizers) > 0 {
		out = append(out, yaml.MapItem{Key: "authorizers", Value: im.authorizers})
	}
	return out
}

// policySections are the policies of the API, and how they are to be read.
func (im *importer) policySections() (policies []yaml.MapSlice, authorize yaml.MapSlice) {
	if im.policy != nil {
		policies = append(policies, yaml.MapSlice{{Key: "name", Value: "api"}, {Key: "kind", Value: "resource"}, {Key: "attach", Value: []string{"gateway"}}, {Key: "document", Value: plain(im.policy)}})
	}
	byScope := map[string][]string{}
	var order []string
	for _, g := range im.scopes {
		if byScope[g.scope] == nil {
			order = append(order, g.scope)
		}
		byScope[g.scope] = append(byScope[g.scope], "execute-api:/"+im.stage+"/"+g.method+g.path)
	}
	for i, scope := range order {
		policies = append(policies, yaml.MapSlice{
			{Key: "name", Value: "scope-" + number(i+1)}, {Key: "kind", Value: "identity"}, {Key: "attach", Value: []string{"scope:" + scope}},
			{Key: "document", Value: yaml.MapSlice{{Key: "Version", Value: "2012-10-17"}, {Key: "Statement", Value: []any{yaml.MapSlice{
				{Key: "Effect", Value: "Allow"}, {Key: "Action", Value: "execute-api:Invoke"}, {Key: "Resource", Value: byScope[scope]},
			}}}}},
		})
	}
	if len(order) > 0 {
		authorize = append(authorize, yaml.MapItem{Key: "default", Value: "authenticated"})
	}
	if im.policy != nil && im.cognito {
		authorize = append(authorize, yaml.MapItem{Key: "mode", Value: "cognito"})
	}
	return policies, authorize
}
