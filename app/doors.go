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
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/secret"
)

// largestFile bounds what is read of a file that the configuration names.
const largestFile = 64 << 20

// A door is one address that klamm listens on.
type door struct {
	net.Listener                        // as clients see it
	limit        *front.ConnectionLimit // of all doors
	tls          *secured               // nil: it serves plain HTTP
	asks         bool                   // clients may log in with a certificate
}

// listen opens all doors.
func (a *App) listen(ctx context.Context) (err error) {
	if err := guardDoor(a.cfg); err != nil {
		return err
	}
	if a.listener, err = net.Listen("tcp", a.cfg.Listen); err != nil {
		return fmt.Errorf("listen for HTTP: %w; choose another address with --listen", err)
	}
	if a.doors, err = openDoors(ctx, a.cfg, a.listener, a.greet, a.log); err != nil {
		return err
	}
	a.registry.MustRegister(a.doors[0].limit)
	return nil
}

// openDoors listens on all addresses of the configuration; first is the one of
// listen, which is open already and which other processes of klamm call too: greet says
// how they are answered. A door that fails closes the others.
func openDoors(ctx context.Context, cfg *config.Config, first net.Listener, greet func(*tls.ClientHelloInfo) (*tls.Config, error), log *slog.Logger) (doors []door, err error) {
	defer func() {
		if err != nil {
			for _, d := range doors {
				_ = d.Close()
			}
		}
	}()
	links, err := front.NewLinks("", cfg.WAF.TrustedProxies)
	if err != nil {
		return nil, err
	}
	limit := front.NewConnectionLimit(cfg.Connections, links)
	for i, l := range append([]config.Listener{{Listen: cfg.Listen, TLS: cfg.TLS}}, cfg.Listeners...) {
		d := door{Listener: first, limit: limit}
		if i > 0 {
			if d.Listener, err = net.Listen("tcp", l.Listen); err != nil {
				return doors, fmt.Errorf("listen for HTTP: %w; choose another address in listeners[%d]", err, i-1)
			}
		}
		d.Listener = limit.Listen(d.Listener)
		if cfg.WAF.ClientIP == "proxy_protocol" {
			links, _, err := wallOf(cfg)
			if err != nil {
				return append(doors, d), err
			}
			d.Listener = front.ProxyListener(d.Listener, links)
		}
		doors = append(doors, d)
		if l.TLS == nil {
			continue
		}
		own, err := certificate.Open(ctx, *l.TLS, files, secret.Local, log)
		if err != nil {
			return doors, err
		}
		d.tls = newSecured(own)
		d.asks = l.TLS.AsksClients()
		d.Listener = tls.NewListener(d.Listener, greeting(d.tls.TLS(), i == 0, greet))
		doors[i] = d
	}
	return doors, nil
}

// greeting returns the configuration of a door; the first one is also that of processes.
func greeting(clients *tls.Config, first bool, greet func(*tls.ClientHelloInfo) (*tls.Config, error)) *tls.Config {
	if !first {
		return clients
	}
	both, current := clients.Clone(), clients.GetConfigForClient
	both.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if c, err := greet(hello); c != nil || err != nil || current == nil {
			return c, err
		}
		return current(hello)
	}
	return both
}

// challenge answers an authority of ACME for whichever door it is about.
func (a *App) challenge(token string) (string, bool) {
	for _, d := range a.doors {
		if d.tls == nil {
			continue
		}
		now, _ := d.tls.now()
		if text, ok := now.Answer(token); ok {
			return text, true
		}
	}
	return "", false
}

// greet answers the hellos of other processes.
func (a *App) greet(hello *tls.ClientHelloInfo) (*tls.Config, error) { return a.peers.Greet(hello) }

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
func guarded(cfg *config.Config) bool { return cfg.Auth.Configured() || asksClients(cfg) }

// asksClients says whether callers can log in with a certificate.
func asksClients(cfg *config.Config) bool {
	if cfg.TLS != nil && cfg.TLS.AsksClients() {
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
			"configure auth (docs/authentication.md), or allow it with auth: {anonymous: true} in the configuration file", errOpenDoor, l.Listen, where)
	}
	return nil
}

// authEnv is what the authentication schemes are given.
func authEnv(cfg *config.Config, links front.Links, log *slog.Logger) auth.Env {
	return auth.Env{Account: cfg.AWS.Account, Region: cfg.AWS.Region, Secret: secret.Local, Read: readFile, List: files.List, Links: links, Console: cfg.Console, Log: log}
}

// chainOf makes the chain of the configured schemes; nil: there are none.
func (a *App) chainOf(ctx context.Context, cfg *config.Config, links front.Links, metrics prometheus.Registerer) (*auth.Chain, error) {
	if !guarded(cfg) {
		return nil, nil
	}
	env := authEnv(cfg, links, a.log)
	env.Cluster, env.Metrics, env.Login = a.cluster, metrics, a.login()
	env.Groups, env.Barred = a.law.Groups, a.law.Barred
	env.SessionSeed = a.sessionSeed
	env.Streams = func(pattern string) bool { return a.streams[pattern] }
	for _, d := range a.doors {
		if d.asks {
			env.Certificate = clientCertificate(a.doors)
		}
	}
	return auth.New(ctx, cfg.Auth, env)
}

// keys returns the API keys that are made at run time; nil: none are taken.
func (a *App) keys() *auth.Keys {
	if chain := a.auth.Load(); chain != nil {
		return chain.Keys()
	}
	return nil
}

// authenticators lists who is asked about a caller, in this order.
func (a *App) authenticators(chain *auth.Chain) []front.Authenticator {
	list := []front.Authenticator{confluent2.Forwarded(a.peers)}
	if chain != nil {
		list = append(list, chain)
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
	byPort := map[int]*secured{}
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
		return auth.Describe(c)
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
	links, _, err := wallOf(cfg)
	if err != nil {
		return append(problems, err)
	}
	problems = append(problems, kafka.Check(ctx, kafkaOf(cfg))...)
	if err := auth.Check(ctx, cfg.Auth, authEnv(cfg, links, log)); err != nil {
		problems = append(problems, err)
	}
	return append(problems, checkShape(cfg)...)
}
