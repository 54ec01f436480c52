package front

import (
	"io"
	"net/http"
	"strings"
)

// challengePath is where an authority looks for the answer to a challenge (RFC 8555,
// 8.3).
const challengePath = "/.well-known/acme-challenge/"

// challenged answers an authority that looks for what it has asked for, on every
// listener and whatever the configuration says of hosts, addresses and callers; false:
// the request is none of these, and goes the way of all others.
func (s *Server) challenged(w http.ResponseWriter, r *http.Request) bool {
	token, ok := strings.CutPrefix(r.URL.Path, challengePath)
	if !ok || s.cfg.Challenge == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	text, ok := s.cfg.Challenge(token)
	if !ok {
		return false
	}
	w.Header().Set("Content-Type", "application/octet-stream") // as the example there
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, text) // an authority that is gone asks again
	return true
}
