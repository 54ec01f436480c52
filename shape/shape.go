package shape

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/klamm-gateway/klamm/schema"
)

// Rules are what a route asks of its requests.
type Rules struct {
	// Parameters are those of its path, its query and its headers.
	Parameters []Parameter
	// RejectUnknownQuery refuses query parameters that Parameters does not name.
	RejectUnknownQuery bool
	// Body has the JSON Schemas of bodies by media type, "$default" for all other
	// types; each is the schema itself or {file: NAME}.
	Body map[string]json.RawMessage
	// Records is the schema of each value in an envelope {"records": [{"value"}]}, as the
	// media types application/vnd.kafka.* have it; values in base64 are what they hold.
	// Any other body that is no envelope is a value itself.
	Records json.RawMessage
	// Draft is that of schemas without $schema; empty is 2020-12.
	Draft string
	// AssertFormat makes format refuse values.
	AssertFormat bool
	// SuffixFallback has types such as application/x+json checked as
	// application/json.
	SuffixFallback bool
	// RejectUnknown refuses bodies whose type has no schema; otherwise they pass.
	RejectUnknown bool
	// StrictJSON refuses JSON objects that name a member twice.
	StrictJSON bool
	// Echo makes what is found wrong hold the values that are wrong.
	Echo bool
	// MaxBody is the largest body in bytes; zero is 10 MiB where bodies are checked,
	// and otherwise what the listener takes.
	MaxBody int64
}

// Default is the key of Rules.Body for types that are not named.
const Default = "$default"

const (
	usualBody     = 10 << 20
	largestSchema = 1 << 20
	maxJSONDepth  = 128
)

// A Shape is Rules made ready. It is safe for concurrent use.
type Shape struct {
	parameters    []parameter
	asksQuery     bool
	rejectUnknown bool
	knownQuery    map[string]bool

	models      map[string]*schema.JSONSchema
	records     *schema.JSONSchema
	suffix      bool
	rejectTypes bool
	strict      bool
	echo        bool
	most        int64
}

// Compile makes rules ready; read reads the files that schemas are in.
func Compile(rules Rules, read func(name string) ([]byte, error)) (*Shape, error) {
	s := &Shape{
		rejectUnknown: rules.RejectUnknownQuery, asksQuery: rules.RejectUnknownQuery, knownQuery: map[string]bool{}, models: map[string]*schema.JSONSchema{},
		suffix: rules.SuffixFallback, rejectTypes: rules.RejectUnknown, strict: rules.StrictJSON, echo: rules.Echo, most: rules.MaxBody,
	}
	var err error
	if s.parameters, err = compileParameters(rules.Parameters); err != nil {
		return nil, err
	}
	for _, p := range s.parameters {
		if p.In == "query" {
			s.asksQuery, s.knownQuery[p.Name] = true, true
		}
	}
	options := schema.JSONOptions{Draft: rules.Draft, AssertFormat: rules.AssertFormat, IgnoreFormat: !rules.AssertFormat}
	for _, media := range slices.Sorted(maps.Keys(rules.Body)) {
		name := media
		if media != Default {
			if name, _, err = mime.ParseMediaType(media); err != nil || !strings.Contains(name, "/") {
				return nil, fmt.Errorf("body: %q is no media type", media)
			}
		}
		if s.models[name], err = compileModel(rules.Body[media], options, read); err != nil {
			return nil, fmt.Errorf("body: %s: %w", media, err)
		}
	}
	if len(rules.Records) > 0 {
		if s.records, err = compileModel(rules.Records, options, read); err != nil {
			return nil, fmt.Errorf("records_schema: %w", err)
		}
	}
	if s.most == 0 && s.Checks() {
		s.most = usualBody
	}
	return s, nil
}

func compileModel(given json.RawMessage, o schema.JSONOptions, read func(string) ([]byte, error)) (*schema.JSONSchema, error) {
	text, err := schema.Source(given, read, largestSchema)
	if err != nil {
		return nil, err
	}
	compiled, err := schema.CompileJSON(text, o)
	if name := schema.FileOf(given); err != nil && name != "" {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return compiled, err
}

// Checks says whether bodies are looked at.
func (s *Shape) Checks() bool { return len(s.models) > 0 || s.records != nil || s.strict }

// Most is the largest body that is taken, in bytes; zero: the route says nothing
// about it.
func (s *Shape) Most() int64 { return s.most }

// CheckHead returns what is wrong with a request before its body is read; nil:
// nothing. It puts the defaults of parameters into the request. Path are the
// variables of the route that was found.
func (s *Shape) CheckHead(r *http.Request, path []Value) *Mismatch {
	if len(s.parameters) > 0 || s.rejectUnknown {
		if wrong := s.checkParameters(r, path); wrong != nil {
			return wrong
		}
	}
	if s.most > 0 && r.ContentLength > s.most {
		return &Mismatch{Fault: TooLarge, Most: s.most}
	}
	if !s.Checks() || bodyless(r) {
		return nil
	}
	_, wrong := s.model(r.Header.Get("Content-Type"))
	return wrong
}

// bodyless says whether a request is one of those that have no body.
func bodyless(r *http.Request) bool {
	return r.ContentLength == 0 && (r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodDelete || r.Method == http.MethodOptions)
}

// model returns the schema for a content type; nil: bodies of the type pass.
func (s *Shape) model(contentType string) (*schema.JSONSchema, *Mismatch) {
	if len(s.models) == 0 {
		return nil, nil
	}
	media, parameters := mediaOf(contentType)
	m := s.models[media]
	if m == nil && s.suffix && strings.HasSuffix(media, "+json") {
		m = s.models["application/json"]
	}
	if m == nil {
		m = s.models[Default]
	}
	charset := parameters["charset"]
	if m == nil && s.rejectTypes || m != nil && charset != "" && !strings.EqualFold(charset, "utf-8") {
		return nil, &Mismatch{Fault: MediaType, Accepts: s.accepts()}
	}
	return m, nil
}

// mediaOf reads a content type; without one, a body is JSON.
func mediaOf(contentType string) (media string, parameters map[string]string) {
	if contentType == "" {
		return "application/json", nil
	}
	media, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		media, _, _ = strings.Cut(contentType, ";")
		media = strings.ToLower(strings.TrimSpace(media))
	}
	return media, parameters
}

