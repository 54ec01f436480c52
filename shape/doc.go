// Package shape says what a request must look like, beyond what the API that it is
// for asks of it: the parameters of a route, and the models of its body
// (gateway-policies.md 4.2, 4.3 and 4.6).
//
// A Table finds the route of a request by patterns in the form of API Gateway's
// resources; a Shape is what the route asks for, and a Mismatch says in what a
// request fails to be that.
package shape
