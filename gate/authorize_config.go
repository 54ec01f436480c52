package gate

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/iam"
)

// A Law is what an Authority decides by: the parts of the configuration file that
// say who may do what.
type Law struct {
	// Account and Region are klamm's own in the names of AWS.
	Account, Region string
	Policies        []PolicyConfig
	Rules           []Rule
	Settings        Authorize
	// Cluster is the ARN of klamm's own cluster, arn:aws:kafka:REGION:ACCOUNT:cluster/NAME/ID;
	// empty: it is called klamm, is in klamm's own account, and its id is Kafka's.
	Cluster string
	// Known finds what is known of a caller by name, for Explain; nil: nothing is.
	Known func(ctx context.Context, name string) (Principal, bool)
}

// Authorize is the authorize section of the configuration file.
type Authorize struct {
	// RequireGroupsAny lists ids of groups: callers that are in none of them may not
	// call at all. Where there are neither policies nor rules, the others may do
	// everything.
	RequireGroupsAny []string `yaml:"require_groups_any"`
	// Default decides on calls of routes that no policy is about: deny, which is the
	// default, or authenticated, which lets callers with credentials pass.
	Default string `yaml:"default"`
	// Mode says what a resource policy of a route means for callers with tokens: for
	// table-a, which is the default, it can allow what their own policies do not; for
	// cognito, as API Gateway has it for Cognito, nobody else can.
	Mode string `yaml:"mode"`
	// HideUnauthorized answers, for a topic that the caller may not describe, as if it
	// did not exist; the default is true. Otherwise the answer is 403.
	HideUnauthorized *bool `yaml:"hide_unauthorized"`
	// Strict asks for the actions that Amazon MSK asks for beyond klamm's own:
	// WriteDataIdempotently to produce, and AlterGroup to read without a group.
	Strict bool `yaml:"msk_strict"`
}

func (a *Authorize) hides() bool { return a.HideUnauthorized == nil || *a.HideUnauthorized }

// Validate reports what is wrong with the section.
func (a Authorize) Validate(report func(path, problem string)) {
	if a.Default != "" && a.Default != "deny" && a.Default != "authenticated" {
		report("default", "want deny or authenticated")
	}
	if a.Mode != "" && a.Mode != "table-a" && a.Mode != "cognito" {
		report("mode", "want table-a or cognito")
	}
	if slices.Contains(a.RequireGroupsAny, "") {
		report("require_groups_any", "want ids of groups")
	}
}

// A PolicyConfig is an entry of the policies section: an IAM policy document and
// what it is attached to.
type PolicyConfig struct {
	// Name is shown by klamm access explain and in the audit log.
	Name string `yaml:"name"`
	// Kind is identity, resource or boundary.
	Kind string `yaml:"kind"`
	// Attach lists callers, for identity and boundary: User:NAME, group:ID, role:NAME,
	// scope:NAME, key:ID, anonymous, the ARN of an IAM user, role or session, or * for
	// everybody. For resource it lists what is called: gateway, stage:NAME,
	// execute-api:/STAGE/METHOD/PATH, cluster, topic:PATTERN, group:PATTERN, or an ARN.
	Attach []string `yaml:"attach"`
	// Document is the policy document: Version and Statement, in IAM's JSON.
	Document json.RawMessage `yaml:"document"`
}

// Validate reports what is wrong with the policy.
func (p PolicyConfig) Validate(report func(path, problem string)) {
	name := func(problem string) string { return fmt.Sprintf("policy %q: %s", p.Name, problem) }
	if p.Name == "" {
		report("name", "a policy needs a name")
	}
	kind := iam.Kind(p.Kind)
	if kind != iam.Identities && kind != iam.Resources && kind != iam.Boundaries {
		report("kind", name("want identity, resource or boundary"))
		return
	}
	if len(p.Attach) == 0 {
		report("attach", name("a policy that is attached to nothing does nothing"))
	}
	for i, to := range p.Attach {
		if err := iam.CheckAttach(kind, to); err != nil {
			report(fmt.Sprintf("attach[%d]", i), name(err.Error()))
		}
	}
	if len(p.Document) == 0 {
		report("document", name("a policy needs a document"))
	} else if _, err := iam.Parse(p.Document, kind); err != nil {
		report("document", name(err.Error()))
	}
}

