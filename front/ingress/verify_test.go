package ingress

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/secret"
)

// headers makes an HTTP header of "name: value" lines.
func headers(lines ...string) http.Header {
	h := http.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return h
}

const (
	vectorBody   = `{"device":"d-17","t":21.5}`
	standardText = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	standardSign = "v1,LXYpPDOuEPwkqRsPQ0Fr+pg8MxRG/fDJL3jDy+quJ2I="
	stripeSign   = "v1=6a1c38b67f52b7cc469cf96b6cf20c189111db4c715d7056cd74adbb72b683e1"
	gitHubSign   = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
)

func mac(secret, text string) []byte {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(text))
	return m.Sum(nil)
}

// TestVerify has the vectors of gateway-policies.md 6.5, and what is near them.
func TestVerify(t *testing.T) {
	seed := []byte("klamm's seed for test signatures")
	private := ed25519.NewKeyFromSeed(seed)
	asymmetric := "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(private, []byte("msg_klamm_0001.1700000000."+vectorBody)))
	public := "whpk_" + base64.StdEncoding.EncodeToString(private.Public().(ed25519.PublicKey))
	other := "whsec_" + base64.StdEncoding.EncodeToString([]byte("another secret of 28 bytes.."))
	standard := func(signature string) []string {
		return []string{"webhook-id: msg_klamm_0001", "webhook-timestamp: 1700000000", "webhook-signature: " + signature}
	}
	slack := func(at, signed string) []string {
		return []string{"X-Slack-Request-Timestamp: " + at, "X-Slack-Signature: v0=" + hex.EncodeToString(mac("s", signed))}
	}
	generic := &Signature{Header: "X-Sign", Prefix: "hmac ", Encoding: "base64", Text: "{timestamp}#{id}#{body}#", ID: "X-Id", Timestamp: "X-At", Tolerance: time.Minute}
	genericSign := "X-Sign: hmac " + base64.StdEncoding.EncodeToString(mac("s", "1700000000#{timestamp}#"+vectorBody+"#"))
	for _, c := range []struct {
		name      string
		scheme    string
		signature *Signature
		secrets   []string
		headers   []string
		body      string
		late      time.Duration
		want      int // 0: it verifies
	}{
		{"standard", "standard", nil, []string{standardText}, standard(standardSign), vectorBody, 0, 0},
		{"standard, among other versions and signatures", "standard", nil, []string{standardText}, standard("v9,xx v1,AAAA v1,### " + standardSign + " v2"), vectorBody, 0, 0},
		{"standard, after a rotation", "standard", nil, []string{other, standardText}, standard(standardSign), vectorBody, 0, 0},
		{"standard, at the edge of time", "standard", nil, []string{standardText}, standard(standardSign), vectorBody, 5 * time.Minute, 0},
		{"standard, too late", "standard", nil, []string{standardText}, standard(standardSign), vectorBody, 5*time.Minute + time.Second, 401},
		{"standard, too early", "standard", nil, []string{standardText}, standard(standardSign), vectorBody, -5*time.Minute - time.Second, 401},
		{"standard, another secret", "standard", nil, []string{other}, standard(standardSign), vectorBody, 0, 401},
		{"standard, another body", "standard", nil, []string{standardText}, standard(standardSign), vectorBody + " ", 0, 401},
		{"standard, another id", "standard", nil, []string{standardText}, []string{"webhook-id: msg_klamm_0002", "webhook-timestamp: 1700000000", "webhook-signature: " + standardSign}, vectorBody, 0, 401},
		{"standard, no time that is one", "standard", nil, []string{standardText}, []string{"webhook-id: m", "webhook-timestamp: +1700000000", "webhook-signature: " + standardSign}, vectorBody, 0, 401},
		{"standard, no signature header", "standard", nil, []string{standardText}, standard(standardSign)[:2], vectorBody, 0, 400},
		{"standard, empty id", "standard", nil, []string{standardText}, []string{"webhook-id: ", "webhook-timestamp: 1700000000", "webhook-signature: " + standardSign}, vectorBody, 0, 400},
		{"standard, an id with a space", "standard", nil, []string{standardText}, []string{"webhook-id: a b", "webhook-timestamp: 1700000000", "webhook-signature: " + standardSign}, vectorBody, 0, 400},
		{"standard, an id too long", "standard", nil, []string{standardText}, []string{"webhook-id: " + strings.Repeat("x", 257), "webhook-timestamp: 1700000000", "webhook-signature: " + standardSign}, vectorBody, 0, 400},
		{"standard, two ids", "standard", nil, []string{standardText}, append(standard(standardSign), "webhook-id: x"), vectorBody, 0, 400},
		{"headers before time", "standard", nil, []string{standardText}, standard(standardSign)[:2], vectorBody, time.Hour, 400},
		{"standard, asymmetric", "standard", nil, []string{public}, standard(asymmetric), vectorBody, 0, 0},
		{"standard, asymmetric with the private key", "standard", nil, []string{"whsk_" + base64.StdEncoding.EncodeToString(private)}, standard(standardSign + " " + asymmetric), vectorBody, 0, 0},
		{"standard, asymmetric with the seed", "standard", nil, []string{"whsk_" + base64.StdEncoding.EncodeToString(seed)}, standard(asymmetric), vectorBody, 0, 0},
		{"standard, asymmetric, another body", "standard", nil, []string{public}, standard(asymmetric), "x", 0, 401},
		{"a symmetric signature does not do beside a public key", "standard", nil, []string{public, standardText}, standard(standardSign), vectorBody, 0, 401},
		{"svix", "svix", nil, []string{standardText}, []string{"svix-id: msg_klamm_0001", "svix-timestamp: 1700000000", "svix-signature: " + standardSign}, vectorBody, 0, 0},
		{"svix under other names", "svix", nil, []string{standardText}, standard(standardSign), vectorBody, 0, 400},

		{"stripe", "stripe", nil, []string{"old", "whsec_klamm_test"}, []string{"Stripe-Signature: t=1700000000," + stripeSign + ",v0=00"}, vectorBody, 0, 0},
		{"stripe, two signatures", "stripe", nil, []string{"whsec_klamm_test"}, []string{"Stripe-Signature: t=1700000000, v1=00, " + stripeSign}, vectorBody, 0, 0},
		{"stripe, v0 does not count", "stripe", nil, []string{"whsec_klamm_test"}, []string{"Stripe-Signature: t=1700000000,v0=" + stripeSign[3:]}, vectorBody, 0, 401},
		{"stripe, late", "stripe", nil, []string{"whsec_klamm_test"}, []string{"Stripe-Signature: t=1700000000," + stripeSign}, vectorBody, time.Hour, 401},
		{"stripe, no time", "stripe", nil, []string{"whsec_klamm_test"}, []string{"Stripe-Signature: " + stripeSign}, vectorBody, 0, 401},
		{"stripe, two times", "stripe", nil, []string{"whsec_klamm_test"}, []string{"Stripe-Signature: t=1700000000,t=1," + stripeSign}, vectorBody, 0, 401},
		{"stripe, nothing", "stripe", nil, []string{"whsec_klamm_test"}, nil, vectorBody, 0, 400},

		{"github", "github", nil, []string{"It's a Secret to Everybody"}, []string{"X-GitHub-Delivery: 1", "X-Hub-Signature-256: " + gitHubSign}, "Hello, World!", 99 * time.Hour, 0},
		{"github in capitals", "github", nil, []string{"It's a Secret to Everybody"}, []string{"X-GitHub-Delivery: 1", "X-Hub-Signature-256: sha256=" + strings.ToUpper(gitHubSign[7:])}, "Hello, World!", 0, 0},
		{"github without prefix", "github", nil, []string{"It's a Secret to Everybody"}, []string{"X-GitHub-Delivery: 1", "X-Hub-Signature-256: " + gitHubSign[7:]}, "Hello, World!", 0, 401},
		{"github cut short", "github", nil, []string{"It's a Secret to Everybody"}, []string{"X-GitHub-Delivery: 1", "X-Hub-Signature-256: " + gitHubSign[:20]}, "Hello, World!", 0, 401},
		{"github with SHA-1 only", "github", nil, []string{"s"}, []string{"X-GitHub-Delivery: 1", "X-Hub-Signature: sha1=00"}, "x", 0, 400},
		{"github without delivery", "github", nil, []string{"s"}, []string{"X-Hub-Signature-256: " + gitHubSign}, "x", 0, 400},

		{"slack", "slack", nil, []string{"s"}, slack("1700000000", "v0:1700000000:a=b"), "a=b", 0, 0},
		{"slack, another time", "slack", nil, []string{"s"}, slack("1700000001", "v0:1700000000:a=b"), "a=b", 0, 401},
		{"slack, late", "slack", nil, []string{"s"}, slack("1700000000", "v0:1700000000:a=b"), "a=b", time.Hour, 401},

		{"generic", "generic", generic, []string{"s"}, []string{"X-Id: {timestamp}", "X-At: 1700000000", genericSign}, vectorBody, 0, 0},
		{"generic, late", "generic", generic, []string{"s"}, []string{"X-Id: {timestamp}", "X-At: 1700000000", genericSign}, vectorBody, 2 * time.Minute, 401},
		{"generic, no id", "generic", generic, []string{"s"}, []string{"X-At: 1700000000", genericSign}, vectorBody, 0, 400},
		{"generic, the body alone", "generic", &Signature{Header: "X-Sign"}, []string{"s"}, []string{"x-sign: " + hex.EncodeToString(mac("s", "b"))}, "b", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := hook{Route: Route{Scheme: c.scheme, Signature: c.signature}, cfg: &Config{Secret: secret.Local}}
			for _, s := range c.secrets {
				h.Secrets = append(h.Secrets, secret.Ref{Value: s})
			}
			h.now = func() time.Time { return time.Unix(1_700_000_000, 0).Add(c.late) }
			d, err := h.read(headers(c.headers...), []byte(c.body))
			if err == nil {
				err = h.verify(t.Context(), &d)
			}
			got := 0
			if err != nil {
				got = refusalOf(err).status
			}
			if got != c.want {
				t.Errorf("got %d (%v), want %d", got, err, c.want)
			}
		})
	}
}

