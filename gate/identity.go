package gate

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"golang.org/x/time/rate"

	"github.com/klamm-gateway/klamm/kafka"
)

// As returns the principal as one whose calls are made in another way than the
// configuration says: kafka.IdentityGateway, kafka.IdentityMapped or
// kafka.IdentityPassthrough; "" is as the configuration says.
func (p Principal) As(identity string) Principal {
	p.identity = identity
	return p
}

// WithCaller returns the principal with a credential that can be shown to Kafka in
// its place. It is not passed on to other processes.
func (p Principal) WithCaller(c *kafka.Caller) Principal {
	p.caller = c
	return p
}

// identities say with which clients a call is made (gateway-policies.md 1.9).
type identities struct {
	clients *kafka.Identities
	usual   string // what the configuration says
	mapped  []kafka.Mapped
	log     *slog.Logger
	quiet   *rate.Limiter // of log lines
}

// Identify makes calls in the name of callers, as the configuration of the cluster
// says. It has to be called before the gate is used. The clients still have to be
// closed by who made them.
func (g *Gate) Identify(clients *kafka.Identities, cfg kafka.Config, log *slog.Logger) {
	g.identities = &identities{clients: clients, usual: cfg.Identity, mapped: cfg.Mapped, log: log, quiet: rate.NewLimiter(1, 10)}
}

// as returns the cluster as the caller sees it: logged in to as klamm itself, or as
// somebody else. It serves as long as ctx lasts. Errors are those of Identities.As,
// and one of kind Denied where a caller has nothing to show.
func (g *Gate) as(ctx context.Context, who *Principal) (*kafka.Cluster, error) {
	if g.direct(who) {
		return g.cluster, nil
	}
	c, done, err := g.borrow(ctx, who)
	if err != nil {
		return nil, err
	}
	if ctx.Done() == nil { // it never ends; five minutes have to be enough
		done()
	} else {
		context.AfterFunc(ctx, done)
	}
	return c, nil
}

func nothing() {}

// Reach makes calls of stages that stand before other clusters go there. It has to be
// called before the gate is used. The clients still have to be closed by who made them.
func (g *Gate) Reach(further map[string]*kafka.Cluster) { g.further = further }

// direct says whether a caller's calls go to klamm's own cluster as klamm itself.
func (g *Gate) direct(who *Principal) bool { return who.Cluster == "" && g.gateway(who) }

// gateway says whether a caller's calls are made as klamm itself.
func (g *Gate) gateway(who *Principal) bool {
	return g.identities == nil || g.identities.of(who) == kafka.IdentityGateway
}

// of says in which way a caller's calls are made.
func (by *identities) of(who *Principal) string {
	switch {
	case who.identity != "":
		return who.identity
	case by.usual != "":
		return by.usual
	}
	return kafka.IdentityGateway
}

// borrow is as for longer than a call; done has to be called at the end.
func (g *Gate) borrow(ctx context.Context, who *Principal) (c *kafka.Cluster, done func(), err error) {
	switch {
	case g.direct(who):
		return g.cluster, nothing, nil
	case who.Cluster != "":
		c, err = g.beyond(who)
		return c, nothing, err
	}
	by := g.identities
	switch by.of(who) {
	case kafka.IdentityMapped:
		n := slices.IndexFunc(by.mapped, func(m kafka.Mapped) bool { return concerns(m.Who, who) })
		if who.GroupsFailed && mayConcern(by.mapped, n) {
			return nil, nil, ErrGroups
		}
		if n < 0 {
			return nil, nil, &Error{Denied, "no Kafka credentials are mapped to this caller"}
		}
		if c, done, err = by.clients.AsMapped(ctx, n); err != nil {
			return nil, nil, by.failed(ctx, n, err)
		}
		return c, done, nil
	case kafka.IdentityPassthrough:
		if who.caller == nil {
			return nil, nil, &Error{Denied, "these credentials cannot be passed on to Kafka: log in with a user name and a password, or with a bearer token"}
		}
		c, done, err = by.clients.As(ctx, *who.caller)
		return c, done, tooMany(err)
	}
	return nil, nil, &Error{Internal, "there is no identity towards Kafka of that kind"}
}

// beyond returns the further cluster that the stage of a caller stands before.
func (g *Gate) beyond(who *Principal) (*kafka.Cluster, error) {
	if !g.gateway(who) {
		return nil, &Error{Denied, "credentials of callers are not passed on to this stage's cluster"}
	}
	c := g.further[who.Cluster]
	if c == nil {
		return nil, &Error{Unavailable, "this stage's cluster is not known to this klamm process: kafka.clusters counts when it is started"}
	}
	return c, nil
}

