package aws

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/gate"
)

// A tagged is a bus or a rule that has tags; rule is empty for a bus.
type tagged struct{ bus, rule string }

// ruleArn is the ARN of a rule, of any account and region.
var ruleArn = regexp.MustCompile(`^arn:aws[a-z-]*:events:[a-z0-9-]*:[0-9]{0,12}:rule/((?:[/.\-_A-Za-z0-9]{1,256}/)?[.\-_A-Za-z0-9]{1,64})$`)

// tagged finds what an ARN names and asks whether the caller may do something to it.
func (a *API) tagged(r *http.Request, who gate.Principal, action gate.Action, arn string) (tagged, error) {
	if err := a.allow(r, who, action, arn); err != nil {
		return tagged{}, err
	}
	if bus, ok := strings.CutPrefix(arn, a.cfg.Buses.ARN("")); ok && busShape.form.MatchString(bus) {
		return tagged{bus: bus}, nil
	}
	if name, ok := strings.CutPrefix(arn, a.eventsARN("rule/")); ok && busShape.form.MatchString(name) {
		of := tagged{}
		if of.bus, of.rule = splitRule(name); of.bus == "" {
			of.bus = catalog.DefaultBus
		}
		if of.rule != "" {
			_, _, err := a.bus(r.Context(), of.bus)
			return of, err
		}
	}
	// Those of another account or region are not here.
	if busArn.MatchString(arn) {
		return tagged{}, missingBus(arn)
	}
	if m := ruleArn.FindStringSubmatch(arn); m != nil {
		bus, rule := splitRule(m[1])
		return tagged{}, missingRule(cmp.Or(bus, catalog.DefaultBus), rule)
	}
	return tagged{}, invalid("Parameter ResourceARN is not valid. Reason: " + clip(arn) + " is not the ARN of a rule or an event bus.")
}

// tags returns those of a bus or rule.
func (a *API) tagsAt(r *http.Request, at tagged) (map[string]string, error) {
	if at.rule == "" {
		_, b, err := a.bus(r.Context(), at.bus)
		return b.Tags, err
	}
	_, rule, err := a.rule(r.Context(), at.bus, at.rule)
	return rule.Tags, err
}

// retagEvents changes the tags of a bus or rule.
func (a *API) retagEvents(r *http.Request, who gate.Principal, at tagged, change func(map[string]string) error) error {
	changed := func(tags *map[string]string, check func(map[string]string) error) error {
		own := maps.Clone(*tags)
		if own == nil {
			own = map[string]string{}
		}
		if err := change(own); err != nil {
			return err
		}
		if len(own) > mostTags {
			return errLimit
		}
		*tags = own
		return check(own)
	}
	if at.rule == "" {
		_, _, err := a.changeBus(r.Context(), who, at.bus, func(b *catalog.Bus) error {
			return changed(&b.Tags, func(tags map[string]string) error {
				if err := gate.CheckBusTags(tags); err != nil {
					return invalid("Parameter Tags is not valid. Reason: " + err.Error())
				}
				return nil
			})
		})
		return err
	}
	return a.changeRule(r.Context(), who, at.bus, at.rule, func(rule *catalog.Rule) error { return changed(&rule.Tags, checkRuleTags) })
}

var resourceShape = long(1, 1600)

// tagResource serves TagResource of EventBridge.
func (a *API) tagResource(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct {
		ResourceARN *string
		Tags        *[]tag
	}
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	v.required("resourceARN", q.ResourceARN, resourceShape)
	var list []tag
	if q.Tags == nil {
		v.add("tags", nil, "not be null")
	} else {
		list = *q.Tags
	}
	tags, err := tagsOf(v, list)
	if fault := v.fault(); fault != nil {
		return nil, fault
	}
	if err != nil {
		return nil, err
	}
	at, err := a.tagged(r, who, "events:TagResource", *q.ResourceARN)
	if err != nil {
		return nil, err
	}
	return struct{}{}, a.retagEvents(r, who, at, func(own map[string]string) error {
		maps.Copy(own, tags)
		return nil
	})
}

// untagResource serves UntagResource of EventBridge. Keys that are not there are no error.
func (a *API) untagResource(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct {
		ResourceARN *string
		TagKeys     *[]string
	}
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	v.required("resourceARN", q.ResourceARN, resourceShape)
	if q.TagKeys == nil {
		v.add("tagKeys", nil, "not be null")
	} else {
		for i, key := range *q.TagKeys {
			v.text(fmt.Sprintf("tagKeys.%d.member", i+1), &key, long(1, 128))
		}
	}
	if err := v.fault(); err != nil {
		return nil, err
	}
	at, err := a.tagged(r, who, "events:UntagResource", *q.ResourceARN)
	if err != nil {
		return nil, err
	}
	return struct{}{}, a.retagEvents(r, who, at, func(own map[string]string) error {
		for _, key := range *q.TagKeys {
			delete(own, key)
		}
		return nil
	})
}

// listTagsForResource serves ListTagsForResource of EventBridge.
func (a *API) listTagsForResource(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct{ ResourceARN *string }
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	v.required("resourceARN", q.ResourceARN, resourceShape)
	if err := v.fault(); err != nil {
		return nil, err
	}
	at, err := a.tagged(r, who, "events:ListTagsForResource", *q.ResourceARN)
	if err != nil {
		return nil, err
	}
	tags, err := a.tagsAt(r, at)
	if err != nil {
		return nil, err
	}
	list := []map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, map[string]string{"Key": key, "Value": tags[key]})
	}
	return map[string]any{"Tags": list}, nil
}
