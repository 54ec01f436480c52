package peer

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"testing"
)

// TestWhoGetsThroughTheHandshake has processes and others call a listener that speaks
// TLS and takes no client without a certificate of its own.
func TestWhoGetsThroughTheHandshake(t *testing.T) {
	identity := func(secret string) *tls.Config {
		t.Helper()
		c, err := newIdentity([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const ours = "the secret of the cluster"
	own, stranger := identity(ours), identity("another secret")
	nameless := stranger.Clone()
	nameless.Certificates, nameless.VerifyConnection = nil, nil
	trusting := stranger.Clone()
	trusting.VerifyConnection = nil
	borrowed := trusting.Clone() // shows our certificate without its key
	borrowed.Certificates = []tls.Certificate{{Certificate: own.Certificates[0].Certificate, PrivateKey: stranger.Certificates[0].PrivateKey}}
	old := own.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12

	opened := &Peers{identity: own}
	for _, c := range []struct {
		name     string
		listener *Peers
		caller   *tls.Config
		good     bool
	}{
		{"a process", opened, identity(ours), true},
		{"a process of another cluster", opened, stranger, false},
		{"another one, which takes every listener", opened, trusting, false},
		{"somebody without a certificate", opened, nameless, false},
		{"somebody who has seen the certificate", opened, borrowed, false},
		{"an old version of TLS", opened, old, false},
		{"a process, before the listener knows the secret", &Peers{}, identity(ours), false},
		{"a process that reaches another cluster's", &Peers{identity: stranger}, identity(ours), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
				MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool(),
				Certificates: stranger.Certificates, GetConfigForClient: c.listener.Greet,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			served := make(chan error, 1)
			go func() {
				conn, err := l.Accept()
				if err != nil {
					served <- err
					return
				}
				defer conn.Close()
				_, err = io.WriteString(conn, "hello")
				served <- err
			}()
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			secured := tls.Client(conn, c.caller)
			said, err := io.ReadAll(secured)
			_ = secured.Close()
			_ = conn.Close()
			refused := <-served
			if good := err == nil && refused == nil && string(said) == "hello"; good != c.good {
				t.Errorf("got %q, %v; the listener: %v", said, err, refused)
			}
		})
	}
}

func TestClientsAreNotGreeted(t *testing.T) {
	p := &Peers{}
	for _, name := range []string{"", "klamm.example.com", "klamm.invalid", "x." + peerName} {
		if c, err := p.Greet(&tls.ClientHelloInfo{ServerName: name}); c != nil || err != nil {
			t.Errorf("%q: %v, %v", name, c, err)
		}
	}
	if _, err := p.Greet(&tls.ClientHelloInfo{ServerName: peerName}); !errors.Is(err, errStranger) {
		t.Errorf("before the secret is known: %v", err)
	}
}

func TestTheKeyIsTheSecrets(t *testing.T) {
	key := func(secret string) ed25519.PrivateKey {
		t.Helper()
		c, err := newIdentity([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return c.Certificates[0].PrivateKey.(ed25519.PrivateKey)
	}
	if !key("a").Equal(key("a")) || key("a").Equal(key("b")) {
		t.Error("processes with one secret need one key, others another")
	}
}
