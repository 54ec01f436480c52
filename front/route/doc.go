// Package route has the routes that users make themselves in the configuration file
// (gateway-policies.md 5.2 and 5.3): those that make a record of a request of any
// form, those that pass requests on to another back end, and those that answer by
// themselves.
//
// expression.go has the language of their templates: values are put into JSON as
// values and never as text, so that nobody who calls can change the form of what is
// written. There are no loops.
//
// condition.go has the conditions under which a field is made at all. They are
// expressions in CEL, which only read, and may not cost more than a bound.
package route
