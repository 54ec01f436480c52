package gate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/iam"
)

// A Rule is an entry of the rules section, for who does not want policy documents
// (gateway-policies.md 2.7). It is made into one.
type Rule struct {
	// Who lists callers: User:NAME, group:ID, role:NAME, scope:NAME, anonymous, an ARN,
	// or * for everybody.
	Who []string `yaml:"who" json:"who,omitempty"`
	// Can lists what they can do: produce, consume, describe, admin (everything that
	// can be done to a topic) or all (klamm's own administration included).
	Can []string `yaml:"can" json:"can,omitempty"`
	// Deny lists what they can not do, whatever else allows it: only the main action of
	// each word is denied. A rule has either can or deny.
	Deny []string `yaml:"deny" json:"deny,omitempty"`
	// Topics are patterns of names, in which * is any text and ? one character. What
	// is not listed is not meant.
	Topics []string `yaml:"topics" json:"topics,omitempty"`
	// Groups are patterns of consumer groups.
	Groups []string `yaml:"groups" json:"groups,omitempty"`
	// ExceptTopics are patterns of topics to which the rule's callers are denied what
	// the rule gives them, also where another rule gives it.
	ExceptTopics []string `yaml:"except_topics" json:"except_topics,omitempty"`
	// Internal lets a rule with admin reach also topics whose names begin with __, to
	// which nobody else may write.
	Internal bool `yaml:"internal" json:"internal,omitempty"`
}

// A word is what a word of can and deny stands for.
type word struct {
	topic, group []string // actions on them
	main         []string // those that deny and except_topics are about
}

var words = map[string]word{
	"produce":  {topic: []string{"WriteData", "DescribeTopic"}, main: []string{"WriteData"}},
	"consume":  {topic: []string{"ReadData", "DescribeTopic"}, group: []string{"AlterGroup", "DescribeGroup"}, main: []string{"ReadData", "AlterGroup"}},
	"describe": {topic: []string{"DescribeTopic"}, group: []string{"DescribeGroup"}, main: []string{"DescribeTopic", "DescribeGroup"}},
	"admin":    {topic: []string{"*"}, main: []string{"*"}},
	"all":      {topic: []string{"*"}, group: []string{"*"}, main: []string{"*"}},
}

// Validate reports what is wrong with the rule.
func (r Rule) Validate(report func(path, problem string)) {
	if len(r.Who) == 0 {
		report("who", "a rule needs callers")
	}
	for i, who := range r.Who {
		if err := iam.CheckAttach(iam.Identities, who); err != nil {
			report(fmt.Sprintf("who[%d]", i), err.Error())
		}
	}
	if (len(r.Can) == 0) == (len(r.Deny) == 0) {
		report("can", "a rule has either can or deny")
	}
	for name, list := range map[string][]string{"can": r.Can, "deny": r.Deny} {
		for i, w := range list {
			if _, ok := words[w]; !ok {
				report(fmt.Sprintf("%s[%d]", name, i), fmt.Sprintf("%q: want produce, consume, describe, admin or all", w))
			}
		}
	}
	if len(r.Topics)+len(r.Groups) == 0 {
		report("topics", "a rule needs topics or groups")
	}
	for name, list := range map[string][]string{"topics": r.Topics, "groups": r.Groups, "except_topics": r.ExceptTopics} {
		for i, pattern := range list {
			if pattern == "" || len(pattern) > 512 {
				report(fmt.Sprintf("%s[%d]", name, i), "want a name or a pattern, of at most 512 bytes")
			}
		}
	}
	if len(r.Deny) > 0 && len(r.ExceptTopics) > 0 {
		report("except_topics", "a rule that denies has no exceptions")
	}
	if r.Internal && !slices.Contains(r.Can, "admin") {
		report("internal", "only admin reaches internal topics")
	}
}

// ruleName is a rule's name as a policy.
func ruleName(i int) string { return fmt.Sprintf("rules[%d]", i) }

// A part is a statement of a rule, as JSON. Effect and the rest are named so by
// IAM.
type part struct {
	Sid, Effect string
	Action      []string
	Resource    []string
}

// compile makes the rule a policy that is attached to its callers.
func (r Rule) compile(name string) (*iam.Policy, error) {
	var parts []part
	for _, w := range r.Can {
		parts = append(parts, r.allow(w)...)
		if len(r.ExceptTopics) > 0 {
			parts = append(parts, on("Deny", "except_topics", words[w].main, "topic", r.ExceptTopics)...)
		}
	}
	for _, w := range r.Deny {
		parts = append(parts, on("Deny", w, words[w].main, "topic", r.Topics)...)
		parts = append(parts, on("Deny", w, words[w].main, "group", r.Groups)...)
	}
	text, err := json.Marshal(struct {
		Version   string
		Statement []part
	}{"2008-10-17", parts}) // in which ${ is nothing special
	if err != nil {
		return nil, err
	}
	d, err := iam.Parse(text, iam.Identities)
	if err != nil {
		return nil, err
	}
	return &iam.Policy{Name: name, Kind: iam.Identities, Attach: r.Who, Document: d}, nil
}

// allow is what a word of can allows.
func (r Rule) allow(w string) []part {
	parts := on("Allow", w, words[w].topic, "topic", r.Topics)
	parts = append(parts, on("Allow", w, words[w].group, "group", r.Groups)...)
	connect := part{w, "Allow", []string{string(Connect)}, []string{"cluster:*"}}
	if w == "all" {
		connect.Action = []string{"kafka-cluster:*"}
		connect.Resource = append(connect.Resource, "transactional-id:*")
		parts = append(parts, part{w, "Allow", []string{"klamm:*", "execute-api:*", "pipes:*", "events:*", "lambda:*", "kafka:*", "schemas:*"}, []string{"*"}})
	}
	return append(parts, connect)
}

// on is one statement about resources of a kind; none if there are no patterns or
// no actions.
func on(effect, sid string, actions []string, kind string, patterns []string) []part {
	p := part{Sid: sid, Effect: effect}
	for _, a := range actions {
		if strings.HasSuffix(a, "Group") == (kind == "group") || a == "*" {
			p.Action = append(p.Action, "kafka-cluster:"+a)
		}
	}
	for _, pattern := range patterns {
		p.Resource = append(p.Resource, kind+":"+pattern)
	}
	if len(p.Action) == 0 || len(p.Resource) == 0 {
		return nil
	}
	return []part{p}
}
