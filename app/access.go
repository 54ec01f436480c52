package app

import (
	"context"
	"log/slog"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/front/auth"
	"github.com/klamm-gateway/klamm/gate"
)

// guard makes the gate, with the policies and the audit log that the configuration
// asks for. Where it names neither callers nor what they may do, everybody may do
// everything; guardDoor has seen to it that nobody else can come in.
func (a *App) guard(metrics prometheus.Registerer) (err error) {
	var policies []gate.Policy
	if lawful(a.cfg) {
		if a.law, err = gate.NewAuthority(lawOf(a.cfg), a.cluster, metrics, a.log); err != nil {
			return err
		}
		policies = append(policies, a.law)
	}
	a.gate = gate.New(a.cluster, policies...)
	if a.cfg.Audit.File == "" {
		return nil
	}
	if a.audit, err = gate.NewAudit(a.cfg.Audit, metrics, a.log); err != nil {
		return err
	}
	a.gate.Record(a.audit)
	return nil
}

// lawful says whether policies decide at all.
func lawful(cfg *config.Config) bool {
	return guarded(cfg) || len(cfg.Policies) > 0 || len(cfg.Rules) > 0 || len(cfg.Authorize.RequireGroupsAny) > 0
}

func lawOf(cfg *config.Config) gate.Law {
	people := peopleOf(cfg)
	return gate.Law{
		Account: cfg.AWS.Account, Region: cfg.AWS.Region, Policies: cfg.Policies, Rules: cfg.Rules, Settings: cfg.Authorize,
		Known: func(_ context.Context, name string) (gate.Principal, bool) {
			who, ok := people[name]
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
