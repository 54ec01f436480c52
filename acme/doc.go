// Package acme gets a listener's certificates from an authority by ACME (RFC 8555) and
// keeps them in a directory.
//
// A Keeper (keeper.go) keeps one certificate for all names of one Config: it orders it
// when there is none that is good, and again when two thirds of its life are over or
// when the authority says so (RFC 9773; due.go). Orders and the account are in client.go,
// the answers to challenges in challenge.go and hook.go.
//
// Everything lies in a directory (store.go), which several processes may share: one of
// them orders at a time (lease.go), all of them answer the authority's questions, and
// all of them find the new certificate there.
//
//	DIR/account.key                     the key of the account, PEM
//	DIR/certificates/NAME-HASH.pem      key and chain of a certificate
//	DIR/certificates/NAME-HASH.json     what became of the last order of it
//	DIR/challenges/http-01/TOKEN        what is answered at the token's address
//	DIR/challenges/tls-alpn-01/NAME     what the certificate shown to the authority holds
//	DIR/lock                            who orders now
package acme
