package kafka

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// The values of Config.Identity.
const (
	IdentityGateway     = "gateway"
	IdentityMapped      = "mapped"
	IdentityPassthrough = "passthrough"
)

// A Mapped is whom calls of some callers are made as.
type Mapped struct {
	// Who are callers, such as User:alice, and groups, such as group:ingest; * is
	// everybody.
	Who []string `yaml:"who"`
	// Auth is how they log in; the default is what fits to the credentials: mtls,
	// scram-512 or iam.
	Auth string `yaml:"auth"`
	// Credentials are what is shown for them.
	Credentials *Credentials `yaml:"credentials"`
}

// login is a mapped login to the same brokers.
func (m Mapped) login(of Config) Login {
	return Login{Auth: m.Auth, Credentials: m.Credentials, RootCA: of.RootCA, AllowInsecure: of.AllowInsecure}
}

// validateIdentity reports what is wrong with as whom calls are made.
func (c Config) validateIdentity(report func(path, problem string)) {
	if !slices.Contains([]string{"", IdentityGateway, IdentityMapped, IdentityPassthrough}, c.Identity) {
		report("identity", fmt.Sprintf("unknown identity %q; want gateway, mapped or passthrough", c.Identity))
	}
	if c.Identity == IdentityMapped && len(c.Mapped) == 0 {
		report("mapped", "identity mapped needs at least one entry")
	}
	for i, m := range c.Mapped {
		at := func(path, problem string) { report(fmt.Sprintf("mapped[%d].%s", i, path), problem) }
		if len(m.Who) == 0 {
			at("who", "want callers, as in User:alice or group:ingest")
		}
		if m.Credentials == nil {
			at("credentials", "want what is shown for these callers")
			continue
		}
		m.login(c).validate(at)
	}
}

// A Caller is a caller's own credential, to be shown to the cluster in its place:
// either a user with a password, or a bearer token.
type Caller struct {
	// Principal is the caller's name; two of different names share nothing.
	Principal string
	Username  string
	Password  string
	// Token is for OAUTHBEARER. Expires is when it ends; the zero value is not known.
	Token   string
	Expires time.Time
}

// String keeps the credential out of logs.
func (c Caller) String() string { return "caller " + c.Principal }

// GoString keeps it out of %#v.
func (c Caller) GoString() string { return "kafka.Caller(" + c.Principal + ")" }

// LogValue keeps it out of logs.
func (c Caller) LogValue() slog.Value { return slog.StringValue(c.String()) }

const (
	// mostIdentities bounds the clients that are kept (gateway-policies.md 1.9).
	mostIdentities = 512
	// identityIdle is how long one is kept that nobody uses.
	identityIdle = 5 * time.Minute
	// identityProven is how long the brokers' word counts that a credential is good:
	// after that, the next call logs in anew.
	identityProven = 5 * time.Minute
	// refusedFor is how long a credential that was refused is not tried again.
	refusedFor = 5 * time.Second
	// mostRefused bounds the refused credentials that are remembered.
	mostRefused = 10_000
	// mostOpening bounds the logins under way at a time.
	mostOpening = 32
	// identityGrace is how long records that are under way may take to an identity
	// that is closed.
	identityGrace = 15 * time.Second
)

// ErrTooMany says that as many credentials are in use as can be.
var ErrTooMany = errors.New("too many callers with credentials of their own are connected to Kafka")

// Identities keep a cluster's clients for callers who are not klamm itself: one set
// for each credential, made when it is first used, closed when it has not been used
// for five minutes, when its token ends, or when there are more than 512. Every five
// minutes, and when a connection could not be made, a credential has to be taken by the
// brokers again; one that they refuse is not tried again for five seconds. They are safe for
// concurrent use.
type Identities struct {
	of  *Cluster
	key []byte // of digests
	log *slog.Logger

	opening chan struct{} // held while somebody logs in
	closing sync.WaitGroup
	stop    chan struct{}

	mu      sync.Mutex // guards what follows
	all     map[identityKey]*identity
	refused map[identityKey]refusal
	closed  bool
}

type identityKey [sha256.Size]byte

type refusal struct {
	err   error
	until time.Time
}

// An identity is one credential's clients.
type identity struct {
	made    chan struct{} // closed when cluster or err is set
	cluster *Cluster
	proven  time.Time // when the brokers took it
	err     error
	expires time.Time // zero: never

	using int // guarded by Identities.mu, as what follows
	used  time.Time
	gone  bool // nobody can find it any more; the last user closes it
}