func TestSecretsOfStandardWebhooks(t *testing.T) {
	b64 := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for _, c := range []struct {
		in   string
		want bool
	}{
		{"whsec_" + b64(24), true}, {b64(64), true}, {"whpk_" + b64(32), true}, {"whsk_" + b64(32), true}, {"whsk_" + b64(64), true},
		{"whsec_" + b64(23), false}, {"whsec_" + b64(65), false}, {"whpk_" + b64(31), false}, {"whsk_" + b64(33), false}, {"whsec_###", false}, {"old", false}, {"", false},
	} {
		if _, err := parseKey("standard", c.in); (err == nil) != c.want || err != nil && c.in != "" && strings.Contains(err.Error(), strings.TrimPrefix(c.in, "whsec_")) {
			t.Errorf("%s: %v", c.in, err)
		}
	}
}

func TestSecretsThatCannotBeLookedUpAre503(t *testing.T) {
	lost := false
	lookup := func(context.Context, secret.Ref) (string, error) {
		if lost {
			return "", errors.New("the vault is closed")
		}
		return "It's a Secret to Everybody", nil
	}
	h := hook{Route: Route{Scheme: "github", Secrets: []secret.Ref{{Env: "S"}}}, cfg: &Config{Secret: lookup, Log: slog.New(slog.DiscardHandler)}, now: time.Now}
	for _, c := range []struct {
		name string
		step func()
		want int // 0: it verifies
	}{
		{"at first", func() {}, 0},
		{"while they are remembered", func() { lost = true }, 0},
		{"when they are looked up again", func() { h.looked = time.Now().Add(-secretsFor) }, 503},
		{"when they are back", func() { lost = false }, 0},
	} {
		c.step()
		d, err := h.read(headers("X-GitHub-Delivery: 1", "X-Hub-Signature-256: "+gitHubSign), []byte("Hello, World!"))
		if err == nil {
			err = h.verify(t.Context(), &d)
		}
		if got := err; got != nil && refusalOf(got).status != c.want || got == nil && c.want != 0 {
			t.Errorf("%s: got %v, want %d", c.name, got, c.want)
		}
	}
}

