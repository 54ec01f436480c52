// Package certificate serves TLS with what operators have: PEM files and the key
// stores of Java.
//
// Files are told apart by what is in them (store.go, pem.go). A Server holds what
// was read for one listener (server.go): it serves the certificate, checks those
// of clients against trusted authorities and revocation lists (verify.go), and
// reads everything again when a file changes; a file that has become unusable
// leaves what was there before. Clients are shown what OCSP responders say of the
// certificate (staple.go). A client's name is its subject in the form that
// Java and Kafka use (name.go), or what mapping rules in Kafka's syntax make of it
// (rules.go).
package certificate