// Identities returns the cluster's clients for other callers. They have to be closed
// before the cluster.
func (c *Cluster) Identities() *Identities {
	i := &Identities{of: c, key: make([]byte, 32), log: c.log, opening: make(chan struct{}, mostOpening), stop: make(chan struct{}),
		all: map[identityKey]*identity{}, refused: map[identityKey]refusal{}}
	_, _ = rand.Read(i.key)
	i.closing.Go(i.sweep)
	return i
}

// As returns a cluster that is logged in to as a caller; done has to be called when
// it is not needed any more. The first call of a credential waits for the brokers to
// take it: an error with kerr.SaslAuthenticationFailed says that they do not,
// ErrTooMany that there are too many others, and any other one that they cannot be
// asked.
func (i *Identities) As(ctx context.Context, who Caller) (c *Cluster, done func(), err error) {
	key := i.digest("caller", who.Principal, who.Username, who.Password, who.Token)
	return i.get(ctx, key, who.Expires, func() (*login, error) { return i.of.login.as(who) })
}

// AsMapped is As for entry n of Config.Mapped.
func (i *Identities) AsMapped(ctx context.Context, n int) (c *Cluster, done func(), err error) {
	cfg := i.of.cfg
	return i.get(ctx, i.digest("mapped", fmt.Sprint(n)), time.Time{}, func() (*login, error) {
		return newLogin(ctx, cfg.Mapped[n].login(cfg), cfg.Secrets, cfg.Region)
	})
}

// digest stands for a credential in memory.
func (i *Identities) digest(parts ...string) identityKey {
	h := hmac.New(sha256.New, i.key)
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return identityKey(h.Sum(nil))
}

var errIdentitiesClosed = fmt.Errorf("%w: klamm is stopping", ErrUnreachable)

func (i *Identities) get(ctx context.Context, key identityKey, expires time.Time, show func() (*login, error)) (*Cluster, func(), error) {
	now := time.Now()
	i.mu.Lock()
	if i.closed {
		i.mu.Unlock()
		return nil, nil, errIdentitiesClosed
	}
	if r, ok := i.refused[key]; ok && now.Before(r.until) {
		i.mu.Unlock()
		return nil, nil, r.err
	}
	one := i.all[key]
	if one != nil && one.stale(now) {
		i.drop(key, one)
		one = nil
	}
	if one == nil {
		if err := i.room(); err != nil {
			i.mu.Unlock()
			return nil, nil, err
		}
		one = i.begin(key, expires, show)
	}
	one.using++
	one.used = now
	i.mu.Unlock()
	select {
	case <-one.made:
	case <-ctx.Done():
		i.release(one)
		return nil, nil, ctx.Err()
	}
	if one.err != nil {
		i.release(one)
		return nil, nil, one.err
	}
	return one.cluster, sync.OnceFunc(func() { i.release(one) }), nil
}

// stale says whether the brokers have to be asked again: their word is old, or a
// login since has failed. The caller holds mu.
func (one *identity) stale(now time.Time) bool {
	return one.cluster != nil && (now.Sub(one.proven) > identityProven || one.cluster.login.doubtful())
}

// room makes room for one more. The caller holds mu.
func (i *Identities) room() error {
	if len(i.all) < mostIdentities {
		return nil
	}
	var oldest identityKey
	var found *identity
	for key, one := range i.all {
		if one.using == 0 && (found == nil || one.used.Before(found.used)) {
			oldest, found = key, one
		}
	}
	if found == nil {
		return ErrTooMany
	}
	i.drop(oldest, found)
	return nil
}

// begin makes an identity in the background: who asked for it may leave, and others
// wait for the same one. The caller holds mu.
func (i *Identities) begin(key identityKey, expires time.Time, show func() (*login, error)) *identity {
	one := &identity{made: make(chan struct{}), expires: expires, using: 1}
	i.all[key] = one
	i.closing.Go(func() {
		i.opening <- struct{}{}
		c, err := i.open(show)
		<-i.opening
		i.mu.Lock()
		defer i.mu.Unlock()
		one.cluster, one.err, one.proven = c, err, time.Now()
		if err != nil {
			i.drop(key, one)
			if len(i.refused) >= mostRefused {
				clear(i.refused)
			}
			if isRefusal(err) {
				i.refused[key] = refusal{err, time.Now().Add(refusedFor)}
			}
		}
		i.leave(one) // before anybody has it: who then gives it back is the last
		close(one.made)
	})
	return one
}

// isRefusal says whether brokers have refused a credential.
func isRefusal(err error) bool {
	return errors.Is(err, kerr.SaslAuthenticationFailed) || errors.Is(err, kerr.IllegalSaslState) || errors.Is(err, ErrCaller)
}

