package certificate

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// A responder answers about the certificates of an authority.
type responder struct {
	*httptest.Server
	answer atomic.Pointer[func(serial *ocsp.Request) []byte] // nil: 500
	asked  atomic.Int64
}

func newResponder(t *testing.T) *responder {
	t.Helper()
	r := &responder{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.asked.Add(1)
		body, err := io.ReadAll(q.Body)
		question, wrong := ocsp.ParseRequest(body)
		answer := r.answer.Load()
		if err != nil || wrong != nil || answer == nil || q.Header.Get("Content-Type") != "application/ocsp-request" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write((*answer)(question))
	}))
	t.Cleanup(r.Close)
	return r
}

// says has it answer so of any certificate, signed by one of the authority, or by the
// authority itself.
func (r *responder) says(t *testing.T, template ocsp.Response, ca, by *authority) {
	t.Helper()
	answer := func(q *ocsp.Request) []byte {
		template := template
		template.SerialNumber, template.IssuerHash = q.SerialNumber, crypto.SHA1
		if by != ca {
			template.Certificate = by.cert
		}
		der, err := ocsp.CreateResponse(ca.cert, by.cert, template, by.key)
		if err != nil {
			t.Error(err)
		}
		return der
	}
	r.answer.Store(&answer)
}

// stapledPlace has a server whose certificate names a responder.
func stapledPlace(t *testing.T, urls ...string) *place {
	t.Helper()
	p := newPlace(t)
	p.server = issue(t, "localhost", p.ca, func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage, c.OCSPServer = []string{"localhost"}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, urls
	})
	p.write("server.pem", append(append(p.server.pem(), p.ca.pem()...), p.server.keyPEM(t, "")...))
	return p
}

// shown is the OCSP response that a client is shown.
func shown(t *testing.T, s *Server) (answer []byte) {
	t.Helper()
	_, err := hello(t, s, &tls.Config{ServerName: "localhost", VerifyConnection: func(cs tls.ConnectionState) error {
		answer = cs.OCSPResponse
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func noClients(c *Config) { c.ClientAuth, c.ClientCA = "none", "" }

func TestStaples(t *testing.T) {
	now := time.Now()
	good := ocsp.Response{Status: ocsp.Good, ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour)}
	r := newResponder(t)
	p := stapledPlace(t, r.URL)
	other := issue(t, "other root", nil, nil)
	delegate := issue(t, "responder", p.ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} })
	wrongly := issue(t, "no responder", p.ca, nil)
	changed := func(change func(*ocsp.Response)) ocsp.Response {
		one := good
		change(&one)
		return one
	}
	tests := []struct {
		name     string
		response ocsp.Response
		ca, by   *authority
		want     bool
	}{
		{"good", good, p.ca, p.ca, true},
		{"signed by a certificate for that", good, p.ca, delegate, true},
		{"without an end", changed(func(r *ocsp.Response) { r.NextUpdate = time.Time{} }), p.ca, p.ca, true},
		{"signed by any certificate", good, p.ca, wrongly, false},
		{"signed by another authority", good, other, other, false},
		{"revoked", changed(func(r *ocsp.Response) { r.Status, r.RevokedAt = ocsp.Revoked, now.Add(-time.Minute) }), p.ca, p.ca, false},
		{"unknown", changed(func(r *ocsp.Response) { r.Status = ocsp.Unknown }), p.ca, p.ca, false},
		{"ended", changed(func(r *ocsp.Response) { r.NextUpdate = now.Add(-time.Minute) }), p.ca, p.ca, false},
		{"of the future", changed(func(r *ocsp.Response) { r.ThisUpdate = now.Add(30 * time.Minute) }), p.ca, p.ca, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.says(t, tt.response, tt.ca, tt.by)
			s := p.open(noClients)
			s.staple(t.Context())
			if got := shown(t, s) != nil; got != tt.want {
				t.Errorf("a client is shown an answer: %v; the server says %+v", got, s.staples.kept)
			}
		})
	}
}

