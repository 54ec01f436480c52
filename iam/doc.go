// Package iam decides by policy documents: the JSON that AWS's IAM made known,
// for Kafka and for the routes of a gateway (gateway-policies.md 2,
// kafka-auth.md B). It is pure: it knows neither HTTP nor Kafka nor klamm, reads
// no clock and keeps no state.
//
// Parse turns a document into its compiled form and names whatever is wrong with
// the statement and the member. A Set holds documents with what they are
// attached to, sorted so that a decision looks only at those of the caller and
// of the resource. Set.Decide is the algorithm of gateway-policies.md 2.5, and
// its answer says which statement has decided.
//
// A statement is compiled (statement.go) into a mask of the actions that klamm
// knows, patterns over the parts of an ARN (arn.go, pattern.go) and conditions
// (condition.go). Nothing is allocated for a decision, unless a condition has to
// read numbers, dates or addresses. reference_test.go has a slow and obvious
// evaluator that the fast one is compared with.
package iam
