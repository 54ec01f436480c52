package certificate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"
)

const (
	// askFor bounds one question to a responder, largestAnswer its answer in bytes, and
	// askAtOnce how many are asked at a time.
	askFor        = 10 * time.Second
	largestAnswer = 64 << 10
	askAtOnce     = 8
	// askAgain is when a responder is asked again that has not answered well.
	askAgain = 5 * time.Minute
	// askedOften and askedSeldom bound the time between two questions.
	askedOften  = time.Minute
	askedSeldom = 24 * time.Hour
	// endlessFor is how long an answer is shown that does not say until when it holds.
	endlessFor = 12 * time.Hour
	// clocksDiffer is how far a responder's clock may be ahead.
	clocksDiffer = 5 * time.Minute
)

// A stapler keeps what the responders (OCSP, RFC 6960) of authorities say of the
// certificates that are served, so that clients need not ask them (gateway-policies.md
// 5.11). Where a responder says nothing, or nothing good, nothing is shown: clients then
// decide for themselves. It belongs to one goroutine.
type stapler struct {
	client *http.Client
	log    *slog.Logger
	now    func() time.Time
	kept   map[stapleKey]*staple
}

type stapleKey [sha256.Size]byte // of a chain's first two certificates

// A staple is what is known of one certificate.
type staple struct {
	answer []byte    // nil: there is none
	ends   time.Time // of the answer
	next   time.Time // when to ask again
	failed string    // why there is none; empty: the last question went well
}

func newStapler(log *slog.Logger, now func() time.Time) *stapler {
	return &stapler{log: log, now: now, kept: map[stapleKey]*staple{}, client: &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, TLSHandshakeTimeout: askFor, MaxResponseHeaderBytes: largestAnswer},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// keyOf returns by what a certificate is known; false: nobody can be asked about it.
func keyOf(c *tls.Certificate) (stapleKey, bool) {
	if c.Leaf == nil || len(c.Leaf.OCSPServer) == 0 || len(c.Certificate) < 2 {
		return stapleKey{}, false
	}
	h := sha256.New()
	_, _ = h.Write(c.Certificate[0])
	_, _ = h.Write(c.Certificate[1])
	return stapleKey(h.Sum(nil)), true
}

// refresh asks about the certificates for which it is time, and forgets all others
// than these. It takes askFor for each askAtOnce of them at most.
func (s *stapler) refresh(ctx context.Context, all []tls.Certificate) {
	now, known := s.now(), map[stapleKey]bool{}
	var under sync.WaitGroup
	room := make(chan struct{}, askAtOnce)
	for i := range all {
		k, ok := keyOf(&all[i])
		if !ok || known[k] {
			continue
		}
		known[k] = true
		one := s.kept[k]
		if one == nil {
			one = &staple{}
			s.kept[k] = one
		}
		if now.Before(one.next) {
			continue
		}
		room <- struct{}{}
		under.Go(func() {
			defer func() { <-room }()
			s.renew(ctx, one, &all[i])
		})
	}
	under.Wait()
	for k := range s.kept {
		if !known[k] {
			delete(s.kept, k)
		}
	}
}

// renew asks about one certificate. An answer that there was stays until it ends.
func (s *stapler) renew(ctx context.Context, one *staple, c *tls.Certificate) {
	answer, err := s.ask(ctx, c)
	now := s.now()
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		one.next = now.Add(askAgain)
		var bad *badStatusError
		if errors.As(err, &bad) {
			one.answer = nil // what it has said before is not true any more
		}
		if text := err.Error(); text != one.failed {
			one.failed = text
			s.log.Warn("no OCSP response for a certificate; clients are shown none", "certificate", c.Leaf.Subject.String(), "err", err)
		}
		return
	}
	one.failed, one.answer, one.ends = "", answer.Raw, answer.NextUpdate
	one.next = answer.ThisUpdate.Add(answer.NextUpdate.Sub(answer.ThisUpdate) / 2)
	if answer.NextUpdate.IsZero() {
		one.ends, one.next = now.Add(endlessFor), now.Add(time.Hour)
	}
	if earliest := now.Add(askedOften); one.next.Before(earliest) {
		one.next = earliest
	}
	if latest := now.Add(askedSeldom); one.next.After(latest) {
		one.next = latest
	}
}

// A badStatusError says that a certificate is not good.
type badStatusError struct{ text string }

