package openapi

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// methods are those that a path of a document may have.
var methods = []string{"get", "put", "post", "delete", "options", "head", "patch", "x-amazon-apigateway-any-method"}

// pathShape is what paths of API Gateway look like.
var pathShape = regexp.MustCompile(`^/(?:[A-Za-z0-9._$:~-]+|\{[A-Za-z0-9._-]+\}|/)*(?:\{[A-Za-z0-9._-]+\+\})?$`)

// An operation is one method of a path.
type operation struct {
	method, path, at string
	object
	item       object            // the path's
	parameters []object          // of both
	where      map[string]string // path, query or header, by a parameter's name
}

// readPaths makes routes of the operations.
func (im *importer) readPaths() {
	paths := im.root.object("paths")
	for _, path := range paths.keys() {
		if strings.HasPrefix(path, "x-") {
			continue
		}
		at := "/paths/" + escape(path)
		if !pathShape.MatchString(path) || len(path) > 1000 {
			im.note(Unsupported, at, "a path such as this")
			continue
		}
		item := im.resolve(paths[path])
		for _, method := range methods {
			if o := item.object(method); o != nil {
				im.readOperation(im.operation(method, path, at+"/"+method, o, item))
			}
		}
	}
}

func (im *importer) operation(method, path, at string, o, item object) *operation {
	op := &operation{method: strings.ToUpper(method), path: path, at: at, object: o, item: item, where: map[string]string{}}
	if method == "x-amazon-apigateway-any-method" {
		op.method = "ANY"
	}
	for _, v := range append(slices.Clone(item.list("parameters")), o.list("parameters")...) {
		p := im.resolve(v)
		if p == nil {
			im.note(Unsupported, at+"/parameters", "a reference that leads nowhere")
			continue
		}
		// One of the method replaces one of the path.
		op.parameters = slices.DeleteFunc(op.parameters, func(q object) bool {
			return q.text("in") == p.text("in") && q.text("name") == p.text("name")
		})
		op.parameters = append(op.parameters, p)
	}
	for _, in := range []string{"header", "query", "path"} { // the last wins, as with API Gateway
		for _, p := range op.parameters {
			if p.text("in") == in {
				op.where[p.text("name")] = in
			}
		}
	}
	for _, m := range variable.FindAllStringSubmatch(path, -1) {
		op.where[m[1]] = "path"
	}
	return op
}

var variable = regexp.MustCompile(`\{([A-Za-z0-9._-]+)\+?\}`)

func (im *importer) readOperation(op *operation) {
	integration := op.object.object("x-amazon-apigateway-integration")
	if integration == nil {
		integration = im.root.object("components").object("x-amazon-apigateway-integrations").object(op.text("x-amazon-apigateway-integration"))
	}
	if op.method == "OPTIONS" && im.readPreflight(integration) {
		return
	}
	im.readAccess(op)
	route := yaml.MapSlice{{Key: "route", Value: op.method + " " + op.path}, {Key: "stages", Value: []string{im.stage}}}
	rules := im.rules(op)
	what, ok := im.readIntegration(op, integration)
	if ok && len(what)+len(rules) > 0 {
		im.routes = append(im.routes, append(append(route, what...), rules...))
	}
}

// readPreflight takes the headers of CORS from a mock that answers OPTIONS.
func (im *importer) readPreflight(integration object) bool {
	if !strings.EqualFold(integration.text("type"), "mock") {
		return false
	}
	if im.cors != nil {
		return true // said for the whole API, or by another path
	}
	responses := integration.object("responses")
	for _, name := range responses.keys() {
		p := responses.object(name).object("responseParameters")
		list := func(header string) []string {
			var out []string
			for _, s := range strings.Split(strings.Trim(p.text("method.response.header.Access-Control-Allow-"+header), "' "), ",") {
				if s = strings.TrimSpace(s); s != "" {
					out = append(out, s)
				}
			}
			return out
		}
		if origins := list("Origin"); len(origins) > 0 {
			im.cors = yaml.MapSlice{{Key: "allow_origins", Value: origins}}
			for _, k := range []struct{ key, header string }{{"allow_methods", "Methods"}, {"allow_headers", "Headers"}} {
				if l := list(k.header); len(l) > 0 {
					im.cors = append(im.cors, yaml.MapItem{Key: k.key, Value: l})
				}
			}
		}
	}
	return true
}

