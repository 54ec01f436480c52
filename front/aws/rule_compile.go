package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
)

// How long a target of a rule is tried that does not say, and how far apart (event-bus.md
// 8).
const (
	usualRetries = 185
	usualAge     = 24 * time.Hour
	leastBackoff = time.Second
	mostBackoff  = 10 * time.Minute
)

const (
	// ruleTime is how long an attempt may take at what lies in Kafka.
	ruleTime = 30 * time.Second
	// ruleHTTPTime is how long an HTTP target may take to answer (event-bus.md 6).
	ruleHTTPTime = 5 * time.Second
	// ruleInFlight is how many events one process delivers to a target at once.
	ruleInFlight = 64
)

// ruleQueueArn is the ARN of a queue, which klamm has as a topic of that name.
var ruleQueueArn = regexp.MustCompile(`^arn:aws[a-z-]*:sqs:[a-z0-9-]*:[0-9]{0,12}:([A-Za-z0-9._-]{1,249})$`)

// CompileRule makes of a rule the pipes that its targets run as, one for each. A rule that
// is disabled has none. A target that cannot be reached as it is defined becomes a pipe
// that fails every event and says why, so that the others go on; only a rule that cannot
// be read at all is an error.
func (a *API) CompileRule(ctx context.Context, d catalog.Document) ([]catalog.Pipe, error) {
	if d.Dialect != dialect {
		return nil, fmt.Errorf("%w: rule %q was not made through this API", catalog.ErrReadOnly, d.Name)
	}
	rule, err := readRule(d)
	if err != nil || rule.Disabled() {
		return nil, err
	}
	bus, name := splitRule(d.Name)
	if bus == "" {
		return nil, fmt.Errorf("rule %q has no event bus", d.Name)
	}
	order := catalog.OrderNone
	if a.orderOf(bus) != "" {
		order = catalog.OrderKey
	}
	pipes := make([]catalog.Pipe, 0, len(rule.Targets))
	for i := range rule.Targets {
		p := a.rulePipe(bus, name, &rule, &rule.Targets[i])
		p.Version = d.Version
		a.compileTarget(ctx, &rule.Targets[i], &p)
		p.Delivery.Order, p.Delivery.InFlight = order, ruleInFlight
		pipes = append(pipes, p)
	}
	return pipes, nil
}

// rulePipe is what is known by itself of the pipe of a rule's target: where it reads, and
// what it is asked about.
func (a *API) rulePipe(bus, name string, rule *catalog.Rule, t *catalog.RuleTarget) catalog.Pipe {
	p := catalog.Pipe{
		Name: catalog.RulePipe(bus, name, t.Id), Group: "klamm-rule-" + bus + "/" + name + "/" + t.Id,
		Topics: []string{event.BusTopic(bus), event.RetryTopic(bus)}, Start: rule.Tags[catalog.TagStart],
		Bus: &catalog.Subscription{
			Bus: bus, BusARN: a.cfg.Buses.ARN(bus), Rule: name, RuleARN: a.ruleARN(bus, name), Target: t.Id, TargetARN: t.Arn,
		},
	}
	if rule.EventPattern != nil {
		p.Bus.Pattern = json.RawMessage(*rule.EventPattern)
	}
	return p
}

// orderOf returns the path that the events of a bus stay in order by; empty: none.
func (a *API) orderOf(bus string) string {
	doc, ok := a.cfg.Store.Look(catalog.KindBus, bus)
	if !ok {
		return ""
	}
	var b catalog.Bus
	if json.Unmarshal(doc.Body, &b) != nil {
		return "" // who puts events there is told of it
	}
	return b.Tags[catalog.TagOrderKey]
}

// compileTarget says in a pipe what is delivered to a target, and how.
func (a *API) compileTarget(ctx context.Context, t *catalog.RuleTarget, p *catalog.Pipe) {
	p.Delivery = catalog.Delivery{
		Attempts: usualRetries + 1, MaxAge: usualAge, Timeout: ruleTime, Backoff: catalog.Backoff{Min: leastBackoff, Max: mostBackoff},
		Batch: catalog.Batch{Records: 1},
	}
	if r := t.RetryPolicy; r != nil {
		if r.MaximumRetryAttempts != nil {
			p.Delivery.Attempts = int(*r.MaximumRetryAttempts) + 1
		}
		if r.MaximumEventAgeInSeconds != nil {
			p.Delivery.MaxAge = time.Duration(*r.MaximumEventAgeInSeconds) * time.Second
		}
	}
	if l := t.DeadLetterConfig; l != nil {
		p.Bus.DeadLetter = topicOfQueue(textOf(l.Arn))
	}
	if in := catalog.Input(inputOf(t)); in.Constant != nil || in.Path != "" || in.Template != "" {
		p.Bus.Input = &in
	}
	var err error
	if p.Target, p.Bus.Rate, err = a.ruleTarget(ctx, t, p); err != nil {
		p.Target, p.Bus.Input, p.Bus.Rate = nowhere(err), nil, catalog.Rate{}
	}
}

// topicOfQueue returns the topic behind the ARN of a queue or of a topic (event-bus.md 8);
// empty: it is neither.
func topicOfQueue(arn string) string {
	for _, form := range []*regexp.Regexp{ruleQueueArn, topicArn} {
		if m := form.FindStringSubmatch(arn); m != nil && catalog.TopicProblem(m[1]) == "" {
			return m[1]
		}
	}
	return ""
}

// A dead is the error of a target to which nothing can be delivered.
type dead struct {
	code, text string
	passing    bool // it may come back by itself
}

func (e *dead) Error() string { return e.text }

// nowhere makes a target that fails with an error.
func nowhere(err error) catalog.Target {
	config := map[string]any{"code": target.CodeInternal, "reason": err.Error(), "passing": true}
	var (
		why     *dead
		refused *revoked
		gone    *absent
	)
	switch {
	case errors.As(err, &why):
		config["code"], config["passing"] = why.code, why.passing
	case errors.As(err, &refused):
		config["code"], config["passing"] = target.CodePermissions, false
	case errors.As(err, &gone):
		config["code"], config["passing"] = target.CodeNoResource, false
	}
	raw, _ := json.Marshal(config) // texts can be encoded
	return catalog.Target{Kind: "nowhere", Config: raw}
}
