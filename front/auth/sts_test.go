package auth

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/secret"
)

const masterKey = "a master key of more than 32 characters"

// issuing starts a chain that gives temporary credentials, and returns what lets time pass.
func issuing(t *testing.T, master string, more func(*Config)) (*Chain, func(time.Duration)) {
	t.Helper()
	env := testEnv(t)
	var ahead atomic.Int64
	env.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	cfg := Config{IAM: iamConfig()}
	cfg.IAM.STS = &STS{Key: secret.Ref{Value: master}, MaxDuration: 2 * time.Hour}
	if more != nil {
		more(&cfg)
	}
	c, err := New(t.Context(), cfg, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, func(d time.Duration) { ahead.Add(int64(d)) }
}

// signed is a request that an SDK of AWS has signed with credentials.
func signed(t *testing.T, c *Chain, with Temporary) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://klamm.example/topics", nil)
	if err != nil {
		t.Fatal(err)
	}
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	credentials := aws.Credentials{AccessKeyID: with.AccessKeyID, SecretAccessKey: with.SecretAccessKey, SessionToken: with.SessionToken}
	if err := v4.NewSigner().SignHTTP(context.Background(), credentials, r, empty, "execute-api", "eu-west-3", c.env.now()); err != nil {
		t.Fatal(err)
	}
	r.RequestURI, r.Host, r.Body = "/topics", "klamm.example", http.NoBody
	return r
}

func issue(t *testing.T, c *Chain, who gate.Principal, lasts time.Duration) Temporary {
	t.Helper()
	got, err := c.Issue(who, lasts)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// carol is a caller who has come with a token.
func carol() gate.Principal {
	return gate.Principal{
		Name: "User:carol", Scheme: gate.SchemeJWT, Groups: []string{"ingest"}, Scopes: []string{"write"}, Roles: []string{"operator"}, Tags: map[string]string{"team": "iot"},
		Claims: map[string]any{"department": "7"}, Certificate: &gate.Certificate{SubjectDN: "CN=carol"}, Stage: "prod", TopicPrefix: "prod.", Cluster: "other", Secure: true,
	}
}

func TestTemporaryCredentials(t *testing.T) {
	c, _ := issuing(t, masterKey, nil)
	got := issue(t, c, carol(), 30*time.Minute)
	if left := time.Until(got.Expires); left < 20*time.Minute || left > 30*time.Minute {
		t.Errorf("they hold for %s, want 30 minutes", left)
	}
	if !keyIDForm.MatchString(got.AccessKeyID) || !strings.HasPrefix(got.AccessKeyID, "ASIA") {
		t.Errorf("%q is no id of a temporary key", got.AccessKeyID)
	}
	who, err := c.Authenticate(signed(t, c, got))
	if err != nil {
		t.Fatal(err)
	}
	// How the first call came says nothing of this one.
	want := carol()
	want.Certificate, want.Stage, want.TopicPrefix, want.Cluster, want.Secure = nil, "", "", "", false
	want.Session, want.Issued, want.Expires = got.AccessKeyID, who.Issued, got.Expires
	if diff := cmp.Diff(want, who, cmpopts.IgnoreUnexported(gate.Principal{}), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("the caller (-want +got):\n%s", diff)
	}
	if age := time.Since(who.Issued); age < 0 || age > time.Hour {
		t.Errorf("begun %s ago", age)
	}
	other := issue(t, c, carol(), 0)
	if other.AccessKeyID == got.AccessKeyID || other.SecretAccessKey == got.SecretAccessKey || other.SessionToken == got.SessionToken {
		t.Error("two sessions have something in common")
	}
	// Another process with the same key takes them, one with another key does not.
	sibling, _ := issuing(t, masterKey, nil)
	if _, err := sibling.Authenticate(signed(t, sibling, got)); err != nil {
		t.Errorf("another process: %v", err)
	}
	stranger, _ := issuing(t, "another master key of 32 characters and more", nil)
	if _, err := stranger.Authenticate(signed(t, stranger, got)); refusalOf(t, err).Header.Get("X-Amzn-Errortype") != unrecognizedClient {
		t.Errorf("another master key: %v", err)
	}
}

func TestTemporaryCredentialsAreRefused(t *testing.T) {
	c, _ := issuing(t, masterKey, nil)
	good, other := issue(t, c, carol(), 0), issue(t, c, carol(), 0)
	broken := []byte(good.SessionToken)
	broken[40] ^= 1
	for name, tc := range map[string]struct {
		with Temporary
		want string
	}{
		"no token":              {Temporary{AccessKeyID: good.AccessKeyID, SecretAccessKey: good.SecretAccessKey}, unrecognizedClient},
		"another's token":       {Temporary{AccessKeyID: good.AccessKeyID, SecretAccessKey: good.SecretAccessKey, SessionToken: other.SessionToken}, unrecognizedClient},
		"a broken token":        {Temporary{AccessKeyID: good.AccessKeyID, SecretAccessKey: good.SecretAccessKey, SessionToken: string(broken)}, unrecognizedClient},
		"a long token":          {Temporary{AccessKeyID: good.AccessKeyID, SecretAccessKey: good.SecretAccessKey, SessionToken: strings.Repeat("A", largestIssued+1)}, unrecognizedClient},
		"another id":            {Temporary{AccessKeyID: "ASIAAAAAAAAAAAAAAAAA", SecretAccessKey: good.SecretAccessKey, SessionToken: good.SessionToken}, unrecognizedClient},
		"another secret":        {Temporary{AccessKeyID: good.AccessKeyID, SecretAccessKey: other.SecretAccessKey, SessionToken: good.SessionToken}, invalidSignature},
		"a token of a key file": {Temporary{AccessKeyID: tempKey, SecretAccessKey: vectorSecret, SessionToken: good.SessionToken}, unrecognizedClient},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Authenticate(signed(t, c, tc.with))
			if got := refusalOf(t, err).Header.Get("X-Amzn-Errortype"); got != tc.want {
				t.Errorf("got %s (%v), want %s", got, err, tc.want)
			}
		})
	}
}