func TestMembers(t *testing.T) {
	for _, c := range []struct{ body, path, want string }{
		{`{"type":"a"}`, "type", "a"},
		{` { "x" : [{"type":1}] , "type" : "a\u00e9" } `, "type", "aé"},
		{`{"data":{"id":12.50}}`, "data.id", "12.50"},
		{`{"data":{"id":true}}`, "data.id", "true"},
		{`{"data":{"id":null}}`, "data.id", ""},
		{`{"data":[1]}`, "data.id", ""},
		{`{"data":{}}`, "data", ""},
		{`{}`, "type", ""},
		{`[1]`, "type", ""},
		{`{"type":"a"`, "type", ""},
		{``, "type", ""},
	} {
		if got := member([]byte(c.body), strings.Split(c.path, ".")...); got != c.want {
			t.Errorf("%s of %s: got %q, want %q", c.path, c.body, got, c.want)
		}
	}
}

func TestRoutesAreValidated(t *testing.T) {
	good := Route{Path: "/in/hook", Type: "webhook", Scheme: "github", Topic: "t", Secrets: []secret.Ref{{Env: "S"}}}
	change := func(f func(*Route)) Route {
		r := good
		f(&r)
		return r
	}
	sign := func(s Signature) Route {
		return change(func(r *Route) { r.Scheme, r.Signature = "generic", &s })
	}
	for _, c := range []struct {
		name string
		in   Route
		want []string
	}{
		{"right", good, nil},
		{"everything", change(func(r *Route) { r.Key, r.Pings = "$.data.id", true }), nil},
		{"gone", Route{Path: "/in", Type: "webhook", Gone: true}, nil},
		{"nothing", Route{}, []string{"path", "scheme", "secrets", "topic", "type"}},
		{"a pattern", change(func(r *Route) { r.Path = "/in/{x}" }), []string{"path"}},
		{"dots", change(func(r *Route) { r.Path = "/in/../topics" }), []string{"path"}},
		{"a slash at the end", change(func(r *Route) { r.Path = "/in/" }), []string{"path"}},
		{"klamm's own", change(func(r *Route) { r.Path = "/topics/t" }), []string{"path"}},
		{"of AWS", change(func(r *Route) { r.Path = "/2015-03-31/functions" }), []string{"path"}},
		{"a bad secret", change(func(r *Route) { r.Scheme, r.Secrets = "standard", []secret.Ref{{Env: "S"}, {Value: "old"}} }), []string{"secrets[1]"}},
		{"too many secrets", change(func(r *Route) { r.Secrets = make([]secret.Ref, 11) }), []string{"secrets"}},
		{"a key from elsewhere", change(func(r *Route) { r.Key = "$.a[0]" }), []string{"key"}},
		{"pings of others", change(func(r *Route) { r.Scheme, r.Pings = "stripe", true }), []string{"pings"}},
		{"no description", change(func(r *Route) { r.Scheme = "generic" }), []string{"signature"}},
		{"a description too many", change(func(r *Route) { r.Signature = &Signature{} }), []string{"signature"}},
		{"generic", sign(Signature{Header: "X-S", Text: "{id}.{timestamp}.{body}", ID: "X-I", Timestamp: "X-T"}), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			c.in.Validate(func(path, _ string) { got = append(got, path) })
			if diff := cmp.Diff(c.want, sorted(got)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
	for _, c := range []struct {
		name string
		in   Signature
		want []string
	}{
		{"right", Signature{Header: "X-S", Prefix: "a=", Encoding: "hex", Tolerance: time.Hour}, nil},
		{"nothing", Signature{}, []string{"header"}},
		{"everything wrong", Signature{Header: "X S", ID: "?", Timestamp: "?", Encoding: "utf-8", Prefix: strings.Repeat("x", 101), Tolerance: time.Millisecond, Text: "{who}"},
			[]string{"encoding", "header", "id", "prefix", "text", "text", "timestamp", "tolerance"}},
		{"the body is not signed", Signature{Header: "X-S", Timestamp: "X-T", Text: "{timestamp}"}, []string{"text"}},
		{"placeholders without headers", Signature{Header: "X-S", Text: "{id}{timestamp}{body}"}, []string{"text", "text"}},
	} {
		t.Run("signature "+c.name, func(t *testing.T) {
			var got []string
			c.in.Validate(func(path, _ string) { got = append(got, path) })
			if diff := cmp.Diff(c.want, sorted(got)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func sorted(s []string) []string {
	for i := range s {
		for j := i; j > 0 && s[j] < s[j-1]; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
	return s
}

// FuzzVerify sends anything to every scheme: nothing that was not signed with the
// secret verifies.
func FuzzVerify(f *testing.F) {
	f.Add("id", "1700000000", standardSign, []byte(vectorBody))
	f.Add("id", "1700000000", "t=1700000000,"+stripeSign, []byte(vectorBody))
	f.Add("id", "1700000000", gitHubSign, []byte("Hello, World!"))
	f.Add("id", "1700000000", "v0=00", []byte(`{"id":"x","event_id":1}`))
	f.Fuzz(func(t *testing.T, id, at, signature string, body []byte) {
		h := http.Header{}
		for _, name := range []string{"Webhook-Id", "Svix-Id", "X-Github-Delivery", "X-Id"} {
			h[name] = []string{id}
		}
		for _, name := range []string{"Webhook-Timestamp", "Svix-Timestamp", "X-Slack-Request-Timestamp", "X-At"} {
			h[name] = []string{at}
		}
		for _, name := range []string{"Webhook-Signature", "Svix-Signature", "X-Hub-Signature-256", "Stripe-Signature", "X-Slack-Signature", "X-Sign"} {
			h[name] = []string{signature}
		}
		for _, scheme := range schemeNames {
			text := "a secret that nobody signs with"
			if scheme == "standard" || scheme == "svix" {
				text = "whsec_" + base64.StdEncoding.EncodeToString([]byte(text))
			}
			k, err := parseKey(scheme, text)
			if err != nil {
				t.Fatal(err)
			}
			r := hook{Route: Route{Scheme: scheme, Signature: &Signature{Header: "X-Sign", ID: "X-Id", Timestamp: "X-At", Text: "{id}.{timestamp}.{body}"}}}
			d, err := r.read(h, body)
			if err != nil {
				continue
			}
			if d.verifies([]key{k}) || d.verifies([]key{k, {public: make(ed25519.PublicKey, ed25519.PublicKeySize)}}) && len(d.eds) == 0 {
				t.Errorf("%s verifies", scheme)
			}
			if fmt.Sprint(d.fresh(time.Unix(1_700_000_000, 0))) == "" {
				t.Error("no answer")
			}
		}
	})
}
