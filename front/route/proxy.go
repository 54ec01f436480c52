package route

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/shape"
)

// A proxied route passes requests on to a back end, which gets the caller's name in
// X-Klamm-Principal and, unless the route says so, none of the caller's credentials.
// Redirects are the caller's to follow, and connections are not taken over.
type proxied struct {
	routes  *Routes
	cfg     Config
	target  target
	timeout time.Duration
	log     *slog.Logger
}

func (a *Routes) proxy(cfg Config, p shape.Pattern) (*proxied, error) {
	t, err := parseTarget(cfg.URL, p)
	if err != nil {
		return nil, err
	}
	one := &proxied{routes: a, cfg: cfg, target: t, timeout: cfg.Timeout, log: a.env.Log}
	if one.timeout == 0 {
		one.timeout = usualTimeout
	}
	return one, nil
}

// principalHeader tells a back end who calls.
const principalHeader = "X-Klamm-Principal"

// credentials are the headers that a back end does not get.
var credentials = []string{"Authorization", "Cookie", "X-Api-Key", "X-Amz-Security-Token", "X-Amz-Date", "X-Amz-Content-Sha256"}

// credentialQuery are the parameters of the query that a back end does not get.
var credentialQuery = []string{"access_token", "X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Credential"}

// serve passes one request on. Its body is read before: a caller that sends slowly
// does not hold a connection of the back end.
func (p *proxied) serve(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	to, ok := p.target.url(r)
	if !ok {
		return front.ErrNoRoute
	}
	body, release, err := front.ReadBody(r)
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(r.Context(), p.timeout)
	defer cancel()
	var failed error
	proxy := &httputil.ReverseProxy{
		Transport: p.routes.env.Transport, FlushInterval: -1, ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
		Rewrite: func(q *httputil.ProxyRequest) {
			q.Out.URL, q.Out.Host = to, to.Host
			q.Out.Body, q.Out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			if len(body) == 0 {
				q.Out.Body = http.NoBody
			}
			p.header(q, who)
		},
		ModifyResponse: func(answer *http.Response) error {
			for name := range answer.Header {
				if strings.HasPrefix(name, "Access-Control-") { // klamm says itself which pages may call
					delete(answer.Header, name)
				}
			}
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err },
	}
	proxy.ServeHTTP(w, r.WithContext(ctx))
	return p.failure(r, failed)
}

// header makes the header that a back end gets.
func (p *proxied) header(q *httputil.ProxyRequest, who gate.Principal) {
	h := q.Out.Header
	h.Del("Upgrade")
	h.Del("Connection")
	if p.routes.env.Links.FromProxy(q.In) {
		h["X-Forwarded-For"] = q.In.Header["X-Forwarded-For"]
	}
	q.SetXForwarded()
	h.Del(principalHeader)
	if who.Name != "" {
		h.Set(principalHeader, headerText(who.Name))
	}
	if p.cfg.Credentials {
		return
	}
	for _, name := range credentials {
		h.Del(name)
	}
	query := q.Out.URL.Query()
	changed := false
	for _, name := range credentialQuery {
		if query.Has(name) {
			query.Del(name)
			changed = true
		}
	}
	if changed {
		q.Out.URL.RawQuery = query.Encode()
	}
}

// failure is the error of a request that could not be passed on.
func (p *proxied) failure(r *http.Request, err error) error {
	var timeout net.Error
	switch {
	case err == nil:
		return nil
	case r.Context().Err() != nil:
		return r.Context().Err()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return front.ErrBackEndTimeout
	}
	p.log.Warn("a back end cannot be reached", "route", p.cfg.Route, "err", err)
	return front.ErrBackEnd
}

// url returns where a request goes; ok is false where a variable would lead out of
// the part of the back end that the route stands for.
func (t target) url(r *http.Request) (_ *url.URL, ok bool) {
	u := *t.base
	if u.Path, u.RawPath, ok = pathOf(t.parts, r); !ok {
		return nil, false
	}
	u.RawQuery = r.URL.RawQuery
	return &u, true
}

// pathOf puts the variables of a request into a path and returns it as it is meant and
// as it is written; ok is false where one of them would be more than a segment.
func pathOf(parts []part, r *http.Request) (path, escaped string, ok bool) {
	var raw strings.Builder
	for _, one := range parts {
		if !one.variable {
			raw.WriteString(one.text)
			continue
		}
		value := r.PathValue(one.text)
		segments := []string{value}
		if one.greedy {
			segments = strings.Split(value, "/")
		}
		for i, segment := range segments {
			if i > 0 {
				raw.WriteByte('/')
			}
			decoded, err := segment, error(nil)
			if one.greedy { // which is as it came
				decoded, err = url.PathUnescape(segment)
			}
			if err != nil || decoded == "." || decoded == ".." || strings.ContainsAny(decoded, "/\\\x00") {
				return "", "", false
			}
			raw.WriteString(url.PathEscape(decoded))
		}
	}
	path, err := url.PathUnescape(raw.String())
	return path, raw.String(), err == nil
}
