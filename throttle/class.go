package throttle

// A ClassRule gives calls a class.
type ClassRule struct {
	// Match says which calls are meant.
	Match Match `yaml:"match"`
	// Class is critical, normal or bulk.
	Class string `yaml:"class"`
}

var classNames = map[string]Class{"critical": Critical, "normal": Normal, "bulk": Bulk}

// Validate reports each problem with the field it lies in.
func (r ClassRule) Validate(report func(path, problem string)) {
	if _, ok := classNames[r.Class]; !ok {
		report("class", "want critical, normal or bulk")
	}
	Rule{Name: "x", Match: r.Match, Streams: 1}.Validate(report)
}

// Classes gives calls the class of the first of its rules that means them; without one
// they are Normal. It is safe for concurrent use.
type Classes struct {
	rules   index
	classes []Class
}

// NewClasses makes rules ready, which have passed Validate.
func NewClasses(rules []ClassRule) *Classes {
	c := &Classes{classes: make([]Class, len(rules))}
	for i, spec := range rules {
		r := &rule{at: i, spec: Rule{Match: spec.Match}}
		r.spec.Match.Route = RouteName(spec.Match.Route)
		c.rules.add(r)
		c.classes[i] = classNames[spec.Class]
	}
	return c
}

// Of returns the class of a call.
func (c *Classes) Of(call *Call) Class {
	first := len(c.classes)
	c.rules.each(call, func(r *rule) {
		if r.at < first && r.spec.Match.applies(call) {
			first = r.at
		}
	})
	if first == len(c.classes) {
		return Normal
	}
	return c.classes[first]
}
