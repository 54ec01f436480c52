package openapi

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// vtl finds what of VTL can be said in klamm's templates.
var vtl = regexp.MustCompile(`\$util\.escapeJavaScript\(\$input\.(?:json|path|params)\(\s*['"][^'"]*['"]\s*\)\)|\$input\.(?:json|path|params)\(\s*['"][^'"]*['"]\s*\)|\$input\.body|\$stageVariables\.[A-Za-z0-9_]+|\$\{stageVariables\.[A-Za-z0-9_]+\}|\$context\.[A-Za-z0-9_.]+`)

var vtlCall = regexp.MustCompile(`^\$input\.(json|path|params)\(\s*['"]([^'"]*)['"]\s*\)$`)

// parameterName is what the name of a parameter may be in klamm's templates.
var parameterName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// undeclared lists the parameters that a template names and the operation does not.
func undeclared(template string, params map[string]string) (names []string) {
	for _, one := range vtl.FindAllString(template, -1) {
		inner := strings.TrimPrefix(one, "$util.escapeJavaScript(")
		if inner != one {
			inner = strings.TrimSuffix(inner, ")")
		}
		if m := vtlCall.FindStringSubmatch(inner); m != nil && m[1] == "params" && params[m[2]] == "" && !slices.Contains(names, m[2]) {
			names = append(names, m[2])
		}
	}
	return names
}

// contexts are variables that both have.
var contexts = map[string]string{
	"$context.requestId": "${request.id}", "$context.stage": "${request.stage}", "$context.httpMethod": "${request.method}", "$context.identity.sourceIp": "${identity.source_ip}",
	"$context.authorizer.principalId": "${identity.principal}", "$context.domainName": "${request.host}",
}

// translate makes a document of klamm's templates of a VTL template; ok is false where
// it has something that klamm's templates cannot say. Params says where a parameter of
// a name is: path, query or header; others are taken from the query. Nil: there is none.
func (im *importer) translate(template string, params map[string]string) (doc any, ok bool) {
	var out strings.Builder
	quoted := false // the text so far ends within a string
	for rest := template; ; {
		m := vtl.FindStringIndex(rest)
		if m == nil {
			out.WriteString(rest)
			break
		}
		before := rest[:m[0]]
		quoted = quoted != oddQuotes(before)
		out.WriteString(before)
		expression, known := im.expression(rest[m[0]:m[1]], params)
		if !known {
			return nil, false
		}
		if quoted {
			expression = inlined(expression)
		}
		text, err := json.Marshal(expression)
		if err != nil {
			return nil, false
		}
		if quoted {
			text = text[1 : len(text)-1]
		}
		out.Write(text)
		rest = rest[m[1]:]
	}
	if directive.MatchString(out.String()) {
		return nil, false
	}
	d := json.NewDecoder(strings.NewReader(out.String()))
	d.UseNumber()
	if d.Decode(&doc) != nil || d.More() {
		return nil, false
	}
	return doc, true
}

// directive finds what is left of VTL.
var directive = regexp.MustCompile(`#(set|if|elseif|else|end|foreach|define|break|stop|\*|#)|\$!?\{?(input|util|context|stageVariables)\b`)

// oddQuotes says whether a piece of JSON opens a string without closing it, or the
// other way round.
func oddQuotes(text string) bool {
	odd := false
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			odd = !odd
		}
	}
	return odd
}

// inlined is an expression that stands within a string.
func inlined(expression string) string {
	if path, ok := strings.CutPrefix(expression, "$."); ok {
		return "${body." + path + " | string}"
	}
	return expression
}

// expression translates one reference.
func (im *importer) expression(text string, params map[string]string) (string, bool) {
	if inner, ok := strings.CutPrefix(text, "$util.escapeJavaScript("); ok {
		text = strings.TrimSuffix(inner, ")") // values are never taken for JSON
	}
	if text == "$input.body" {
		return "$", true
	}
	if m := vtlCall.FindStringSubmatch(text); m != nil {
		if m[1] != "params" {
			return m[2], strings.HasPrefix(m[2], "$")
		}
		where := params[m[2]]
		if where == "" && params != nil && parameterName.MatchString(m[2]) {
			where = "query"
		}
		return "${" + where + "." + m[2] + "}", where != ""
	}
	for _, prefix := range []string{"$stageVariables.", "${stageVariables."} {
		if name, ok := strings.CutPrefix(text, prefix); ok {
			name = strings.TrimSuffix(name, "}")
			im.stageVariable(name)
			return "${stage." + name + "}", true
		}
	}
	known, ok := contexts[text]
	return known, ok
}

// A wrapped is an envelope of records that a template makes.
type wrapped struct{ key, value any }

// envelope recognizes the template of a record in an envelope of the Kafka REST API.
func envelope(doc any) (wrapped, bool) {
	root, ok := doc.(map[string]any)
	if !ok || len(root) != 1 {
		return wrapped{}, false
	}
	records, ok := root["records"].([]any)
	if !ok || len(records) != 1 {
		return wrapped{}, false
	}
	record := objectOf(records[0])
	for k := range record {
		if k != "key" && k != "value" {
			return wrapped{}, false
		}
	}
	value, ok := record["value"]
	return wrapped{record["key"], value}, ok
}
