package queue

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
)

const (
	// dialTime bounds making a connection, greetings included.
	dialTime = 10 * time.Second
	// lookupTime bounds looking up the secrets of a target.
	lookupTime = 10 * time.Second
	// writeTime is how long a peer may take nothing.
	writeTime = 20 * time.Second
)

// dialer returns a dialer that connects to addresses which egress allows.
func dialer(egress *target.Egress) *net.Dialer {
	return &net.Dialer{Timeout: dialTime, KeepAlive: 30 * time.Second, Control: func(_, to string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(to)
		if err != nil {
			return fmt.Errorf("%w: %s", target.ErrEgress, to)
		}
		return egress.Check(ap.Addr())
	}}
}

// A TLS says which certificates are used and trusted.
type TLS struct {
	// CA are the certificates that are trusted, in PEM; the default is those of
	// the system.
	CA secret.Ref `yaml:"ca" json:"ca,omitzero"`
	// Certificate is klamm's own, in PEM, with those between it and the authority.
	Certificate secret.Ref `yaml:"certificate" json:"certificate,omitzero"`
	// Key goes with Certificate, in PEM.
	Key secret.Ref `yaml:"key" json:"key,omitzero"`
	// ServerName is the name in the server's certificate; the default is the host
	// of the URL.
	ServerName string `yaml:"server_name" json:"server_name,omitempty"`
}

func (t *TLS) validate(report func(path, problem string)) {
	if t.Certificate.IsZero() != t.Key.IsZero() {
		report("certificate", "certificate and key go together")
	}
	if len(t.ServerName) > 253 || strings.ContainsAny(t.ServerName, " /:\x00") {
		report("server_name", "want a name such as queue.example.com")
	}
}

// load looks the certificates up; t may be nil. The host is the name that the
// server's certificate must have, unless the configuration has another.
func (t *TLS) load(ctx context.Context, host string, lookup secret.Lookup) (*tls.Config, error) {
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if t == nil {
		return c, nil
	}
	if t.ServerName != "" {
		c.ServerName = t.ServerName
	}
	if !t.CA.IsZero() {
		text, err := lookup(ctx, t.CA)
		if err != nil {
			return nil, fmt.Errorf("tls.ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(text)) {
			return nil, errors.New("tls.ca: there is no certificate in PEM")
		}
	}
	if !t.Certificate.IsZero() {
		certificate, err := lookup(ctx, t.Certificate)
		if err != nil {
			return nil, fmt.Errorf("tls.certificate: %w", err)
		}
		key, err := lookup(ctx, t.Key)
		if err != nil {
			return nil, fmt.Errorf("tls.key: %w", err)
		}
		pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
		if err != nil {
			// The text of the error may come from the key.
			return nil, errors.New("tls.certificate and tls.key are not a pair in PEM")
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// A boundedConn does not wait for ever for a peer that takes nothing.
type boundedConn struct{ net.Conn }

func (c boundedConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
