// Command chaos proves that pipes lose nothing: it runs klamm processes on a
// Kafka cluster, breaks things under them, and counts what arrives.
//
//	chaos records     kills, rebalances and a lost broker under a stream of records
//	chaos backlog     a target that is down while gigabytes wait for it
//	chaos endpoints   thousands of endpoints of which some are dead
//	chaos changes     pipes that are changed at random while processes are killed
//	chaos definitions thousands of definitions: start, memory, and how fast changes act
//	chaos functions   functions and klamms that are killed in the middle of batches
//	chaos bus         kills and a lost broker under events that are put on a bus
//	chaos firsts      kills within the first second of a bus, under its first events
//
// Each prints its figures as a table and exits with 1 if one of them breaks its
// bound. `make chaos`, `make chaos-backlog`, `make chaos-endpoints`, `make chaos-changes`,
// `make chaos-definitions`, `make chaos-functions`, `make chaos-bus` and `make chaos-firsts` start them with Apache Kafka;
// docs/reliability.md says what they show.
//
// A proof is made of: a stage (stage.go), which is the cluster, the directory and
// the klamm processes; a ledger (ledger.go), which is told of every record that
// arrives and knows what should have; for `records`, trouble (trouble.go), which
// goes through a list of events, each at its share of the records.
package main
