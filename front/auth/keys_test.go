package auth

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/broker"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/waittest"
)

// testCluster is the cluster of KLAMM_TEST_BROKERS, or an embedded one.
func testCluster(t *testing.T) *kafka.Cluster {
	t.Helper()
	brokers := strings.FieldsFunc(os.Getenv("KLAMM_TEST_BROKERS"), func(c rune) bool { return c == ',' })
	if len(brokers) == 0 {
		b, err := broker.Start(t.Context(), broker.Config{Listen: "127.0.0.1:0", Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		brokers = b.Addrs()
	}
	c, err := kafka.Open(kafka.Config{Brokers: brokers}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestKeysMadeAtRunTime(t *testing.T) {
	cluster := testCluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	open := func() (*Chain, *Keys) {
		c := newTestChain(t, Config{APIKeys: &APIKeys{}}, func(e *Env) { e.Cluster = cluster })
		return c, c.Keys()
	}
	first, keys := open()
	second, _ := open() // another process
	root := gate.Principal{Name: "User:root"}
	name := "sensors-" + random62(8)
	taken := func(c *Chain, key, want string) {
		t.Helper()
		waittest.Until(t, "key of "+name+" is "+want, func() bool {
			who, err := c.Authenticate(request("X-Api-Key", key))
			return who.Name == want && (err == nil) == (want != "")
		})
	}

	one, secret, err := keys.Create(ctx, root, NewKey{Name: name, Groups: []string{"sensors"}})
	if err != nil || !regexp.MustCompile(`^klm_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}$`).MatchString(secret) || one.CreatedBy != "User:root" {
		t.Fatalf("%+v, %q, %v", one, secret, err)
	}
	taken(first, secret, "User:"+name)
	taken(second, secret, "User:"+name)
	if _, _, err := keys.Create(ctx, root, NewKey{Name: name}); !errors.Is(err, errNameUsed) {
		t.Errorf("a name twice: %v", err)
	}
	_, rotated, err := keys.Rotate(ctx, root, name)
	if err != nil {
		t.Fatal(err)
	}
	taken(second, rotated, "User:"+name)
	taken(second, secret, "User:"+name)
	if _, _, err := keys.Rotate(ctx, root, name); !errors.Is(err, errTwoKeys) {
		t.Errorf("a third key: %v", err)
	}
	if _, err := keys.Revoke(ctx, one.ID); err != nil {
		t.Fatal(err)
	}
	taken(second, secret, "")
	taken(second, rotated, "User:"+name)
	if _, err := keys.Revoke(ctx, one.ID); !errors.Is(err, errNoKey) {
		t.Errorf("revoked again: %v", err)
	}
	if _, err := first.Authenticate(request("X-Api-Key", rotated[:len(rotated)-1]+"!")); err == nil {
		t.Error("a changed key is taken")
	}

	long, short := "imported-"+name+"-0123456789abcdefgh", "short-"+name
	list := []Import{{NewKey{Name: "long" + name}, long}, {NewKey{Name: "short" + name}, short}, {NewKey{Name: "off" + name, Disabled: true}, "off-" + long}}
	if _, err := keys.Import(ctx, root, list); err != nil {
		t.Fatal(err)
	}
	taken(second, long, "User:long"+name)
	taken(second, short, "User:short"+name)
	taken(second, short, "User:short"+name)
	taken(second, "off-"+long, "")
	taken(second, "x"+short[1:], "")
	if _, err := keys.Import(ctx, root, list[:1]); gate.Classify(err) != gate.Exists {
		t.Errorf("imported again: %v", err)
	}

	third, all := open() // a start later
	taken(third, rotated, "User:"+name)
	shown, err := all.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(shown)
	for e := range all.table.All() {
		text = append(text, e.Value...)
	}
	for _, s := range []string{secret, rotated, long, short, strings.Split(rotated, "_")[2]} {
		if strings.Contains(string(text), s) {
			t.Errorf("a key can be read back: %.12s...", s)
		}
	}
	if !strings.Contains(string(text), `"last_used"`) {
		t.Errorf("no use is shown: %s", text)
	}
}

func TestKeysBeforeTheTableIsThere(t *testing.T) {
	c := newTestChain(t, Config{APIKeys: &APIKeys{}}, nil)
	k := c.Keys()
	k.opened = make(chan struct{})
	if _, err := k.find("klm_12345678_"+strings.Repeat("x", 32), &keyHash{}, netip.Addr{}, time.Now()); gate.Classify(err) != gate.Unavailable {
		t.Errorf("got %v, want unavailable", err)
	}
	if _, _, err := k.Rotate(canceled(t), gate.Principal{}, "x"); gate.Classify(err) != gate.Unavailable {
		t.Errorf("got %v, want unavailable", err)
	}
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestNewKeysAreChecked(t *testing.T) {
	for name, n := range map[string]NewKey{
		"no name": {}, "principal": {Name: "a", Principal: "alice"}, "source": {Name: "a", Sources: []string{"x"}}, "control character": {Name: "a\nb"},
		"group": {Name: "a", Groups: []string{""}}, "over before it begins": {Name: "a", NotBefore: time.Unix(2, 0), NotAfter: time.Unix(1, 0)},
	} {
		if _, err := n.doc(gate.Principal{}, time.Now()); gate.Classify(err) != gate.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
