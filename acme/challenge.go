package acme

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/mholt/acmez/v3"
	protocol "github.com/mholt/acmez/v3/acme"
)

const (
	// shortestToken and longestToken bound a token; one has 128 bits at least (RFC 8555, 8.1).
	shortestToken, longestToken = 8, 256
	// arpa4 and arpa6 are what the names of addresses end in (RFC 8738).
	arpa4, arpa6 = ".in-addr.arpa", ".ip6.arpa"
)

// solvers are the ways in which challenges are met.
func (k *Keeper) solvers() map[string]acmez.Solver {
	all := map[string]acmez.Solver{}
	for _, kind := range k.cfg.Challenges {
		if kind == dns01 {
			all[kind] = &hook{program: k.cfg.DNSHook, wait: k.cfg.DNSWait, log: k.log}
		} else {
			all[kind] = answers{k.store, kind}
		}
	}
	return all
}

// answers puts what the authority will ask for into files, where every process finds it
// that shares the directory.
type answers struct {
	store store
	kind  string
}

// Present writes the answer to a challenge.
func (a answers) Present(_ context.Context, c protocol.Challenge) error {
	path, err := a.path(c)
	if err != nil {
		return err
	}
	return writeFile(path, []byte(c.KeyAuthorization))
}

// CleanUp removes it.
func (a answers) CleanUp(_ context.Context, c protocol.Challenge) error {
	path, err := a.path(c)
	if err != nil {
		return err
	}
	if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (a answers) path(c protocol.Challenge) (string, error) {
	if !isToken(c.Token) {
		return "", errors.New("the authority's token is none: want base64url")
	}
	if a.kind == http01 {
		return a.store.challenge(http01, c.Token), nil
	}
	name := strings.ToLower(c.Identifier.Value)
	if !isName(name) {
		return "", errors.New("the authority asks about something that is no name")
	}
	return a.store.challenge(tlsALPN01, fileName(name)), nil
}

// isToken says whether a text can be a token; it is then fit for the name of a file.
func isToken(text string) bool {
	if len(text) < shortestToken || len(text) > longestToken {
		return false
	}
	return !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// Answer returns what is served below /.well-known/acme-challenge/ for a token
// (RFC 8555, 8.3); false: nobody waits for that. It may be called at any time, with any
// text.
func (k *Keeper) Answer(token string) (string, bool) {
	if !isToken(token) || !slices.Contains(k.cfg.Challenges, http01) {
		return "", false
	}
	text, err := readFile(k.store.challenge(http01, token))
	return string(text), err == nil
}

// Greet returns how a hello is answered that comes from the authority (RFC 8737); nil: it
// does not, or nobody waits for it. It may be called at any time.
func (k *Keeper) Greet(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != acmez.ACMETLS1Protocol || !slices.Contains(k.cfg.Challenges, tlsALPN01) {
		return nil, nil //nolint:nilnil // as crypto/tls wants it
	}
	id := protocol.Identifier{Type: "dns", Value: strings.ToLower(hello.ServerName)}
	if address, ok := reversed(id.Value); ok {
		id = protocol.Identifier{Type: "ip", Value: address.String()}
	}
	if !isName(id.Value) {
		return nil, nil //nolint:nilnil // as above
	}
	text, err := readFile(k.store.challenge(tlsALPN01, fileName(id.Value)))
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // as above; there is none
	}
	c, err := acmez.TLSALPN01ChallengeCert(protocol.Challenge{KeyAuthorization: string(text), Identifier: id})
	if err != nil {
		return nil, fmt.Errorf("answer the authority: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{acmez.ACMETLS1Protocol}, Certificates: []tls.Certificate{*c}}, nil
}

// reversed reads the name that stands for an address in a hello, such as
// 1.2.0.192.in-addr.arpa.
func reversed(name string) (netip.Addr, bool) {
	text, v4 := strings.CutSuffix(name, arpa4)
	parts := strings.Split(text, ".")
	if v4 {
		slices.Reverse(parts)
		a, err := netip.ParseAddr(strings.Join(parts, "."))
		return a, err == nil && a.Is4()
	}
	text, v6 := strings.CutSuffix(name, arpa6)
	if parts = strings.Split(text, "."); !v6 || len(parts) != 32 {
		return netip.Addr{}, false
	}
	slices.Reverse(parts)
	var b strings.Builder
	for i, p := range parts {
		if i > 0 && i%4 == 0 {
			b.WriteByte(':')
		}
		b.WriteString(p)
	}
	a, err := netip.ParseAddr(b.String())
	return a, err == nil
}
