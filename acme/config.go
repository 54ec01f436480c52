package acme

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/secret"
)

// A Config is the acme section of a listener's tls section (gateway-policies.md 5.11).
type Config struct {
	// DirectoryURL is where the authority says what it offers, an https URL; the default
	// is that of Let's Encrypt.
	DirectoryURL string `yaml:"directory_url"`
	// Names are those that the certificate is for, 1 to 100: host names, wildcards such
	// as *.example.com (which need dns-01), and addresses where the authority allows
	// them.
	Names []string `yaml:"names"`
	// Contacts are e-mail addresses at which the authority may write to you.
	Contacts []string `yaml:"contacts"`
	// AgreeTOS says that you agree to the authority's terms of service. It must be true.
	AgreeTOS bool `yaml:"agree_tos"`
	// Storage is the directory for the account's key, the certificates and what goes on.
	// Processes that share it share the certificate. It is made if there is none.
	Storage string `yaml:"storage"`
	// Challenges are the ways in which klamm may show that the names are its own:
	// http-01, tls-alpn-01 and dns-01. The default is the first two.
	Challenges []string `yaml:"challenges"`
	// DNSHook is the program for dns-01 and its first arguments. It is run with "present"
	// or "cleanup", the name of a TXT record and its value behind them.
	DNSHook []string `yaml:"dns_hook"`
	// DNSWait is how long klamm waits after the program has ended, until all name servers
	// have the record; the default is not at all, the most an hour.
	DNSWait time.Duration `yaml:"dns_wait"`
	// EAB binds the account to one that you have with the authority already.
	EAB EAB `yaml:"eab"`
	// Roots is a PEM file of the authorities that vouch for the server at directory_url;
	// the default is those of the system.
	Roots string `yaml:"roots"`
	// KeyType is ecdsa (P-256; the default) or rsa (2048 bits).
	KeyType string `yaml:"key_type"`
	// Profile is one of the kinds of certificates that the authority offers; the default
	// is the authority's.
	Profile string `yaml:"profile"`
}

// EAB is an external account binding, which some authorities ask for.
type EAB struct {
	// KeyID names the key.
	KeyID string `yaml:"key_id"`
	// Key is the key (HMAC) itself, in base64url as authorities show it.
	Key secret.Ref `yaml:"key"`
}

// The ways to show that a name is one's own, in the words of RFC 8555 and RFC 8737.
const (
	http01    = "http-01"
	tlsALPN01 = "tls-alpn-01"
	dns01     = "dns-01"
)

const (
	letsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"
	// mostNames is how many names the large authorities put into one certificate.
	mostNames = 100
	// longestWait bounds dns_wait.
	longestWait = time.Hour
)

// normal returns the section with its defaults filled in and names as certificates
// have them.
func (c Config) normal() Config {
	if c.DirectoryURL == "" {
		c.DirectoryURL = letsEncrypt
	}
	if c.KeyType == "" {
		c.KeyType = "ecdsa"
	}
	if len(c.Challenges) == 0 {
		c.Challenges = []string{http01, tlsALPN01}
	}
	names := make([]string, len(c.Names))
	for i, n := range c.Names {
		names[i] = strings.ToLower(n)
		if a, err := netip.ParseAddr(n); err == nil {
			names[i] = a.String()
		}
	}
	c.Names = names
	return c
}

// Validate reports each problem with the field it lies in.
func (c *Config) Validate(report func(path, problem string)) {
	n := c.normal()
	if u, err := url.Parse(n.DirectoryURL); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		report("directory_url", "want an https URL")
	}
	n.validateNames(report)
	for i, contact := range n.Contacts {
		if !isContact(contact) {
			report(fmt.Sprintf("contacts[%d]", i), "want an e-mail address")
		}
	}
	if !n.AgreeTOS {
		report("agree_tos", "want true: an authority issues certificates only to those who agree to its terms of service")
	}
	if n.Storage == "" {
		report("storage", "want the directory for the account and the certificates")
	}
	n.validateChallenges(report)
	if (n.EAB.KeyID == "") != n.EAB.Key.IsZero() {
		report("eab", "want both key_id and key")
	}
	if !slices.Contains([]string{"ecdsa", "rsa"}, n.KeyType) {
		report("key_type", "want ecdsa or rsa")
	}
}

