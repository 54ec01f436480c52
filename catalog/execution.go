package catalog

import (
	"encoding/json"
	"time"
)

// An Execution makes a pipe one of EventBridge Pipes (pipes.md 4 to 10): records have
// the form that those have there, a batch is enriched and delivered as a whole, and
// whatever fails is tried again until it succeeds. The pipe's own Filter, Enrich and
// Transform are empty then.
type Execution struct {
	// PipeARN, SourceARN, EnrichmentARN and TargetARN are the names that templates
	// can use.
	PipeARN, SourceARN, EnrichmentARN, TargetARN string
	// EventSource is aws:kafka, or SelfManagedKafka where Bootstrap has the brokers
	// that the source names.
	EventSource, Bootstrap string
	// Filters are patterns, of which one must match; none: every record passes.
	Filters []json.RawMessage
	// Enrichment is who is asked, with EnrichmentTemplate as its input where that is
	// not empty; nil: nobody.
	Enrichment         *Target
	EnrichmentTemplate string
	// TargetTemplate makes what is delivered of each event; empty: the event.
	TargetTemplate string
	// TargetTakes is how many events the target takes at once (pipes.md 8); an enrichment
	// that answers more fails. 0: 10,000.
	TargetTakes int
	// TargetRate and EnrichmentRate bound how often they are called.
	TargetRate, EnrichmentRate Rate
	// Queue is a topic that invocations of the function Function are put into instead of
	// calling the target: nobody waits for it. Empty: the target is called.
	Queue, Function string
	// StopAfter stops the pipe when its executions have failed for so long with nothing
	// but errors that another attempt would not mend; 0: it goes on.
	StopAfter time.Duration
	// Log says what is written down of executions, and where; nil: nothing is.
	Log *ExecutionLog
}

// An ExecutionLog says what is written down of executions (pipes.md 14).
type ExecutionLog struct {
	// Level is ERROR, INFO or TRACE; anything else is nothing.
	Level string
	// Data adds the records, and what was sent and answered.
	Data bool
	// Topic is the topic that the steps are written to; empty: none.
	Topic string
	// Bucket is the bucket of the object store that they are written to, below Prefix;
	// empty: none.
	Bucket, Prefix string
}

// A Rate bounds requests. All pipes of a process that name the same thing share it.
type Rate struct {
	// Of names what is called; empty: nothing bounds it.
	Of        string
	PerSecond int
}