func TestRespondersThatAnswerBadly(t *testing.T) {
	large := bytes.Repeat([]byte{0x30}, largestAnswer+1)
	r := newResponder(t)
	redirect := httptest.NewServer(http.RedirectHandler(r.URL, http.StatusTemporaryRedirect))
	defer redirect.Close()
	for name, tt := range map[string]struct {
		url    string
		answer []byte
	}{
		"too large": {r.URL, large}, "no OCSP": {r.URL, []byte("no OCSP")}, "nothing": {r.URL, nil}, "elsewhere": {redirect.URL, nil},
		"no URL": {"ldap://127.0.0.1/", nil}, "nobody": {"http://127.0.0.1:1/", nil},
	} {
		t.Run(name, func(t *testing.T) {
			answer := func(*ocsp.Request) []byte { return tt.answer }
			r.answer.Store(&answer)
			before := r.asked.Load()
			s := stapledPlace(t, tt.url).open(noClients)
			s.staple(t.Context())
			if shown(t, s) != nil {
				t.Error("a client is shown an answer")
			}
			if name == "elsewhere" && r.asked.Load() != before {
				t.Error("a redirect was followed")
			}
			for _, one := range s.staples.kept {
				if one.failed == "" || !one.next.After(s.now()) {
					t.Errorf("got %+v", one)
				}
			}
		})
	}
}

func TestStaplesAreRenewedAndEnd(t *testing.T) {
	r := newResponder(t)
	p := stapledPlace(t, "http://127.0.0.1:1/", r.URL) // the first is not there
	begun := time.Now().Truncate(time.Second)
	r.says(t, ocsp.Response{Status: ocsp.Good, ThisUpdate: begun, NextUpdate: begun.Add(40 * time.Minute)}, p.ca, p.ca)
	s := p.open(func(c *Config) { c.ClientAuth = "requested" })
	at := begun
	s.now = func() time.Time { return at }
	see := func(after time.Duration, asked int64, want bool) {
		t.Helper()
		at = begun.Add(after)
		s.staple(t.Context())
		if got := shown(t, s) != nil; got != want || r.asked.Load() != asked {
			t.Errorf("after %v: shown %v, asked %d times; want %v and %d", after, got, r.asked.Load(), want, asked)
		}
	}
	see(0, 1, true)
	see(19*time.Minute, 1, true)
	r.answer.Store(nil)
	see(21*time.Minute, 2, true)
	see(25*time.Minute, 2, true)
	see(27*time.Minute, 3, true)
	// Files that are read again leave it; so does the trust of clients.
	p.write("ca.pem", append(p.ca.pem(), issue(t, "another", nil, nil).pem()...))
	if changed, err := s.load(t.Context()); !changed || err != nil {
		t.Fatal(changed, err)
	}
	if shown(t, s) == nil {
		t.Error("the answer is lost with a change of other files")
	}
	see(41*time.Minute, 4, false)
	r.says(t, ocsp.Response{Status: ocsp.Good, ThisUpdate: begun.Add(42 * time.Minute), NextUpdate: begun.Add(80 * time.Minute)}, p.ca, p.ca)
	see(47*time.Minute, 5, true)
	// What is revoked is not shown as good any longer.
	r.says(t, ocsp.Response{Status: ocsp.Revoked, RevokedAt: begun, ThisUpdate: begun.Add(60 * time.Minute), NextUpdate: begun.Add(90 * time.Minute)}, p.ca, p.ca)
	see(62*time.Minute, 6, false)
	p.renew() // a certificate without a responder
	at = begun
	if changed, err := s.load(t.Context()); !changed || err != nil {
		t.Fatal(changed, err)
	}
	see(0, 6, false)
	if len(s.staples.kept) != 0 {
		t.Error("the old certificate is not forgotten")
	}
}

func TestStaplesAreAskedForWhileTheServerRuns(t *testing.T) {
	r := newResponder(t)
	p := stapledPlace(t, r.URL)
	r.says(t, ocsp.Response{Status: ocsp.Good, ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}, p.ca, p.ca)
	for _, on := range []bool{true, false} {
		s := p.open(func(c *Config) {
			if noClients(c); !on {
				c.OCSP = "off"
			}
		})
		if !on {
			if s.staples != nil {
				t.Error("ocsp: off asks")
			}
			continue
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Run(ctx)
		}()
		for end := time.Now().Add(time.Minute); shown(t, s) == nil; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("nothing is shown")
			}
		}
		stop()
		<-done
	}
}

func FuzzStaple(f *testing.F) {
	f.Add([]byte("0\x03\n\x01\x06"))
	f.Fuzz(func(_ *testing.T, raw []byte) {
		s := newStapler(slog.New(slog.DiscardHandler), time.Now)
		_, _ = s.judge(raw, &x509.Certificate{SerialNumber: big.NewInt(1)}, nil)
	})
}