// readAccess reads who may call an operation.
func (im *importer) readAccess(op *operation) {
	if a := op.object.object("x-amazon-apigateway-auth"); strings.EqualFold(a.text("type"), "AWS_IAM") {
		im.useIAM(op.at + "/x-amazon-apigateway-auth")
	}
	security, given := op.object["security"].([]any)
	if !given {
		security, given = im.root["security"].([]any)
	}
	if !given || len(security) == 0 {
		if auth := op.object.object("x-amazon-apigateway-auth"); auth == nil || strings.EqualFold(auth.text("type"), "NONE") {
			im.note(Differs, op.at, "anybody may call it there; klamm lets callers without credentials in only with auth.anonymous, and policies or rules that name anonymous")
		}
		return
	}
	for _, v := range security {
		one := objectOf(v)
		for _, name := range one.keys() {
			kind, known := im.schemes[name]
			if !known {
				im.note(Unsupported, op.at+"/security", "there is no security scheme %q", name)
			}
			for _, s := range one.list(name) {
				if scope, ok := s.(string); ok && kind == schemeJWT {
					im.scopes = append(im.scopes, scopeGrant{scope, strings.Replace(op.method, "ANY", "*", 1), variable.ReplaceAllString(op.path, "*")})
				}
			}
		}
	}
}

// rules are what requests must look like, as far as API Gateway looks.
func (im *importer) rules(op *operation) (out yaml.MapSlice) {
	name := or(op.text("x-amazon-apigateway-request-validator"), im.root.text("x-amazon-apigateway-request-validator"))
	validator := im.root.object("x-amazon-apigateway-request-validators").object(name)
	if name != "" && validator == nil {
		im.note(Unsupported, op.at, "there is no request validator %q", name)
	}
	if validator.flag("validateRequestParameters") {
		if list := im.parameterRules(op); len(list) > 0 {
			out = append(out, yaml.MapItem{Key: "parameters", Value: list})
		}
	}
	if validator.flag("validateRequestBody") {
		if body := im.bodyRules(op); len(body) > 0 {
			out = append(out, yaml.MapItem{Key: "body", Value: body}, yaml.MapItem{Key: "draft", Value: im.draft})
		}
	}
	return out
}

func (im *importer) parameterRules(op *operation) (list []yaml.MapSlice) {
	for _, p := range op.parameters {
		in := p.text("in")
		if in == "cookie" || in == "body" || in == "formData" {
			continue
		}
		one := yaml.MapSlice{{Key: "in", Value: in}, {Key: "name", Value: p.text("name")}}
		bare := len(one)
		if p.flag("required") && in != "path" { // a path without it is another path
			one = append(one, yaml.MapItem{Key: "required", Value: true})
		}
		if im.options.CheckParameters {
			one = append(one, im.checks(p)...)
		}
		if len(one) > bare {
			if in == "query" {
				one = append(one, yaml.MapItem{Key: "repeat", Value: "last"})
			}
			list = append(list, one)
		}
	}
	return list
}

// checks are what a parameter's schema says and klamm can check.
func (im *importer) checks(p object) (out yaml.MapSlice) {
	s := im.resolve(p["schema"])
	if s == nil {
		s = p // OpenAPI 2.0
	}
	if t := s.text("type"); slices.Contains([]string{"integer", "number", "boolean"}, t) {
		out = append(out, yaml.MapItem{Key: "type", Value: t})
	}
	for _, k := range []struct{ theirs, ours string }{{"pattern", "pattern"}, {"enum", "enum"}, {"minimum", "minimum"}, {"maximum", "maximum"}, {"minLength", "min_length"}, {"maxLength", "max_length"}, {"default", "default"}} {
		if v, ok := s[k.theirs]; ok {
			out = append(out, yaml.MapItem{Key: k.ours, Value: plain(v)})
		}
	}
	return out
}

// bodyRules are the schemas of bodies by media type.
func (im *importer) bodyRules(op *operation) (body yaml.MapSlice) {
	if content := im.resolve(op.object["requestBody"]).object("content"); content != nil {
		for _, media := range content.keys() {
			if schema, ok := content.object(media)["schema"]; ok {
				body = append(body, yaml.MapItem{Key: media, Value: plain(im.bundle(schema, op.at+"/requestBody"))})
			}
		}
		return body
	}
	for _, p := range op.parameters {
		if p.text("in") != "body" {
			continue
		}
		media := op.list("consumes")
		if media == nil {
			media = im.root.list("consumes")
		}
		if len(media) == 0 {
			media = []any{"application/json"}
		}
		for _, m := range media {
			if name, ok := m.(string); ok {
				body = append(body, yaml.MapItem{Key: name, Value: plain(im.bundle(p["schema"], op.at+"/parameters"))})
			}
		}
	}
	return body
}

