package throttle

import "slices"

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
// they are Normal.
type Classes struct{ rules []ClassRule }

// NewClasses makes rules ready, which have passed Validate.
func NewClasses(rules []ClassRule) *Classes {
	c := &Classes{slices.Clone(rules)}
	for i := range c.rules {
		c.rules[i].Match.Route = RouteName(c.rules[i].Match.Route)
	}
	return c
}

// Of returns the class of a call.
func (c *Classes) Of(call *Call) Class {
	for i := range c.rules {
		if c.rules[i].Match.applies(call) {
			return classNames[c.rules[i].Class]
		}
	}
	return Normal
}
