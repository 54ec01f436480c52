package iam

import (
	"fmt"
	"slices"
	"strings"
)

// names of the actions that klamm knows, by what they can be done to
// (gateway-policies.md 2.2, 2.6). A mask of all of them has to fit 64 bits.
var names = map[string][]string{
	"route": {"execute-api:Invoke", "execute-api:InvalidateCache", "execute-api:ManageConnections"},
	"cluster": {
		"kafka-cluster:Connect", "kafka-cluster:DescribeCluster", "kafka-cluster:AlterCluster",
		"kafka-cluster:DescribeClusterDynamicConfiguration", "kafka-cluster:AlterClusterDynamicConfiguration",
		"kafka-cluster:WriteDataIdempotently",
	},
	"topic": {
		"kafka-cluster:CreateTopic", "kafka-cluster:DescribeTopic", "kafka-cluster:AlterTopic", "kafka-cluster:DeleteTopic",
		"kafka-cluster:DescribeTopicDynamicConfiguration", "kafka-cluster:AlterTopicDynamicConfiguration",
		"kafka-cluster:ReadData", "kafka-cluster:WriteData",
	},
	"group":            {"kafka-cluster:DescribeGroup", "kafka-cluster:AlterGroup", "kafka-cluster:DeleteGroup"},
	"transactional-id": {"kafka-cluster:DescribeTransactionalId", "kafka-cluster:AlterTransactionalId"},
	"klamm":            {"klamm:SubscribeStream", "klamm:CreateConsumer", "klamm:ValidateOnly", "klamm:AdminRead", "klamm:AdminWrite"},
}

// foreign are the services of the AWS APIs that klamm speaks: their actions are
// not listed here.
var foreign = []string{"kafka", "lambda", "events", "pipes", "logs", "sqs", "s3", "tag", "scheduler", "schemas"}

var known, knownKinds = list()

// list sorts the known actions, so that each has its bit.
func list() (all []Action, kinds map[string]string) {
	kinds = map[string]string{}
	var texts []string
	for kind, of := range names {
		for _, name := range of {
			texts = append(texts, name)
			kinds[strings.ToLower(name)] = kind
		}
	}
	slices.Sort(texts)
	for i, name := range texts {
		all = append(all, Action{name: name, lower: strings.ToLower(name), bit: 1 << i})
	}
	if len(all) > 64 {
		panic("iam: more actions than a mask has bits")
	}
	return all, kinds
}

// An Action is something that can be done, such as kafka-cluster:ReadData. The
// zero value is none, and nothing allows it.
type Action struct {
	name, lower string
	bit         uint64 // 0: klamm does not know it, and its name is compared
}

// ParseAction returns the action of a name, whose case does not matter. Names of
// the services execute-api, kafka-cluster and klamm have to be known; those of the
// AWS APIs that klamm speaks only have to be well-formed.
func ParseAction(name string) (Action, error) {
	lower := strings.ToLower(name)
	for _, a := range known {
		if a.lower == lower {
			return a, nil
		}
	}
	service, verb, ok := strings.Cut(lower, ":")
	if !ok || !slices.Contains(foreign, service) || verb == "" || len(name) > 128 || strings.Trim(verb, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return Action{}, fmt.Errorf("there is no action %q; an action is such as kafka-cluster:WriteData", clip(name))
	}
	return Action{name: name, lower: lower}, nil
}

// String returns the action's name.
func (a Action) String() string { return a.name }

// actions are the patterns of an Action or NotAction element.
type actions struct {
	mask uint64     // the known actions that match
	rest []*pattern // lower case, for the others
}

// add adds a pattern: service:verb, of which only the verb may have wildcards, or
// a lone "*".
func (a *actions) add(text string) error {
	service, verb, ok := strings.Cut(text, ":")
	switch {
	case text == "*":
	case !ok:
		return fmt.Errorf("%q: want SERVICE:ACTION, such as kafka-cluster:ReadData, or *", clip(text))
	case strings.ContainsAny(service, "*?"):
		return fmt.Errorf("%q: the part before the colon cannot have wildcards", clip(text))
	case service == "" || verb == "":
		return fmt.Errorf("%q: want SERVICE:ACTION, such as kafka-cluster:ReadData", clip(text))
	}
	p := compilePattern(strings.ToLower(text), false)
	for _, k := range known {
		if p.match(k.lower, nil) {
			a.mask |= k.bit
		}
	}
	a.rest = append(a.rest, p)
	return nil
}

// match says whether a pattern matches an action that klamm does not know.
func (a *actions) match(x *Action) bool {
	for _, p := range a.rest {
		if x.lower != "" && p.match(x.lower, nil) {
			return true
		}
	}
	return false
}

// clip bounds what of a document's own words goes into a message.
func clip(s string) string {
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