func (p PolicyConfig) compile() (*iam.Policy, error) {
	d, err := iam.Parse(p.Document, iam.Kind(p.Kind))
	if err != nil {
		return nil, fmt.Errorf("policy %q: %w", p.Name, err)
	}
	return &iam.Policy{Name: p.Name, Kind: iam.Kind(p.Kind), Attach: p.Attach, Document: d}, nil
}

// Warnings says what in the document is allowed but probably not meant, each with its
// statement; nothing about a document that is not valid.
func (p PolicyConfig) Warnings() []string {
	one, err := p.compile()
	if err != nil {
		return nil
	}
	return one.Document.Warnings()
}

// A warning is what is odd about a policy.
type warning struct{ policy, text string }

// statutes are the policies and rules of the file, compiled.
type statutes struct {
	Law
	all      []*iam.Policy
	internal []*iam.Policy // those by which callers may write to internal topics
	warnings []warning
}

// compile reads the documents.
func (cfg Law) compile() (*statutes, error) {
	s := &statutes{Law: cfg}
	for _, p := range cfg.Policies {
		one, err := p.compile()
		if err != nil {
			return nil, err
		}
		for _, text := range one.Document.Warnings() {
			s.warnings = append(s.warnings, warning{p.Name, text})
		}
		s.all = append(s.all, one)
	}
	for i, r := range cfg.Rules {
		one, err := r.compile(ruleName(i))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ruleName(i), err)
		}
		s.all = append(s.all, one)
		if r.Internal {
			s.internal = append(s.internal, one)
		}
	}
	if len(cfg.Policies) == 0 && len(cfg.Rules) == 0 && len(cfg.Settings.RequireGroupsAny) > 0 {
		member, err := membersMay()
		if err != nil {
			return nil, err
		}
		s.all = append(s.all, member)
	}
	return s, nil
}

// has says whether the file has a policy of a name.
func (s *statutes) has(name string) bool {
	return slices.ContainsFunc(s.Policies, func(p PolicyConfig) bool { return p.Name == name })
}

// with makes a law of the file and of what was made at run time; of two policies of
// one name, the file's counts.
func (s *statutes) with(made []*madePolicy, clusters map[string]*clusterPolicy) (*law, error) {
	l := &law{
		names: names{s.Account, s.Region}, home: s.homeOf(), open: len(s.Policies) == 0, policied: len(s.Policies) > 0, settings: s.Settings, known: s.Known,
		named: map[string]bool{}, ruled: map[string]bool{},
	}
	for _, r := range s.Rules {
		l.name(r.Who)
	}
	all, internal := slices.Clip(s.all), slices.Clip(s.internal)
	for _, m := range made {
		if s.has(m.Name) {
			continue
		}
		all = append(all, m.policy)
		if m.Rule == nil {
			l.policied = true
			continue
		}
		l.name(m.Rule.Who)
		if m.Rule.Internal {
			internal = append(internal, m.policy)
		}
	}
	for name, c := range clusters {
		all = append(all, c.compile(name, &l.home))
		l.ruled[l.home.other(c.arn)] = true
	}
	var err error
	if l.set, err = iam.NewSet(s.Account, all); err == nil {
		l.internal, err = iam.NewSet(s.Account, internal)
	}
	l.groups = groupsOf(all, s.Settings)
	return l, err
}

// name notes the ARNs that a rule names.
func (l *law) name(who []string) {
	for _, one := range who {
		if strings.HasPrefix(one, "arn:") {
			l.named[one] = true
		}
	}
}

// membersMay is the policy where nothing but membership in a group is asked.
func membersMay() (*iam.Policy, error) {
	d, err := iam.Parse([]byte(`{"Version":"2012-10-17","Statement":{"Sid":"Members","Effect":"Allow","Action":"*","Resource":"*"}}`), iam.Identities)
	return &iam.Policy{Name: "authorize", Kind: iam.Identities, Attach: []string{"*"}, Document: d}, err
}

// groupsOf lists the groups that somebody mentions.
func groupsOf(all []*iam.Policy, settings Authorize) []string {
	groups := slices.Clone(settings.RequireGroupsAny)
	for _, p := range all {
		for _, to := range p.Attach {
			if id, ok := strings.CutPrefix(to, "group:"); ok && p.Kind != iam.Resources {
				groups = append(groups, id)
			}
		}
		groups = append(groups, p.Document.Groups()...)
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}
