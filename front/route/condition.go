package route

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// Conditions say under which conditions the fields of a record are made: each is an
// expression in CEL that is true or false, over the roots that ${...} has. A field whose
// condition is false is made as if the request section did not have it. A request of which
// a condition cannot be decided is refused.
type Conditions struct {
	// Key is when the record has the key.
	Key string `yaml:"key"`
	// Value is when the value is made; otherwise it is the body.
	Value string `yaml:"value"`
	// Partition is when the partition is chosen.
	Partition string `yaml:"partition"`
	// Timestamp is when the record has the timestamp.
	Timestamp string `yaml:"timestamp"`
	// Headers are when the record has them, by name.
	Headers map[string]string `yaml:"headers"`
	// Set is when the values are put into the value, by path.
	Set map[string]string `yaml:"set"`
	// Remove is when the parts are taken out of the value, by path.
	Remove map[string]string `yaml:"remove"`
}

// AnswerConditions say the same of an answer; they may name kafka too. What cannot be
// decided is left out: the record is written.
type AnswerConditions struct {
	// Body is when the answer has the body.
	Body string `yaml:"body"`
	// Headers are when the answer has them, by name.
	Headers map[string]string `yaml:"headers"`
}

const (
	// mostCost bounds what deciding a condition may cost, in the units of CEL: about one
	// for each operation, and one for ten bytes of a text that is looked through.
	mostCost = 10_000
	// longestCondition bounds the text of a condition, in characters.
	longestCondition = 4096
	// deepestCondition bounds how deeply a condition is nested.
	deepestCondition = 50
)

// A condition is an expression of CEL that is made ready. It has no effects, and is safe
// for concurrent use; nil is true.
type condition struct{ program cel.Program }

var errUndecided = errors.New("it names something that is not there, or of another type")

// holds says whether a condition is true of a request. It fails where that cannot be
// decided; what it says then has nothing of the request in it.
func (c *condition) holds(f *facts) (bool, error) {
	if c == nil {
		return true, nil
	}
	v, _, err := c.program.Eval(activation{f})
	if err == nil {
		if yes, ok := v.Value().(bool); ok {
			return yes, nil
		}
		return false, errUndecided
	}
	var cancelled interpreter.EvalCancelledError
	switch {
	case errors.Is(err, errNoJSON):
		return false, errNoJSON
	case errors.As(err, &cancelled):
		return false, fmt.Errorf("it costs more than %d", mostCost)
	}
	return false, errUndecided
}

// environments are what conditions of requests and of answers are compiled in.
var environments = [2]func() (*cel.Env, error){sync.OnceValues(func() (*cel.Env, error) { return environment(false) }), sync.OnceValues(func() (*cel.Env, error) { return environment(true) })}

func environment(answers bool) (*cel.Env, error) {
	texts, values := cel.MapType(cel.StringType, cel.StringType), cel.MapType(cel.StringType, cel.DynType)
	options := []cel.EnvOption{
		cel.CustomTypeAdapter(adapter{}), cel.ParserExpressionSizeLimit(longestCondition), cel.ParserRecursionLimit(deepestCondition),
		cel.Variable("body", cel.DynType), cel.Variable("claims", values), cel.Variable("now", values),
	}
	for _, root := range []string{"path", "query", "header", "identity", "stage", "request"} {
		options = append(options, cel.Variable(root, texts))
	}
	if answers {
		options = append(options, cel.Variable("kafka", values))
	}
	return cel.NewEnv(options...)
}

// parseCondition makes a condition ready, of an answer or of a request; of "", nil. The
// error says where in the text it is wrong.
func parseCondition(text string, answer bool) (*condition, error) {
	if text == "" {
		return nil, nil
	}
	of := environments[0]
	if answer {
		of = environments[1]
	}
	env, err := of()
	if err != nil {
		return nil, err
	}
	compiled, issues := env.Compile(text)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		return nil, fmt.Errorf("line %d, column %d: %s", first.Location.Line(), first.Location.Column()+1, strings.Join(strings.Fields(first.Message), " "))
	}
	if t := compiled.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("want a condition that is true or false; this one is of type %s", t)
	}
	if err := checkNames(compiled.NativeRep()); err != nil {
		return nil, err
	}
	program, err := env.Program(compiled, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(mostCost))
	if err != nil {
		return nil, errors.New(strings.Join(strings.Fields(err.Error()), " "))
	}
	return &condition{program}, nil
}

// checkNames finds names that no request has.
func checkNames(tree *ast.AST) (err error) {
	known := map[string][]string{"identity": identityKeys, "request": requestKeys, "now": nowKeys, "kafka": kafkaKeys}
	check := func(id int64, operand ast.Expr, name string) {
		if err != nil || operand.Kind() != ast.IdentKind {
			return
		}
		problem := ""
		switch root := operand.AsIdent(); {
		case known[root] != nil && !slices.Contains(known[root], name):
			problem = fmt.Sprintf("%s has no %q: want one of %s", root, name, strings.Join(known[root], ", "))
		case root == "header" && name != strings.ToLower(name):
			problem = fmt.Sprintf("%q: the names of headers are in lower case here", name)
		}
		if problem != "" {
			at := tree.SourceInfo().GetStartLocation(id)
			err = fmt.Errorf("line %d, column %d: %s", at.Line(), at.Column()+1, problem)
		}
	}
	ast.PostOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			check(e.ID(), e.AsSelect().Operand(), e.AsSelect().FieldName())
		case ast.CallKind:
			call := e.AsCall()
			if args := call.Args(); call.FunctionName() == operators.Index && len(args) == 2 && args[1].Kind() == ast.LiteralKind {
				if name, ok := args[1].AsLiteral().Value().(string); ok {
					check(e.ID(), args[0], name)
				}
			}
		}
	}))
	return err
}