// restPath finds the part of a back end's path that the Kafka REST APIs have.
var restPath = regexp.MustCompile(`/(?:topics|consumers|brokers|kafka/v3|v3|v1/(?:metadata|topics|producer|consumer|status))(?:/|$)`)

// readIntegration says what klamm does with the requests of an operation; ok is false
// where there is to be no route.
func (im *importer) readIntegration(op *operation, in object) (_ yaml.MapSlice, ok bool) {
	at := op.at + "/x-amazon-apigateway-integration"
	kind := strings.ToLower(in.text("type"))
	if uri := in.text("uri"); strings.EqualFold(in.text("connectionType"), "VPC_LINK") && im.kafkaPath(uri) == "" && !im.isRestProxy(uri) {
		im.note(Unsupported, at, "a VPC link to %q: write where the back end is", in.text("uri"))
		return nil, false
	}
	if in["tlsConfig"] != nil {
		im.note(Differs, at+"/tlsConfig", "certificates of back ends are always checked")
	}
	switch kind {
	case "http", "http_proxy":
		return im.http(op, in, at, kind == "http")
	case "mock":
		return im.mock(in, at), true
	case "":
		im.note(Unsupported, op.at, "there is no integration: where klamm has this path itself, it serves it")
		return nil, true
	}
	im.note(Unsupported, at, "an integration of type %q with %s", kind, or(in.text("uri"), "no URI"))
	return nil, false
}

// http reads an integration with a back end.
func (im *importer) http(op *operation, in object, at string, mapped bool) (yaml.MapSlice, bool) {
	to, err := im.target(op, in, at)
	if err != nil {
		im.note(Unsupported, at+"/uri", "%v", err)
		return nil, false
	}
	if templates := in.object("requestTemplates"); mapped && len(templates) > 0 {
		return im.produce(op, in, to, templates, at)
	}
	im.responses(in, at)
	var out yaml.MapSlice
	switch rest := im.kafkaPath(to); {
	case rest == op.path, rest != "" && strings.HasSuffix(op.path, "+}") && strings.TrimSuffix(op.path, "+}") == strings.TrimSuffix(rest, "}"):
		return im.passthrough(in, nil), true // klamm has it there itself
	case rest != "":
		if method := in.text("httpMethod"); method != "" && op.method != "ANY" && !strings.EqualFold(method, op.method) {
			im.note(Unsupported, at+"/httpMethod", "a %s that becomes a %s: give the route klamm's method", op.method, method)
			return nil, false
		}
		if strings.Contains(rest, "$") {
			im.note(Unsupported, at+"/uri", "variables of the stage in a path of klamm's own: %s", rest)
			return nil, false
		}
		return im.passthrough(in, append(out, yaml.MapItem{Key: "type", Value: "rewrite"}, yaml.MapItem{Key: "to", Value: rest})), true
	case im.isRestProxy(to):
		return im.passthrough(in, nil), true
	}
	if strings.Contains(to, "${") {
		im.note(Unsupported, at+"/uri", "variables of the stage in the URL of a back end: %s", to)
		return nil, false
	}
	if op.path == "/{proxy+}" {
		im.note(Differs, at+"/uri", "klamm serves its own paths and passes the others on; name the back end with --rest-proxy if it is the Kafka REST proxy that klamm takes the place of")
	}
	out = append(out, yaml.MapItem{Key: "type", Value: "proxy"}, yaml.MapItem{Key: "url", Value: to})
	if ms := numberOf(in["timeoutInMillis"]); ms != 0 {
		out = append(out, yaml.MapItem{Key: "timeout", Value: (time.Duration(ms) * time.Millisecond).String()})
	}
	return im.passthrough(in, out), true
}

