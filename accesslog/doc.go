// Package accesslog writes one line for each request, in the formats that API
// Gateway has for its access logs (gateway-policies.md 5.7).
//
// A Format is a text with $context variables, compiled once: each variable becomes
// a function that appends its value, escaped as the format asks for, so that what a
// client sends can neither end a line nor a field. An Entry is what is known of a
// request when it is over. A Log takes entries from many goroutines, never lets
// them wait, and writes them in the background to a file that may be rotated, or to
// a standard stream.
package accesslog
