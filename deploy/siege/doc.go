// Command siege shows that one who means harm, or has gone mad, takes nothing from the
// others: it does to a klamm what attackers do, while others go on with their work, and
// prints what that cost them.
//
//	siege              all of it, some minutes
//	siege -only NAME   one part: loris, bodies, half-open, headers, paths, bombs, certificates, fair, quota
//
// Each part prints how many of its requests were served, refused and cut off, how the
// others fared meanwhile (requests, failures, the 99th percentile of their times) and
// how much memory klamm had at most. A bound that is broken is named, and the exit
// status is then 1. `make siege` runs all of it.
//
// A siege has a house (house.go): an embedded broker in one process and klamm in
// others, all of them on the loopback address alone, and everybody else's work
// (others.go). attack.go, certificate.go and limit.go are the parts.
package main
