// Package catalog holds what users define: pipes now, and with them how they
// deliver. Definitions are plain data; they are validated here and carried out
// elsewhere.
package catalog

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/rule"
	"github.com/klamm-gateway/klamm/transform"
)

// A Pipe takes records from topics, filters and transforms them, and delivers
// them to one target.
type Pipe struct {
	// Name is unique; letters, digits, ".", "_" and "-", at most 64.
	Name string `yaml:"name" json:"name"`
	// Topics are the topics that the pipe reads.
	Topics []string `yaml:"topics" json:"topics"`
	// Group is the consumer group; empty means klamm-pipe-NAME.
	Group string `yaml:"group" json:"group,omitempty"`
	// Start says where the pipe begins when it first runs, on the partitions
	// that exist then: latest (the default), earliest, or a time in RFC 3339.
	Start string `yaml:"start" json:"start,omitempty"`
	// Filter is an event pattern over topic, partition, offset, timestamp, key,
	// headers and value. Records that do not match are committed and not
	// delivered. Without a filter every record is delivered.
	Filter json.RawMessage `yaml:"filter" json:"filter,omitempty"`
	// Enrich asks somebody about the records; the answer is delivered instead of
	// them. Without it nobody is asked.
	Enrich *Enrichment `yaml:"enrich" json:"enrich,omitempty"`
	// Transform makes the body that is delivered; without it, that is the
	// record's value, byte for byte.
	Transform *transform.Spec `yaml:"transform" json:"transform,omitempty"`
	// Decode is json where a value that is framed for a schema registry is delivered
	// as its JSON; by itself, what is delivered is the record's value, byte for byte.
	// Filters, transforms and templates see the JSON anyway.
	Decode string `yaml:"decode" json:"decode,omitempty"`
	// Target says where to: one target kind with its configuration.
	Target Target `yaml:"target" json:"target"`
	// Delivery says how: attempts, times, batches, order.
	Delivery Delivery `yaml:"delivery" json:"delivery"`
	// Scale says when the pipe wants more or fewer consumers.
	Scale Scale `yaml:"scale" json:"scale"`
	// Version tells the definitions apart that a pipe has had while klamm runs; 0 is
	// that of the configuration file.
	Version int64 `yaml:"-" json:"-"`
	// Paused keeps the pipe from running.
	Paused bool `yaml:"-" json:"-"`
	// SourceCluster is the one of kafka.clusters that the topics are in; empty is
	// klamm's own. The consumer group is there, too.
	SourceCluster string `yaml:"-" json:"-"`
	// SourceLogin is how the pipe logs in to the cluster that it reads from, instead
	// of SourceCluster; nil: as klamm does.
	SourceLogin *Login `yaml:"-" json:"-"`
	// Execution makes it one of EventBridge Pipes; nil: it is one of klamm's own.
	Execution *Execution `yaml:"-" json:"-"`
	// Envelope makes it an event source mapping; nil: it is none.
	Envelope *Envelope `yaml:"-" json:"-"`
	// Bus makes it a target of a rule; nil: it is none.
	Bus *Subscription `yaml:"-" json:"-"`
	// Connector makes it a sink connector; nil: it is none.
	Connector *Connector `yaml:"-" json:"-"`
}

// A Scale says when a pipe wants more or fewer consumers. A consumer is a klamm
// process that reads partitions for the pipe; there are at most as many as
// partitions.
type Scale struct {
	// Interval is how often lag and target are looked at, 1s to 1h; the default
	// is 60s.
	Interval time.Duration `yaml:"interval" json:"interval,omitempty"`
	// Lag is how many records may wait before more consumers are wanted; the
	// default is ten times batch.records. A lag that has grown three times in a
	// row is too much as well.
	Lag int `yaml:"lag" json:"lag,omitempty"`
}

