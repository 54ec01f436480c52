package aws

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/rule"
	"github.com/klamm-gateway/klamm/schedule"
)

// putRule serves PutRule: what is left out is reset, targets stay, and the tags of a rule
// that is there are not touched.
func (a *API) putRule(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct {
		ruleRef
		ScheduleExpression, EventPattern, State, Description, RoleArn *string
		Tags                                                          []tag
	}
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	q.check(v, "name")
	v.text("scheduleExpression", q.ScheduleExpression, long(0, 256))
	v.text("eventPattern", q.EventPattern, long(0, 4096))
	v.oneOf("state", q.State, catalog.RuleEnabled, catalog.RuleDisabled, catalog.RuleEnabledWithAll)
	v.text("description", q.Description, long(0, 512))
	v.text("roleArn", q.RoleArn, long(1, 1600))
	tags, err := tagsOf(v, q.Tags)
	if fault := v.fault(); fault != nil {
		return nil, fault
	}
	if err != nil {
		return nil, err
	}
	ctx := r.Context()
	bus, err := a.ruleNamed(ctx, func(arn string) error { return a.allow(r, who, "events:PutRule", arn) }, &q.ruleRef)
	if err != nil {
		return nil, err
	}
	want := catalog.Rule{EventPattern: given(q.EventPattern), ScheduleExpression: given(q.ScheduleExpression), State: textOf(q.State), Description: q.Description, RoleArn: q.RoleArn, Tags: tags}
	if want.State == "" {
		want.State = catalog.RuleEnabled
	}
	if err := checkRule(bus, &want); err != nil {
		return nil, err
	}
	if err := a.storeRule(ctx, who, bus, *q.Name, want); err != nil {
		return nil, err
	}
	return map[string]any{"RuleArn": a.ruleARN(bus, *q.Name)}, nil
}

// given takes an empty text for none.
func given(s *string) *string {
	if s != nil && *s == "" {
		return nil
	}
	return s
}

// checkRule checks what a rule says.
func checkRule(bus string, want *catalog.Rule) error {
	switch {
	case want.EventPattern == nil && want.ScheduleExpression == nil:
		return invalid("Parameter(s) EventPattern or ScheduleExpression must be specified.")
	case want.ScheduleExpression != nil && bus != catalog.DefaultBus:
		return invalid("ScheduleExpression is supported only on the default event bus.")
	}
	if s := want.ScheduleExpression; s != nil {
		if _, err := schedule.Parse(*s); err != nil {
			return invalid("Parameter ScheduleExpression is not valid.")
		}
	}
	if p := want.EventPattern; p != nil {
		if _, err := rule.Compile([]byte(*p)); err != nil {
			return patternFault(err)
		}
	}
	return checkRuleTags(want.Tags)
}

// patternFault is the answer to an event pattern that is not valid.
func patternFault(err error) error {
	var syntax *rule.SyntaxError
	if !errors.As(err, &syntax) {
		return err
	}
	return eventsFault("InvalidEventPatternException", syntax.Error())
}

// checkRuleTags checks the tags of a rule that klamm itself understands.
func checkRuleTags(tags map[string]string) error {
	start, ok := tags[catalog.TagStart]
	if !ok || start == "earliest" {
		return nil
	}
	if _, err := time.Parse(time.RFC3339, start); err != nil {
		return invalid("Parameter Tags is not valid. Reason: tag " + catalog.TagStart + ": want earliest, or a time such as 2026-01-31T12:00:00Z.")
	}
	return nil
}

// storeRule makes a rule, or puts it in the place of the one that there is.
func (a *API) storeRule(ctx context.Context, who gate.Principal, bus, name string, want catalog.Rule) error {
	for attempt := 1; ; attempt++ {
		next, expect := want, catalog.Absent
		doc, was, err := a.rule(ctx, bus, name)
		var f *fault
		switch {
		case err == nil:
			next.Targets, next.Tags, expect = was.Targets, was.Tags, doc.Version
			if next.ScheduleExpression != nil && was.ScheduleExpression != nil && *next.ScheduleExpression == *was.ScheduleExpression && !was.Disabled() {
				next.Scheduled = was.Scheduled
			}
			if was.Disabled() && !next.Disabled() {
				if err := a.begin(ctx, bus, name, &next, next.Targets); err != nil {
					return err
				}
			}
		case !errors.As(err, &f) || f.name != events.missing.name:
			return err
		default:
			if err := a.roomForRule(ctx, bus); err != nil {
				return err
			}
			// So that the first event that is put does not have to wait for it.
			if err := a.cfg.Buses.Ensure(ctx, bus); err != nil {
				return err
			}
		}
		if next.ScheduleExpression != nil && next.Scheduled == 0 {
			next.Scheduled = time.Now().UnixMilli()
		}
		_, err = a.put(ctx, who, catalog.KindRule, catalog.RuleName(bus, name), next, expect)
		overtaken := errors.Is(err, catalog.ErrConflict) || errors.Is(err, catalog.ErrExists) || errors.Is(err, catalog.ErrNotFound)
		if err == nil || attempt == attempts || !overtaken {
			return err
		}
	}
}

// roomForRule says whether a bus may have one more rule.
func (a *API) roomForRule(ctx context.Context, bus string) error {
	rules, err := a.rulesOf(ctx, bus, "")
	if err == nil && len(rules) >= a.cfg.Bus.Rules {
		err = errLimit
	}
	return err
}

