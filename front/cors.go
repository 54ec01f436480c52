package front

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// CORS is the cors section of the configuration file: which pages of other
// origins may call klamm from a browser (gateway-policies.md 5.1). Without
// origins there is none, and no answer says anything about it.
type CORS struct {
	// AllowOrigins are origins such as https://app.example.com; with one leading
	// label wildcard, https://*.example.com, all below a domain; "*" alone is any.
	// null, which pages without an origin send, is allowed only where it stands here.
	AllowOrigins []string `yaml:"allow_origins"`
	// AllowMethods are the methods that pages may use, "*" any; the default is GET,
	// HEAD and POST.
	AllowMethods []string `yaml:"allow_methods"`
	// AllowHeaders are the HTTP headers that pages may send; "*" is any but
	// Authorization, unless klamm asks for credentials.
	AllowHeaders []string `yaml:"allow_headers"`
	// ExposeHeaders are the HTTP headers of answers that pages may read.
	ExposeHeaders []string `yaml:"expose_headers"`
	// AllowCredentials lets pages send cookies and the like.
	AllowCredentials bool `yaml:"allow_credentials"`
	// MaxAge is for how many seconds a browser may remember the answer to a
	// preflight; -1 is not at all, and 0 says nothing.
	MaxAge int `yaml:"max_age"`
	// PrivateNetwork lets public pages call klamm on a private network.
	PrivateNetwork bool `yaml:"private_network"`
	// Preset is strict (the default), or aws-mock, which answers every OPTIONS
	// with what API Gateway's mock integration says.
	Preset string `yaml:"preset"`
}

const (
	// anyOrigin is an allow_origins of everybody.
	anyOrigin = "*"
	// maxRequestedHeaders and maxEmptyHeaders bound what a preflight may ask for.
	maxRequestedHeaders = 100
	maxEmptyHeaders     = 16
	awsMock             = "aws-mock"
)

// Validate reports each problem with the field it lies in.
func (c CORS) Validate(report func(path, problem string)) {
	for i, o := range c.AllowOrigins {
		at := fmt.Sprintf("allow_origins[%d]", i)
		switch _, ok := normalOrigin(strings.Replace(o, "//*.", "//", 1)); {
		case o == anyOrigin && c.AllowCredentials:
			report(at, `"*" cannot go with allow_credentials; name the origins`)
		case o != anyOrigin && o != "null" && !ok:
			report(at, "want SCHEME://HOST or SCHEME://HOST:PORT without a path, as in https://app.example.com or https://*.example.com")
		}
	}
	for i, m := range c.AllowMethods {
		if !token(m) {
			report(fmt.Sprintf("allow_methods[%d]", i), "want a method, as in GET")
		}
	}
	for field, names := range map[string][]string{"allow_headers": c.AllowHeaders, "expose_headers": c.ExposeHeaders} {
		for i, n := range names {
			if !token(n) {
				report(fmt.Sprintf("%s[%d]", field, i), "want the name of an HTTP header")
			}
		}
	}
	if c.MaxAge < -1 {
		report("max_age", "want seconds, or -1 for not at all")
	}
	if !slices.Contains([]string{"", "strict", awsMock}, c.Preset) {
		report("preset", "want strict or "+awsMock)
	}
}

// token says whether a text may be a method or the name of an HTTP header.
func token(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	}) < 0
}

// normalOrigin writes an origin as browsers do: in lower case and without the
// scheme's own port.
func normalOrigin(o string) (string, bool) {
	u, err := url.Parse(o)
	if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" || strings.ContainsAny(u.Host, "*") {
		return "", false
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if port := u.Port(); port == "80" && scheme == "http" || port == "443" && scheme == "https" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return scheme + "://" + host, true
}

// cors is a CORS made ready.
type cors struct {
	cfg      CORS
	any      bool
	origins  map[string]bool
	wild     [][2]string // scheme with "://", and ".domain" with its port
	methods  []string
	headers  map[string]bool
	exposed  string
	maxAge   string
	enforced bool // credentials are asked for, so "*" covers Authorization
}

// newCORS returns nil where no origin is allowed.
func newCORS(cfg CORS, enforced bool) *cors {
	if len(cfg.AllowOrigins) == 0 && cfg.Preset != awsMock {
		return nil
	}
	c := &cors{cfg: cfg, origins: map[string]bool{}, headers: map[string]bool{}, methods: cfg.AllowMethods, enforced: enforced}
	for _, o := range cfg.AllowOrigins {
		scheme, domain, wild := strings.Cut(o, "://*.")
		switch {
		case o == anyOrigin:
			c.any = true
		case o == "null":
			c.origins[o] = true
		case wild:
			if n, ok := normalOrigin(scheme + "://" + domain); ok {
				at := strings.Index(n, "://") + 3
				c.wild = append(c.wild, [2]string{n[:at], "." + n[at:]})
			}
		default:
			if n, ok := normalOrigin(o); ok {
				c.origins[n] = true
			}
		}
	}
	if len(c.methods) == 0 {
		c.methods = []string{http.MethodGet, http.MethodHead, http.MethodPost}
	}
	for _, h := range cfg.AllowHeaders {
		c.headers[strings.ToLower(h)] = true
	}
	c.exposed = strings.Join(cfg.ExposeHeaders, ", ")
	if cfg.MaxAge != 0 {
		c.maxAge = strconv.Itoa(max(cfg.MaxAge, 0))
	}
	return c
}