func (e *badStatusError) Error() string { return e.text }

// ask returns what the first responder says that answers.
func (s *stapler) ask(ctx context.Context, c *tls.Certificate) (*ocsp.Response, error) {
	issuer, err := x509.ParseCertificate(c.Certificate[1])
	if err != nil {
		return nil, fmt.Errorf("read the issuer: %w", err)
	}
	question, err := ocsp.CreateRequest(c.Leaf, issuer, nil)
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	var last error
	for _, responder := range c.Leaf.OCSPServer {
		var raw []byte
		if raw, last = s.post(ctx, responder, question); last == nil {
			return s.judge(raw, c.Leaf, issuer)
		}
	}
	return nil, last
}

func (s *stapler) post(ctx context.Context, responder string, question []byte) ([]byte, error) {
	u, err := url.Parse(responder)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("the certificate names a responder that is no http or https URL")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/ocsp-request")
	r.Header.Set("Accept", "application/ocsp-response")
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the responder at %s answers %d", u.Host, resp.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, largestAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer of the responder at %s: %w", u.Host, err)
	}
	if len(raw) > largestAnswer {
		return nil, fmt.Errorf("the answer of the responder at %s has more than %d bytes", u.Host, largestAnswer)
	}
	return raw, nil
}

// judge returns an answer that clients can be shown.
func (s *stapler) judge(raw []byte, leaf, issuer *x509.Certificate) (*ocsp.Response, error) {
	answer, err := ocsp.ParseResponseForCert(raw, leaf, issuer)
	if err != nil {
		return nil, fmt.Errorf("the responder's answer cannot be used: %w", err)
	}
	if by := answer.Certificate; by != nil && !by.Equal(issuer) && !slices.Contains(by.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) {
		return nil, errors.New("the responder's answer is signed by a certificate that is not for that")
	}
	now := s.now()
	switch {
	case answer.ThisUpdate.After(now.Add(clocksDiffer)):
		return nil, errors.New("the responder's answer is of the future")
	case !answer.NextUpdate.IsZero() && !answer.NextUpdate.After(now):
		return nil, errors.New("the responder's answer has ended")
	case answer.Status == ocsp.Revoked:
		return nil, &badStatusError{"the certificate is revoked"}
	case answer.Status != ocsp.Good:
		return nil, &badStatusError{"the responder does not know the certificate"}
	}
	return answer, nil
}

// of returns what clients are shown of a certificate now; nil: nothing.
func (s *stapler) of(c *tls.Certificate) []byte {
	k, ok := keyOf(c)
	if !ok {
		return nil
	}
	if one := s.kept[k]; one != nil && one.answer != nil && s.now().Before(one.ends) {
		return one.answer
	}
	return nil
}

// keepStapled keeps what clients are shown up to date, until ctx ends.
func (s *Server) keepStapled(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		s.staple(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// staple asks about the certificates for which it is time, and shows what was said to
// connections that begin now.
func (s *Server) staple(ctx context.Context) {
	st := s.state.Load()
	s.staples.refresh(ctx, st.config.Certificates)
	if next := st.stapled(s.staples.of); next != nil {
		s.state.CompareAndSwap(st, next) // if not, there are new files; the next time then
	}
}

// stapled returns the state with other staples; nil: it has them already.
func (st *state) stapled(of func(*tls.Certificate) []byte) *state {
	var all []tls.Certificate
	for i := range st.config.Certificates {
		answer := of(&st.config.Certificates[i])
		if bytes.Equal(answer, st.config.Certificates[i].OCSPStaple) {
			continue
		}
		if all == nil {
			all = slices.Clone(st.config.Certificates)
		}
		all[i].OCSPStaple = answer
	}
	if all == nil {
		return nil
	}
	next := *st
	next.config = st.config.Clone()
	next.config.Certificates = all
	return &next
}

// carry takes over the staples of certificates that stay when files are read again.
func (st *state) carry(old *state) {
	had := map[stapleKey][]byte{}
	for i := range old.config.Certificates {
		if c := &old.config.Certificates[i]; c.OCSPStaple != nil {
			if k, ok := keyOf(c); ok {
				had[k] = c.OCSPStaple
			}
		}
	}
	for i := range st.config.Certificates {
		c := &st.config.Certificates[i]
		if k, ok := keyOf(c); ok {
			c.OCSPStaple = had[k]
		}
	}
}
