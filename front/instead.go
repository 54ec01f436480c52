package front

import (
	"net/http"
	"strings"
)

// An instead is a route that is served for some of the requests of its path, in front
// of the one that others get there.
type instead struct {
	method, path string
	when         func(*http.Request) bool
	handler      http.Handler
}

func newInstead(route Route, handler http.Handler) instead {
	method, path, _ := strings.Cut(route.Pattern, " ")
	return instead{method, strings.TrimSuffix(path, "{$}"), route.When, handler}
}

// insteadFor returns what is served instead of the route that the path of a request
// leads to; nil: nothing is.
func (s *Server) insteadFor(r *http.Request) http.Handler {
	for i := range s.instead {
		o := &s.instead[i]
		if r.URL.Path == o.path && (r.Method == o.method || r.Method == http.MethodHead && o.method == http.MethodGet) && o.when(r) {
			return o.handler
		}
	}
	return nil
}