// target returns the URL of a back end in which only variables of the route stand.
func (im *importer) target(op *operation, in object, at string) (string, error) {
	uri := in.text("uri")
	parameters := in.object("requestParameters")
	for _, name := range parameters.keys() {
		value := parameters.text(name)
		variable, isPath := strings.CutPrefix(name, "integration.request.path.")
		literal := len(value) > 1 && strings.HasPrefix(value, "'") && strings.HasSuffix(value, "'")
		switch {
		case isPath && literal:
			uri = strings.NewReplacer("{"+variable+"}", url.PathEscape(value[1:len(value)-1])).Replace(uri)
		case isPath && strings.HasPrefix(value, "method.request.path."):
			theirs := strings.TrimPrefix(value, "method.request.path.")
			uri = strings.NewReplacer("{"+variable+"}", "{"+theirs+"}").Replace(uri)
		case strings.HasPrefix(name, "integration.request.header.") && value == "method.request.header."+strings.TrimPrefix(name, "integration.request.header."),
			strings.HasPrefix(name, "integration.request.querystring.") && value == "method.request.querystring."+strings.TrimPrefix(name, "integration.request.querystring."):
			// Headers and queries are passed on anyway.
		default:
			im.note(Unsupported, at+"/requestParameters/"+escape(name), "%s from %s", name, value)
		}
	}
	scheme, rest, found := strings.Cut(uri, "://")
	if !found || rest == "" {
		return "", fmt.Errorf("%q is no URL", uri)
	}
	host, path, _ := strings.Cut(rest, "/")
	host = stageVariable.ReplaceAllString(host, placeholder+".example.com")
	if strings.Contains(host, placeholder) && im.kafkaPath(uri) == "" && !im.isRestProxy(uri) {
		im.note(Replace, at+"/uri", "the host of the back end is a variable of the stage")
	}
	path = stageVariable.ReplaceAllStringFunc(path, func(m string) string {
		name := stageVariable.FindStringSubmatch(m)[1]
		im.stageVariable(name)
		return "${stage." + name + "}"
	})
	path, _, _ = strings.Cut(path, "?")
	for _, m := range variable.FindAllStringSubmatch(strings.ReplaceAll(path, "${", ""), -1) {
		if op.where[m[1]] != "path" {
			return "", fmt.Errorf("{%s} is no variable of the path", m[1])
		}
	}
	return scheme + "://" + host + "/" + path, nil
}

var stageVariable = regexp.MustCompile(`\$\{stageVariables\.([A-Za-z0-9_]+)\}`)

// kafkaPath returns the path of klamm's own that a URL ends in; empty: in none.
func (im *importer) kafkaPath(to string) string {
	_, rest, _ := strings.Cut(to, "://")
	_, path, _ := strings.Cut(rest, "/")
	path = "/" + path
	at := restPath.FindStringIndex(path)
	if at == nil {
		return ""
	}
	return strings.TrimSuffix(path[at[0]:], "/")
}

func (im *importer) isRestProxy(to string) bool {
	return slices.ContainsFunc(im.options.RestProxies, func(p string) bool {
		p = strings.TrimSuffix(p, "/")
		return to == p || strings.HasPrefix(to, p+"/")
	})
}

// passthrough says what becomes of bodies of other types.
func (im *importer) passthrough(in object, out yaml.MapSlice) yaml.MapSlice {
	switch strings.ToLower(in.text("passthroughBehavior")) {
	case "never":
		return append(out, yaml.MapItem{Key: "passthrough", Value: "never"})
	case "when_no_templates":
		if len(in.object("requestTemplates")) > 0 {
			return append(out, yaml.MapItem{Key: "passthrough", Value: "never"})
		}
	}
	return out
}

// responses notes what is done to answers and is not done by klamm.
func (im *importer) responses(in object, at string) {
	responses := in.object("responses")
	for _, name := range responses.keys() {
		one := responses.object(name)
		if len(one.object("responseTemplates"))+len(one.object("responseParameters")) > 0 {
			im.note(Unsupported, at+"/responses/"+escape(name), "answers are passed on as they are")
		}
	}
}

