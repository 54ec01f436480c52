package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"

	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
)

// A certificates is what a TLS names, in PEM.
type certificates struct{ certificate, key, ca string }

// read looks the certificates up.
func (t *TLS) read(ctx context.Context, lookup secret.Lookup) (c certificates, err error) {
	for _, one := range []struct {
		ref  secret.Ref
		into *string
	}{{t.Certificate, &c.certificate}, {t.Key, &c.key}, {t.CA, &c.ca}} {
		if one.ref.IsZero() {
			continue
		}
		if *one.into, err = lookup(ctx, one.ref); err != nil {
			return c, fmt.Errorf("tls: %w", err)
		}
	}
	return c, nil
}

// transport makes a transport that uses them. Its errors do not show them.
func (t *TLS) transport(c certificates, egress *target.Egress) (*http.Transport, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.MinVersion == "1.3" {
		config.MinVersion = tls.VersionTLS13
	}
	if c.certificate != "" {
		pair, err := tls.X509KeyPair([]byte(c.certificate), []byte(c.key))
		if err != nil {
			return nil, fmt.Errorf("tls: certificate and key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if c.ca != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(c.ca)) {
			return nil, errors.New("tls: ca: there is no certificate in PEM")
		}
	}
	transport := egress.Transport()
	transport.TLSClientConfig = config
	return transport, nil
}
