package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/gate"
)

// splitRule takes the name of a rule's document apart.
func splitRule(name string) (bus, rule string) {
	i := strings.LastIndexByte(name, '/')
	return name[:max(i, 0)], name[i+1:]
}

// ruleARN is the ARN of a rule.
func (a *API) ruleARN(bus, rule string) string {
	if bus == catalog.DefaultBus {
		return a.eventsARN("rule/" + rule)
	}
	return a.eventsARN("rule/" + bus + "/" + rule)
}

func missingRule(bus, rule string) error {
	return eventsFault(events.missing.name, "Rule "+clip(rule)+" does not exist on EventBus "+bus+".")
}

// readRule takes a rule out of the catalog.
func readRule(doc catalog.Document) (rule catalog.Rule, err error) {
	err = json.Unmarshal(doc.Body, &rule)
	return rule, err
}

// A ruleRef is how requests name a rule.
type ruleRef struct {
	Name, EventBusName *string
}

// check checks a reference; member is what the request calls the rule.
func (q *ruleRef) check(v *violations, member string) {
	v.required(member, q.Name, nameShape)
	v.text("eventBusName", q.EventBusName, busRefShape)
}

// named checks a request about one rule and whether the caller may make it, and returns
// the name of the bus, which exists.
func (a *API) ruleNamed(ctx context.Context, allow func(arn string) error, q *ruleRef) (bus string, err error) {
	bus = a.cfg.Buses.Name(textOf(q.EventBusName))
	if err := allow(a.ruleARN(bus, *q.Name)); err != nil {
		return "", err
	}
	_, _, err = a.bus(ctx, bus)
	return bus, err
}

// rule finds a rule of a bus that exists.
func (a *API) rule(ctx context.Context, bus, name string) (catalog.Document, catalog.Rule, error) {
	doc, err := a.cfg.Store.Get(ctx, catalog.KindRule, catalog.RuleName(bus, name))
	if errors.Is(err, catalog.ErrNotFound) {
		return doc, catalog.Rule{}, missingRule(bus, name)
	}
	if err != nil {
		return doc, catalog.Rule{}, err
	}
	rule, err := readRule(doc)
	return doc, rule, err
}

// rulesOf returns the rules of a bus whose names begin with prefix, by name.
func (a *API) rulesOf(ctx context.Context, bus, prefix string) ([]catalog.Document, error) {
	docs, err := a.cfg.Store.List(ctx, catalog.KindRule, catalog.RuleName(bus, prefix))
	if err != nil {
		return nil, err
	}
	own := docs[:0]
	for _, doc := range docs {
		// The rules of bus a/b begin like those of bus a.
		if of, _ := splitRule(doc.Name); of == bus {
			own = append(own, doc)
		}
	}
	return own, nil
}

// changeRule changes a rule that is there. What change does may be done again with a
// newer state of the rule.
func (a *API) changeRule(ctx context.Context, who gate.Principal, bus, name string, change func(*catalog.Rule) error) error {
	for attempt := 1; ; attempt++ {
		doc, rule, err := a.rule(ctx, bus, name)
		if err != nil {
			return err
		}
		if err := change(&rule); err != nil {
			return err
		}
		_, err = a.put(ctx, who, catalog.KindRule, doc.Name, rule, doc.Version)
		if err == nil || attempt == attempts || !errors.Is(err, catalog.ErrConflict) {
			return err
		}
	}
}

// shownRule is a rule as lists and descriptions show it.
func (a *API) shownRule(doc catalog.Document, rule *catalog.Rule) map[string]any {
	bus, name := splitRule(doc.Name)
	out := map[string]any{"Name": name, "Arn": a.ruleARN(bus, name), "State": rule.State, "EventBusName": bus}
	for member, value := range map[string]*string{
		"EventPattern": rule.EventPattern, "ScheduleExpression": rule.ScheduleExpression, "Description": rule.Description, "RoleArn": rule.RoleArn,
	} {
		if value != nil {
			out[member] = *value
		}
	}
	return out
}

// targetAt is where a target stands in a request.
func targetAt(i int) string { return fmt.Sprintf("targets.%d.member.", i+1) }
