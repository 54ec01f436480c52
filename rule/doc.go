// Package rule is the event pattern language: which events does a pattern match?
//
// A pattern is compiled into alternatives, one for each way through its $or
// arrays. An alternative is a list of clauses, each a path with the matchers of
// which one must match, in ascending order of the paths. Alternatives are kept
// in a machine (machine.go), a tree whose edges are clauses, so that
// alternatives with the same beginning are searched together: a Pattern has a
// machine of its own, a Set one for all its patterns.
//
//	event -> flatten.go   the values at the paths that the machine names
//	      -> search.go    a walk down the machine, over those values
//	      -> index.go     which of a node's many clauses does a value satisfy?
//
// Everything in a machine is immutable. A change copies the way from the root to
// the place that changes and shares the rest, so that readers need no lock.
//
// Each operator is a file that makes a matcher, and a line in operators.go.
// The package is pure: it reads no clock, no file and no network.
package rule