// An Enrichment asks somebody about the records of a batch before it is
// delivered. What is answered is delivered instead: of an array each element,
// of an empty answer, "", {}, [] and null nothing at all. It is asked again with
// every attempt.
type Enrichment struct {
	// Target is who is asked: a kind that answers, such as webhook.
	Target Target `yaml:"target" json:"target"`
	// Transform makes the body that is asked with; without it, that is the
	// record's value. The pipe's own transform then sees the answer instead of
	// the record.
	Transform *transform.Spec `yaml:"transform" json:"transform,omitempty"`
	// Timeout bounds one question; the default is that of the delivery.
	Timeout time.Duration `yaml:"timeout" json:"timeout,omitempty"`
}

// A Target is a target kind and its configuration, which the kind itself
// validates.
type Target struct {
	Kind   string
	Config json.RawMessage
}

// A Delivery says how records are delivered.
type Delivery struct {
	// Attempts is how often delivery is tried before a record is given up;
	// 0 means without end.
	Attempts int `yaml:"attempts" json:"attempts,omitempty"`
	// MaxAge is how long delivery is tried, from the first attempt on; 0 means
	// without end.
	MaxAge time.Duration `yaml:"max_age" json:"max_age,omitempty"`
	// Timeout bounds one attempt; the default is 10s.
	Timeout time.Duration `yaml:"timeout" json:"timeout,omitempty"`
	// Backoff is the wait between two attempts.
	Backoff Backoff `yaml:"backoff" json:"backoff"`
	// Batch says which records are delivered together.
	Batch Batch `yaml:"batch" json:"batch"`
	// Bisect halves a batch that would be given up, again and again, until the
	// record that the target refuses is alone; the others are delivered.
	Bisect bool `yaml:"bisect" json:"bisect,omitempty"`
	// InFlight is how many batches are delivered at the same time, where order
	// allows it; the default is 64.
	InFlight int `yaml:"in_flight" json:"in_flight,omitempty"`
	// Order is what is kept in order: key (the default; records of one key
	// within a partition), partition, or none.
	Order string `yaml:"order" json:"order,omitempty"`
	// Log says which attempts the delivery log keeps: failed (the default), all,
	// or none.
	Log string `yaml:"log" json:"log,omitempty"`
	// DisableAfter stops the pipe when every attempt has failed for so long, until
	// klamm pipe resume; 1s to 720h. 0 (the default) means that it goes on without
	// end.
	DisableAfter time.Duration `yaml:"disable_after" json:"disable_after,omitempty"`
	// DeadLetter is the topic for records that are given up; empty means
	// klamm.dlq.NAME.
	DeadLetter string `yaml:"dead_letter" json:"dead_letter,omitempty"`
}

// A Backoff is the wait between two attempts: Min after the first failure,
// doubled after each further one up to Max, each time shortened by a random
// part of up to a half.
type Backoff struct {
	Min time.Duration `yaml:"min" json:"min,omitempty"` // default 100ms
	Max time.Duration `yaml:"max" json:"max,omitempty"` // default 30s
}

// A Batch is delivered when one of its three limits is reached. All its records
// come from one partition.
type Batch struct {
	// Records is the most records of a batch; the default is 1: a request a
	// record.
	Records int `yaml:"records" json:"records,omitempty"`
	// Bytes is the largest body of a batch; the default is 1MiB. A record that
	// is larger is delivered alone.
	Bytes int64 `yaml:"bytes" unit:"bytes" json:"bytes,omitempty"`
	// Wait is how long an incomplete batch waits for more records; the default
	// 0 sends what is there.
	Wait time.Duration `yaml:"wait" json:"wait,omitempty"`
	// Format is the body of a batch: json (the default), an array of values, or
	// ndjson, a value a line. A batch limit of one record has no envelope.
	Format string `yaml:"format" json:"format,omitempty"`
}

// The orders of a delivery.
const (
	OrderKey       = "key"
	OrderPartition = "partition"
	OrderNone      = "none"
)

