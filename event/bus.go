package event

// The headers of records in a bus's topic. Their values are the event envelope
// (event-bus.md 2), their keys the event's id, unless the bus keeps events in order by
// something else; their timestamps are the time of intake.
const (
	// HeaderReplay has the name of the replay that put the event there once more.
	HeaderReplay = "klamm-replay"
	// HeaderRules has the names of the rules that the event is for alone, with commas
	// between them; their patterns are asked.
	HeaderRules = "klamm-rules"
	// HeaderSchedule has the name of the rule whose schedule made the event: it goes to
	// that rule's targets, whose pattern is not asked.
	HeaderSchedule = "klamm-schedule"
	// HeaderTrace is the X-Ray trace header of the entry, or W3C's traceparent.
	HeaderTrace = "X-Amzn-Trace-Id"
	// HeaderBusHops counts by how many buses the event has come here.
	HeaderBusHops = "klamm-bus-hops"
)
