package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/transform"
)

const (
	mostTargets   = 5  // of a rule
	mostPut       = 10 // in one request
	mostListed    = 100
	mostInput     = 8192
	mostInputPath = 256
)

var inputName = like(1, 256, `[A-Za-z0-9\_\-]+`)

// A targetRequest is a target as it is put.
type targetRequest struct {
	Id, Arn          *string
	RoleArn          *string
	Input            *string
	InputPath        *string
	InputTransformer *catalog.RuleTransformer
	HttpParameters   *catalog.RuleHTTP
	SqsParameters    *catalog.RuleSQS
	DeadLetterConfig *catalog.RuleDeadLetter
	RetryPolicy      *struct{ MaximumRetryAttempts, MaximumEventAgeInSeconds *number }

	KinesisParameters, RunCommandParameters, EcsParameters, BatchParameters, RedshiftDataParameters, SageMakerPipelineParameters, AppSyncParameters object
}

// An object is JSON that is only kept, and has to be an object.
type object json.RawMessage

// UnmarshalJSON takes an object as it is; null is none.
func (o *object) UnmarshalJSON(b []byte) error {
	switch {
	case string(b) == "null":
	case len(b) == 0 || b[0] != '{':
		return &json.UnmarshalTypeError{Value: "value", Field: "a structure"}
	default:
		*o = slices.Clone(b)
	}
	return nil
}

// check checks what the model says of a target.
func (t *targetRequest) check(v *violations, at string) {
	v.required(at+"id", t.Id, nameShape)
	v.required(at+"arn", t.Arn, long(1, 1600))
	v.text(at+"roleArn", t.RoleArn, long(1, 1600))
	v.text(at+"input", t.Input, long(0, mostInput).hidden())
	v.text(at+"inputPath", t.InputPath, long(0, mostInputPath))
	if x := t.InputTransformer; x != nil {
		v.required(at+"inputTransformer.inputTemplate", x.InputTemplate, long(1, mostInput))
		v.count(at+"inputTransformer.inputPathsMap", len(x.InputPathsMap), 0, 100)
		for _, name := range slices.Sorted(maps.Keys(x.InputPathsMap)) {
			path := x.InputPathsMap[name]
			v.text(at+"inputTransformer.inputPathsMap", &name, inputName)
			v.text(at+"inputTransformer.inputPathsMap", &path, long(0, 256))
		}
	}
	if h := t.HttpParameters; h != nil {
		same := httpParameters{h.PathParameterValues, h.HeaderParameters, h.QueryStringParameters}
		same.check(v, at+"httpParameters", &ruleHTTP)
	}
	if s := t.SqsParameters; s != nil {
		v.text(at+"sqsParameters.messageGroupId", s.MessageGroupId, long(0, 100))
	}
	if d := t.DeadLetterConfig; d != nil {
		v.text(at+"deadLetterConfig.arn", d.Arn, long(1, 1600))
	}
	if p := t.RetryPolicy; p != nil {
		v.number(at+"retryPolicy.maximumRetryAttempts", p.MaximumRetryAttempts.int(), 0, 185)
		v.number(at+"retryPolicy.maximumEventAgeInSeconds", p.MaximumEventAgeInSeconds.int(), 60, 86_400)
	}
}

// target is how a request's target is kept.
func (t *targetRequest) target() catalog.RuleTarget {
	kept := catalog.RuleTarget{
		Id: *t.Id, Arn: *t.Arn, RoleArn: t.RoleArn, Input: t.Input, InputPath: t.InputPath, InputTransformer: t.InputTransformer, HttpParameters: t.HttpParameters,
		SqsParameters: t.SqsParameters, DeadLetterConfig: t.DeadLetterConfig, KinesisParameters: json.RawMessage(t.KinesisParameters), RunCommandParameters: json.RawMessage(t.RunCommandParameters),
		EcsParameters: json.RawMessage(t.EcsParameters), BatchParameters: json.RawMessage(t.BatchParameters), RedshiftDataParameters: json.RawMessage(t.RedshiftDataParameters),
		SageMakerPipelineParameters: json.RawMessage(t.SageMakerPipelineParameters), AppSyncParameters: json.RawMessage(t.AppSyncParameters),
	}
	if p := t.RetryPolicy; p != nil {
		kept.RetryPolicy = &catalog.RuleRetry{MaximumRetryAttempts: p.MaximumRetryAttempts.int(), MaximumEventAgeInSeconds: p.MaximumEventAgeInSeconds.int()}
	}
	return kept
}