var pipeName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// WithDefaults returns the pipe with every default spelled out.
func (p Pipe) WithDefaults() Pipe {
	set(&p.Group, "klamm-pipe-"+p.Name)
	set(&p.Start, "latest")
	d := &p.Delivery
	set(&d.Timeout, 10*time.Second)
	if p.Enrich != nil {
		e := *p.Enrich
		set(&e.Timeout, d.Timeout)
		p.Enrich = &e
	}
	set(&d.Backoff.Min, 100*time.Millisecond)
	set(&d.Backoff.Max, max(30*time.Second, d.Backoff.Min))
	set(&d.Batch.Records, 1)
	set(&d.Batch.Bytes, 1<<20)
	set(&d.Batch.Format, "json")
	set(&d.InFlight, 64)
	set(&d.Order, OrderKey)
	set(&d.Log, "failed")
	set(&d.DeadLetter, "klamm.dlq."+p.Name)
	set(&p.Scale.Interval, time.Minute)
	set(&p.Scale.Lag, 10*d.Batch.Records)
	return p
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// StartTime returns the time that Start names, and false if it names none.
func (p Pipe) StartTime() (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, p.Start)
	return t, err == nil
}

// Validate reports each problem with the field it lies in, as a path such as
// "delivery.batch.records". The target's configuration is validated by its kind.
func (p Pipe) Validate(report func(path, problem string)) {
	if !pipeName.MatchString(p.Name) {
		report("name", "a pipe needs a name of 1 to 64 letters, digits, '.', '_' and '-'")
	}
	if len(p.Topics) == 0 {
		report("topics", "a pipe needs at least one topic")
	}
	for i, t := range p.Topics {
		if problem := TopicProblem(t); problem != "" {
			report(fmt.Sprintf("topics[%d]", i), problem)
		}
	}
	if _, ok := p.StartTime(); !ok && p.Start != "" && p.Start != "latest" && p.Start != "earliest" {
		report("start", "want latest, earliest, or a time such as 2026-01-31T12:00:00Z")
	}
	if len(p.Filter) > 0 {
		if _, err := rule.CompileRecord(p.Filter); err != nil {
			report("filter", err.Error())
		}
	}
	if e := p.Enrich; e != nil {
		if e.Target.Kind == "" {
			report("enrich.target", "an enrichment needs a target that answers, such as webhook")
		}
		if e.Timeout < 0 || e.Timeout > time.Hour {
			report("enrich.timeout", "want a time from 0s to 1h")
		}
		if e.Transform != nil {
			if _, err := transform.Compile(*e.Transform, transform.Vars{}); err != nil {
				report("enrich.transform", err.Error())
			}
		}
	}
	if p.Decode != "" && p.Decode != "json" {
		report("decode", "want json, or nothing")
	}
	if p.Transform != nil {
		if _, err := transform.Compile(*p.Transform, transform.Vars{}); err != nil {
			report("transform", err.Error())
		}
	}
	if p.Target.Kind == "" {
		report("target", "a pipe needs a target, such as webhook")
	}
	p.Delivery.validate(func(path, problem string) { report("delivery."+path, problem) })
	if i := p.Scale.Interval; i != 0 && (i < time.Second || i > time.Hour) {
		report("scale.interval", "want a time from 1s to 1h")
	}
	if p.Scale.Lag < 0 {
		report("scale.lag", "must not be below 0")
	}
	if p.Transactional() {
		p.validateTransactional(report)
	}
	if to := p.feeds(); to != "" && slices.Contains(p.Topics, to) {
		report("target", fmt.Sprintf("topic %s is read by this very pipe: its records would come back to it without end", to))
	}
	loop := p.Delivery.DeadLetter
	for _, t := range p.Topics {
		if t != "" && (t == loop || loop == "" && t == "klamm.dlq."+p.Name) {
			report("delivery.dead_letter", fmt.Sprintf("topic %s is read by this very pipe: its dead letters would come back to it", t))
		}
	}
}

// A topicTarget is what there is to know here of a target of the kind topic.
type topicTarget struct {
	Name, Cluster string
	Transactional bool
}

func (p Pipe) topicTarget() (t topicTarget) {
	if p.Target.Kind != "topic" || json.Unmarshal(p.Target.Config, &t) != nil {
		return topicTarget{}
	}
	return t
}

// TargetTopic returns the name of the topic that the pipe writes to; empty: none.
func (p Pipe) TargetTopic() string { return p.topicTarget().Name }

