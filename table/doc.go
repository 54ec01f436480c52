// Package table keeps small maps in compacted topics: what users define and
// what several klamm processes must agree on.
//
// A Table is a map from strings to bytes whose truth is a compacted topic with
// one partition. Every process that opens it holds a full copy in memory and
// reads from there, so reading never waits for a broker. There is no leader and
// no lock service: whoever writes takes the table's transactional id, which fences the
// writer before it, reads to the end of the topic, checks what the caller
// expects, and commits a transaction, which fails if somebody else has taken the
// id meanwhile. So no update is lost, and nobody sees half of one.
//
// Three goroutines belong to a Table: one follows the topic and is the only one
// that changes the copy (follow.go), one writes (write.go), and one calls the
// watchers (watch.go). DESIGN.md has the reasons and what is not obvious.
//
// A table is meant for thousands of entries written by people and for hundreds of
// writes a second, not for data.
package table