// activation has the values of a request as conditions see them.
type activation struct{ f *facts }

// Parent is part of interpreter.Activation.
func (activation) Parent() interpreter.Activation { return nil }

// ResolveName is part of interpreter.Activation.
func (a activation) ResolveName(root string) (any, bool) {
	f := a.f
	switch root {
	case "body":
		doc, err := f.document()
		if err != nil {
			return types.WrapErr(err), true
		}
		return adapter{}.NativeToValue(doc), true
	case "claims":
		return adapter{}.NativeToValue(map[string]any(f.who.Claims)), true
	case "path":
		all := map[string]string{}
		for _, name := range f.names {
			if v := f.r.PathValue(name); v != "" {
				all[name] = v
			}
		}
		return all, true
	case "query":
		return firsts(f.r.URL.Query(), func(name string) string { return name }), true
	case "header":
		return firsts(f.r.Header, strings.ToLower), true
	case "stage":
		return maps.Clone(f.variables), true
	case "kafka":
		return f.kafka, f.kafka != nil
	case "now":
		return map[string]any{"iso": f.iso(), "unix": f.now.Unix(), "unix_ms": f.now.UnixMilli()}, true
	case "request":
		return f.request(), true
	case "identity":
		return f.identity(), true
	}
	return nil, false
}

// firsts has the first value of each name.
func firsts(all map[string][]string, as func(string) string) map[string]string {
	out := make(map[string]string, len(all))
	for name, values := range all {
		if len(values) > 0 {
			out[as(name)] = values[0]
		}
	}
	return out
}

// An adapter makes values of CEL of JSON, with whole numbers as integers.
type adapter struct{}

// NativeToValue is part of types.Adapter.
func (a adapter) NativeToValue(v any) ref.Val {
	switch v := v.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return types.Int(n)
		}
		n, err := v.Float64()
		if err != nil {
			return types.WrapErr(err)
		}
		return types.Double(n)
	case map[string]any:
		return types.NewStringInterfaceMap(a, v)
	case []any:
		return types.NewDynamicList(a, v)
	}
	return types.DefaultTypeAdapter.NativeToValue(v)
}

// Validate reports each problem with the field it lies in.
func (c Conditions) Validate(report func(path, problem string)) {
	for name, text := range map[string]string{"key": c.Key, "value": c.Value, "partition": c.Partition, "timestamp": c.Timestamp} {
		checkCondition(name, text, false, report)
	}
	for name, all := range map[string]map[string]string{"headers": c.Headers, "set": c.Set, "remove": c.Remove} {
		checkConditions(name, all, false, report)
	}
}

// Validate reports each problem with the field it lies in.
func (c AnswerConditions) Validate(report func(path, problem string)) {
	checkCondition("body", c.Body, true, report)
	checkConditions("headers", c.Headers, true, report)
}

func checkConditions(name string, all map[string]string, answer bool, report func(path, problem string)) {
	for key, text := range all {
		if text == "" {
			report(name+"."+key, "want a condition, such as query.kind == \"x\"")
			continue
		}
		checkCondition(name+"."+key, text, answer, report)
	}
}

func checkCondition(path, text string, answer bool, report func(path, problem string)) {
	if _, err := parseCondition(text, answer); err != nil {
		report(path, err.Error())
	}
}

// check reports conditions of fields that a request section does not have.
func (c Conditions) check(q *Request, report func(path, problem string)) {
	for _, f := range []struct {
		name, text string
		given      bool
	}{{"key", c.Key, q.Key != ""}, {"value", c.Value, len(q.Value) > 0}, {"partition", c.Partition, q.Partition != ""}, {"timestamp", c.Timestamp, q.Timestamp != nil}} {
		if f.text != "" && !f.given {
			report("when."+f.name, "there is no "+f.name+" that it could be for")
		}
	}
	unknown(report, "headers", c.Headers, func(name string) bool { _, ok := q.Headers[name]; return ok })
	unknown(report, "set", c.Set, func(at string) bool { _, ok := q.Set[at]; return ok })
	unknown(report, "remove", c.Remove, func(at string) bool { return slices.Contains(q.Remove, at) })
}

// check reports conditions of fields that an answer does not have.
func (c AnswerConditions) check(s *Response, report func(path, problem string)) {
	if c.Body != "" && len(s.Body) == 0 {
		report("when.body", "there is no body that it could be for")
	}
	unknown(report, "headers", c.Headers, func(name string) bool { _, ok := s.Headers[name]; return ok })
}

func unknown(report func(path, problem string), field string, all map[string]string, there func(string) bool) {
	for name := range all {
		if !there(name) {
			report("when."+field+"."+name, fmt.Sprintf("there is no %q in %s that it could be for", name, field))
		}
	}
}

// undecided is the error of a request of which a condition cannot be decided.
func undecided(field string, err error) error {
	return fmt.Errorf("the condition of %s cannot be decided: %w", field, err)
}
