package gate

import (
	"context"
	"strings"
)

// A RoleUse is what an event source mapping does in the name of its function's role
// (kafka-auth.md A6, B4).
type RoleUse struct {
	// Role is the ARN of the role, and Session what its session is called: the name of
	// the function.
	Role, Session string
	// Cluster is the ARN of the cluster; empty is klamm's own.
	Cluster string
	// Topic is read in Group. Failures is the topic in the same cluster that records are
	// written to which have failed; empty: none.
	Topic, Group, Failures string
}

// CheckRole says whether a role may do what is done in its name. Where no policy is
// about it, it may: neither the cluster has a policy, nor are there policies beside
// it, nor does a rule name the role. The error is a *Denial, or says why it cannot be
// decided now.
func (a *Authority) CheckRole(ctx context.Context, use RoleUse) error {
	if a.sightless() {
		return errBlind
	}
	l := a.law.Load()
	cluster := l.home.other(use.Cluster)
	if !l.policied && !l.named[use.Role] && !l.ruled[cluster] {
		return nil
	}
	q := &question{law: l, call: &Call{Principal: sessionOf(use.Role, use.Session), Group: use.Group}}
	if cluster == "" {
		var err error
		if q.cluster, err = a.idOf(ctx, l); err != nil {
			return err
		}
	} else {
		at, ok := placeOf(cluster)
		if !ok {
			return &Error{Invalid, "not the ARN of a cluster: " + clipped(cluster)}
		}
		q.cluster, q.elsewhere = at.id, &at
	}
	q.identity = l.identityOf(&q.call.Principal)
	q.request.Identity, q.request.Context = &q.identity, q
	topic, group := Resource{Kind: "topic", Name: use.Topic}, Resource{Kind: "group", Name: use.Group}
	needs := []need{{Connect, Resource{Kind: "cluster"}}, {DescribeTopic, topic}, {ReadData, topic}, {DescribeGroup, group}, {AlterGroup, group}}
	if use.Failures != "" {
		to := Resource{Kind: "topic", Name: use.Failures}
		needs = append(needs, need{DescribeTopic, to}, need{WriteData, to})
	}
	for _, n := range needs {
		q.call.Action, q.call.Resource = n.Action, n.Resource
		if d := q.require(n.Action, n.Resource); d != nil {
			a.denials.WithLabelValues(string(d.Action)).Inc()
			return d
		}
	}
	return nil
}

// sessionOf is a role's session. It calls from within klamm.
func sessionOf(role, session string) Principal {
	who := principalOfARN(role)
	who.ARN = "arn:aws:sts::" + who.AccountID + ":assumed-role/" + strings.TrimPrefix(who.Name, "User:role/") + "/" + session
	who.Secure = true
	return who
}
