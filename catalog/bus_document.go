package catalog

import "encoding/json"

// DefaultBus is the name of the bus that always exists.
const DefaultBus = "default"

// Tags of buses and rules that klamm itself understands.
const (
	// TagOrderKey is a JSON path into the events of a bus: those that have the same
	// value there stay in order.
	TagOrderKey = "klamm:order-key"
	// TagPartitions and TagRetentionHours say how the topic of a new bus is made.
	TagPartitions     = "klamm:partitions"
	TagRetentionHours = "klamm:retention-hours"
	// TagStart says where the new targets of a rule begin: earliest, or a time in RFC
	// 3339; otherwise at what is put after them.
	TagStart = "klamm:start"
)

// A Bus is the body of a document of KindBus, in the words of the API (event-bus.md 4,
// 14).
type Bus struct {
	Description      *string         `json:",omitempty"`
	KmsKeyIdentifier *string         `json:",omitempty"`
	DeadLetterConfig json.RawMessage `json:",omitempty"`
	LogConfig        json.RawMessage `json:",omitempty"`
	// Policy is the bus's resource policy, JSON text; empty: there is none.
	Policy string            `json:",omitempty"`
	Tags   map[string]string `json:",omitempty"`
}

// The states of rules.
const (
	RuleEnabled  = "ENABLED"
	RuleDisabled = "DISABLED"
	// RuleEnabledWithAll is treated as RuleEnabled.
	RuleEnabledWithAll = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
)

// A Rule is the body of a document of KindRule with its targets, in the words of the API
// (event-bus.md 4, 14). What a user has left out is nil.
type Rule struct {
	// EventPattern is the text that was given, byte for byte.
	EventPattern       *string `json:",omitempty"`
	ScheduleExpression *string `json:",omitempty"`
	// Scheduled is when ScheduleExpression was set, in milliseconds since 1970; what
	// lies before has no ticks.
	Scheduled   int64 `json:",omitempty"`
	State       string
	Description *string           `json:",omitempty"`
	RoleArn     *string           `json:",omitempty"`
	Tags        map[string]string `json:",omitempty"`
	// Targets are in the order in which they were put first.
	Targets []RuleTarget `json:",omitempty"`
}

// Disabled says whether the rule does nothing.
func (r *Rule) Disabled() bool { return r.State == RuleDisabled }

// A RuleTarget is a target of a rule as it was put.
type RuleTarget struct {
	Id, Arn          string
	RoleArn          *string          `json:",omitempty"`
	Input            *string          `json:",omitempty"`
	InputPath        *string          `json:",omitempty"`
	InputTransformer *RuleTransformer `json:",omitempty"`
	HttpParameters   *RuleHTTP        `json:",omitempty"`
	SqsParameters    *RuleSQS         `json:",omitempty"`
	DeadLetterConfig *RuleDeadLetter  `json:",omitempty"`
	RetryPolicy      *RuleRetry       `json:",omitempty"`
	// Parameters of services that klamm does not call; they are only kept.
	KinesisParameters           json.RawMessage `json:",omitempty"`
	RunCommandParameters        json.RawMessage `json:",omitempty"`
	EcsParameters               json.RawMessage `json:",omitempty"`
	BatchParameters             json.RawMessage `json:",omitempty"`
	RedshiftDataParameters      json.RawMessage `json:",omitempty"`
	SageMakerPipelineParameters json.RawMessage `json:",omitempty"`
	AppSyncParameters           json.RawMessage `json:",omitempty"`
}

// A RuleTransformer makes the input of a target (event-bus.md 5).
type RuleTransformer struct {
	InputPathsMap map[string]string `json:",omitzero"`
	InputTemplate *string           `json:",omitempty"`
}

// A RuleHTTP are the parameters of an HTTP target (event-bus.md 6); a value that is a
// JSON path as a whole is dynamic.
type RuleHTTP struct {
	PathParameterValues   []string          `json:",omitzero"`
	HeaderParameters      map[string]string `json:",omitzero"`
	QueryStringParameters map[string]string `json:",omitzero"`
}

// A RuleSQS has the parameters of a queue.
type RuleSQS struct {
	MessageGroupId *string `json:",omitempty"`
}

// A RuleDeadLetter says where events go that are given up.
type RuleDeadLetter struct {
	Arn *string `json:",omitempty"`
}

// A RuleRetry says how long a target is tried; nil: as the API does by itself.
type RuleRetry struct {
	MaximumRetryAttempts     *int64 `json:",omitempty"`
	MaximumEventAgeInSeconds *int64 `json:",omitempty"`
}

// RuleName returns the name of a rule's document.
func RuleName(bus, rule string) string { return bus + "/" + rule }