func (c Config) validateNames(report func(path, problem string)) {
	if len(c.Names) == 0 || len(c.Names) > mostNames {
		report("names", fmt.Sprintf("want 1 to %d names", mostNames))
	}
	for i, name := range c.Names {
		path := fmt.Sprintf("names[%d]", i)
		_, err := netip.ParseAddr(name)
		address, wildcard := err == nil, strings.HasPrefix(name, "*.")
		switch {
		case !isName(name):
			report(path, "want a host name such as klamm.example.com in ASCII, *. before one, or an address")
		case slices.Contains(c.Names[:i], name):
			report(path, "this name stands there already")
		case wildcard && !slices.Contains(c.Challenges, dns01):
			report(path, "a wildcard can only be proved by dns-01; name it in challenges")
		case address && !slices.Contains(c.Challenges, http01) && !slices.Contains(c.Challenges, tlsALPN01):
			report(path, "an address cannot be proved by dns-01; name http-01 or tls-alpn-01 in challenges")
		}
	}
}

func (c Config) validateChallenges(report func(path, problem string)) {
	for i, one := range c.Challenges {
		if !slices.Contains([]string{http01, tlsALPN01, dns01}, one) {
			report(fmt.Sprintf("challenges[%d]", i), "want http-01, tls-alpn-01 or dns-01")
		}
	}
	switch byHook := slices.Contains(c.Challenges, dns01); {
	case byHook && (len(c.DNSHook) == 0 || c.DNSHook[0] == ""):
		report("dns_hook", "want the program that makes TXT records, for dns-01")
	case !byHook && len(c.DNSHook) > 0:
		report("dns_hook", "it is only run for dns-01; name that in challenges")
	}
	if c.DNSWait < 0 || c.DNSWait > longestWait {
		report("dns_wait", fmt.Sprintf("want 0 to %s", longestWait))
	}
}

// isName says whether a name, in lower case, can be in a certificate. What passes is
// fit to be part of the name of a file, once * and : are replaced.
func isName(name string) bool {
	if a, err := netip.ParseAddr(name); err == nil {
		return a.Zone() == ""
	}
	host := strings.TrimPrefix(name, "*.")
	if len(name) > 253 || host == "" {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

func isContact(text string) bool {
	user, host, ok := strings.Cut(strings.TrimPrefix(text, "mailto:"), "@")
	for _, r := range text {
		if r <= ' ' || r > '~' || strings.ContainsRune(",?&<>\"", r) { // RFC 8555, 7.3: one address, no headers
			return false
		}
	}
	return ok && user != "" && isName(strings.ToLower(host)) && len(text) <= 320
}

// name is that of the files about the certificate. Certificates that are ordered in
// another way have other names, so that processes whose configurations differ for a
// while do not replace each other's.
func (c Config) name() string {
	names := slices.Sorted(slices.Values(c.Names))
	return fileName(names[0]) + "-" + digest(names, c.KeyType, c.DirectoryURL, c.Profile)[:12]
}

// attempt tells configurations apart that order the same certificate in different ways:
// after a change klamm tries again at once.
func (c Config) attempt() string {
	return digest(c.Contacts, c.Challenges, c.DNSHook, c.DNSWait, c.EAB, c.Roots)[:12]
}

func digest(parts ...any) string {
	text, _ := json.Marshal(parts) // of strings and numbers
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// fileName makes the name of a file of one that isName lets pass.
func fileName(name string) string {
	return strings.NewReplacer("*", "_", ":", "-").Replace(name)
}
