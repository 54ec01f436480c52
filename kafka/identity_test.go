package kafka

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-gateway/klamm/secret"
)

// identitiesOf returns identities of a fake cluster where every user's password is
// the user's name, and a count of the logins that it has seen by user and password.
func identitiesOf(t *testing.T, opts ...kfake.Opt) (*Identities, func(user, password string) int) {
	t.Helper()
	fake, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.EnableSASL(), kfake.Superuser("PLAIN", "klamm", "klamm"),
		kfake.User("PLAIN", "ann", "ann"), kfake.User("PLAIN", "ben", "ben")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	var mu sync.Mutex
	seen := map[string]int{}
	fake.ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		parts := strings.Split(string(r.(*kmsg.SASLAuthenticateRequest).SASLAuthBytes), "\x00")
		mu.Lock()
		seen[parts[1]+":"+parts[2]]++
		mu.Unlock()
		if parts[1] == parts[2] {
			return nil, nil, false // the cluster notes who it is
		}
		resp := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.Version, resp.ErrorCode = r.GetVersion(), kerr.SaslAuthenticationFailed.Code
		return resp, nil, true
	})
	c, err := Open(Config{Brokers: fake.ListenAddrs(), Auth: "plain", AllowInsecure: true, Credentials: &Credentials{Username: "klamm", Password: secret.Ref{Value: "klamm"}},
		Mapped: []Mapped{{Who: []string{"*"}, Auth: "plain", Credentials: &Credentials{Username: "ben", Password: secret.Ref{Value: "ben"}}}}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	i := c.Identities()
	t.Cleanup(i.Close)
	return i, func(user, password string) int {
		mu.Lock()
		defer mu.Unlock()
		return seen[user+":"+password]
	}
}

func callerOf(name, password string) Caller {
	return Caller{Principal: "User:" + name, Username: name, Password: password}
}

func TestIdentitiesOfOneNameDoNotShareAClient(t *testing.T) {
	i, seen := identitiesOf(t)
	ann, done, err := i.As(t.Context(), callerOf("ann", "ann"))
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	logins := seen("ann", "ann")
	for range 3 {
		_, _, err := i.As(t.Context(), callerOf("ann", "wrong"))
		if !errors.Is(err, kerr.SaslAuthenticationFailed) || !errors.Is(err, ErrLogin) || strings.Contains(err.Error(), "wrong") {
			t.Fatalf("a wrong password: %v", err)
		}
	}
	if n := seen("ann", "wrong"); n != 1 {
		t.Errorf("the brokers were asked %d times about a wrong password, want 1", n)
	}
	again, doneAgain, err := i.As(t.Context(), callerOf("ann", "ann"))
	if err != nil || again != ann {
		t.Errorf("the second call got another client, %v", err)
	}
	doneAgain()
	other, doneOther, err := i.As(t.Context(), Caller{Principal: "User:other", Username: "ann", Password: "ann"})
	if err != nil || other == ann {
		t.Errorf("another principal got the same client, %v", err)
	}
	doneOther()
	if seen("ann", "ann") <= logins {
		t.Error("another principal did not log in")
	}
	if strings.Contains(fmt.Sprintf("%v %+v %#v", callerOf("ann", "s3cret"), callerOf("ann", "s3cret"), callerOf("ann", "s3cret")), "s3cret") {
		t.Error("a caller prints its password")
	}
}

func TestIdentityActsWithItsOwnRights(t *testing.T) {
	i, _ := identitiesOf(t, kfake.EnableACLs())
	if err := i.of.CreateACLs(t.Context(), ACL{ResourceType: "TOPIC", ResourceName: "t", PatternType: "LITERAL", Principal: "User:ann", Host: "*", Operation: "ALL", Permission: "ALLOW"}); err != nil {
		t.Fatal(err)
	}
	ann, done, err := i.As(t.Context(), callerOf("ann", "ann"))
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	ben, done, err := i.AsMapped(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if err := ann.Produce(t.Context(), &kgo.Record{Topic: "t", Value: []byte("v")}).FirstErr(); err != nil {
		t.Errorf("ann may: %v", err)
	}
	if err := ben.Produce(t.Context(), &kgo.Record{Topic: "t", Value: []byte("v")}).FirstErr(); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("ben may not: %v, want TOPIC_AUTHORIZATION_FAILED", err)
	}
	if _, err := ben.Topic(t.Context(), "t"); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("ben may not see it: %v, want TOPIC_AUTHORIZATION_FAILED", err)
	}
	if topics, err := ben.Topics(t.Context()); err != nil || len(topics) > 0 {
		t.Errorf("ben sees %v, %v", topics, err)
	}
}

func TestManyCallersLogInOnce(t *testing.T) {
	i, seen := identitiesOf(t)
	var all sync.WaitGroup
	var clusters sync.Map
	for range 50 {
		all.Go(func() {
			c, done, err := i.As(t.Context(), callerOf("ann", "ann"))
			if err != nil {
				t.Error(err)
				return
			}
			clusters.Store(c, true)
			done()
		})
	}
	all.Wait()
	n := 0
	clusters.Range(func(any, any) bool { n++; return true })
	if n != 1 || i.Len() != 1 || seen("ann", "ann") > 2 {
		t.Errorf("%d clusters, %d kept, %d logins", n, i.Len(), seen("ann", "ann"))
	}
}

