// Package openapi reads the OpenAPI documents that Amazon API Gateway exports and
// says what klamm's configuration file has for the same (gateway-policies.md 5.12).
//
// Import takes OpenAPI 2.0, 3.0 and 3.1. What a document says and klamm has no word
// for is never dropped in silence: it becomes a Note. The package knows the names of
// the configuration's keys and nothing else of klamm.
package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// MaxDocument is the largest document, in bytes: API Gateway's own limit.
const MaxDocument = 6 << 20

// Options say what a document itself does not.
type Options struct {
	// Stage is the stage that routes and gateway responses belong to. The default is
	// the one that the document's servers or basePath name, and otherwise prod.
	Stage string
	// RestProxies are URLs of back ends that are a Kafka REST proxy: what goes to them
	// goes to klamm's own routes.
	RestProxies []string
	// CheckParameters keeps type, pattern, enum and bounds of parameters, which API
	// Gateway does not look at.
	CheckParameters bool
}

// The levels of notes.
const (
	// Unsupported is what the configuration does not do; somebody has to decide.
	Unsupported = "unsupported"
	// Replace is a value in the configuration that has to be replaced.
	Replace = "replace"
	// Differs is what klamm does in another way than API Gateway.
	Differs = "differs"
)

// A Note is something of the document that a person must know.
type Note struct {
	Level string `json:"level"` // Unsupported, Replace or Differs
	At    string `json:"at"`    // where in the document, a JSON pointer
	Text  string `json:"text"`
}

// A Result is what came of a document.
type Result struct {
	// Config is the configuration, YAML.
	Config []byte
	// Notes are in the order of the document's parts.
	Notes []Note
}

// Import makes a configuration of a document, which is JSON. The error says what is
// wrong with a document that cannot be read at all.
func Import(document json.RawMessage, options Options) (*Result, error) {
	if len(document) > MaxDocument {
		return nil, fmt.Errorf("the document is larger than %d bytes", MaxDocument)
	}
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	var root object
	if err := d.Decode(&root); err != nil {
		return nil, fmt.Errorf("the document is not a JSON object: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the document")
	}
	im := &importer{root: root, options: options}
	switch version := root.text("openapi"); {
	case root.text("swagger") == "2.0":
		im.draft = "4"
	case strings.HasPrefix(version, "3.0"):
		im.draft = "4"
	case strings.HasPrefix(version, "3.1"):
		im.draft = "2020-12"
	default:
		return nil, errors.New(`want OpenAPI 2.0, 3.0 or 3.1: "swagger": "2.0" or "openapi": "3.x.y"`)
	}
	im.stage = im.stageOf()
	im.readSecurity()
	im.readRoot()
	im.readPaths()
	text, err := yaml.Marshal(im.config())
	if err != nil {
		return nil, err
	}
	return &Result{Config: text, Notes: im.notes}, nil
}

// An importer is one call of Import.
type importer struct {
	root    object
	options Options
	draft   string // of JSON Schema
	stage   string
	notes   []Note

	// What comes into the configuration.
	jwt, authorizers   []yaml.MapSlice
	iam                bool
	keyHeaders         []string
	policy             any
	scopes             []scopeGrant
	cors               yaml.MapSlice
	gatewayResponses   []yaml.MapSlice
	compressed         int64 // smallest answer that is compressed; -1: none is
	routes             []yaml.MapSlice
	schemes            map[string]scheme
	cognito            bool
	stageVariablesUsed map[string]bool
}

// stageVariable notes that a variable of the stage is needed.
func (im *importer) stageVariable(name string) {
	if im.stageVariablesUsed == nil {
		im.stageVariablesUsed = map[string]bool{}
	}
	im.stageVariablesUsed[name] = true
}

func (im *importer) note(level, at, format string, args ...any) {
	im.notes = append(im.notes, Note{level, at, fmt.Sprintf(format, args...)})
}

var stageShape = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// stageOf returns the stage that the document is about.
func (im *importer) stageOf() string {
	candidates := []string{im.options.Stage, im.root.text("basePath")}
	for _, s := range im.root.list("servers") {
		server := objectOf(s)
		candidates = append(candidates, server.object("variables").object("basePath").text("default"))
	}
	for _, c := range candidates {
		if c = strings.Trim(c, "/"); stageShape.MatchString(c) {
			return c
		}
	}
	return "prod"
}

// readRoot reads the extensions of the whole API.
func (im *importer) readRoot() {
	im.compressed = -1
	if document, ok := im.root["x-amazon-apigateway-policy"]; ok {
		im.policy = document
	}
	if c := im.root.object("x-amazon-apigateway-cors"); c != nil {
		im.readCORS(c)
	}
	responses := im.root.object("x-amazon-apigateway-gateway-responses")
	for _, kind := range responses.keys() {
		im.readGatewayResponse(kind, responses.object(kind))
	}
	if n, ok := im.root["x-amazon-apigateway-minimum-compression-size"].(json.Number); ok {
		if size, err := n.Int64(); err == nil && size >= 0 && size <= 10<<20 {
			im.compressed = size
		}
	}
	if strings.EqualFold(im.root.text("x-amazon-apigateway-api-key-source"), "AUTHORIZER") {
		im.note(Unsupported, "/x-amazon-apigateway-api-key-source", "API keys that an authorizer names: klamm takes them from a header")
	}
}