// produce makes a record of a request whose template makes an envelope.
func (im *importer) produce(op *operation, in object, to string, templates object, at string) (yaml.MapSlice, bool) {
	media := templates.keys()[0]
	if _, ok := templates["application/json"]; ok {
		media = "application/json"
	}
	if len(templates) > 1 {
		im.note(Unsupported, at+"/requestTemplates", "several templates: that of %s is taken", media)
	}
	segments := strings.Split(im.kafkaPath(to), "/")
	doc, ok := im.translate(templates.text(media), op.where)
	w, isEnvelope := envelope(doc)
	if !ok || !isEnvelope || len(segments) != 3 || segments[1] != "topics" {
		im.note(Unsupported, at+"/requestTemplates/"+escape(media), "a template: klamm makes a record of {\"records\": [{\"key\", \"value\"}]} for /topics/NAME, with $input.json, $input.params, $stageVariables and no loops")
		return nil, false
	}
	for _, name := range undeclared(templates.text(media), op.where) {
		im.note(Differs, at+"/requestTemplates/"+escape(media), "the parameter %s is not declared: it is taken from the query, where API Gateway looks at headers, too", name)
	}
	request := yaml.MapSlice{}
	if key, isText := w.key.(string); isText {
		request = append(request, yaml.MapItem{Key: "key", Value: key})
	} else if w.key != nil {
		im.note(Unsupported, at+"/requestTemplates/"+escape(media), "a key that is no text")
	}
	request = append(request, yaml.MapItem{Key: "value", Value: plain(w.value)})
	out := yaml.MapSlice{{Key: "type", Value: "produce"}, {Key: "topic", Value: variable.ReplaceAllStringFunc(segments[2], func(m string) string {
		if strings.HasPrefix(m, "{stage.") {
			return m
		}
		return "${path." + strings.Trim(m, "{}") + "}"
	})}, {Key: "request", Value: request}}
	if response := im.response(in.object("responses"), at); response != nil {
		out = append(out, yaml.MapItem{Key: "response", Value: response})
	} else {
		im.note(Differs, at+"/responses", "the answer is empty, 204: write response where callers read the offsets")
	}
	return im.passthrough(in, out), true
}

// response makes an answer of the response of an integration that stands for success.
func (im *importer) response(responses object, at string) yaml.MapSlice {
	name := "default"
	for _, k := range responses.keys() {
		if strings.HasPrefix(k, "2") {
			name = k
			break
		}
	}
	one := responses.object(name)
	if one == nil {
		return nil
	}
	var out yaml.MapSlice
	if status := numberOf(one["statusCode"]); status != 0 {
		out = append(out, yaml.MapItem{Key: "status", Value: status})
	}
	if text := one.object("responseTemplates").text("application/json"); strings.TrimSpace(text) != "" {
		if doc, ok := im.translate(text, nil); ok {
			out = append(out, yaml.MapItem{Key: "body", Value: plain(doc)})
		} else {
			im.note(Unsupported, at+"/responses/"+escape(name)+"/responseTemplates", "a template")
		}
	}
	headers := yaml.MapSlice{}
	parameters := one.object("responseParameters")
	for _, k := range parameters.keys() {
		header, ok := strings.CutPrefix(k, "method.response.header.")
		value := parameters.text(k)
		if ok && len(value) > 1 && strings.HasPrefix(value, "'") && strings.HasSuffix(value, "'") {
			headers = append(headers, yaml.MapItem{Key: header, Value: strings.Trim(value, "'")})
		} else {
			im.note(Unsupported, at+"/responses/"+escape(name)+"/responseParameters/"+escape(k), "%s", value)
		}
	}
	if len(headers) > 0 {
		out = append(out, yaml.MapItem{Key: "headers", Value: headers})
	}
	return out
}

// mock makes a route that answers by itself.
func (im *importer) mock(in object, at string) yaml.MapSlice {
	status := 200
	for _, media := range in.object("requestTemplates").keys() {
		var order struct{ StatusCode int }
		if json.Unmarshal([]byte(in.object("requestTemplates").text(media)), &order) == nil && order.StatusCode != 0 {
			status = order.StatusCode
		}
	}
	responses := in.object("responses")
	if one := responses[strconv.Itoa(status)]; one != nil {
		responses = object{strconv.Itoa(status): one}
	}
	response := im.response(responses, at)
	if len(response) == 0 || response[0].Key != "status" {
		response = append(yaml.MapSlice{{Key: "status", Value: status}}, response...)
	}
	return im.passthrough(in, yaml.MapSlice{{Key: "type", Value: "mock"}, {Key: "response", Value: response}})
}

func number(n int) string { return strconv.Itoa(n) }

func seconds(n int) string { return strconv.Itoa(n) + "s" }