// checkTarget checks what a target says beyond its form (event-bus.md 1, 4, 5).
func checkTarget(t *catalog.RuleTarget) error {
	arn := strings.SplitN(t.Arn, ":", 6)
	switch {
	case len(arn) < 6 || arn[0] != "arn" || arn[2] == "" || arn[5] == "", arn[1] == "klamm" && !topicArn.MatchString(t.Arn):
		return invalid("Parameter " + clip(t.Arn) + " is not valid. Reason: Provided Arn is not in correct format.")
	case arn[2] == "sqs" && strings.HasSuffix(t.Arn, ".fifo") && t.SqsParameters == nil:
		return invalid("Parameter(s) SqsParameters must be specified for target: " + t.Id + ".")
	}
	kinds := 0
	for _, has := range []bool{t.Input != nil, t.InputPath != nil, t.InputTransformer != nil} {
		if has {
			kinds++
		}
	}
	switch {
	case kinds > 1:
		return invalid("Only one of Input, InputPath, or InputTransformer must be provided for target " + t.Id + ".")
	case kinds > 0 && kindOfTarget(t.Arn) == "bus":
		return invalid("Input, InputPath and InputTransformer are not supported for target " + t.Id + ": an event bus gets the event as it is.")
	}
	_, err := transform.CompileInput(inputOf(t), transform.InputVars{})
	var spec *transform.SpecError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &spec):
		return err
	case spec.Placeholder != "":
		return invalid("InputTemplate for target " + t.Id + " contains invalid placeholder " + clip(spec.Placeholder) + ".")
	case t.Input != nil:
		return invalid("JSON syntax error in input for target " + t.Id + ".")
	case t.InputPath != nil:
		return invalid("Invalid InputPath for target " + t.Id + ".")
	}
	return invalid("Invalid InputTransformer for target " + t.Id + " : " + clip(spec.Error()) + ".")
}

// inputOf is what a target wants instead of the event.
func inputOf(t *catalog.RuleTarget) transform.Input {
	var in transform.Input
	if t.Input != nil && *t.Input != "" {
		in.Constant = json.RawMessage(*t.Input)
	}
	in.Path = textOf(t.InputPath)
	if x := t.InputTransformer; x != nil {
		in.Template, in.Paths = textOf(x.InputTemplate), x.InputPathsMap
	}
	return in
}

// putTargets serves PutTargets: targets with an Id that is there already take its place.
// A new one gets what is put after the answer, or what the rule's tag klamm:start says.
func (a *API) putTargets(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct {
		Rule, EventBusName *string
		Targets            *[]targetRequest
	}
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	ref := ruleRef{q.Rule, q.EventBusName}
	ref.check(v, "rule")
	if q.Targets == nil {
		v.add("targets", nil, "not be null")
	} else {
		v.count("targets", len(*q.Targets), 1, mostListed)
		for i := range *q.Targets {
			(*q.Targets)[i].check(v, targetAt(i))
		}
	}
	if err := v.fault(); err != nil {
		return nil, err
	}
	ctx := r.Context()
	bus, err := a.ruleNamed(ctx, func(arn string) error { return a.allow(r, who, "events:PutTargets", arn) }, &ref)
	if err != nil {
		return nil, err
	}
	if _, _, err := a.rule(ctx, bus, *q.Rule); err != nil {
		return nil, err
	}
	if len(*q.Targets) > mostPut {
		return nil, errLimit
	}
	var put []catalog.RuleTarget
	for _, t := range *q.Targets {
		kept := t.target()
		if err := checkTarget(&kept); err != nil {
			return nil, err
		}
		put = upsert(put, kept)
	}
	err = a.changeRule(ctx, who, bus, *q.Rule, func(rule *catalog.Rule) error {
		before := len(rule.Targets)
		for _, t := range put {
			rule.Targets = upsert(rule.Targets, t)
		}
		if len(rule.Targets) > mostTargets {
			return errLimit
		}
		return a.begin(ctx, bus, *q.Rule, rule, rule.Targets[before:])
	})
	if err != nil {
		return nil, err
	}
	return noFailures(), nil
}