// readCORS reads what the whole API says about pages of other origins.
func (im *importer) readCORS(c object) {
	for _, k := range []struct{ theirs, ours string }{
		{"allowOrigins", "allow_origins"}, {"allowMethods", "allow_methods"}, {"allowHeaders", "allow_headers"}, {"exposeHeaders", "expose_headers"}, {"allowCredentials", "allow_credentials"}, {"maxAge", "max_age"},
	} {
		if v, ok := c[k.theirs]; ok {
			im.cors = append(im.cors, yaml.MapItem{Key: k.ours, Value: plain(v)})
		}
	}
}

// readGatewayResponse reads an answer of API Gateway's own.
func (im *importer) readGatewayResponse(kind string, g object) {
	at := "/x-amazon-apigateway-gateway-responses/" + escape(kind)
	if kind == "REQUEST_TOO_LARGE" {
		im.note(Unsupported, at, "this answer cannot be replaced")
		return
	}
	one := yaml.MapSlice{{Key: "type", Value: kind}}
	if status := numberOf(g["statusCode"]); status != 0 {
		one = append(one, yaml.MapItem{Key: "status", Value: status})
	}
	headers := yaml.MapSlice{}
	parameters := g.object("responseParameters")
	for _, name := range parameters.keys() {
		header, ok := strings.CutPrefix(name, "gatewayresponse.header.")
		value := parameters.text(name)
		if !ok || !responseSource.MatchString(value) {
			im.note(Unsupported, at+"/responseParameters/"+escape(name), "want gatewayresponse.header.NAME from 'literal', context.NAME, stageVariables.NAME or method.request.header.NAME")
			continue
		}
		if strings.HasPrefix(strings.ToLower(header), "access-control-") {
			im.note(Differs, at+"/responseParameters/"+escape(name), "errors have the headers of the cors section; this one is left out")
			continue
		}
		headers = append(headers, yaml.MapItem{Key: header, Value: value})
	}
	if len(headers) > 0 {
		one = append(one, yaml.MapItem{Key: "headers", Value: headers})
	}
	if t := g.object("responseTemplates"); len(t) > 0 {
		one = append(one, yaml.MapItem{Key: "templates", Value: plain(map[string]any(t))})
	}
	if len(one) > 1 {
		im.gatewayResponses = append(im.gatewayResponses, one)
	}
}

var responseSource = regexp.MustCompile(`^('[^']*'|context\.[A-Za-z0-9_.]+|stageVariables\.[A-Za-z0-9_]+|method\.request\.header\.[A-Za-z0-9-]+)$`)

// config puts together what was read.
func (im *importer) config() yaml.MapSlice {
	var out yaml.MapSlice
	add := func(key string, value any) { out = append(out, yaml.MapItem{Key: key, Value: value}) }
	if auth := im.authSection(); len(auth) > 0 {
		add("auth", auth)
	}
	policies, authorize := im.policySections()
	if len(policies) > 0 {
		add("policies", policies)
	}
	if len(authorize) > 0 {
		add("authorize", authorize)
	}
	if len(im.cors) > 0 {
		add("cors", im.cors)
	}
	if im.compressed >= 0 {
		add("compression", yaml.MapSlice{{Key: "answers", Value: true}, {Key: "min", Value: im.compressed}})
	}
	stage := yaml.MapSlice{{Key: "name", Value: im.stage}, {Key: "prefix", Value: true}}
	if len(im.stageVariablesUsed) > 0 {
		names := make([]string, 0, len(im.stageVariablesUsed))
		for name := range im.stageVariablesUsed {
			names = append(names, name)
		}
		slices.Sort(names)
		variables := yaml.MapSlice{}
		for _, name := range names {
			variables = append(variables, yaml.MapItem{Key: name, Value: placeholder})
		}
		stage = append(stage, yaml.MapItem{Key: "variables", Value: variables})
		im.note(Replace, "", "stages[0].variables: an export does not hold the variables of stages: %s", strings.Join(names, ", "))
	}
	stage = append(stage, yaml.MapItem{Key: "errors", Value: "aws"})
	if len(im.gatewayResponses) > 0 {
		stage = append(stage, yaml.MapItem{Key: "gateway_responses", Value: im.gatewayResponses})
	}
	add("stages", []yaml.MapSlice{stage})
	if len(im.routes) > 0 {
		add("routes", im.routes)
	}
	return out
}

// placeholder stands where the document does not say enough.
const placeholder = "REPLACE-ME"
