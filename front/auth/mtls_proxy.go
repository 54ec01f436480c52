package auth

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/certificate"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/secret"
)

const (
	// chainsKept bounds the chains that are remembered, and chainFor is for how long, so
	// that those of busy clients are not parsed anew with each request.
	chainsKept = 2000
	chainFor   = 5 * time.Minute
	// longestChain bounds the certificates of a chain.
	longestChain = 10
)

// Headers in which proxies tell of client certificates.
const (
	clientCert      = "client-cert"             // RFC 9440: DER as a byte sequence
	clientCertXFCC  = "x-forwarded-client-cert" // Envoy: Cert or Chain, URL-encoded PEM
	clientCertNginx = "x-ssl-client-cert"       // URL-encoded PEM
)

// MTLS takes the client certificates of callers whose TLS ends at a proxy before klamm,
// one of waf.trusted_proxies. Nobody else is believed.
type MTLS struct {
	// Header is where the proxy puts the certificate: client-cert (RFC 9440, with
	// client-cert-chain), x-forwarded-client-cert (Envoy, with Cert or Chain) or
	// x-ssl-client-cert (PEM, URL-encoded). The proxy has to replace what clients send.
	Header string `yaml:"header"`
	// ClientCA is the file with the authorities of client certificates: klamm checks
	// what the proxy tells.
	ClientCA string `yaml:"client_ca"`
	// ClientCAPassword opens it.
	ClientCAPassword secret.Ref `yaml:"client_ca_password"`
	// CRL says which client certificates are revoked.
	CRL certificate.CRL `yaml:"crl"`
	// Depth is how many certificates a client's chain has at most; the default is 4.
	Depth int `yaml:"depth"`
	// PrincipalFrom says what names a client: subject (the default), san.dns, san.uri,
	// san.email or spiffe.
	PrincipalFrom string `yaml:"principal_from"`
	// SANIndex chooses one of several alternative names, from 0 on; without it a client
	// with several is refused.
	SANIndex *int `yaml:"san_index"`
	// PrincipalMappingRules make a name of it, in Kafka's syntax:
	// RULE:PATTERN/REPLACEMENT/[LU],...,DEFAULT.
	PrincipalMappingRules string `yaml:"principal_mapping_rules"`
}

// Validate reports each problem with the field it lies in.
func (m *MTLS) Validate(report func(path, problem string)) {
	if h := m.Header; h != clientCert && h != clientCertXFCC && h != clientCertNginx {
		report("header", "want client-cert, x-forwarded-client-cert or x-ssl-client-cert")
	}
	cfg := m.clients()
	cfg.Certificate, cfg.ClientAuth = "-", "requested" // which nobody serves here
	cfg.Validate(report)
}

func (m *MTLS) clients() certificate.Config {
	return certificate.Config{
		ClientCA: m.ClientCA, ClientCAPassword: m.ClientCAPassword, CRL: m.CRL, Depth: m.Depth,
		PrincipalFrom: m.PrincipalFrom, SANIndex: m.SANIndex, PrincipalMappingRules: m.PrincipalMappingRules,
	}
}

// A proxied finds client certificates in a header.
type proxied struct {
	env    Env
	header string // canonical
	trust  *certificate.Server
	parsed *cache[[sha256.Size]byte, []*x509.Certificate]
}

// addProxied has certificates taken that a proxy tells of.
func (c *Chain) addProxied(ctx context.Context, cfg *MTLS) error {
	trust, err := certificate.OpenClients(ctx, cfg.clients(), certificate.Files{Read: c.env.Read, List: c.env.List}, c.env.Secret, c.env.Log)
	if err != nil {
		return fmt.Errorf("auth.mtls: %w", err)
	}
	if !c.idle {
		c.parts.Go(func() { trust.Run(c.ctx) })
	}
	p := &proxied{c.env, http.CanonicalHeaderKey(cfg.Header), trust, newCache[[sha256.Size]byte, []*x509.Certificate](chainsKept)}
	c.env.Certificate = p.certificate
	return nil
}

