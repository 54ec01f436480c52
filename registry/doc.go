// Package registry is a schema registry: subjects, their versions, and the rules by
// which one version may follow another.
//
// It keeps its state in the compacted topic _schemas, in the records that Confluent's
// registry writes there, so that either can take over from the other; not both at
// once, since only klamm's processes know of each other's writes. A table (package
// table) holds a copy of the topic in every process, an index over it answers
// questions from memory, and every change is worked out against the index and written
// if nobody has changed anything meanwhile. So there is no leader, and no id is given
// twice.
//
// Schemas are Avro, JSON Schema and Protobuf; each format has a file for reading and
// printing it and a file for comparing two of them. The comparisons give the verdicts
// of Confluent's registry, by the same names of differences, also where a format's own
// specification would allow more.
package registry
