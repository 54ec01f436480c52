package certificate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/acme"
	"github.com/klamm-gateway/klamm/secret"
)

// A Config is the tls section of a listener. The names that begin with ssl. are
// those of Java's Kafka tools, and mean the same as the others.
type Config struct {
	// Certificate is the file of the server's certificate and its chain: PEM,
	// PKCS#12 or JKS, whatever its name. It may be left out where there is acme.
	Certificate string `yaml:"certificate"`
	// Key is the file of its private key, PEM; the default is the certificate's.
	Key string `yaml:"key"`
	// Password opens a key store.
	Password secret.Ref `yaml:"password"`
	// KeyPassword opens the key; the default is that of the store.
	KeyPassword secret.Ref `yaml:"key_password"`
	// Alias says which key of a store is served; the default is the only one.
	Alias string `yaml:"alias"`
	// ACME gets a certificate from an authority such as Let's Encrypt, and renews it. It
	// is the one that clients get who ask for no other name, unless there is certificate.
	ACME *acme.Config `yaml:"acme"`
	// ClientCA is the file with the authorities of client certificates.
	ClientCA string `yaml:"client_ca"`
	// ClientCAPassword opens it; a JKS file is read without one too.
	ClientCAPassword secret.Ref `yaml:"client_ca_password"`
	// ClientAuth is none (the default), requested or required. A client is
	// whoever its certificate names.
	ClientAuth string `yaml:"client_auth"`
	// CRL says which client certificates are revoked.
	CRL CRL `yaml:"crl"`
	// Depth is how many certificates a client's chain has at most; the default is
	// 4.
	Depth int `yaml:"depth"`
	// Min is the oldest version of TLS: 1.2 (the default) or 1.3; with legacy also 1.0
	// and 1.1.
	Min string `yaml:"min"`
	// Legacy allows versions of TLS that nobody should use any more.
	Legacy bool `yaml:"legacy"`
	// Preset chooses versions and ciphers: modern (only TLS 1.3), intermediate (TLS 1.2
	// with forward secrecy and AEAD, and 1.3) or aws-tls-1-2 (TLS 1.2 with everything
	// that Go takes to be safe, and 1.3; the default).
	Preset string `yaml:"preset"`
	// Certificates are further ones for other names, or for the same names with
	// another kind of key. A client gets the first that fits the name it asks for and
	// what it understands, or else the one above.
	Certificates []Pair `yaml:"certificates"`
	// StrictSNI refuses clients that ask for a name which no certificate has; without
	// it they get the first.
	StrictSNI bool `yaml:"strict_sni"`
	// OCSP is staple (the default), which asks the responders that certificates name
	// whether they are good and shows clients the answer, or off.
	OCSP string `yaml:"ocsp"`
	// PrincipalFrom says what names a client: subject (the default), san.dns,
	// san.uri, san.email or spiffe.
	PrincipalFrom string `yaml:"principal_from"`
	// SANIndex chooses one of several alternative names, from 0 on; without it a
	// client with several is refused.
	SANIndex *int `yaml:"san_index"`
	// PrincipalMappingRules make a name of it, in Kafka's syntax:
	// RULE:PATTERN/REPLACEMENT/[LU],...,DEFAULT.
	PrincipalMappingRules string `yaml:"principal_mapping_rules"`

	// JavaKeyStore is another name of certificate.
	JavaKeyStore string `yaml:"ssl.keystore.location"`
	// JavaKeyStorePassword is another name of password.
	JavaKeyStorePassword secret.Ref `yaml:"ssl.keystore.password"`
	// JavaKeyStoreType is not needed: a store is known by its content.
	JavaKeyStoreType string `yaml:"ssl.keystore.type"`
	// JavaKeyStoreAlias is another name of alias.
	JavaKeyStoreAlias string `yaml:"ssl.keystore.alias"`
	// JavaKeyPassword is another name of key_password.
	JavaKeyPassword secret.Ref `yaml:"ssl.key.password"`
	// JavaTrustStore is another name of client_ca.
	JavaTrustStore string `yaml:"ssl.truststore.location"`
	// JavaTrustStorePassword is another name of client_ca_password.
	JavaTrustStorePassword secret.Ref `yaml:"ssl.truststore.password"`
	// JavaTrustStoreType is not needed.
	JavaTrustStoreType string `yaml:"ssl.truststore.type"`
	// JavaClientAuthentication is another name of client_auth: NONE, REQUESTED or
	// REQUIRED.
	JavaClientAuthentication string `yaml:"ssl.client.authentication"`
	// JavaClientAuth is an older one: true is required.
	JavaClientAuth bool `yaml:"ssl.client.auth"`
	// JavaRules is another name of principal_mapping_rules.
	JavaRules string `yaml:"ssl.principal.mapping.rules"`
}

