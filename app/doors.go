package app

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/certificate"
	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/auth"
	"github.com/klamm-gateway/klamm/front/confluent2"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/secret"
)

// largestFile bounds what is read of a file that the configuration names.
const largestFile = 64 << 20

// A door is one address that klamm listens on.
type door struct {
	net.Listener                     // as clients see it
	tls          *certificate.Server // nil: it serves plain HTTP
	asks         bool                // clients may log in with a certificate
}

// openDoors listens on all addresses of the configuration; first is the one of
// listen, which is open already. A door that fails closes the others.
func openDoors(ctx context.Context, cfg *config.Config, first net.Listener, log *slog.Logger) (doors []door, err error) {
	defer func() {
		if err != nil {
			for _, d := range doors {
				_ = d.Close()
			}
		}
	}()
	for i, l := range append([]config.Listener{{Listen: cfg.Listen, TLS: cfg.TLS}}, cfg.Listeners...) {
		d := door{Listener: first}
		if i > 0 {
			if d.Listener, err = net.Listen("tcp", l.Listen); err != nil {
				return doors, fmt.Errorf("listen for HTTP: %w; choose another address in listeners[%d]", err, i-1)
			}
		}
		doors = append(doors, d)
		if l.TLS == nil {
			continue
		}
		if d.tls, err = certificate.Open(ctx, *l.TLS, files, secret.Local, log); err != nil {
			return doors, err
		}
		d.asks = l.TLS.AsksClients()
		d.Listener = tls.NewListener(d.Listener, d.tls.TLS())
		doors[i] = d
	}
	return doors, nil
}

// files reads what the configuration names.
var files = certificate.Files{Read: readFile, List: func(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return nil, err
	}
	entries, err := os.ReadDir(path)
	paths := []string{}
	for _, e := range entries {
		if !e.IsDir() && e.Name()[0] != '.' {
			paths = append(paths, filepath.Join(path, e.Name()))
		}
	}
	return paths, err
}}

// readFile reads a file that is not too large to be one.
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

// guarded says whether callers can show who they are.
func guarded(cfg *config.Config) bool {
	if cfg.Auth.Configured() || cfg.TLS != nil && cfg.TLS.AsksClients() {
		return true
	}
	for _, l := range cfg.Listeners {
		if l.TLS != nil && l.TLS.AsksClients() {
			return true
		}
	}
	return false
}

// guardDoor refuses to serve everybody where others than this machine can
// connect, unless that was spelled out.
func guardDoor(cfg *config.Config) error {
	if cfg.Auth.Anonymous || guarded(cfg) {
		return nil
	}
	for i, l := range append([]config.Listener{{Listen: cfg.Listen}}, cfg.Listeners...) {
		host, _, err := net.SplitHostPort(l.Listen)
		if err != nil {
			return fmt.Errorf("--listen %q is not HOST:PORT", l.Listen)
		}
		addr, err := netip.ParseAddr(host)
		if host == "localhost" || err == nil && addr.Unmap().IsLoopback() {
			continue
		}
		where := "listen"
		if i > 0 {
			where = fmt.Sprintf("listeners[%d]", i-1)
		}
		return fmt.Errorf("%w, and %s (%s) can be reached from other machines: anybody could read and write every topic; listen on 127.0.0.1, "+
			"configure auth (docs/authentication.md), or allow it with auth: {anonymous: true} in the configuration file", ErrOpenDoor, l.Listen, where)
	}
	return nil
}

// authEnv is what the authentication schemes are given.
func authEnv(cfg *config.Config, links front.Links, log *slog.Logger) auth.Env {
	return auth.Env{Account: cfg.AWS.Account, Region: cfg.AWS.Region, Secret: secret.Local, Read: readFile, Links: links, Log: log}
}

// authenticate makes the chain of the configured schemes, if there are any.
func (a *App) authenticate(ctx context.Context, links front.Links, metrics prometheus.Registerer) (err error) {
	if !guarded(a.cfg) {
		return nil
	}
	env := authEnv(a.cfg, links, a.log)
	env.Cluster, env.Metrics = a.cluster, metrics
	env.Groups = a.law.Groups
	env.Streams = func(pattern string) bool { return a.streams[pattern] }
	for _, d := range a.doors {
		if d.asks {
			env.Certificate = clientCertificate(a.doors)
		}
	}
	a.auth, err = auth.New(ctx, a.cfg.Auth, env)
	return err
}

// keys returns the API keys that are made at run time; nil: none are taken.
func (a *App) keys() *auth.Keys {
	if a.auth == nil {
		return nil
	}
	return a.auth.Keys()
}

// authenticators lists who is asked about a caller, in this order.
func (a *App) authenticators() []front.Authenticator {
	list := []front.Authenticator{confluent2.Forwarded(a.peers)}
	if a.auth != nil {
		list = append(list, a.auth)
	}
	return list
}

// streamsOf returns the patterns of the routes that are streams.
func streamsOf(dialects []front.Dialect) map[string]bool {
	streams := map[string]bool{}
	for _, d := range dialects {
		for _, route := range d.Routes {
			streams[route.Pattern] = route.Streams
		}
	}
	return streams
}

// clientCertificate finds the certificate that came with the connection of a
// request, by the rules of the door that it came through.
func clientCertificate(doors []door) func(*http.Request) (string, *gate.Certificate, [sha256.Size]byte, bool) {
	byPort := map[int]*certificate.Server{}
	for _, d := range doors {
		if at, ok := d.Addr().(*net.TCPAddr); ok && d.asks {
			byPort[at.Port] = d.tls
		}
	}
	return func(r *http.Request) (string, *gate.Certificate, [sha256.Size]byte, bool) {
		at, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		if at == nil || r.TLS == nil || byPort[at.Port] == nil {
			return "", nil, [sha256.Size]byte{}, false
		}
		c, ok := byPort[at.Port].Client(r.TLS)
		if !ok {
			return "", nil, [sha256.Size]byte{}, false
		}
		out := &gate.Certificate{SubjectDN: c.Subject, IssuerDN: c.Issuer, Serial: certificate.Serial(c.Leaf), NotBefore: c.Leaf.NotBefore, NotAfter: c.Leaf.NotAfter, DNSNames: c.Leaf.DNSNames}
		for _, u := range c.Leaf.URIs {
			out.URIs = append(out.URIs, u.String())
		}
		return c.Name, out, sha256.Sum256(c.Leaf.Raw), true
	}
}

// Check reads the files and secrets that a configuration names, as serving does,
// and returns what is wrong with them. It listens nowhere and asks nobody.
func Check(ctx context.Context, cfg *config.Config) []error {
	var problems []error
	log := slog.New(slog.DiscardHandler)
	for _, l := range append([]config.Listener{{TLS: cfg.TLS}}, cfg.Listeners...) {
		if l.TLS == nil {
			continue
		}
		if _, err := certificate.Open(ctx, *l.TLS, files, secret.Local, log); err != nil {
			problems = append(problems, err)
		}
	}
	links, err := front.NewLinks(cfg.PublicURL, cfg.WAF.TrustedProxies)
	if err != nil {
		return append(problems, err)
	}
	if err := auth.Check(ctx, cfg.Auth, authEnv(cfg, links, log)); err != nil {
		problems = append(problems, err)
	}
	return problems
}
