package app

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/front/auth"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// guard makes the gate, with the policies and the audit log that the configuration
// asks for. Where it names neither callers nor what they may do, everybody may do
// everything; guardDoor has seen to it that nobody else can come in.
func (a *App) guard() (err error) {
	var policies []gate.Policy
	if lawful(a.cfg) {
		if a.law, err = gate.NewAuthority(a.lawOf(a.cfg), a.cluster, a.registry, a.log); err != nil {
			return err
		}
		a.policies = gate.NewPolicies(a.law, a.cluster, a.cfg.Kafka.Identity == kafka.IdentityPassthrough, a.log)
		policies = append(policies, a.law)
	}
	if a.roles = a.law; a.roles == nil {
		if a.roles, err = gate.NewAuthority(a.lawOf(a.cfg), a.cluster, nil, a.log); err != nil {
			return err
		}
	}
	a.gate = gate.New(a.cluster, policies...)
	a.gate.Bound(a.cfg.Sizes.RecordsPerRequest())
	a.gate.Stamp(a.cfg.Stamping())
	a.protection = gate.NewProtection(a.cfg.Adaptive, a.registry)
	a.gate.Protect(a.protection)
	a.registry.MustRegister(a.gate.Decisions(), a.gate.Produced())
	a.cluster.WatchPauses(a.protection.Pause)
	if a.audit, err = gate.NewAudit(a.cfg.Audit, a.cluster, a.registry, a.log); err != nil {
		return err
	}
	a.gate.Record(a.audit)
	return nil
}

// lawful says whether policies decide at all.
func lawful(cfg *config.Config) bool {
	return guarded(cfg) || len(cfg.Policies) > 0 || len(cfg.Rules) > 0 || len(cfg.Authorize.RequireGroupsAny) > 0
}

// lawOf is the law of a configuration where callers may also have keys that were
// made at run time.
func (a *App) lawOf(cfg *config.Config) gate.Law {
	law := lawOf(cfg)
	law.Cluster = a.homeARN(cfg)
	inFile := law.Known
	law.Known = func(ctx context.Context, name string) (gate.Principal, bool) {
		who, ok := inFile(ctx, name)
		if keys := a.keys(); !ok && keys != nil {
			return keys.Holder(name)
		}
		return who, ok
	}
	return law
}

// awaitAccess returns when everything is known that decides on calls, or when ctx
// ends: until then calls are answered 503.
func (a *App) awaitAccess(ctx context.Context) {
	if a.policies != nil && a.policies.Await(ctx) != nil {
		return
	}
	if a.law != nil && a.cfg.Kafka.Identity != kafka.IdentityPassthrough {
		select {
		case <-a.defined.store.Opened(): // with the policies of clusters
		case <-ctx.Done():
		}
	}
	if keys := a.keys(); keys != nil {
		_ = keys.Await(ctx)
	}
}

func lawOf(cfg *config.Config) gate.Law {
	// Only who asks for an explanation wants to know, and many callers take much memory.
	people := sync.OnceValue(func() map[string]gate.Principal { return peopleOf(cfg) })
	return gate.Law{
		Account: cfg.AWS.Account, Region: cfg.AWS.Region, Policies: cfg.Policies, Rules: cfg.Rules, Settings: cfg.Authorize,
		Known: func(_ context.Context, name string) (gate.Principal, bool) {
			who, ok := people()[name]
			return who, ok
		},
	}
}

// peopleOf are the callers whom the configuration names, by name and by ARN, as they
// would be when they call.
func peopleOf(cfg *config.Config) map[string]gate.Principal {
	people := map[string]gate.Principal{}
	if cfg.Auth.IAM != nil {
		for _, k := range cfg.Auth.IAM.Keys {
			who := holderOf(k, cfg.AWS.Account)
			people[who.Name], people[who.ARN] = who, who
		}
	}
	if cfg.Auth.APIKeys == nil {
		return people
	}
	for _, k := range cfg.Auth.APIKeys.Keys {
		who := gate.Principal{Name: k.Principal, Groups: slices.Clone(k.Groups), Scheme: gate.SchemeAPIKey}
		if who.Name == "" {
			who.Name = "User:" + k.Name
		}
		if _, ok := people[who.Name]; !ok {
			people[who.Name] = who
		}
	}
	return people
}