// upsert puts a target in the place of the one with its Id, or behind the others.
func upsert(all []catalog.RuleTarget, t catalog.RuleTarget) []catalog.RuleTarget {
	if i := slices.IndexFunc(all, func(other catalog.RuleTarget) bool { return other.Id == t.Id }); i >= 0 {
		all[i] = t
		return all
	}
	return append(all, t)
}

// noFailures is the answer of calls that carry out everything or nothing.
func noFailures() any { return map[string]any{"FailedEntryCount": 0, "FailedEntries": []any{}} }

// begin says where targets of a rule begin that get events from now on. It is called
// before they are stored, so that they miss nothing that is put after that.
func (a *API) begin(ctx context.Context, bus, name string, rule *catalog.Rule, targets []catalog.RuleTarget) error {
	if rule.Disabled() || len(targets) == 0 {
		return nil
	}
	if err := a.cfg.Buses.Ensure(ctx, bus); err != nil {
		return err
	}
	for i := range targets {
		p := a.rulePipe(bus, name, rule, &targets[i])
		if err := a.cfg.Pipes.Begin(ctx, p, p.Start); err != nil {
			return fmt.Errorf("begin target %q of rule %q: %w", targets[i].Id, name, err)
		}
	}
	return nil
}

// listTargetsByRule serves ListTargetsByRule.
func (a *API) listTargetsByRule(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct {
		Rule, EventBusName *string
		pageRequest
	}
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	ref := ruleRef{q.Rule, q.EventBusName}
	ref.check(v, "rule")
	page, err := q.page(v)
	if err != nil {
		return nil, err
	}
	bus, err := a.ruleNamed(r.Context(), func(arn string) error { return a.allow(r, who, "events:ListTargetsByRule", arn) }, &ref)
	if err != nil {
		return nil, err
	}
	_, rule, err := a.rule(r.Context(), bus, *q.Rule)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(rule.Targets, func(a, b catalog.RuleTarget) int { return strings.Compare(a.Id, b.Id) })
	list := []catalog.RuleTarget{}
	for _, t := range rule.Targets {
		if !page.wants(t.Id) {
			continue
		}
		if page.full(len(list)) {
			break
		}
		list = append(list, t)
		page.last = t.Id
	}
	return page.answer("Targets", list), nil
}

// removeTargets serves RemoveTargets. Ids that are not there are no error.
func (a *API) removeTargets(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct {
		Rule, EventBusName *string
		Ids                *[]string
		Force              *bool
	}
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	ref := ruleRef{q.Rule, q.EventBusName}
	ref.check(v, "rule")
	if q.Ids == nil {
		v.add("ids", nil, "not be null")
	} else {
		v.count("ids", len(*q.Ids), 1, mostListed)
		for i, id := range *q.Ids {
			v.text(fmt.Sprintf("ids.%d.member", i+1), &id, nameShape)
		}
	}
	if err := v.fault(); err != nil {
		return nil, err
	}
	bus, err := a.ruleNamed(r.Context(), func(arn string) error { return a.allow(r, who, "events:RemoveTargets", arn) }, &ref)
	if err != nil {
		return nil, err
	}
	var gone []string
	err = a.changeRule(r.Context(), who, bus, *q.Rule, func(rule *catalog.Rule) error {
		gone = nil
		rule.Targets = slices.DeleteFunc(rule.Targets, func(t catalog.RuleTarget) bool {
			if !slices.Contains(*q.Ids, t.Id) {
				return false
			}
			gone = append(gone, t.Id)
			return true
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, id := range gone {
		pipe := catalog.RulePipe(bus, *q.Rule, id)
		if err := a.cfg.Pipes.Forget(r.Context(), pipe); err != nil {
			a.cfg.Log.Warn("what is remembered of a target that was removed stays", "pipe", pipe, "err", err)
		}
	}
	return noFailures(), nil
}
