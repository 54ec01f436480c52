package acmetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// lookFor bounds a look at a challenge.
const lookFor = 30 * time.Second

// acmeIdentifier is the extension of RFC 8737, 3.
var acmeIdentifier = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}

// look says what is wrong with the answer to a challenge; nil: nothing.
func (a *Authority) look(kind string, id identifier, token, want string) *problem {
	switch kind {
	case "http-01":
		return a.lookHTTP(id.Value, token, want)
	case "tls-alpn-01":
		return a.lookTLS(id, want)
	}
	sum := sha256.Sum256([]byte(want))
	value := base64.RawURLEncoding.EncodeToString(sum[:])
	if a.TXT == nil || !slices.Contains(a.TXT("_acme-challenge."+id.Value+"."), value) {
		return refuse(403, "unauthorized", "no such TXT record of %s", id.Value)
	}
	return nil
}

func (a *Authority) lookHTTP(name, token, want string) *problem {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", a.Dial("http-01", name))
	}}
	resp, err := (&http.Client{Transport: transport, Timeout: lookFor}).Get("http://" + hostOf(name) + "/.well-known/acme-challenge/" + token)
	if err != nil {
		return refuse(400, "connection", "%v", err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil || resp.StatusCode != 200 || string(text) != want {
		return refuse(403, "unauthorized", "%s answers %d %q", name, resp.StatusCode, text)
	}
	return nil
}

func (a *Authority) lookTLS(id identifier, want string) *problem {
	name := id.Value
	if id.Type == "ip" { // RFC 8738, 6
		name = reverse(net.ParseIP(name))
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: lookFor}, "tcp", a.Dial("tls-alpn-01", id.Value), &tls.Config{
		ServerName: name, NextProtos: []string{"acme-tls/1"}, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: true, // it is self-signed
	})
	if err != nil {
		return refuse(400, "tls", "%v", err)
	}
	defer func() { _ = conn.Close() }()
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != "acme-tls/1" || len(state.PeerCertificates) != 1 {
		return refuse(403, "unauthorized", "%s speaks %q with %d certificates", name, state.NegotiatedProtocol, len(state.PeerCertificates))
	}
	leaf := state.PeerCertificates[0]
	ok := id.Type == "dns" && slices.Equal(leaf.DNSNames, []string{id.Value}) && len(leaf.IPAddresses) == 0 ||
		id.Type == "ip" && len(leaf.IPAddresses) == 1 && leaf.IPAddresses[0].Equal(net.ParseIP(id.Value)) && len(leaf.DNSNames) == 0
	sum := sha256.Sum256([]byte(want))
	value, _ := asn1.Marshal(sum[:])
	ok = ok && slices.ContainsFunc(leaf.Extensions, func(e pkix.Extension) bool {
		return e.Id.Equal(acmeIdentifier) && e.Critical && bytes.Equal(e.Value, value)
	})
	if !ok {
		return refuse(403, "unauthorized", "%s shows a certificate that does not answer", name)
	}
	return nil
}

// reverse is the name that stands for an address.
func reverse(ip net.IP) string {
	var parts []string
	if v4 := ip.To4(); v4 != nil {
		parts = strings.Split(v4.String(), ".")
		slices.Reverse(parts)
		return strings.Join(parts, ".") + ".in-addr.arpa"
	}
	parts = strings.Split(hex.EncodeToString(ip.To16()), "")
	slices.Reverse(parts)
	return strings.Join(parts, ".") + ".ip6.arpa"
}