// holderOf is the caller who has an access key.
func holderOf(k auth.AccessKey, account string) gate.Principal {
	if k.AccountID != "" {
		account = k.AccountID
	}
	who := gate.Principal{
		Name: k.Principal, Groups: slices.Clone(k.Groups), Scheme: gate.SchemeSigV4, AccountID: account, Tags: k.Tags,
		ARN: "arn:aws:iam::" + account + ":user/" + k.User,
	}
	name := k.User
	if k.Role != "" {
		name = "role/" + k.Role
		who.RoleARN = "arn:aws:iam::" + account + ":role/" + k.Role
		who.ARN = "arn:aws:sts::" + account + ":assumed-role/" + k.Role + "/" + k.SessionName
	}
	if who.Name == "" {
		who.Name = "User:" + name
	}
	return who
}

// explain says what the gate would decide.
func (a *App) explain(ctx context.Context, ask gate.Question) (gate.Explanation, error) {
	if a.law == nil {
		return ExplainAccess(ctx, a.cfg, ask)
	}
	return a.law.Explain(ctx, ask)
}

// ExplainAccess says by a configuration alone what would be decided, and by which
// statement. The id of the cluster is not known then: policies that name it match
// nothing. A question that makes no sense is an error of kind Invalid.
func ExplainAccess(ctx context.Context, cfg *config.Config, ask gate.Question) (gate.Explanation, error) {
	authority, err := gate.NewAuthority(lawOf(cfg), nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return gate.Explanation{}, err
	}
	e, err := authority.Explain(ctx, ask)
	if err == nil && !lawful(cfg) {
		e.Decision, e.Reason, e.Policy, e.Sid, e.Needs = "allow", "", "built-in", "Everybody", nil
	}
	return e, err
}

// shownRules is how many rules and policies DescribeAccess names.
const shownRules = 10

// DescribeAccess says in a few lines, for people, how callers of a configuration show
// who they are and what they may do; nil: everybody may do everything. What is made
// at run time comes on top.
func DescribeAccess(cfg *config.Config) []string {
	if !lawful(cfg) {
		return nil
	}
	lines := []string{"Callers show who they are by " + waysIn(cfg) + "."}
	var who []string
	for _, r := range cfg.Rules {
		verb, words := "may", r.Can
		if len(r.Deny) > 0 {
			verb, words = "may not", r.Deny
		}
		line := strings.Join(r.Who, ", ") + " " + verb + " " + strings.Join(words, ", ")
		for _, on := range []struct {
			what string
			list []string
		}{{"topics", r.Topics}, {"groups", r.Groups}} {
			if len(on.list) > 0 {
				line += "; " + on.what + " " + strings.Join(on.list, ", ")
			}
		}
		if len(r.ExceptTopics) > 0 {
			line += "; but not topics " + strings.Join(r.ExceptTopics, ", ")
		}
		who = append(who, line)
	}
	for _, p := range cfg.Policies {
		who = append(who, strings.Join(p.Attach, ", ")+": "+p.Kind+" policy "+strconv.Quote(p.Name))
	}
	switch {
	case len(who) == 0 && len(cfg.Authorize.RequireGroupsAny) > 0:
		who = []string{"members of " + strings.Join(cfg.Authorize.RequireGroupsAny, ", ") + " may do everything"}
	case len(who) == 0:
		who = []string{"nobody may do anything: there are neither rules nor policies in the file"}
	case len(who) > shownRules:
		who = append(who[:shownRules], "and "+strconv.Itoa(len(who)-shownRules)+" more; klamm policy list shows all")
	}
	return append(lines, who...)
}

// waysIn lists the schemes by which callers can log in.
func waysIn(cfg *config.Config) string {
	var ways []string
	for _, way := range []struct {
		there bool
		name  string
	}{
		{cfg.Auth.IAM != nil, "signed requests"}, {len(cfg.Auth.JWT) > 0 || cfg.Auth.Introspect != nil, "tokens"},
		{asksClients(cfg), "client certificates"},
		{cfg.Auth.Basic != nil, "passwords"}, {cfg.Auth.APIKeys != nil, "API keys"}, {len(cfg.Auth.Authorizers) > 0, "HTTP authorizers"}, {cfg.Auth.Anonymous, "nothing at all"},
	} {
		if way.there {
			ways = append(ways, way.name)
		}
	}
	if ways == nil {
		return "nothing: there is no way in"
	}
	return strings.Join(ways, ", ")
}