func TestTemporaryCredentialsEnd(t *testing.T) {
	c, pass := issuing(t, masterKey, nil)
	usual := issue(t, c, carol(), 0)
	brief := carol()
	brief.Expires = c.env.now().Add(20 * time.Minute)
	short := issue(t, c, brief, 2*time.Hour)
	if !short.Expires.Equal(brief.Expires.Truncate(time.Second)) {
		t.Errorf("they hold until %s, though the token ends at %s", short.Expires, brief.Expires)
	}
	r := signed(t, c, short)
	if _, err := c.Authenticate(r); err != nil {
		t.Fatal(err)
	}
	pass(20*time.Minute + time.Second)
	if _, err := c.Authenticate(signed(t, c, short)); refusalOf(t, err).Header.Get("X-Amzn-Errortype") != expiredToken {
		t.Errorf("when the token has ended: %v", err)
	}
	if _, err := renewed(t, c, gate.SchemeSigV4, r); refusalOf(t, err).Header.Get("X-Amzn-Errortype") != expiredToken {
		t.Errorf("an open stream: %v", err)
	}
	if _, err := c.Authenticate(signed(t, c, usual)); err != nil {
		t.Errorf("after 20 minutes of an hour: %v", err)
	}
	pass(40 * time.Minute)
	if _, err := c.Authenticate(signed(t, c, usual)); refusalOf(t, err).Header.Get("X-Amzn-Errortype") != expiredToken {
		t.Errorf("after an hour: %v", err)
	}
}

func TestTemporaryCredentialsAreNotGiven(t *testing.T) {
	c, _ := issuing(t, masterKey, nil)
	large := carol()
	for range 5000 { // what cannot be packed
		large.Groups = append(large.Groups, rand.Text())
	}
	session := carol()
	session.Session = "ASIAAAAAAAAAAAAAAAAA"
	for name, tc := range map[string]struct {
		who   gate.Principal
		lasts time.Duration
		want  gate.Kind
	}{
		"nobody":           {gate.Principal{}, 0, gate.Denied},
		"anonymous":        {gate.Anonymous, 0, gate.Denied},
		"for a session":    {session, 0, gate.Denied},
		"too short":        {carol(), issuedShortest - time.Second, gate.Invalid},
		"too long":         {carol(), 2*time.Hour + time.Second, gate.Invalid},
		"backwards":        {carol(), -time.Hour, gate.Invalid},
		"too much is said": {large, 0, gate.TooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := c.Issue(tc.who, tc.lasts); gate.Classify(err) != tc.want || err == nil || got.SessionToken != "" {
				t.Errorf("got %v, want kind %v", err, tc.want)
			}
		})
	}
	env := testEnv(t)
	if _, err := New(t.Context(), Config{IAM: &IAM{STS: &STS{Key: secret.Ref{Value: "short"}}}}, env); err == nil || strings.Contains(err.Error(), `"short"`) {
		t.Errorf("a short master key: %v", err)
	}
}

// TestRevokedKeysTakeTheirSessionsAlong: what was given for an API key ends with it.
func TestRevokedKeysTakeTheirSessionsAlong(t *testing.T) {
	const key = "a-key-of-the-file-that-is-long-enough"
	enabled := true
	c, _ := issuing(t, masterKey, func(cfg *Config) {
		cfg.APIKeys = &APIKeys{Keys: []APIKey{{Name: "device", Key: secret.Ref{Value: key}, Enabled: &enabled}}}
	})
	who, err := c.keys.holder(request("X-Api-Key", key), key)
	if err != nil {
		t.Fatal(err)
	}
	got := issue(t, c, who, 0)
	if again, err := c.Authenticate(signed(t, c, got)); err != nil || again.Name != "User:device" {
		t.Fatalf("%v, %v", again.Name, err)
	}
	later, _ := issuing(t, masterKey, func(cfg *Config) {
		off := false
		cfg.APIKeys = &APIKeys{Keys: []APIKey{{Name: "device", Key: secret.Ref{Value: key}, Enabled: &off}}}
	})
	without, _ := issuing(t, masterKey, nil)
	for _, c := range []*Chain{later, without} {
		if _, err := c.Authenticate(signed(t, c, got)); refusalOf(t, err).Header.Get("X-Amzn-Errortype") != unrecognizedClient {
			t.Errorf("the key is not taken any more: %v", err)
		}
	}
}
