package catalog

import "encoding/json"

// The kinds of documents that make up event buses (event-bus.md 4, 10). The names of
// rules are BUS/RULE: a rule's name has no slash, a bus's may have some.
const (
	KindBus     = "bus"
	KindRule    = "rule"
	KindArchive = "archive"
	KindReplay  = "replay"
)

// RulePipe returns the name of the pipe that one target of a rule runs as.
func RulePipe(bus, rule, target string) string {
	return "klamm.rule." + bus + "/" + rule + "/" + target
}

// ArchivePipe returns the name of the pipe that fills an archive.
func ArchivePipe(archive string) string { return "klamm.archive." + archive }

// A Subscription makes a pipe one target of a rule, or an archive, of an event bus: all
// of a bus share one read and one match of each event, and each of them delivers for
// itself. The pipe's own Start, Filter, Enrich and Transform have no meaning then. Its
// Topics are the topic of the bus and the one of its retries, in this order, and its
// Group holds offsets only while the pipe is behind the others (decision 5).
type Subscription struct {
	// Bus is the name of the bus, and BusARN its ARN.
	Bus, BusARN string
	// Rule is the name of the rule, and RuleARN its ARN; empty for an archive.
	Rule, RuleARN string
	// Target is the target's Id, and TargetARN what the user named; of an archive the
	// ARN is its own.
	Target, TargetARN string
	// Pattern is the event pattern; empty: only what is meant for this very rule, such
	// as the ticks of its schedule.
	Pattern json.RawMessage
	// Archive is the name of the archive that this fills: no replayed event gets into
	// it. Empty: this is a rule's target.
	Archive string
	// Input makes what is delivered of an event; nil: the event.
	Input *Input
	// Rate bounds how often the target is called. An event that waits for its turn makes
	// no attempt meanwhile, and ages.
	Rate Rate
	// DeadLetter is the topic for events that are given up, with the attributes of
	// event-bus.md 8; empty: they are dropped and counted. Of the pipe's Delivery,
	// Attempts and MaxAge bound how long it is tried; MaxAge counts from intake.
	DeadLetter string
}

// An Input is what a target gets instead of the event (event-bus.md 5). At most one of
// Constant, Path and Template is set.
type Input struct {
	Constant json.RawMessage
	Path     string
	// Template is filled by Paths, JSON paths by name.
	Template string
	Paths    map[string]string
}
