package peer

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"time"
)

// Where the listener that clients use speaks TLS, processes do too, on the same port.
// They cannot verify each other by the listener's certificate: it names the balancer or
// nothing that an address of the table is, and may ask for a client certificate that no
// process has. So they say in their hello that they are processes (peerName), and then
// both ends show a certificate of a key that is derived from the cluster's secret. Who
// does not know the secret does not get through the handshake, at either end.

// peerName is the server name that processes call each other by. No client's can be.
const peerName = "peer.klamm.invalid"

// errStranger is the end of a handshake with somebody who does not know the secret.
var errStranger = errors.New("the other end is not a klamm process of this cluster")

// newIdentity returns the configuration of TLS between the processes that share a
// secret, for both ends.
func newIdentity(secret []byte) (*tls.Config, error) {
	seed, err := hkdf.Key(sha256.New, secret, nil, "klamm peer tls", ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	key := ed25519.NewKeyFromSeed(seed)
	own, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errStranger
	}
	// Nobody looks at anything in it but the key.
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{peerName},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, own, key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates:           []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		ServerName:             peerName,
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"http/1.1"},
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true,
		// There is no authority: VerifyConnection compares the key itself.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 || !own.Equal(state.PeerCertificates[0].PublicKey) {
				return errStranger
			}
			return nil
		},
	}, nil
}

// Greet returns how to answer a hello that comes from another process of the cluster,
// to a listener that speaks TLS; nil: it comes from somebody else. It fits
// tls.Config.GetConfigForClient.
func (p *Peers) Greet(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if hello.ServerName != peerName {
		return nil, nil //nolint:nilnil // as crypto/tls wants it
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.identity == nil {
		return nil, errStranger // nobody can be known yet
	}
	return p.identity, nil
}
