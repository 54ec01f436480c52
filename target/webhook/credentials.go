package webhook

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/klamm-gateway/klamm/scan"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
)

const (
	// rereadAfter is how long secrets are used before they are looked up again;
	// where that fails, the old ones go on and it is tried again after
	// rereadAgain.
	rereadAfter = time.Hour
	rereadAgain = time.Minute
	// rereadLeast is the least time between two lookups that are due to a receiver
	// who refuses the credentials.
	rereadLeast = time.Second
)

// A vault keeps the secrets of a configuration, ready to be used. It is safe for
// concurrent use.
type vault struct {
	config *Config
	lookup secret.Lookup
	egress *target.Egress
	log    *slog.Logger
	now    func() time.Time

	kept atomic.Pointer[credentials]
	mu   sync.Mutex // held by who looks secrets up
}

// credentials are what secrets become in requests. They are never changed.
type credentials struct {
	until     time.Time // to be looked up again then
	read      time.Time
	raw       []string // all secrets, to see whether they have changed
	headers   http.Header
	query     string // "a=b&c=d", percent-encoded
	members   []member
	keys      [][]byte
	certs     certificates
	transport *http.Transport // nil: the one that all targets share
}

// needsSecrets says whether a configuration names secrets that a vault keeps.
// Those of OAuth are looked up for each token.
func (c *Config) needsSecrets() bool {
	return c.Auth != nil && c.Auth.OAuth == nil || c.Connection != nil || c.Sign != nil || c.TLS != nil
}

// get returns the credentials to use now.
func (v *vault) get(ctx context.Context) *credentials {
	c := v.kept.Load()
	if v.now().Before(c.until) || !v.mu.TryLock() {
		return c
	}
	defer v.mu.Unlock()
	if c = v.kept.Load(); v.now().Before(c.until) {
		return c
	}
	fresh, err := v.load(ctx, c)
	if err != nil {
		v.log.Warn("secrets of a webhook cannot be looked up again; the old ones are used", "err", err)
		again := *c
		again.until = v.now().Add(rereadAgain)
		fresh = &again
	}
	v.keep(fresh)
	return fresh
}

// renew looks secrets up because a receiver refused those given, and returns the
// credentials to use now and whether they differ from those.
func (v *vault) renew(ctx context.Context, refused *credentials) (*credentials, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.kept.Load()
	if c == refused && v.now().Sub(c.read) >= rereadLeast {
		fresh, err := v.load(ctx, c)
		if err != nil {
			v.log.Warn("secrets of a webhook cannot be looked up again; the old ones are used", "err", err)
			return c, false
		}
		v.keep(fresh)
		c = fresh
	}
	return c, !slices.Equal(c.raw, refused.raw)
}

// keep puts credentials into use. Requests under way end with the old ones.
func (v *vault) keep(fresh *credentials) {
	old := v.kept.Swap(fresh)
	if old != nil && old.transport != nil && old.transport != fresh.transport {
		old.transport.CloseIdleConnections()
	}
}

func (v *vault) close() {
	if c := v.kept.Load(); c.transport != nil {
		c.transport.CloseIdleConnections()
	}
}

// load looks all secrets up. Its errors say which one is missing or wrong, and
// show none.
func (v *vault) load(ctx context.Context, old *credentials) (*credentials, error) {
	now := v.now()
	c := &credentials{read: now, until: now.Add(rereadAfter), headers: http.Header{}}
	get := func(at string, ref secret.Ref) (string, error) {
		value, err := v.lookup(ctx, ref)
		if err != nil {
			return "", fmt.Errorf("%s: %w", at, err)
		}
		c.raw = append(c.raw, value)
		return value, nil
	}
	if err := c.addConnection(v.config.Connection, get); err != nil {
		return nil, err
	}
	if err := c.addAuth(v.config.Auth, get); err != nil {
		return nil, err
	}
	if s := v.config.Sign; s != nil {
		for i, ref := range s.Secrets {
			at := fmt.Sprintf("sign.secrets[%d]", i)
			text, err := get(at, ref)
			if err != nil {
				return nil, err
			}
			key, err := signingKey(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", at, err)
			}
			c.keys = append(c.keys, key)
		}
	}
	if t := v.config.TLS; t != nil {
		var err error
		if c.certs, err = t.read(ctx, v.lookup); err != nil {
			return nil, err
		}
		c.raw = append(c.raw, c.certs.certificate, c.certs.key, c.certs.ca)
		if old != nil && old.certs == c.certs {
			c.transport = old.transport
		} else if c.transport, err = t.transport(c.certs, v.egress); err != nil {
			return nil, err
		}
	}
	return c, nil
}

type getSecret func(at string, ref secret.Ref) (string, error)

func (c *credentials) addConnection(from *Connection, get getSecret) error {
	if from == nil {
		return nil
	}
	for _, name := range sorted(from.Headers) {
		if err := c.addHeader("connection.headers."+name, name, "", from.Headers[name], get); err != nil {
			return err
		}
	}
	var query []byte
	for _, name := range sorted(from.Query) {
		value, err := get("connection.query."+name, from.Query[name])
		if err != nil {
			return err
		}
		if len(query) > 0 {
			query = append(query, '&')
		}
		query = appendEscaped(append(appendEscaped(query, []byte(name)), '='), []byte(value))
	}
	c.query = string(query)
	for _, name := range sorted(from.Body) {
		value, err := get("connection.body."+name, from.Body[name])
		if err != nil {
			return err
		}
		c.members = append(c.members, member{name, string(scan.AppendString(nil, value))})
	}
	for _, name := range from.Blank {
		c.members = append(c.members, member{name, `""`})
	}
	return nil
}

func (c *credentials) addAuth(a *Auth, get getSecret) error {
	switch {
	case a == nil || a.OAuth != nil:
		return nil
	case a.Basic != nil:
		password, err := get("auth.basic.password", a.Basic.Password)
		if err != nil {
			return err
		}
		c.headers["Authorization"] = []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(a.Basic.Username+":"+password))}
		return nil
	case a.APIKey != nil:
		return c.addHeader("auth.api_key.value", a.APIKey.Header, "", a.APIKey.Value, get)
	default:
		return c.addHeader("auth.bearer", "Authorization", "Bearer ", a.Bearer, get)
	}
}

func (c *credentials) addHeader(at, name, before string, ref secret.Ref, get getSecret) error {
	value, err := get(at, ref)
	if err != nil {
		return err
	}
	if !httpguts.ValidHeaderFieldValue(value) {
		return fmt.Errorf("%s: %s cannot be the value of an HTTP header", at, ref)
	}
	c.headers[http.CanonicalHeaderKey(name)] = []string{before + value}
	return nil
}