// open makes the clients and logs in.
func (i *Identities) open(show func() (*login, error)) (*Cluster, error) {
	l, err := show()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLogin, err)
	}
	c, err := open(i.of.cfg, l, i.log)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	if err := c.probe(ctx); err != nil {
		c.Close()
		if isRefusal(err) {
			return nil, fmt.Errorf("%w: %w", ErrLogin, err)
		}
		return nil, c.unreachable(err)
	}
	return c, nil
}

// release ends one use.
func (i *Identities) release(one *identity) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.leave(one)
}

// leave is release for a caller that holds mu.
func (i *Identities) leave(one *identity) {
	one.using--
	one.used = time.Now()
	if one.gone && one.using == 0 {
		i.end(one)
	}
}

// drop takes an identity out. The caller holds mu.
func (i *Identities) drop(key identityKey, one *identity) {
	if i.all[key] == one {
		delete(i.all, key)
	}
	if !one.gone {
		one.gone = true
		if one.using == 0 {
			i.end(one)
		}
	}
}

// end closes an identity that nobody uses any more, when what it has been given to
// write is written. The caller holds mu.
func (i *Identities) end(one *identity) {
	if one.cluster == nil {
		return
	}
	c := one.cluster
	finish := func() { // ends within identityGrace, or with Close
		ctx, cancel := context.WithTimeout(context.Background(), identityGrace)
		defer cancel()
		go func() {
			select {
			case <-i.stop:
				cancel()
			case <-ctx.Done():
			}
		}()
		c.crowd.flush(ctx)
		_ = c.producer.Flush(ctx)
		_ = c.large.Flush(ctx)
		c.Close()
	}
	if i.closed {
		c.Close()
		return
	}
	i.closing.Go(finish)
}

// sweep drops what is not needed any more. It ends with Close.
func (i *Identities) sweep() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-i.stop:
			return
		case now := <-tick.C:
			i.sweepAt(now)
		}
	}
}

func (i *Identities) sweepAt(now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for key, one := range i.all {
		if one.using == 0 && now.Sub(one.used) > identityIdle || !one.expires.IsZero() && now.After(one.expires) {
			i.drop(key, one)
		}
	}
	for key, r := range i.refused {
		if now.After(r.until) {
			delete(i.refused, key)
		}
	}
}

// Len returns how many credentials have clients now.
func (i *Identities) Len() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.all)
}

// Close closes all clients; calls that use one fail.
func (i *Identities) Close() {
	i.mu.Lock()
	if i.closed {
		i.mu.Unlock()
		return
	}
	i.closed = true
	close(i.stop)
	all := i.all
	i.all = map[identityKey]*identity{}
	for _, one := range all {
		one.gone, one.using = true, one.using+1 // closed here, not by the last user
	}
	i.mu.Unlock()
	i.closing.Wait()
	for _, one := range all {
		if one.cluster != nil {
			one.cluster.Close()
		}
	}
}

// as is a login of a caller to the same brokers, by a mechanism that fits to the
// credential: a password is shown as this login's own would be, or by SCRAM-SHA-512.
func (l *login) as(who Caller) (*login, error) {
	cfg := Login{RootCA: l.cfg.RootCA, AllowInsecure: l.cfg.AllowInsecure, Auth: authSCRAM512}
	switch {
	case who.Token != "":
		cfg.Auth = authOAuth
	case l.method == authPlain, l.method == authSCRAM256:
		cfg.Auth = l.method
	}
	own := &login{cfg: cfg, secrets: l.secrets, region: l.region, method: cfg.Auth, tls: cfg.encrypted(cfg.Auth), warn: l.warn, tokens: &tokens{}}
	if l.cfg.OAuth != nil {
		own.tokens.cfg.Extensions = l.cfg.OAuth.Extensions
	}
	own.caller.Store(&who)
	if who.Token != "" {
		if _, err := checked(who.Token); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCaller, err)
		}
		return own, nil
	}
	if err := own.callerShown().fits(cfg.Auth); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCaller, err)
	}
	return own, nil
}

// callerShown is what is shown for a caller.
func (l *login) callerShown() shown {
	who := l.caller.Load()
	return shown{Username: who.Username, Password: who.Password}
}

// Tails returns tails of the cluster's topics that all who call it share.
func (c *Cluster) Tails() *Tails { return c.tails() }

// ErrCaller says that a caller's credential cannot be shown to brokers at all.
var ErrCaller = errors.New("the credential cannot be used for Kafka")

// Renew has a cluster of Identities.As log in by a newer credential of the same
// caller from now on, which has to be one that the brokers take.
func (c *Cluster) Renew(who Caller) {
	if old := c.login.caller.Load(); old != nil && old.Principal == who.Principal && (old.Token == "") == (who.Token == "") {
		c.login.caller.Store(&who)
	}
}