// A Pair is a further certificate of a listener.
type Pair struct {
	// Certificate is the file of the certificate and its chain.
	Certificate string `yaml:"certificate"`
	// Key is the file of its private key; the default is the certificate's.
	Key string `yaml:"key"`
	// Password opens a key store.
	Password secret.Ref `yaml:"password"`
	// KeyPassword opens the key; the default is that of the store.
	KeyPassword secret.Ref `yaml:"key_password"`
	// Alias says which key of a store is served; the default is the only one.
	Alias string `yaml:"alias"`
}

// The presets of versions and ciphers.
const (
	modern       = "modern"
	intermediate = "intermediate"
	awsTLS12     = "aws-tls-1-2"
)

// mostCertificates bounds the certificates of a listener.
const mostCertificates = 1000

// A CRL says which certificates are revoked.
type CRL struct {
	// Files are revocation lists, PEM or DER, or directories of them. They are
	// read again when they change.
	Files []string `yaml:"files"`
	// Mode is off, soft (the default: a list counts where there is one) or hard
	// (without a current list of its issuer no certificate is taken).
	Mode string `yaml:"mode"`
}

// normal returns the section with the names of Java replaced and its defaults
// filled in.
func (c Config) normal() Config {
	for _, one := range []struct {
		into *string
		from string
	}{{&c.Certificate, c.JavaKeyStore}, {&c.Alias, c.JavaKeyStoreAlias}, {&c.ClientCA, c.JavaTrustStore}, {&c.ClientAuth, strings.ToLower(c.JavaClientAuthentication)}, {&c.PrincipalMappingRules, c.JavaRules}} {
		if *one.into == "" {
			*one.into = one.from
		}
	}
	for _, one := range []struct {
		into *secret.Ref
		from secret.Ref
	}{{&c.Password, c.JavaKeyStorePassword}, {&c.KeyPassword, c.JavaKeyPassword}, {&c.ClientCAPassword, c.JavaTrustStorePassword}} {
		if one.into.IsZero() {
			*one.into = one.from
		}
	}
	if c.ClientAuth == "" && c.JavaClientAuth {
		c.ClientAuth = "required"
	}
	if c.ClientAuth == "" {
		c.ClientAuth = "none"
	}
	if c.Depth == 0 {
		c.Depth = 4
	}
	if c.PrincipalFrom == "" {
		c.PrincipalFrom = "subject"
	}
	if c.CRL.Mode == "" {
		c.CRL.Mode = "soft"
	}
	return c
}

// AsksClients says whether clients may log in with a certificate.
func (c Config) AsksClients() bool { return c.normal().ClientAuth != "none" }

// Validate reports each problem with the field it lies in.
func (c *Config) Validate(report func(path, problem string)) {
	n := c.normal()
	if n.Certificate == "" && n.ACME == nil {
		report("certificate", "want the file of the server's certificate, or acme")
	}
	if !slices.Contains([]string{"none", "requested", "required"}, n.ClientAuth) {
		report("client_auth", "want none, requested or required")
	} else if n.ClientAuth != "none" && n.ClientCA == "" {
		report("client_ca", "want the file with the authorities of client certificates")
	}
	if !slices.Contains([]string{"off", "soft", "hard"}, n.CRL.Mode) {
		report("crl.mode", "want off, soft or hard")
	}
	switch {
	case slices.Contains([]string{"1.0", "1.1"}, n.Min) && !n.Legacy:
		report("min", "this version is unsafe; want \"1.2\" or \"1.3\", or legacy: true beside it")
	case !slices.Contains([]string{"", "1.0", "1.1", "1.2", "1.3"}, n.Min):
		report("min", "want \"1.2\" or \"1.3\"")
	}
	if !slices.Contains([]string{"", modern, intermediate, awsTLS12}, n.Preset) {
		report("preset", "want modern, intermediate or aws-tls-1-2")
	}
	if !slices.Contains([]string{"", "staple", "off"}, n.OCSP) {
		report("ocsp", "want staple or off")
	}
	for i, p := range n.Certificates {
		if p.Certificate == "" {
			report(fmt.Sprintf("certificates[%d].certificate", i), "want the file of a certificate")
		}
	}
	if len(n.Certificates) > mostCertificates {
		report("certificates", fmt.Sprintf("want at most %d", mostCertificates))
	}
	if n.Depth < 1 || n.Depth > 10 {
		report("depth", "want a number from 1 to 10")
	}
	if !slices.Contains([]string{"subject", "san.dns", "san.uri", "san.email", "spiffe"}, n.PrincipalFrom) {
		report("principal_from", "want subject, san.dns, san.uri, san.email or spiffe")
	}
	if n.SANIndex != nil && (*n.SANIndex < 0 || *n.SANIndex > 100) {
		report("san_index", "want a number from 0 to 100")
	}
	if _, err := parseRules(n.PrincipalMappingRules); err != nil {
		report("principal_mapping_rules", err.Error())
	}
}
