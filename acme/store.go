package acme

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// largestFile bounds what is read of a file of the directory, in bytes.
	largestFile = 256 << 10
	// mostFiles bounds how many certificates are looked at.
	mostFiles = 1000
)

// A store is the directory. What is written there replaces what was there before at
// once or not at all, so that others who read see one or the other.
type store struct{ dir string }

func (s store) accountKey() string { return filepath.Join(s.dir, "account.key") }
func (s store) lock() string       { return filepath.Join(s.dir, "lock") }
func (s store) certificate(name string) string {
	return filepath.Join(s.dir, "certificates", name+".pem")
}
func (s store) progress(name string) string {
	return filepath.Join(s.dir, "certificates", name+".json")
}
func (s store) challenge(kind, n string) string { return filepath.Join(s.dir, "challenges", kind, n) }

// prepare makes what is missing.
func (s store) prepare() error {
	for _, d := range []string{s.dir, filepath.Join(s.dir, "certificates"), s.challenge(http01, ""), s.challenge(tlsALPN01, "")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes the answers of an order that was broken off.
func (s store) sweep() {
	for _, kind := range []string{http01, tlsALPN01} {
		old, _ := os.ReadDir(s.challenge(kind, ""))
		for _, e := range old {
			_ = os.Remove(s.challenge(kind, e.Name()))
		}
	}
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, largestFile+1))
	if err == nil && len(text) > largestFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, largestFile)
	}
	return text, err
}

// writeFile puts a file in place that only its owner can read.
func writeFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // it has another name by then, or is of no use
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	if d, err := os.Open(filepath.Dir(path)); err == nil {
		_ = d.Sync() // not every file system can
		_ = d.Close()
	}
	return nil
}

// read returns a stored certificate; an error that is fs.ErrNotExist says that there is
// none, any other that it cannot be used.
func (s store) read(path string) (*tls.Certificate, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	c, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &c, nil
}

// best returns the certificate that is shown: the one of that name, or while there is
// none the one of an earlier configuration that is for one of the names and ends last;
// nil: there is none. The error says why the one of that name cannot be used.
func (s store) best(name string, names []string) (*tls.Certificate, error) {
	own, err := s.read(s.certificate(name))
	if err == nil {
		return own, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	var best *tls.Certificate
	files, _ := os.ReadDir(filepath.Join(s.dir, "certificates"))
	for _, f := range files[:min(len(files), mostFiles)] {
		if !strings.HasSuffix(f.Name(), ".pem") || strings.HasPrefix(f.Name(), ".") {
			continue
		}
		other, bad := s.read(filepath.Join(s.dir, "certificates", f.Name()))
		if bad != nil || !slices.ContainsFunc(names, func(n string) bool { return covers(other.Leaf, n) }) {
			continue
		}
		if best == nil || other.Leaf.NotAfter.After(best.Leaf.NotAfter) {
			best = other
		}
	}
	return best, err
}

// covers says whether a certificate is for a name, which may be a wildcard.
func covers(leaf *x509.Certificate, name string) bool {
	if strings.HasPrefix(name, "*.") {
		return slices.Contains(leaf.DNSNames, name)
	}
	return leaf.VerifyHostname(name) == nil
}

// progress is what became of the last order of a certificate.
type progress struct {
	// Of is how it was ordered; what happened to orders of another kind does not count.
	Of string `json:"of"`
	// Failures is how many orders have failed in a row, the one that goes on included.
	Failures int `json:"failures,omitempty"`
	// NotBefore is when the next order may be made at the earliest.
	NotBefore time.Time `json:"not_before"`
	// Error is what went wrong, for people who look.
	Error string `json:"error,omitempty"`
}

// readProgress returns what is known; nothing, if the file is damaged.
func (s store) readProgress(name, of string) progress {
	var p progress
	if text, err := readFile(s.progress(name)); err == nil && json.Unmarshal(text, &p) == nil && p.Of == of && p.Failures >= 0 {
		return p
	}
	return progress{Of: of}
}

func (s store) writeProgress(name string, p progress) error {
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(s.progress(name), append(text, '\n'))
}

// account returns the key of the account, and makes one if there is none. Only the
// holder of the lease calls it.
func (s store) account() (crypto.Signer, error) {
	text, err := readFile(s.accountKey())
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		if text, err = encodeKey(key); err != nil {
			return nil, err
		}
		return key, writeFile(s.accountKey(), text)
	}
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(text); block != nil {
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if signer, ok := key.(crypto.Signer); ok {
				return signer, nil
			}
		}
	}
	// A new key would be a new account, and what is bound to the old one lost.
	return nil, fmt.Errorf("%s holds no private key (PKCS#8, PEM); put back what was there, or remove it to open another account", s.accountKey())
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}