// describeRule serves DescribeRule.
func (a *API) describeRule(r *http.Request, who gate.Principal, body []byte) (any, error) {
	bus, name, err := a.oneRule(r, who, "events:DescribeRule", body)
	if err != nil {
		return nil, err
	}
	doc, one, err := a.rule(r.Context(), bus, name)
	if err != nil {
		return nil, err
	}
	out := a.shownRule(doc, &one)
	out["CreatedBy"] = a.cfg.Account
	return out, nil
}

// oneRule reads a request that names a rule and nothing else.
func (a *API) oneRule(r *http.Request, who gate.Principal, action gate.Action, body []byte) (bus, name string, err error) {
	var q ruleRef
	if err := parse(body, &q); err != nil {
		return "", "", err
	}
	v := &violations{}
	q.check(v, "name")
	if err := v.fault(); err != nil {
		return "", "", err
	}
	bus, err = a.ruleNamed(r.Context(), func(arn string) error { return a.allow(r, who, action, arn) }, &q)
	return bus, *q.Name, err
}

// enableRule serves EnableRule: its targets get what is put from then on.
func (a *API) enableRule(r *http.Request, who gate.Principal, body []byte) (any, error) {
	return a.switchRule(r, who, "events:EnableRule", body, catalog.RuleEnabled)
}

// disableRule serves DisableRule.
func (a *API) disableRule(r *http.Request, who gate.Principal, body []byte) (any, error) {
	return a.switchRule(r, who, "events:DisableRule", body, catalog.RuleDisabled)
}

func (a *API) switchRule(r *http.Request, who gate.Principal, action gate.Action, body []byte, state string) (any, error) {
	bus, name, err := a.oneRule(r, who, action, body)
	if err != nil {
		return nil, err
	}
	return struct{}{}, a.changeRule(r.Context(), who, bus, name, func(one *catalog.Rule) error {
		was := one.Disabled()
		if one.State = state; !was || one.Disabled() {
			return nil
		}
		if one.ScheduleExpression != nil {
			one.Scheduled = time.Now().UnixMilli()
		}
		return a.begin(r.Context(), bus, name, one, one.Targets)
	})
}

// deleteRule serves DeleteRule. A rule that is not there is no error.
func (a *API) deleteRule(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct {
		ruleRef
		Force *bool
	}
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	bus, name, err := a.oneRule(r, who, "events:DeleteRule", body)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		doc, one, err := a.rule(r.Context(), bus, name)
		var f *fault
		if errors.As(err, &f) && f.name == events.missing.name {
			return struct{}{}, nil
		}
		if err != nil {
			return nil, err
		}
		if len(one.Targets) > 0 {
			return nil, invalid("Rule can't be deleted since it has targets.")
		}
		err = a.cfg.Store.Delete(r.Context(), catalog.KindRule, doc.Name, doc.Version)
		if errors.Is(err, catalog.ErrNotFound) {
			return struct{}{}, nil
		}
		if err == nil || attempt == attempts || !errors.Is(err, catalog.ErrConflict) {
			return struct{}{}, err
		}
	}
}

// listRules serves ListRules.
func (a *API) listRules(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct {
		NamePrefix, EventBusName *string
		pageRequest
	}
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	v.text("namePrefix", q.NamePrefix, nameShape)
	v.text("eventBusName", q.EventBusName, busRefShape)
	return a.pageOfRules(r, who, "events:ListRules", v, q.pageRequest, q.EventBusName, textOf(q.NamePrefix), "Rules", func(doc catalog.Document, one *catalog.Rule) any {
		return a.shownRule(doc, one)
	})
}

// listRuleNamesByTarget serves ListRuleNamesByTarget.
func (a *API) listRuleNamesByTarget(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct {
		TargetArn, EventBusName *string
		pageRequest
	}
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	v.required("targetArn", q.TargetArn, long(1, 1600))
	v.text("eventBusName", q.EventBusName, busRefShape)
	return a.pageOfRules(r, who, "events:ListRuleNamesByTarget", v, q.pageRequest, q.EventBusName, "", "RuleNames", func(doc catalog.Document, one *catalog.Rule) any {
		for _, t := range one.Targets {
			if t.Arn == *q.TargetArn {
				_, name := splitRule(doc.Name)
				return name
			}
		}
		return nil
	})
}

// pageOfRules answers with a part of the rules of a bus, as show has them; those that it
// has nothing for are left out.
func (a *API) pageOfRules(r *http.Request, who gate.Principal, action gate.Action, v *violations, q pageRequest, given *string, prefix, member string,
	show func(catalog.Document, *catalog.Rule) any) (any, error) {
	page, err := q.page(v)
	if err != nil {
		return nil, err
	}
	bus := a.cfg.Buses.Name(textOf(given))
	if err := a.allow(r, who, action, a.ruleARN(bus, "*")); err != nil {
		return nil, err
	}
	if _, _, err := a.bus(r.Context(), bus); err != nil {
		return nil, err
	}
	docs, err := a.rulesOf(r.Context(), bus, prefix)
	if err != nil {
		return nil, err
	}
	list := []any{}
	for _, doc := range docs {
		_, name := splitRule(doc.Name)
		if !page.wants(name) {
			continue
		}
		one, err := readRule(doc)
		if err != nil {
			return nil, err
		}
		shown := show(doc, &one)
		if shown == nil {
			continue
		}
		if page.full(len(list)) {
			break
		}
		list = append(list, shown)
		page.last = name
	}
	return page.answer(member, list), nil
}
