// Package schema knows what values must look like and how they are written.
//
// A JSONSchema says of a JSON value where it breaks its schema and by which
// keyword, in words that a caller can act on and that do not repeat the value.
//
// A Schema is a schema of a registry made ready, in one of the formats Avro,
// Protobuf and JSON Schema: it turns the bytes of a record into JSON, in one of
// the styles that the doors promise, and JSON into bytes. Client finds the schema
// that a record names in its first bytes (Frame), or that a producer chooses
// (Choice), and remembers it, so that a registry is asked once for a schema and
// not once for a record. A Registry is where schemas come from: HTTPRegistry is
// one with Confluent's API, and the embedded one is another. GlueRegistry, of AWS, only
// gives the schemas that records name.
package schema
