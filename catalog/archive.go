package catalog

import "time"

// An Archive is the body of a document of KindArchive, in the words of the API
// (event-bus.md 10, 14).
type Archive struct {
	// EventSourceArn is the ARN of the bus, and Bus its name.
	EventSourceArn string
	Bus            string
	Description    *string `json:",omitempty"`
	// EventPattern is the text that was given, byte for byte; nil: all events.
	EventPattern *string `json:",omitempty"`
	// RetentionDays is how long events are kept; 0: for ever.
	RetentionDays    int64
	KmsKeyIdentifier *string `json:",omitempty"`
}

// The states of replays.
const (
	ReplayStarting   = "STARTING"
	ReplayRunning    = "RUNNING"
	ReplayCancelling = "CANCELLING"
	ReplayCancelled  = "CANCELLED"
	ReplayCompleted  = "COMPLETED"
	ReplayFailed     = "FAILED"
)

// A Replay is the body of a document of KindReplay. Times are in milliseconds since
// 1970; 0: not yet.
type Replay struct {
	// Archive is the name of the archive, EventSourceArn its ARN, and Bus the name of
	// its bus.
	Archive, EventSourceArn, Bus string
	Description                  *string `json:",omitempty"`
	// Start and End bound the times of the events; End is not included.
	Start, End int64
	// FilterArns are the ARNs of the rules that get the events, and Rules their names;
	// without any, all rules do.
	FilterArns []string `json:",omitempty"`
	Rules      []string `json:",omitempty"`

	State  string
	Reason string `json:",omitempty"`
	// LastReplayed is the time of the event that was replayed last.
	LastReplayed int64 `json:",omitempty"`
	Began, Ended int64 `json:",omitempty"`
	// Ends is where the archive ended when the replay began, for each partition; nil
	// while it is STARTING.
	Ends map[int32]int64 `json:",omitempty"`
}

// Active says whether the replay still has something to do.
func (r *Replay) Active() bool {
	return r.State == ReplayStarting || r.State == ReplayRunning || r.State == ReplayCancelling
}

// ReplaysKept is how long a replay is known after its end.
const ReplaysKept = 90 * 24 * time.Hour