// accepts are the types that there are models for.
func (s *Shape) accepts() []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(s.models)) {
		if name != Default {
			all = append(all, name)
		}
	}
	if len(all) == 0 {
		return []string{"application/json"}
	}
	return all
}

// CheckBody returns what is wrong with the body of a request that CheckHead had
// nothing against; nil: nothing.
func (s *Shape) CheckBody(r *http.Request, body []byte) *Mismatch {
	if bodyless(r) {
		return nil
	}
	if s.most > 0 && int64(len(body)) > s.most {
		return &Mismatch{Fault: TooLarge, Most: s.most}
	}
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	wrong := &Mismatch{Fault: Body}
	model, unfit := s.model(r.Header.Get("Content-Type"))
	if unfit != nil {
		return unfit
	}
	if len(body) == 0 && (model != nil || s.records != nil) {
		body = []byte("{}") // as API Gateway has it (gateway-policies.md 4.1)
	}
	if isJSON(r.Header.Get("Content-Type")) {
		err := shallow(body)
		if err == nil && s.strict {
			err = distinct(body)
		}
		if err != nil {
			wrong.add(Entry{Violation: schema.Violation{Pointer: "#", Keyword: "type", Detail: err.Error()}})
			return wrong
		}
	}
	if model != nil {
		violations, more := s.check(model, body)
		wrong.Truncated = more
		for _, v := range violations {
			wrong.add(Entry{Violation: v})
		}
	}
	if s.records != nil && len(wrong.Entries) == 0 {
		media, _ := mediaOf(r.Header.Get("Content-Type"))
		s.checkRecords(media, body, wrong)
	}
	if len(wrong.Entries) > 0 {
		return wrong
	}
	return nil
}

// check returns what is wrong with a value, and whether there is more.
func (s *Shape) check(model *schema.JSONSchema, value []byte) (violations []schema.Violation, more bool) {
	if violations, more = model.Check(value); s.echo {
		schema.Echo(violations, value)
	}
	return violations, more
}

// envelopeFields are the members of an envelope of records; an object with others is a
// record itself.
var envelopeFields = []string{"records", "key_schema", "key_schema_id", "value_schema", "value_schema_id"}

// checkRecords checks the values of an envelope, or a body that is one record as its
// value.
func (s *Shape) checkRecords(media string, body []byte, wrong *Mismatch) {
	var members map[string]json.RawMessage
	var envelope []struct {
		Value json.RawMessage `json:"value"`
	}
	enveloped := strings.HasPrefix(media, "application/vnd.kafka.")
	broken := json.Unmarshal(body, &members) != nil || json.Unmarshal(members["records"], &envelope) != nil || envelope == nil
	for name := range members {
		broken = broken || !enveloped && !slices.Contains(envelopeFields, name)
	}
	switch {
	case broken && enveloped:
		wrong.add(Entry{Violation: schema.Violation{Pointer: "#/records", Keyword: "required", Detail: "must be an array of records"}})
		return
	case broken:
		violations, more := s.check(s.records, body)
		wrong.Truncated = more
		for _, v := range violations {
			wrong.add(Entry{Violation: v})
		}
		return
	}
	for i, one := range envelope {
		value := one.Value
		if value == nil {
			value = json.RawMessage("null")
		}
		if !enveloped || media == "application/vnd.kafka.v2+json" || strings.HasPrefix(media, "application/vnd.kafka.binary.") {
			value = unpacked(value)
		}
		violations, more := s.check(s.records, value)
		wrong.Truncated = wrong.Truncated || more
		for _, v := range violations {
			v.Pointer = "#/records/" + strconv.Itoa(i) + "/value" + strings.TrimPrefix(v.Pointer, "#")
			wrong.add(Entry{Violation: v})
		}
		if wrong.Truncated {
			return
		}
	}
}

// unpacked is what a value in base64 holds; anything else stays.
func unpacked(value json.RawMessage) json.RawMessage {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return value
	}
	held, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return value
	}
	return held
}

func isJSON(contentType string) bool {
	media, _, _ := mime.ParseMediaType(contentType)
	return contentType == "" || media == "application/json" || strings.HasSuffix(media, "+json")
}

var (
	errTwice = errors.New("a member stands there twice")
	errDeep  = fmt.Errorf("is nested deeper than %d levels", maxJSONDepth)
)

// shallow refuses JSON that is nested too deep. It does not look whether it is JSON.
func shallow(text []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxJSONDepth {
				return errDeep
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// distinct refuses JSON whose objects name a member twice. It is not nested too deep.
func distinct(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	type level struct {
		seen  map[string]bool // nil: an array
		value bool            // a member's value comes next
	}
	var open []level
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errors.New("is not JSON")
		}
		if n := len(open); n > 0 && open[n-1].seen != nil && t != json.Delim('}') {
			top := &open[n-1]
			if top.value = !top.value; top.value {
				name := t.(string)
				if top.seen[name] {
					return errTwice
				}
				top.seen[name] = true
			}
		}
		switch t {
		case json.Delim('{'):
			open = append(open, level{seen: map[string]bool{}})
		case json.Delim('['):
			open = append(open, level{})
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
	}
}
