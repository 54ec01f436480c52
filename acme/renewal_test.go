package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/acme/acmetest"
)

func TestRenewalAtTwoThirdsOfItsLife(t *testing.T) {
	a := acmetest.New(t)
	k := keeper(t, config(t, a), nil)
	ahead := time.Duration(0)
	k.now = func() time.Time { return time.Now().Add(ahead) }
	doors(t, a, k)
	k.step(t.Context())
	first := stored(t, a, k).Leaf
	for _, days := range []int{1, 30, 58} {
		ahead = time.Duration(days) * 24 * time.Hour
		k.step(t.Context())
		if !stored(t, a, k).Leaf.Equal(first) {
			t.Fatalf("renewed after %d of 90 days", days)
		}
	}
	ahead = 62 * 24 * time.Hour
	k.step(t.Context())
	if second := stored(t, a, k); second.Leaf.Equal(first) {
		t.Error("not renewed after 62 of 90 days")
	}
	if got := a.Replaced(); len(got) > 0 {
		t.Errorf("the authority is told %v, which it has not asked for", got)
	}
	// A clock that is wrong makes no endless loop: the new one's time is over as well.
	if _, needed := k.needed(t.Context()); needed {
		t.Error("renewed again at once")
	}
}

func TestRenewalWhenTheAuthoritySays(t *testing.T) {
	a := acmetest.New(t)
	var from atomic.Int64 // days
	from.Store(40)
	begin := time.Now()
	a.Window = func(*x509.Certificate) (time.Time, time.Time) {
		start := begin.Add(time.Duration(from.Load()) * 24 * time.Hour)
		return start, start.Add(48 * time.Hour)
	}
	k := keeper(t, config(t, a), nil)
	ahead := time.Duration(0)
	k.now = func() time.Time { return time.Now().Add(ahead) }
	doors(t, a, k)
	k.step(t.Context())
	first := stored(t, a, k).Leaf
	ahead = 39 * 24 * time.Hour
	k.step(t.Context())
	if !stored(t, a, k).Leaf.Equal(first) {
		t.Fatal("renewed before the window")
	}
	chosen := k.advice.window.SelectedTime
	ahead += 2 * time.Hour
	k.step(t.Context())
	if again := k.advice.window.SelectedTime; !again.Equal(chosen) || chosen.Before(begin.Add(39*24*time.Hour)) || chosen.After(begin.Add(43*24*time.Hour)) {
		t.Errorf("the time in the window is %s, then %s", chosen, again)
	}
	// It is withdrawn: the authority wants it renewed now.
	from.Store(-3)
	ahead += 2 * time.Hour
	k.step(t.Context())
	if stored(t, a, k).Leaf.Equal(first) {
		t.Fatal("not renewed in the window")
	}
	if got := a.Replaced(); len(got) != 1 || !strings.Contains(got[0], ".") {
		t.Errorf("the authority was told that %v is replaced", got)
	}
	if all := a.Issued(); len(all) != 2 {
		t.Errorf("%d certificates were issued", len(all))
	}
}

func TestProcessesThatShareADirectoryOrderOnce(t *testing.T) {
	a := acmetest.New(t)
	cfg := config(t, a)
	cfg.Challenges = []string{http01}
	var all []*Keeper
	for range 3 {
		k := keeper(t, cfg, nil)
		k.pace.turn, k.pace.look, k.lease.stale = time.Millisecond, 5*time.Millisecond, time.Hour
		all = append(all, k)
	}
	doors(t, a, all[2]) // the one that answers need not be the one that orders
	var running sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, k := range all {
		running.Go(func() {
			for c := (*tls.Certificate)(nil); c == nil && ctx.Err() == nil; c, _ = k.Certificate() {
				k.step(ctx)
			}
		})
	}
	running.Wait()
	for _, k := range all {
		stored(t, a, k)
		k.step(t.Context())
	}
	if got := len(a.Issued()); got != 1 {
		t.Errorf("%d certificates were issued for three processes with one directory", got)
	}
	if got := len(a.Contacts()); got != 1 {
		t.Errorf("%d accounts were opened", got)
	}
}

func TestRestartUsesWhatIsStored(t *testing.T) {
	a := acmetest.New(t)
	cfg := config(t, a)
	k := keeper(t, cfg, nil)
	doors(t, a, k)
	k.step(t.Context())
	first := stored(t, a, k).Leaf
	a.Close()
	again := keeper(t, cfg, nil)
	again.step(t.Context())
	if !stored(t, a, again).Leaf.Equal(first) {
		t.Error("another certificate is shown")
	}
	if good, bad := again.Renewals(); good+bad != 0 {
		t.Errorf("%d orders, %d of which failed", good+bad, bad)
	}
}

func TestStoredFilesThatAreDamaged(t *testing.T) {
	a := acmetest.New(t)
	cfg := config(t, a)
	k, said := listening(t, cfg)
	doors(t, a, k)
	k.step(t.Context())
	first := stored(t, a, k).Leaf
	for name, text := range map[string]string{"cut": "-----BEGIN PRIVATE KEY-----\nMIG", "empty": "", "large": strings.Repeat("x", largestFile+1)} {
		t.Run(name, func(t *testing.T) {
			k.rested = time.Time{}
			if err := os.WriteFile(k.store.certificate(k.name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if c, err := k.Certificate(); c != nil || err == nil {
				t.Errorf("a damaged file is shown: %v", err)
			}
			k.step(t.Context())
			if stored(t, a, k).Leaf.Equal(first) {
				t.Error("the first certificate is back")
			}
		})
	}
	if !strings.Contains(said.String(), "a stored certificate cannot be used") {
		t.Errorf("the log says nothing of it: %s", said)
	}

	if err := os.WriteFile(k.store.accountKey(), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Names = []string{"b.example.com"}
	k, said = listening(t, cfg)
	doors(t, a, k)
	k.step(t.Context())
	if !strings.Contains(said.String(), "account.key holds no private key") {
		t.Errorf("a damaged key of the account is logged as %s", said)
	}
	if got := len(a.Contacts()); got != 1 {
		t.Errorf("there are %d accounts, want no further one", got)
	}
}

func TestChangeOfNamesOrdersAnew(t *testing.T) {
	a := acmetest.New(t)
	cfg := config(t, a)
	cfg.Names = []string{"a.example.com", "b.example.com"}
	k := keeper(t, cfg, nil)
	doors(t, a, k)
	k.step(t.Context())
	first := stored(t, a, k).Leaf
	for _, names := range [][]string{{"b.example.com", "c.example.com"}, {"b.example.com"}} {
		cfg.Names = names
		k = keeper(t, cfg, nil)
		if c, err := k.Certificate(); err != nil || c == nil || !covers(c.Leaf, "b.example.com") {
			t.Fatalf("until the new certificate is there, none is shown: %v", err)
		}
		doors(t, a, k)
		k.step(t.Context())
		if got := stored(t, a, k).Leaf; got.Equal(first) || !slices.Equal(got.DNSNames, names) {
			t.Errorf("the certificate is for %v, want %v", got.DNSNames, names)
		}
	}
	cfg.Names = []string{"d.example.com"}
	if c, err := keeper(t, cfg, nil).Certificate(); c != nil || err != nil {
		t.Errorf("a certificate for other names is shown: %v", err)
	}
	// The first configuration, in a process that has not been told, still has its own.
	cfg.Names = []string{"a.example.com", "b.example.com"}
	if got := stored(t, a, keeper(t, cfg, nil)).Leaf; !got.Equal(first) {
		t.Error("the certificate of other names has replaced this one")
	}
}
