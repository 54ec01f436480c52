// Command soak proves that reading over HTTP holds on several klamm processes behind
// a balancer that knows nothing of them: each call goes to another process.
//
//	soak consumers   reads and commits while processes are killed, added and removed
//	soak bad         a record of 40 MB and a broken one in the way of a consumer
//	soak leave       500 clients that go without a word
//	soak streams     a million events to clients that break off and come back anywhere
//
// Each prints its counters as a table and exits with 1 if one of them breaks its bound.
// `make soak` runs all of them on an Apache Kafka of three nodes; docs/consumers.md and
// docs/push.md say what they show.
//
// A proof has a house (house.go): the cluster, the klamm processes and the balancer
// between them and the clients. Everything listens on the loopback address alone.
package main
