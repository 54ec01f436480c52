package certificate

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the digest of the JKS format
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"
)

// errPassword says that a password does not open a store or a key.
var errPassword = errors.New("the password is wrong, or the file is damaged")

var (
	magicJKS   = []byte{0xfe, 0xed, 0xfe, 0xed}
	magicJCEKS = []byte{0xce, 0xce, 0xce, 0xce}
)

// A form is what a file is by its content.
type form int

const (
	formUnknown form = iota
	formPEM
	formPKCS12
	formJKS
	formJCEKS
	formDER
)

func formOf(text []byte) form {
	switch {
	case bytes.HasPrefix(text, magicJKS):
		return formJKS
	case bytes.HasPrefix(text, magicJCEKS):
		return formJCEKS
	case bytes.Contains(text, []byte("-----BEGIN ")):
		return formPEM
	case len(text) > 4 && text[0] == 0x30:
		// PKCS#12 begins with its version, 3; a certificate or a revocation list
		// with another sequence.
		at := 2
		if text[1]&0x80 != 0 {
			at += int(text[1] & 0x7f)
		}
		if bytes.HasPrefix(text[min(at, len(text)):], []byte{2, 1, 3}) {
			return formPKCS12
		}
		return formDER
	}
	return formUnknown
}

var errForm = errors.New("this is no PEM, PKCS#12 or JKS file")

var errJCEKS = errors.New("JCEKS stores cannot be read; convert to PKCS12 with keytool -importkeystore -deststoretype PKCS12")

// identity reads a certificate with its chain and key out of a store. The alias
// says which; "" is the only one there is.
func identity(text []byte, alias, password, keyPassword string) (tls.Certificate, error) {
	switch formOf(text) {
	case formJKS:
		return identityJKS(text, alias, password, keyPassword)
	case formPKCS12:
		return identityPKCS12(text, password)
	case formJCEKS:
		return tls.Certificate{}, errJCEKS
	case formPEM:
		return identityPEM(text, text, keyPassword)
	}
	return tls.Certificate{}, errForm
}

// identityPEM reads a chain and its key, which may lie in two files. Everything
// that belongs together is checked.
func identityPEM(chain, key []byte, password string) (tls.Certificate, error) {
	var c tls.Certificate
	for rest := chain; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			c.Certificate = append(c.Certificate, block.Bytes)
		}
	}
	if len(c.Certificate) == 0 {
		return c, errors.New("there is no certificate in it")
	}
	private, err := keyPEM(key, password)
	if err != nil {
		return c, err
	}
	return complete(c.Certificate, private)
}

// keyPEM finds a private key.
func keyPEM(text []byte, password string) (any, error) {
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("there is no private key in it")
		}
		switch {
		case block.Headers["DEK-Info"] != "":
			return nil, errors.New("its key is encrypted in the old way of OpenSSL; convert it with openssl pkcs8 -topk8")
		case block.Type == "ENCRYPTED PRIVATE KEY":
			return parseEncrypted(block.Bytes, password)
		case block.Type == "PRIVATE KEY":
			return x509.ParsePKCS8PrivateKey(block.Bytes)
		case block.Type == "RSA PRIVATE KEY":
			return x509.ParsePKCS1PrivateKey(block.Bytes)
		case block.Type == "EC PRIVATE KEY":
			return x509.ParseECPrivateKey(block.Bytes)
		}
	}
}

