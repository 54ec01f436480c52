package queue

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/klamm-gateway/klamm/secret"
)

func TestTrustedCertificates(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // of handshakes that are to fail
	server.StartTLS()
	defer server.Close()
	ca := secret.Ref{Value: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))}
	handshake := func(c *TLS) error {
		config, err := c.load(t.Context(), "127.0.0.1", secret.Local)
		if err != nil {
			return err
		}
		conn, err := tls.Dial("tcp", server.Listener.Addr().String(), config)
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	for _, test := range []struct {
		name string
		in   *TLS
		want string // in the error; "": none
	}{
		{"the system's", nil, "unknown authority"},
		{"the server's", &TLS{CA: ca}, ""},
		{"another name", &TLS{CA: ca, ServerName: "example.com"}, ""},
		{"a wrong name", &TLS{CA: ca, ServerName: "example.org"}, "not example.org"},
		{"no PEM", &TLS{CA: secret.Ref{Value: "x"}}, "tls.ca: there is no certificate"},
		{"a missing file", &TLS{CA: secret.Ref{File: "/nonexistent/ca.pem"}}, "tls.ca"},
		{"no pair", &TLS{Certificate: ca, Key: secret.Ref{Value: "very secret"}}, "not a pair"},
		{"a missing key", &TLS{Certificate: ca, Key: secret.Ref{Env: "KLAMM_TEST_NO_SUCH_VARIABLE"}}, "tls.key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := handshake(test.in)
			if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "very secret")) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestMissingSecretsAreMistakesInTheConfiguration(t *testing.T) {
	missing := errors.New("missing")
	env := func(context.Context, secret.Ref) (string, error) { return "", missing }
	if _, err := (&SQS{}).credentials(t.Context(), env); !errors.Is(err, missing) {
		t.Errorf("sqs: got %v", err)
	}
	gone := secret.Ref{Env: "KLAMM_TEST_NO_SUCH_VARIABLE"}
	for _, c := range []Config{
		{SQS: &SQS{URL: "http://127.0.0.1:1/0/q", AccessKey: gone, SecretKey: gone}},
		{NATS: &NATS{Servers: []string{"nats://127.0.0.1:1"}, Subject: "a", Token: gone}},
		{NATS: &NATS{Servers: []string{"nats://127.0.0.1:1"}, Subject: "a", Credentials: gone}},
		{NATS: &NATS{Servers: []string{"nats://127.0.0.1:1"}, Subject: "a", Username: "u", Password: gone}},
		{AMQP: &AMQP{URL: "amqp://127.0.0.1:1", Username: "u", Password: gone}},
	} {
		if err := openError(t, c); err == nil || !strings.Contains(err.Error(), gone.Env) {
			t.Errorf("got %v", err)
		}
	}
}
