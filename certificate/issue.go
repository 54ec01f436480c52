package certificate

import (
	"crypto/tls"
	"hash"
	"reflect"
)

// issuedNow returns the certificate that has come by ACME, and adds it to what tells
// states apart; nil: there is none. A stored file that cannot be used leaves the one that
// was served before.
func (s *Server) issuedNow(h hash.Hash) *tls.Certificate {
	if s.acme == nil {
		return nil
	}
	c, err := s.acme.Certificate()
	if old := s.state.Load(); c == nil && err != nil && old != nil {
		c = old.issued // acme says in the log what is wrong
	}
	if c != nil {
		_, _ = h.Write(c.Certificate[0])
	} else if s.state.Load() == nil && s.cfg.Certificate == "" && len(s.cfg.Certificates) == 0 {
		s.log.Warn("no certificate yet; handshakes are refused until one has been issued by ACME", "names", s.acme.Names())
	}
	return c
}

// issuedFor names the certificate that comes by ACME; "": none does.
func (s *Server) issuedFor() string {
	if s.acme == nil {
		return ""
	}
	return s.acme.Names()[0]
}

// Follow makes s go on with what old has begun, where both get the same certificate by
// ACME in the same way. It is called before Run.
func (s *Server) Follow(old *Server) {
	if s.acme != nil && old.acme != nil && reflect.DeepEqual(s.cfg.ACME, old.cfg.ACME) {
		s.acme = old.acme
	}
}

// Answer returns what the authority of ACME is answered about a token (RFC 8555, 8.3);
// false: nobody waits for that. It may be called with any text.
func (s *Server) Answer(token string) (string, bool) {
	if s.acme == nil {
		return "", false
	}
	return s.acme.Answer(token)
}

// Renewals returns how many certificates have come by ACME, and how often that has
// failed; false: none are to come.
func (s *Server) Renewals() (succeeded, failed int64, ok bool) {
	if s.acme == nil {
		return 0, 0, false
	}
	succeeded, failed = s.acme.Renewals()
	return succeeded, failed, true
}
