package app_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/acme/acmetest"
)

// from makes a request for a host and returns the status of its answer, and the body.
func from(t *testing.T, client *http.Client, url, host string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // a test's
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func TestCertificatesByACME(t *testing.T) {
	a := acmetest.New(t)
	var plain, secured string // known when open is closed
	open := make(chan struct{})
	known := sync.OnceFunc(func() { close(open) })
	t.Cleanup(known)
	a.Dial = func(challenge, _ string) string {
		<-open
		if challenge == "http-01" {
			return plain
		}
		return secured
	}
	storage := filepath.Join(t.TempDir(), "acme")
	with := func(challenge, names string) string {
		return fmt.Sprintf(`
waf: {hosts: [inside.example.com]}
listeners:
  - listen: 127.0.0.1:0
    tls: {acme: {directory_url: %q, roots: %q, storage: %q, names: [%s], agree_tos: true, challenges: [%s]}}
`, a.URL(), a.Roots(), storage, names, challenge)
	}
	k := start(t, with("http-01", "klamm.example.com"), t.TempDir())
	plain = strings.TrimPrefix(k.url, "http://")
	metric := func(result string) string {
		_, text := from(t, http.DefaultClient, k.url+"/metrics", "inside.example.com")
		m := regexp.MustCompile(`klamm_acme_renewals_total\{name="([^"]*)",result="` + result + `"\} (\d+)`).FindStringSubmatch(text)
		if m == nil {
			t.Fatal("there is no series of renewals")
		}
		secured = m[1]
		return m[2]
	}
	if got := metric("succeeded"); got != "0" {
		t.Errorf("before the authority has looked, %s certificates were issued", got)
	}
	// shown is the names of the certificate that a client gets.
	shown := func(name string) ([]string, error) {
		conn, err := tls.Dial("tcp", secured, &tls.Config{ServerName: name, RootCAs: a.Pool(), MinVersion: tls.VersionTLS12})
		if err != nil {
			return nil, err
		}
		defer conn.Close() //nolint:errcheck // a test's
		return conn.ConnectionState().PeerCertificates[0].DNSNames, nil
	}
	if names, err := shown("klamm.example.com"); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("before there is a certificate, one for %v is shown: %v", names, err)
	}
	if !strings.Contains(k.log.String(), "no certificate yet") {
		t.Error("the log does not say why handshakes are refused")
	}
	if status, _ := from(t, http.DefaultClient, k.url+"/ready", "inside.example.com"); status != 200 {
		t.Errorf("/ready is %d; then a balancer would not let the authority in", status)
	}
	if status, _ := from(t, http.DefaultClient, k.url+"/.well-known/acme-challenge/a-token-of-nobody", "klamm.example.com"); status != 421 {
		t.Errorf("a token that nobody waits for is answered %d, want the firewall's 421", status)
	}
	known()

	await := func(what string, names ...string) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			got, err := shown(names[0])
			if slices.Equal(got, names) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: the certificate is for %v (%v), want %v", what, got, err, names)
			}
		}
	}
	await("at the start", "klamm.example.com")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{ServerName: "klamm.example.com", RootCAs: a.Pool(), MinVersion: tls.VersionTLS12}}}
	defer client.CloseIdleConnections()
	for host, want := range map[string]int{"inside.example.com": 200, "klamm.example.com": 421} {
		if status, _ := from(t, client, "https://"+secured+"/healthy", host); status != want {
			t.Errorf("%s is answered %d, want %d", host, status, want)
		}
	}
	if got := metric("succeeded"); got != "1" {
		t.Errorf("%s certificates were issued", got)
	}
	if _, text := from(t, client, "https://"+secured+"/metrics", "inside.example.com"); !strings.Contains(text, `klamm_cert_expiry_seconds{name="`+secured+`"}`) {
		t.Error("nothing tells when the certificate ends")
	}

	if err := k.app.Reload(context.Background(), load(t, with("tls-alpn-01", "klamm.example.com, b.example.com")), false); err != nil {
		t.Fatal(err)
	}
	if _, err := shown("klamm.example.com"); err != nil {
		t.Errorf("after a change, until the new certificate is there: %v", err)
	}
	await("after a change", "klamm.example.com", "b.example.com")
	if got := len(a.Issued()); got != 2 {
		t.Errorf("%d certificates were issued", got)
	}
	if err := k.app.Reload(context.Background(), load(t, with("tls-alpn-01", "klamm.example.com, b.example.com")), false); err != nil {
		t.Fatal(err)
	}
	if got := metric("succeeded"); got != "1" {
		t.Errorf("a reload without a change counts %s renewals since the last one", got)
	}
}
