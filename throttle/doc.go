// Package throttle holds callers to a rate (gateway-policies.md 3).
//
// A Set is made of rules: whom each applies to, what has a bucket of its own, and
// how much passes. Take asks all rules that apply to a call at once and takes from
// all of their buckets or from none. Requests and calls under way are asked for
// before a request's body is read; records and bytes, whose number is known only
// afterwards, may take a bucket below zero and are paid for by whoever comes next,
// as Kafka's own quotas do it.
//
// Buckets live in memory, at most a million; the clock is the caller's. Nothing
// here knows HTTP or Kafka.
package throttle