// tooMany is 503 rather than a fault of klamm's.
func tooMany(err error) error {
	if errors.Is(err, kafka.ErrTooMany) {
		return &Error{Unavailable, err.Error()}
	}
	return err
}

// failed is the error of a mapped credential, which is not the caller's business.
func (by *identities) failed(ctx context.Context, n int, err error) error {
	if ctx.Err() != nil || errors.Is(err, kafka.ErrTooMany) {
		return tooMany(err)
	}
	if by.quiet.Allow() {
		by.log.Warn("cannot log in to Kafka for a mapped caller", "mapped", n, "err", err)
	}
	return &Error{Unavailable, "klamm cannot log in to Kafka for this caller now"}
}

// concerns says whether one of some names is the caller's.
func concerns(names []string, who *Principal) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		switch {
		case name == "*", name == who.Name, who.ARN != "" && name == who.ARN, who.RoleARN != "" && name == who.RoleARN:
			return true
		case len(name) > len("group:") && name[:len("group:")] == "group:":
			return slices.Contains(who.Groups, name[len("group:"):])
		}
		return false
	})
}

// mayConcern says whether an entry before n, or any if n is negative, is a group's: it might
// be that of a caller whose groups cannot be looked up.
func mayConcern(all []kafka.Mapped, n int) bool {
	if n >= 0 {
		all = all[:n]
	}
	return slices.ContainsFunc(all, func(m kafka.Mapped) bool {
		return slices.ContainsFunc(m.Who, func(name string) bool { return strings.HasPrefix(name, "group:") })
	})
}

// Login asks the brokers whether they take a caller's credential, unless they have
// done so within the last five minutes, and keeps the caller logged in as long as ctx
// lasts. ErrBadLogin says that they do not take it; any other error that they cannot
// be asked.
func (g *Gate) Login(ctx context.Context, caller kafka.Caller) error {
	if g.identities == nil {
		return &Error{Internal, "credentials cannot be passed on: there is nobody to log in"}
	}
	_, done, err := g.identities.clients.As(ctx, caller)
	switch {
	case err == nil:
		context.AfterFunc(ctx, done)
		return nil
	case errors.Is(err, kerr.SaslAuthenticationFailed), errors.Is(err, kafka.ErrCaller):
		return ErrBadLogin
	}
	return tooMany(err)
}

// ErrBadLogin says that Kafka does not take a caller's credential.
var ErrBadLogin = &Error{Unauthenticated, "Kafka does not take these credentials"}

// A loan is the cluster as the owner of a consumer instance sees it. The zero value
// is klamm's own.
type loan struct {
	cluster *kafka.Cluster
	done    func()
}

// lend gives an instance the cluster as its owner sees it, for as long as it lives. A
// newer credential of the same owner takes the place of the one that it has; a call
// that was passed on brings none, and does not need it.
func (g *Gate) lend(ctx context.Context, c *consumer, who *Principal) error {
	c.mu.Lock()
	has, owner, at, over := c.loan.cluster != nil, c.definition.Owner, c.definition.Cluster, c.cause != nil
	c.mu.Unlock()
	switch {
	case at != who.Cluster:
		return ErrNoConsumer
	case g.direct(who):
		return nil
	}
	if over || owner != who.Name || has && who.caller == nil {
		return nil
	}
	cluster, done, err := g.borrow(ctx, who)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.cause != nil: // it has ended meanwhile, and given back what it had
		done()
	case c.loan.cluster == nil:
		c.loan = loan{cluster, done}
	default:
		if c.loan.cluster != cluster && who.caller != nil {
			c.loan.cluster.Renew(*who.caller)
		}
		done()
	}
	return nil
}

// repay ends the loan of an instance that has ended.
func (c *consumer) repay() {
	c.mu.Lock()
	done := c.loan.done
	c.loan.done = nil
	c.mu.Unlock()
	if done != nil {
		done()
	}
}

// cluster is the cluster as the instance's owner sees it.
func (u *Consumer) cluster() *kafka.Cluster {
	u.c.mu.Lock()
	defer u.c.mu.Unlock()
	if u.c.loan.cluster != nil {
		return u.c.loan.cluster
	}
	return u.gate.cluster
}

// tailsFor returns the tails of the cluster as a caller sees it: only who is logged in
// to by the same credential shares what is read.
func (s *Streams) tailsFor(ctx context.Context, who *Principal) (*kafka.Tails, error) {
	if s.gate.direct(who) {
		return s.tails, nil
	}
	cluster, err := s.gate.as(ctx, who)
	if err != nil {
		return nil, err
	}
	return cluster.Tails(), nil
}