// allows says whether pages of an origin may call.
func (c *cors) allows(origin string) bool {
	if origin == "null" {
		return c.origins[origin]
	}
	if c.any {
		return true
	}
	n, ok := normalOrigin(origin)
	if !ok {
		return false
	}
	if c.origins[n] {
		return true
	}
	for _, w := range c.wild {
		rest, ok := strings.CutPrefix(n, w[0])
		if ok && len(rest) > len(w[1]) && strings.HasSuffix(rest, w[1]) {
			return true
		}
	}
	return false
}

// serve answers a preflight and says so. To any other request it adds what its
// answer must say, whatever that will be.
func (c *cors) serve(w http.ResponseWriter, r *http.Request) (answered bool) {
	if c == nil {
		return false
	}
	h, origin := w.Header(), r.Header.Get("Origin")
	switch {
	case r.Method != http.MethodOptions:
	case c.cfg.Preset == awsMock:
		c.mock(h, w)
		return true
	case origin != "" && r.Header.Get("Access-Control-Request-Method") != "":
		c.preflight(h, r, origin)
		w.WriteHeader(http.StatusNoContent)
		return true
	}
	c.mark(h, origin)
	return false
}

// mark adds what the answer to a page of an origin must say, whatever it will be.
func (c *cors) mark(h http.Header, origin string) {
	switch {
	case c == nil:
		return
	case c.cfg.Preset == awsMock:
		h.Set("Access-Control-Allow-Origin", anyOrigin)
		return
	}
	h.Add("Vary", "Origin")
	if origin == "" || !c.allows(origin) {
		return
	}
	c.origin(h, origin)
	if c.exposed != "" {
		h.Set("Access-Control-Expose-Headers", c.exposed)
	}
}

// origin names who may read the answer.
func (c *cors) origin(h http.Header, origin string) {
	if c.any && !c.cfg.AllowCredentials {
		origin = anyOrigin
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if c.cfg.AllowCredentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
}

// preflight says what a page may do, or nothing at all: the browser then keeps it
// from calling, and the page learns no more.
func (c *cors) preflight(h http.Header, r *http.Request, origin string) {
	h.Add("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
	method := r.Header.Get("Access-Control-Request-Method")
	names, ok := c.requested(r.Header.Values("Access-Control-Request-Headers"))
	if !ok || !c.allows(origin) || !c.allowsMethod(method) {
		return
	}
	c.origin(h, origin)
	h.Set("Access-Control-Allow-Methods", method)
	if len(names) > 0 {
		h.Set("Access-Control-Allow-Headers", strings.Join(names, ", "))
	}
	if c.maxAge != "" {
		h.Set("Access-Control-Max-Age", c.maxAge)
	}
	if c.cfg.PrivateNetwork && r.Header.Get("Access-Control-Request-Private-Network") == "true" {
		h.Set("Access-Control-Allow-Private-Network", "true")
	}
}

// requested reads the names of headers that a page wants to send; false if one of
// them is not allowed.
func (c *cors) requested(fields []string) (names []string, ok bool) {
	empty := 0
	for _, field := range fields {
		for name := range strings.SplitSeq(field, ",") {
			name = strings.ToLower(strings.Trim(name, " \t"))
			if name == "" {
				if empty++; empty > maxEmptyHeaders {
					return nil, false
				}
				continue
			}
			if len(names) == maxRequestedHeaders || !c.allowsHeader(name) {
				return nil, false
			}
			names = append(names, name)
		}
	}
	return names, true
}

// allowsMethod says whether pages may use a method. The wildcard is none with
// credentials.
func (c *cors) allowsMethod(method string) bool {
	return slices.Contains(c.methods, method) || slices.Contains(c.methods, "*") && !c.cfg.AllowCredentials
}

func (c *cors) allowsHeader(name string) bool {
	if !token(name) {
		return false
	}
	if c.headers[name] {
		return true
	}
	// The wildcard is none with credentials, and does not cover Authorization.
	return c.headers["*"] && !c.cfg.AllowCredentials && (name != "authorization" || c.enforced)
}

// mock answers as API Gateway's "Enable CORS" does (gateway-policies.md 5.1).
func (c *cors) mock(h http.Header, w http.ResponseWriter) {
	h.Set("Access-Control-Allow-Origin", anyOrigin)
	h.Set("Access-Control-Allow-Headers", "Content-Type,Authorization,X-Amz-Date,X-Api-Key,X-Amz-Security-Token")
	h.Set("Access-Control-Allow-Methods", "DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT")
	h.Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
}
