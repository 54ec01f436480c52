package route

import (
	"errors"
	"net/http"
	"strings"

	"github.com/klamm-gateway/klamm/shape"
)

// Rewrite returns what gives requests the path that a route stands for, and says
// whether it could: a variable must not be more than the segment it stands for. It is
// nil for all other types of routes.
func (a *Routes) Rewrite(cfg Config, p shape.Pattern) (func(*http.Request) bool, error) {
	if cfg.Type != typeRewrite {
		return nil, nil
	}
	parts, err := parseRewrite(cfg.To, p)
	if err != nil {
		return nil, err
	}
	return func(r *http.Request) bool {
		path, escaped, ok := pathOf(parts, r)
		if !ok {
			return false
		}
		r.URL.Path, r.URL.RawPath = path, escaped
		return true
	}, nil
}

// parseRewrite reads the path that a route stands for.
func parseRewrite(to string, p shape.Pattern) ([]part, error) {
	if !strings.HasPrefix(to, "/") || len(to) > 1 && strings.HasSuffix(to, "/") || strings.Contains(to, "//") || strings.Contains(to, "/.") || strings.ContainsAny(to, "?# %\\") {
		return nil, errors.New("want a path that klamm has, such as /topics/{topic}, with variables of the route")
	}
	return parseParts(to, p)
}
