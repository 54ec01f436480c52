package catalog

import (
	"encoding/json"
	"time"
)

// KindMapping is the kind of documents that are event source mappings; their names are
// UUIDs.
const KindMapping = "mapping"

// MappingPipe returns the name of the pipe that an event source mapping runs as.
func MappingPipe(uuid string) string { return "klamm.mapping." + uuid }

// An Envelope makes a pipe an event source mapping (event-source-mapping.md): its
// target is a function that gets the records of a batch in one event, and what fails
// is retried, halved and given up by the rules of mappings. The pipe's own Filter,
// Enrich, Transform and dead-letter topic have no meaning then; of its Delivery count
// Batch, Bisect, Timeout and InFlight.
type Envelope struct {
	// Mapping is the UUID.
	Mapping string
	// Function is the name of the function, and FunctionARN how records about
	// failures call it.
	Function, FunctionARN string
	// EventSource is aws:kafka, with the cluster's name in SourceARN, or
	// aws:SelfManagedKafka. Bootstrap are the brokers, with commas between them.
	EventSource, SourceARN, Bootstrap string
	// Filters are patterns, of which one must match; none: every record passes.
	Filters []json.RawMessage
	// DropMismatched drops records whose key or value has not the form that a filter
	// asks for; otherwise they pass, as far as the rest matches.
	DropMismatched bool
	// Schemas is the schema registry whose schemas keys or values are decoded with;
	// nil: they are not.
	Schemas *MappingSchemas
	// Attempts is how often a record is sent before it is given up; 0: without end.
	Attempts int
	// MaxAge is how old a record may become, by its timestamp; 0: there is no limit.
	MaxAge time.Duration
	// ReportFailures has the function name the records that it has not done.
	ReportFailures bool
	// FailureTopic is the topic for records that are given up, in the cluster that
	// they come from; FailureTarget another place. Neither: they are dropped.
	FailureTopic  string
	FailureTarget *Target
	// FailureBucket is the bucket of the object store for them.
	FailureBucket string
	// DropUndelivered gives up on a destination that fails, instead of trying again
	// until the records are stored there.
	DropUndelivered bool
	// LogLevel is DEBUG, INFO or WARN; empty is INFO.
	LogLevel string
}

// A MappingSchemas is the schema registry of an event source mapping
// (event-source-mapping.md 12).
type MappingSchemas struct {
	// URL is that of a registry with Confluent's API, or the ARN of one of AWS Glue.
	URL string
	// Source sends the function what was encoded, without the frame; otherwise it gets
	// JSON.
	Source bool
	// Key and Value say what is decoded.
	Key, Value bool
	// Basic, Certificate and RootCA are the names of secrets in the formats of AWS: a
	// user, a client certificate, and the authorities of the registry's.
	Basic, Certificate, RootCA string
}