func TestIdentitiesEnd(t *testing.T) {
	i, _ := identitiesOf(t)
	c, done, err := i.As(t.Context(), callerOf("ann", "ann"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	i.sweepAt(now.Add(2 * identityIdle))
	if i.Len() != 1 {
		t.Error("one that is in use was dropped")
	}
	done()
	i.sweepAt(now.Add(identityIdle / 2))
	if i.Len() != 1 {
		t.Error("one was dropped too early")
	}
	i.sweepAt(now.Add(2 * identityIdle))
	if i.Len() != 0 {
		t.Error("one that is idle was kept")
	}
	eventuallyClosed(t, c)

	token, done, err := i.As(t.Context(), Caller{Principal: "User:ann", Username: "ann", Password: "ann", Expires: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	i.sweepAt(now.Add(2 * time.Hour))
	if i.Len() != 0 {
		t.Error("one outlives its token")
	}
	if _, err := token.Topic(t.Context(), "t"); err != nil {
		t.Errorf("a call under way was cut: %v", err)
	}
	done()
	eventuallyClosed(t, token)
}

func eventuallyClosed(t *testing.T, c *Cluster) {
	t.Helper()
	select {
	case <-c.reader.Context().Done():
	case <-time.After(time.Minute):
		t.Fatal("the clients were not closed")
	}
}

func TestIdentitiesAreBounded(t *testing.T) {
	i, _ := identitiesOf(t)
	first, done, err := i.As(t.Context(), callerOf("ann", "ann"))
	if err != nil {
		t.Fatal(err)
	}
	done()
	held := map[identityKey]*identity{}
	i.mu.Lock()
	for key, one := range i.all {
		one.used = one.used.Add(-time.Minute)
		held[key] = one
	}
	for n := len(i.all); n < mostIdentities; n++ { // as if there were as many as there may be
		one := &identity{made: make(chan struct{}), using: 1, used: time.Now()}
		close(one.made)
		i.all[identityKey{byte(n), byte(n >> 8), 1}] = one
	}
	i.mu.Unlock()
	_, done, err = i.As(t.Context(), callerOf("ben", "ben"))
	if err != nil {
		t.Fatal(err)
	}
	if i.Len() != mostIdentities {
		t.Errorf("%d are kept, want %d", i.Len(), mostIdentities)
	}
	eventuallyClosed(t, first)
	if _, _, err := i.As(t.Context(), Caller{Principal: "User:c", Username: "ann", Password: "ann"}); !errors.Is(err, ErrTooMany) {
		t.Errorf("all are in use: %v, want ErrTooMany", err)
	}
	done()
}

func TestClosedIdentitiesRefuse(t *testing.T) {
	i, _ := identitiesOf(t)
	c, done, err := i.As(t.Context(), callerOf("ann", "ann"))
	if err != nil {
		t.Fatal(err)
	}
	i.Close()
	if c.reader.Context().Err() == nil {
		t.Error("a client is still open")
	}
	done()
	if _, _, err := i.As(t.Context(), callerOf("ann", "ann")); err == nil {
		t.Error("a closed one gave a client")
	}
}

// A newer credential of the same caller takes the place of the old one in clients that
// outlive it.
func TestRenewedCredential(t *testing.T) {
	i, seen := identitiesOf(t)
	ann, done, err := i.As(t.Context(), callerOf("ann", "ann"))
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	ann.Renew(Caller{Principal: "User:ben", Username: "ben", Password: "ben"})
	if s, _ := ann.login.shown(t.Context()); s.Username != "ann" {
		t.Error("another caller has taken the client over")
	}
	ann.Renew(callerOf("ann", "newer"))
	if s, _ := ann.login.shown(t.Context()); s.Password != "newer" {
		t.Error("the newer password is not used")
	}
	if seen("ann", "newer") != 0 {
		t.Error("it was shown too early")
	}
}

// One that fails to log in again is not given out again without the brokers' word.
func TestDoubtfulIdentityIsProvenAnew(t *testing.T) {
	i, seen := identitiesOf(t)
	first, done, err := i.As(t.Context(), callerOf("ann", "ann"))
	if err != nil {
		t.Fatal(err)
	}
	done()
	var asked atomic.Int64
	asked.Store(int64(seen("ann", "ann")))
	first.login.unproven.Store(true)
	first.login.tried.Store(time.Now().Add(-time.Minute).UnixNano())
	second, done, err := i.As(t.Context(), callerOf("ann", "ann"))
	if err != nil {
		t.Fatal(err)
	}
	done()
	if second == first || int64(seen("ann", "ann")) <= asked.Load() {
		t.Error("a doubtful client was given out again")
	}
}