// Transactional says whether records and offsets are written in one transaction,
// so that who reads committed records sees each once.
func (p Pipe) Transactional() bool { return p.topicTarget().Transactional }

// Cluster returns the cluster of kafka.clusters that the target names; empty: none.
func (p Pipe) Cluster() string { return p.topicTarget().Cluster }

// validateTransactional reports what has no meaning where a transaction is repeated
// until it succeeds.
func (p Pipe) validateTransactional(report func(path, problem string)) {
	const not = "does not go with a transactional target: "
	if p.Enrich != nil {
		report("enrich", not+"a transaction cannot stay open while somebody is asked")
	}
	if p.Delivery.Attempts != 0 {
		report("delivery.attempts", not+"it is tried until the records are written")
	}
	if p.Delivery.MaxAge != 0 {
		report("delivery.max_age", not+"it is tried until the records are written")
	}
	if p.Delivery.Bisect {
		report("delivery.bisect", not+"a record that is refused is given up alone in any case")
	}
	if p.Delivery.DisableAfter != 0 {
		report("delivery.disable_after", not+"the topic is in the cluster without which nothing works")
	}
	if p.Delivery.Log == "all" {
		report("delivery.log", not+"the delivery log is no part of the transaction")
	}
}

// feeds returns the topic of klamm's own cluster that the pipe writes to; empty:
// none.
func (p Pipe) feeds() string {
	if t := p.topicTarget(); t.Cluster == "" {
		return t.Name
	}
	return ""
}

// validate reports what is wrong with a delivery.
func (d Delivery) validate(report func(path, problem string)) {
	within := func(path string, n, most int64) {
		if n != 0 && (n < 1 || n > most) {
			report(path, fmt.Sprintf("want a number from 1 to %d", most))
		}
	}
	lasting := func(path string, t, most time.Duration) {
		if t < 0 || t > most {
			report(path, fmt.Sprintf("want a time from 0s to %s", most))
		}
	}
	within("attempts", int64(d.Attempts), 1_000_000)
	lasting("max_age", d.MaxAge, 365*24*time.Hour)
	lasting("timeout", d.Timeout, time.Hour)
	lasting("disable_after", d.DisableAfter, 30*24*time.Hour)
	if d.DisableAfter > 0 && d.DisableAfter < time.Second {
		report("disable_after", "want 0s or a time from 1s on")
	}
	lasting("backoff.min", d.Backoff.Min, time.Hour)
	lasting("backoff.max", d.Backoff.Max, 24*time.Hour)
	if d.Backoff.Max != 0 && d.Backoff.Max < d.Backoff.Min {
		report("backoff.max", "must not be below backoff.min")
	}
	within("batch.records", int64(d.Batch.Records), 100_000)
	within("batch.bytes", d.Batch.Bytes, 64<<20)
	lasting("batch.wait", d.Batch.Wait, 5*time.Minute)
	if f := d.Batch.Format; f != "" && f != "json" && f != "ndjson" {
		report("batch.format", "want json or ndjson")
	}
	within("in_flight", int64(d.InFlight), 10_000)
	if o := d.Order; o != "" && o != OrderKey && o != OrderPartition && o != OrderNone {
		report("order", "want key, partition or none")
	}
	if l := d.Log; l != "" && l != "all" && l != "failed" && l != "none" {
		report("log", "want all, failed or none")
	}
	if d.DeadLetter != "" {
		if problem := TopicProblem(d.DeadLetter); problem != "" {
			report("dead_letter", problem)
		}
	}
}

var topicName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// TopicProblem says why a topic cannot have that name; it is empty if it can.
func TopicProblem(name string) string {
	switch {
	case name == "" || name == "." || name == ".." || len(name) > 249 || !topicName.MatchString(name):
		return fmt.Sprintf("%s is not a topic name: want 1 to 249 letters, digits, '.', '_' and '-'", quoted(name))
	}
	return ""
}

func quoted(s string) string {
	if len(s) > 60 {
		s = s[:60] + "..."
	}
	return `"` + strings.ToValidUTF8(s, "?") + `"`
}