// certificate returns the certificate of the client that a request comes from. The one
// that a proxy has shown for itself never stands for a client's that cannot be used.
func (p *proxied) certificate(r *http.Request) (name string, cert *gate.Certificate, digest [sha256.Size]byte, ok bool) {
	values := r.Header[p.header]
	if len(values) == 0 || !p.env.Links.FromProxy(r) {
		if p.env.Certificate == nil {
			return "", nil, digest, false
		}
		return p.env.Certificate(r)
	}
	client, ok := p.trust.ClientOf(p.chain(values, r.Header["Client-Cert-Chain"]))
	if !ok {
		return "", nil, digest, false
	}
	return Describe(client)
}

// chain parses what a proxy tells; nil: that is no certificate.
func (p *proxied) chain(values, rest []string) []*x509.Certificate {
	h := sha256.New()
	for _, v := range append(append([]string(nil), values...), rest...) {
		fmt.Fprintf(h, "%d:%s", len(v), v)
	}
	fmt.Fprint(h, len(rest))
	digest, now := [sha256.Size]byte(h.Sum(nil)), p.env.now()
	if known, ok := p.parsed.get(digest, now); ok {
		return known
	}
	var ders [][]byte
	switch p.header {
	case "Client-Cert":
		ders = byteSequences(append(append([]string(nil), values...), rest...))
		if len(values) > 1 || strings.Contains(values[0], ",") {
			ders = nil // more than one client
		}
	case "X-Forwarded-Client-Cert":
		// The last element is what the proxy itself has seen.
		elements := fields(strings.Join(values, ","), ',')
		ders = decodePEM(forwardedCert(elements[len(elements)-1]))
	default:
		if len(values) == 1 {
			ders = decodePEM(values[0])
		}
	}
	chain := parseChain(ders)
	p.parsed.put(digest, chain, now.Add(chainFor))
	return chain
}

func parseChain(ders [][]byte) (chain []*x509.Certificate) {
	if len(ders) > longestChain {
		return nil
	}
	for _, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil
		}
		chain = append(chain, c)
	}
	return chain
}

// byteSequences decodes lists of :BASE64: (RFC 8941); nil if one is none.
func byteSequences(lists []string) (all [][]byte) {
	for item := range strings.SplitSeq(strings.Join(lists, ","), ",") {
		text, begins := strings.CutPrefix(strings.TrimSpace(item), ":")
		text, ends := strings.CutSuffix(text, ":")
		der, err := base64.StdEncoding.DecodeString(text)
		if !begins || !ends || err != nil {
			return nil
		}
		all = append(all, der)
	}
	return all
}

// decodePEM reads URL-encoded PEM; nil if it is none.
func decodePEM(text string) (all [][]byte) {
	text, err := url.PathUnescape(text)
	if err != nil {
		return nil
	}
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return all
		}
		if block.Type != "CERTIFICATE" {
			return nil
		}
		all = append(all, block.Bytes)
	}
}

// forwardedCert is the certificate in an element of X-Forwarded-Client-Cert, with those
// above it if the proxy tells them; empty: there is none.
func forwardedCert(element string) string {
	found := map[string]string{}
	for _, pair := range fields(element, ';') {
		name, value, _ := strings.Cut(pair, "=")
		found[strings.ToLower(strings.TrimSpace(name))] = strings.ReplaceAll(strings.Trim(strings.TrimSpace(value), `"`), `\"`, `"`)
	}
	if chain := found["chain"]; chain != "" {
		return chain
	}
	return found["cert"]
}

// fields splits at a separator that does not stand between quotes.
func fields(s string, at byte) []string {
	var all []string
	begin, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == at && !quoted:
			all = append(all, s[begin:i])
			begin = i + 1
		}
	}
	return append(all, s[begin:])
}