// complete makes a certificate that can be served, if chain and key belong
// together.
func complete(chain [][]byte, key any) (tls.Certificate, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	var all bytes.Buffer
	for _, c := range chain {
		_ = pem.Encode(&all, &pem.Block{Type: "CERTIFICATE", Bytes: c})
	}
	return tls.X509KeyPair(all.Bytes(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// identityPKCS12 reads a store of one key, whose alias does not matter.
func identityPKCS12(text []byte, password string) (tls.Certificate, error) {
	key, leaf, chain, err := pkcs12.DecodeChain(text, password)
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return tls.Certificate{}, errPassword
	case err != nil:
		return tls.Certificate{}, fmt.Errorf("PKCS#12: %w", err)
	}
	all := [][]byte{leaf.Raw}
	for _, c := range chain {
		if !bytes.Equal(c.RawSubject, c.RawIssuer) { // clients have the root themselves
			all = append(all, c.Raw)
		}
	}
	return complete(all, key)
}

func identityJKS(text []byte, alias, password, keyPassword string) (tls.Certificate, error) {
	store, err := loadJKS(text, password)
	if err != nil {
		return tls.Certificate{}, err
	}
	var aliases []string
	for _, a := range store.Aliases() {
		if store.IsPrivateKeyEntry(a) {
			aliases = append(aliases, a)
		}
	}
	if alias == "" {
		if len(aliases) != 1 {
			return tls.Certificate{}, fmt.Errorf("it has %d private keys; choose one with ssl.keystore.alias: %s", len(aliases), strings.Join(aliases, ", "))
		}
		alias = aliases[0]
	}
	if !store.IsPrivateKeyEntry(alias) {
		return tls.Certificate{}, fmt.Errorf("it has no private key %q; the aliases are %s", alias, strings.Join(aliases, ", "))
	}
	if keyPassword == "" {
		keyPassword = password
	}
	entry, err := store.GetPrivateKeyEntry(alias, []byte(keyPassword))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("key %q: %w", alias, errPassword)
	}
	key, err := x509.ParsePKCS8PrivateKey(entry.PrivateKey)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("key %q: %w", alias, err)
	}
	var chain [][]byte
	for _, c := range entry.CertificateChain {
		chain = append(chain, c.Content)
	}
	return complete(chain, key)
}

// loadJKS reads a store of Java. An empty password skips the check of its digest,
// as Java does.
func loadJKS(text []byte, password string) (store keystore.KeyStore, err error) {
	defer func() {
		if p := recover(); p != nil { // the file was cut in the middle of a length
			err = errors.New("the file is damaged")
		}
	}()
	if password == "" && len(text) > sha1.Size {
		// The digest covers the password, the words of its inventor and the data.
		body := text[:len(text)-sha1.Size]
		digest := sha1.Sum(append([]byte("Mighty Aphrodite"), body...)) //nolint:gosec // the format's
		text = append(bytes.Clone(body), digest[:]...)
	}
	store = keystore.New(keystore.WithCaseExactAliases(), keystore.WithOrderedAliases())
	if err := store.Load(bytes.NewReader(text), []byte(password)); err != nil {
		return store, errPassword
	}
	return store, nil
}

// trusted reads the certificates of authorities.
func trusted(text []byte, password string) ([]*x509.Certificate, error) {
	var ders [][]byte
	switch formOf(text) {
	case formPEM:
		for rest := text; ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if block.Type == "CERTIFICATE" || block.Type == "TRUSTED CERTIFICATE" {
				ders = append(ders, block.Bytes)
			}
		}
	case formDER:
		ders = append(ders, text)
	case formPKCS12:
		certs, err := pkcs12.DecodeTrustStore(text, password)
		if errors.Is(err, pkcs12.ErrIncorrectPassword) {
			return nil, errPassword
		}
		if err != nil { // not marked as Java does: a key with its chain
			_, leaf, chain, other := pkcs12.DecodeChain(text, password)
			if other != nil {
				return nil, fmt.Errorf("PKCS#12: %w", err)
			}
			certs = append(chain, leaf)
		}
		return certs, nil
	case formJKS:
		store, err := loadJKS(text, password)
		if err != nil {
			return nil, err
		}
		for _, alias := range store.Aliases() {
			if entry, err := store.GetTrustedCertificateEntry(alias); err == nil {
				ders = append(ders, entry.Certificate.Content)
			}
		}
	case formJCEKS:
		return nil, errJCEKS
	default:
		return nil, errForm
	}
	var certs []*x509.Certificate
	for _, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("there is no certificate in it")
	}
	return certs, nil
}

// revocations reads revocation lists, PEM or DER.
func revocations(text []byte) ([]*x509.RevocationList, error) {
	if formOf(text) != formPEM {
		list, err := x509.ParseRevocationList(text)
		return []*x509.RevocationList{list}, err
	}
	var lists []*x509.RevocationList
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			continue
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	if len(lists) == 0 {
		return nil, errors.New("there is no revocation list in it")
	}
	return lists, nil
}
