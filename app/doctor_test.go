package app_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/app"
	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/kafka"
	_ "github.com/klamm-gateway/klamm/nametest"
	"github.com/klamm-gateway/klamm/target/all"
)

// What is between klamm and Kafka is the matter of kafka's own test of Diagnose; here is
// the rest.
func TestDoctorNamesWhatIsBroken(t *testing.T) {
	brokers := strings.Join(brokertest.Brokers(t), `", "`)
	serves := func(status int, header ...string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	secured := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }))
	secured.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secured.StartTLS()
	t.Cleanup(secured.Close)
	const closed = "127.0.0.1:1"
	target := func(url string) string {
		return fmt.Sprintf("egress: {allow: [127.0.0.0/8]}\npipes: [{name: p, topics: [t], target: {webhook: {url: %q}}}]", url)
	}
	registry := func(url string) string { return fmt.Sprintf("schema_registry: {url: %q}", url) }
	issuer := func(url string) string {
		return fmt.Sprintf("auth: {jwt: [{issuer: %q, audiences: [klamm], jwks_uri: %q}]}", url, url+"/keys")
	}
	for _, c := range []struct {
		name, text string
		want       string // a pattern for what is found; empty: nothing is
	}{
		{"all is well", target(serves(200)) + "\n" + registry(registryOf(t)), ""},
		{"a target that knows no HEAD", target(serves(405)), ""},
		{"a target that wants a login", target(serves(401)), ""},
		{"a target that fails", target(serves(500)), "problem target target of pipe p .*500.*try: .*log"},
		{"a proxy without a target", target(serves(502)), "problem target .*502"},
		{"a target that is not there", target("http://" + closed), "problem target .*refused.*try: .*listen"},
		{"a target without an address", target("http://no-such-host.invalid/"), "problem target .*no-such-host.invalid.*try: .*spelling"},
		{"a target of an unknown authority", target(secured.URL), "problem target .*TLS.*authority.*try: .*tls.ca"},
		{"a target for another name", target(strings.Replace(secured.URL, "127.0.0.1", "localhost", 1)), "problem target .*TLS"},
		{"a target without TLS", target(strings.Replace(serves(200), "http:", "https:", 1)), "problem target .*TLS.*does not speak it"},
		{"a target that nobody may reach", strings.Replace(target(serves(200)), "127.0.0.0/8", "10.1.0.0/16", 1), "problem target .*egress"},
		{"a function elsewhere that is gone", fmt.Sprintf("egress: {allow: [127.0.0.0/8]}\nfunctions: [{name: f, url: \"http://%s/\"}]", closed), "problem target function f .*refused"},
		{"a registry that is down", registry("http://" + closed), "problem registry .*does not answer.*refused"},
		{"a registry without an address", registry("http://no-such-host.invalid:8081"), "problem registry .*no-such-host.invalid"},
		{"a registry that wants a login", registry(serves(401)), "problem registry .*401.*try: .*username"},
		{"a registry that forbids", registry(serves(403)), "problem registry .*403"},
		{"a registry that is not well", registry(serves(503)), "problem registry .*not well"},
		{"something else than a registry", registry(serves(404)), "problem registry .*no schema registry"},
		{"a page instead of a registry", registry(serves(200)), "problem registry .*no schema registry"},
		{"a registry of an unknown authority", registry(secured.URL), "problem registry .*TLS.*authority.*try: .*root_ca"},
		{"a registry without TLS", registry(strings.Replace(serves(200), "http:", "https:", 1)), "problem registry .*https"},
		{"an issuer that is down", issuer("http://" + closed), "problem issuer .*refused"},
		{"an issuer under another path", issuer(serves(404)), "problem issuer .*404"},
		{"a clock that is wrong", issuer(serves(200, "Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))), "problem clock .*1h0m.*try: .*clocks"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, problems := config.Load([]byte(fmt.Sprintf("kafka: {brokers: [\"%s\"]}\n%s", brokers, c.text)), all.Kinds())
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			found := ""
			app.Doctor(t.Context(), cfg, func(f kafka.Finding) {
				if f.Level == kafka.FoundProblem {
					found += fmt.Sprintf("%s %s %s: %s try: %s\n", f.Level, f.Check, f.At, f.Found, f.Try)
					if f.Try == "" {
						t.Errorf("nothing to try: %+v", f)
					}
				}
			})
			if c.want == "" && found != "" || !regexp.MustCompile("(?s)"+c.want).MatchString(found) {
				t.Errorf("found %q, want %q", found, c.want)
			}
		})
	}
}

// registryOf is a schema registry that knows no schema.
func registryOf(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"error_code":40403,"message":"Schema not found"}`))
	}))
	t.Cleanup(s.Close)
	return s.URL
}
