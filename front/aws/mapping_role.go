package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/pipe"
)

// A notAllowed is the error of a mapping whose function's role may not read what it is
// to read.
type notAllowed struct{ denial error }

func (e *notAllowed) Error() string { return "as the role of its function: " + e.denial.Error() }
func (e *notAllowed) Unwrap() error { return e.denial }

// An undecided is the error of a mapping of which nobody can say now whether it may.
type undecided struct{ err error }

func (e *undecided) Error() string {
	return "it cannot be decided what the role may do: " + e.err.Error()
}
func (e *undecided) Unwrap() error { return e.err }

// mayRead says whether the role of a mapping's function may do what the mapping does
// (kafka-auth.md A6, B4): a *notAllowed, or why that cannot be said now, an *undecided. Credentials of
// the mapping's own are another matter, which the brokers decide.
func (a *API) mayRead(ctx context.Context, b *mappingBody, p *catalog.Pipe) error {
	if a.cfg.Authority == nil || p.SourceLogin != nil && p.SourceLogin.Auth != "" {
		return nil
	}
	role, err := a.roleOf(b.Function)
	if err != nil || role == "" {
		return err
	}
	cluster, known := a.clusterOfMapping(b)
	if !known {
		return nil // nobody has policies for it
	}
	use := gate.RoleUse{Role: role, Session: b.Function, Cluster: cluster, Topic: p.Topics[0], Group: p.Group, Failures: p.Envelope.FailureTopic}
	err = a.cfg.Authority.CheckRole(ctx, use)
	if err != nil && gate.DenialOf(err) != nil {
		return &notAllowed{err}
	}
	if err != nil {
		a.decideAgain()
		return &undecided{err}
	}
	return nil
}

// roleOf returns the role of a function; empty: it stands in the configuration file,
// where functions have none.
func (a *API) roleOf(function string) (string, error) {
	doc, ok := a.cfg.Store.Look(catalog.KindFunction, function)
	if !ok {
		return "", nil
	}
	var f catalog.Function
	if err := json.Unmarshal(doc.Body, &f); err != nil {
		return "", fmt.Errorf("function %q cannot be read: %w", function, err)
	}
	return f.Role, nil
}

// clusterOfMapping returns the ARN of the cluster that a mapping reads; empty is
// klamm's own, and false one that klamm knows nothing of.
func (a *API) clusterOfMapping(b *mappingBody) (arn string, known bool) {
	d := &b.Mapping
	name := ""
	if d.EventSourceArn == nil {
		own, cluster := a.clusterByBrokers(d.servers())
		if own || b.Own {
			return "", true
		}
		name = cluster
	} else {
		m := clusterArn.FindStringSubmatch(*d.EventSourceArn)
		if m != nil && m[1] == gate.OwnCluster {
			return "", true
		}
		if m != nil {
			name = m[1]
		}
		for _, c := range a.cfg.Clusters {
			if slices.Contains(c.ARNs, *d.EventSourceArn) {
				name = c.Name
			}
		}
	}
	for _, c := range a.cfg.Clusters {
		if c.Name == name {
			return a.arnOf(&c), true
		}
	}
	return "", false
}

// arnOf is the ARN of one of kafka.clusters: the first that it is given; without, it is
// made of that of a VPC connection, or of klamm's account and its name.
func (a *API) arnOf(c *Cluster) string {
	id := "-"
	for _, arn := range c.ARNs {
		parts := strings.SplitN(arn, ":", 6)
		path := strings.Split(parts[len(parts)-1], "/")
		switch {
		case path[0] == "cluster" && len(path) == 3 && len(parts[4]) == 12:
			return arn
		case path[0] == "vpc-connection":
			id = path[len(path)-1]
		}
	}
	return "arn:aws:kafka:" + a.cfg.Region + ":" + a.cfg.Account + ":cluster/" + c.Name + "/" + id
}

// isWaiting says whether a definition waits for policies to let it run.
func isWaiting(err error) bool {
	var (
		refused *notAllowed
		open    *undecided
	)
	return errors.As(err, &refused) || errors.As(err, &open)
}

// waitingResult is what the API says of a mapping that waits so.
func waitingResult(err error) pipe.MappingResult {
	if gate.DenialOf(errors.Unwrap(err)) != nil {
		return pipe.MappingResult{Reason: "EVENT_SOURCE_AUTHZ_ERROR", Result: "PROBLEM: Cluster failed to authorize Lambda."}
	}
	return pipe.MappingTrouble(err)
}

// decideAgainAfter is the pause before what could not be decided is asked again.
const decideAgainAfter = time.Second

// decideAgain has mappings compiled again after a while.
func (a *API) decideAgain() {
	if !a.deciding.CompareAndSwap(false, true) {
		return
	}
	a.proving.Go(func() {
		select {
		case <-a.ctx.Done():
			return
		case <-time.After(decideAgainAfter):
		}
		a.deciding.Store(false)
		a.cfg.Mappings.Again()
	})
}
