package front

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/gate"
)

// WAF is the waf section of the configuration file: whom the front door believes,
// and which requests it turns away before anything else looks at them
// (gateway-policies.md 5.10).
type WAF struct {
	// TrustedProxies lists the addresses and prefixes, such as 10.0.0.0/8, of the
	// proxies whose Forwarded and X-Forwarded-* headers say under which address
	// clients know klamm, and where they come from. Nobody else's are believed.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// ClientIP says which address counts as the client's: xff_rightmost_untrusted (the
	// default), remote_addr, header:NAME (of trusted proxies), or proxy_protocol:
	// trusted proxies begin their connections with the PROXY protocol, version 1 or 2.
	ClientIP string `yaml:"client_ip"`
	// Methods are the methods that are let in; none stands for all.
	Methods []string `yaml:"methods"`
	// Hosts are the hosts, without their ports, that requests must name, such as
	// kafka.example.com or *.example.com; none stands for all.
	Hosts []string `yaml:"hosts"`
	// MaxHeaders is how many header fields a request may have; the default is 100.
	MaxHeaders int `yaml:"max_headers"`
	// MethodOverride lets a POST say in X-HTTP-Method-Override which method it stands
	// for. Without it, requests with that header are refused.
	MethodOverride bool `yaml:"method_override"`
	// Rules are asked in this order. The first that matches and whose action is allow
	// or block ends the matter; a request that none ends is let in.
	Rules []WAFRule `yaml:"rules"`
}

// A WAFRule is one rule of the waf section.
type WAFRule struct {
	// Name is the rule's own, for logs and metrics.
	Name string `yaml:"name"`
	// Match says which requests it is about: all conditions must hold, and without
	// one it is about every request.
	Match WAFMatch `yaml:"match"`
	// Rate makes the rule hold only for clients that are faster.
	Rate *WAFRate `yaml:"rate"`
	// Action is allow, block or count.
	Action string `yaml:"action"`
	// Status is the answer to a blocked request, 400 to 599; the default is 403.
	Status int `yaml:"status"`
}

// A WAFMatch is what a rule is about.
type WAFMatch struct {
	// IP are addresses and prefixes.
	IP []string `yaml:"ip"`
	// IPFile names a file with one of them a line, in which '#' begins a comment. It
	// is read again with the configuration.
	IPFile string `yaml:"ip_file"`
	// Path is a path in which * stands for anything: with the name of the stage before
	// it, or without.
	Path string `yaml:"path"`
	// NotPath is one that it must not be.
	NotPath string `yaml:"not_path"`
	// Route is a method and a path, as in "POST /topics/*".
	Route string `yaml:"route"`
	// NotRoute is one that it must not be.
	NotRoute string `yaml:"not_route"`
	// Methods are methods.
	Methods []string `yaml:"methods"`
	// Header are regular expressions by header; one of the header's fields must match.
	Header map[string]string `yaml:"header"`
	// ContentLengthGT is exceeded by the body. A rule that blocks ends a body of
	// unknown length, with 413, when it has sent more.
	ContentLengthGT int64 `yaml:"content_length_gt" unit:"bytes"`
}

// A WAFRate is how fast a client may be before a rule holds.
type WAFRate struct {
	// Key is what counts as one client: source_ip (the default; of IPv6 the /64), or
	// header:NAME.
	Key string `yaml:"key"`
	// Limit is how many requests there may be in a window.
	Limit int `yaml:"limit"`
	// Window is 1s to 1h.
	Window time.Duration `yaml:"window"`
}

const (
	defaultMaxHeaders = 100
	// rateKeys bounds the clients that one rule counts; those beyond are counted as
	// one.
	rateKeys = 100_000
	// longestRateKey bounds what counts as one client, in bytes.
	longestRateKey = 256
)

// Validate reports each problem with the field it lies in.
func (w WAF) Validate(report func(path, problem string)) {
	for i, text := range w.TrustedProxies {
		if _, err := NewLinks("", []string{text}); err != nil {
			report(fmt.Sprintf("trusted_proxies[%d]", i), "want an address or a prefix such as 10.0.0.0/8")
		}
	}
	header, isHeader := strings.CutPrefix(w.ClientIP, "header:")
	if !slices.Contains([]string{"", clientForwarded, clientPeer, clientProxy}, w.ClientIP) && (!isHeader || !token(header)) {
		report("client_ip", "want xff_rightmost_untrusted, remote_addr, header:NAME or proxy_protocol")
	}
	for i, m := range w.Methods {
		if !token(m) {
			report(fmt.Sprintf("methods[%d]", i), "want a method, as in GET")
		}
	}
	for i, h := range w.Hosts {
		if !validHost(strings.TrimPrefix(h, "*.")) || strings.Contains(h, ":") {
			report(fmt.Sprintf("hosts[%d]", i), "want a host without a port, or *.example.com")
		}
	}
	if w.MaxHeaders < 0 || w.MaxHeaders > 10_000 {
		report("max_headers", "want a number up to 10000")
	}
	names := map[string]bool{}
	for i, r := range w.Rules {
		at := fmt.Sprintf("rules[%d]", i)
		if names[r.Name] {
			report(at+".name", "there is a rule of this name already")
		}
		names[r.Name] = true
		r.validate(func(path, problem string) { report(at+"."+path, problem) })
	}
}

func (r WAFRule) validate(report func(path, problem string)) {
	if r.Name == "" || len(r.Name) > 128 || !token(r.Name) {
		report("name", "want a name of letters, digits, '-' and '_'")
	}
	if !slices.Contains([]string{"allow", "block", "count"}, r.Action) {
		report("action", "want allow, block or count")
	}
	if r.Status != 0 && (r.Status < 400 || r.Status > 599 || r.Action != "block") {
		report("status", "want a status from 400 to 599, for a rule that blocks")
	}
	for i, text := range r.Match.IP {
		if _, err := parsePrefix(text); err != nil {
			report(fmt.Sprintf("match.ip[%d]", i), "want an address or a prefix such as 192.0.2.0/24")
		}
	}
	for _, p := range []struct{ at, pattern string }{{"path", r.Match.Path}, {"not_path", r.Match.NotPath}} {
		if p.pattern != "" && p.pattern[0] != '/' && p.pattern[0] != '*' {
			report("match."+p.at, "want a path that begins with a slash")
		}
	}
	for _, p := range []struct{ at, pattern string }{{"route", r.Match.Route}, {"not_route", r.Match.NotRoute}} {
		if method, path, ok := strings.Cut(p.pattern, " "); p.pattern != "" && (!ok || !token(strings.ReplaceAll(method, "*", "A")) || path == "" || path[0] != '/' && path[0] != '*') {
			report("match."+p.at, `want a method and a path, as in "POST /topics/*"`)
		}
	}
	for name, expression := range r.Match.Header {
		if !token(name) {
			report("match.header", fmt.Sprintf("%q is not the name of an HTTP header", name))
		} else if _, err := regexp.Compile(expression); err != nil {
			report("match.header."+name, err.Error())
		}
	}
	if r.Match.ContentLengthGT < 0 {
		report("match.content_length_gt", "want a size")
	}
	if r.Rate == nil {
		return
	}
	header, isHeader := strings.CutPrefix(r.Rate.Key, "header:")
	if r.Rate.Key != "" && r.Rate.Key != "source_ip" && (!isHeader || !token(header)) {
		report("rate.key", "want source_ip or header:NAME")
	}
	if r.Rate.Limit < 1 {
		report("rate.limit", "want a number of requests")
	}
	if r.Rate.Window < time.Second || r.Rate.Window > time.Hour {
		report("rate.window", "want a time from 1s to 1h")
	}
}

// A Blocked is the error of a request that a rule of the waf section has turned away.
type Blocked struct {
	// Rule is the rule's name.
	Rule   string
	status int
}

func (e *Blocked) Error() string { return "Forbidden" }

// Reported says that there is nothing about it that the log should know.
func (e *Blocked) Reported() {}

// Unwrap makes it a denial, or whatever has the rule's status.
func (e *Blocked) Unwrap() error {
	if e.status != 0 && e.status != http.StatusForbidden {
		return &RepeatError{e.status, http.StatusText(e.status)}
	}
	return &gate.Error{Kind: gate.Denied, Message: e.Error()}
}

// A Firewall is a WAF made ready. It is safe for concurrent use; a nil Firewall has
// no rules.
type Firewall struct {
	cfg   WAF
	rules []*wafRule
}

type wafRule struct {
	WAFRule
	ips     *addresses
	byIP    bool
	headers []wafHeader
	rate    *rateCounter // nil: the rule holds at any rate
	key     string       // the header that counts as a client; "": its address
}

type wafHeader struct {
	name       string
	expression *regexp.Regexp
}

// NewFirewall makes the rules of a valid WAF ready; read reads the files that they
// name. An error names the rule.
func NewFirewall(cfg WAF, read func(path string) ([]byte, error)) (*Firewall, error) {
	f := &Firewall{cfg: cfg}
	if cfg.MaxHeaders == 0 {
		f.cfg.MaxHeaders = defaultMaxHeaders
	}
	for _, r := range cfg.Rules {
		one := &wafRule{WAFRule: r, byIP: len(r.Match.IP) > 0 || r.Match.IPFile != ""}
		lines := slices.Clone(r.Match.IP)
		if r.Match.IPFile != "" {
			text, err := read(r.Match.IPFile)
			if err != nil {
				return nil, fmt.Errorf("waf: rule %q: %w", r.Name, err)
			}
			for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
				line, _, _ := strings.Cut(s.Text(), "#")
				if line = strings.TrimSpace(line); line != "" {
					lines = append(lines, line)
				}
			}
		}
		prefixes := make([]netip.Prefix, 0, len(lines))
		for _, line := range lines {
			prefix, err := parsePrefix(line)
			if err != nil {
				return nil, fmt.Errorf("waf: rule %q: %q is not an address or a prefix", r.Name, line)
			}
			prefixes = append(prefixes, prefix)
		}
		one.ips = newAddresses(prefixes)
		for name, expression := range r.Match.Header {
			compiled, err := regexp.Compile(expression)
			if err != nil {
				return nil, fmt.Errorf("waf: rule %q: header %s: %w", r.Name, name, err)
			}
			one.headers = append(one.headers, wafHeader{http.CanonicalHeaderKey(name), compiled})
		}
		if r.Rate != nil {
			one.rate = &rateCounter{window: r.Rate.Window, limit: r.Rate.Limit}
			if header, ok := strings.CutPrefix(r.Rate.Key, "header:"); ok {
				one.key = http.CanonicalHeaderKey(header)
			}
		}
		f.rules = append(f.rules, one)
	}
	return f, nil
}

// parsePrefix reads an address or a prefix.
func parsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	return prefix.Masked(), err
}

// override lets the header that names another method have its way, where that is
// allowed.
func (f *Firewall) override(r *http.Request) error {
	said := r.Header["X-Http-Method-Override"]
	if len(said) == 0 {
		return nil
	}
	method := strings.ToUpper(strings.TrimSpace(said[0]))
	if f == nil || !f.cfg.MethodOverride || len(said) > 1 || r.Method != http.MethodPost || methodLabel(method) == "OTHER" {
		return &RepeatError{http.StatusBadRequest, "X-HTTP-Method-Override is not allowed"}
	}
	r.Method = method
	return nil
}

// maxHeaders is how many header fields a request may have.
func (f *Firewall) maxHeaders() int {
	if f == nil {
		return defaultMaxHeaders
	}
	return f.cfg.MaxHeaders
}

// check asks the rules about a request from an address. Rule is the one that has
// ended the matter; bodyLimit, if positive, is how much body of unknown length it may
// have.
func (f *Firewall) check(r *http.Request, source netip.Addr, m *Metrics) (rule string, bodyLimit int64, err error) {
	if f == nil {
		return "", 0, nil
	}
	if len(f.cfg.Methods) > 0 && !slices.Contains(f.cfg.Methods, r.Method) {
		return "methods", 0, &Blocked{Rule: "methods"}
	}
	if len(f.cfg.Hosts) > 0 && !f.hosts(r.Host) {
		return "hosts", 0, &Blocked{Rule: "hosts", status: http.StatusMisdirectedRequest}
	}
	paths := wafPaths(r)
	for _, one := range f.rules {
		hit, unknown := one.matches(r, paths, source)
		if unknown && one.Action == "block" && (bodyLimit == 0 || one.Match.ContentLengthGT < bodyLimit) {
			bodyLimit = max(one.Match.ContentLengthGT, 1)
		}
		if !hit || one.rate != nil && !one.exceeded(r, source) {
			continue
		}
		m.waf.WithLabelValues(one.Name, one.Action).Inc()
		switch one.Action {
		case "allow":
			return one.Name, bodyLimit, nil
		case "block":
			return one.Name, 0, &Blocked{Rule: one.Name, status: one.Status}
		}
	}
	return "", bodyLimit, nil
}

// wafPaths are the paths by which rules know a request: the one in its stage, and with
// the stage before it.
func wafPaths(r *http.Request) []string {
	path := r.URL.Path
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	if at := stagedOf(r); at != nil && at.named {
		return []string{path, "/" + at.Name + strings.TrimSuffix(path, "/")}
	}
	return []string{path}
}

// hosts says whether a request may name a host.
func (f *Firewall) hosts(host string) bool {
	if at := strings.LastIndexByte(host, ':'); at >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:at]
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return slices.ContainsFunc(f.cfg.Hosts, func(h string) bool {
		if suffix, wild := strings.CutPrefix(h, "*"); wild {
			label, ok := strings.CutSuffix(host, strings.ToLower(suffix))
			return ok && label != "" && !strings.Contains(label, ".")
		}
		return strings.EqualFold(h, host)
	})
}

// matches says whether a request is what the rule is about; unknown: it would be if
// its body is longer than the rule says, which nobody knows yet.
func (r *wafRule) matches(req *http.Request, paths []string, source netip.Addr) (hit, unknown bool) {
	m := &r.Match
	one := func(pattern string) bool {
		return slices.ContainsFunc(paths, func(path string) bool { return glob(pattern, path) })
	}
	routed := func(pattern string) bool {
		return slices.ContainsFunc(paths, func(path string) bool { return route(pattern, req.Method, path) })
	}
	if r.byIP && !r.ips.contains(source) {
		return false, false
	}
	if len(m.Methods) > 0 && !slices.Contains(m.Methods, req.Method) ||
		m.Path != "" && !one(m.Path) || m.NotPath != "" && one(m.NotPath) || m.Route != "" && !routed(m.Route) || m.NotRoute != "" && routed(m.NotRoute) {
		return false, false
	}
	for _, h := range r.headers {
		if !slices.ContainsFunc(fields(req, h.name), h.expression.MatchString) {
			return false, false
		}
	}
	if m.ContentLengthGT > 0 && req.ContentLength <= m.ContentLengthGT {
		return false, req.ContentLength < 0
	}
	return true, false
}

// fields are those of a header; net/http keeps Host elsewhere.
func fields(r *http.Request, name string) []string {
	if name == "Host" {
		return []string{r.Host}
	}
	return r.Header[name]
}

func route(pattern, method, path string) bool {
	m, p, _ := strings.Cut(pattern, " ")
	return glob(m, method) && glob(p, path)
}

// glob says whether a text fits a pattern in which * stands for anything. It takes
// time in the order of both lengths at most multiplied.
func glob(pattern, text string) bool {
	p, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && pattern[p] == text[t]:
			p++
			t++
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// exceeded counts a request and says whether its client is too fast.
func (r *wafRule) exceeded(req *http.Request, source netip.Addr) bool {
	var key string
	switch {
	case r.key != "":
		key = strings.Join(fields(req, r.key), ",")
		key = key[:min(len(key), longestRateKey)]
	case source.Is6():
		prefix, _ := source.Prefix(64)
		key = prefix.String()
	default:
		key = source.String()
	}
	return r.rate.count(key, time.Now())
}

// A rateCounter counts requests in a window that slides: the last full window counts
// for as much of it as lies within the time.
type rateCounter struct {
	window time.Duration
	limit  int

	mu            sync.Mutex // guards what follows
	begun         time.Time
	last, current map[string]int
}

func (c *rateCounter) count(key string, now time.Time) (exceeded bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch passed := now.Sub(c.begun); {
	case c.current == nil || passed >= 2*c.window:
		c.begun, c.last, c.current = now, nil, map[string]int{}
	case passed >= c.window:
		c.begun, c.last, c.current = c.begun.Add(c.window), c.current, map[string]int{}
	}
	if _, known := c.current[key]; !known && len(c.current) >= rateKeys {
		key = "" // all others
	}
	c.current[key]++
	left := 1 - float64(now.Sub(c.begun))/float64(c.window)
	return float64(c.current[key])+float64(c.last[key])*left > float64(c.limit)
}

// bounds refuses what is too long, or has what no request may have
// (gateway-policies.md 4.7, 5.10).
func (s *Server) bounds(w http.ResponseWriter, r *http.Request) error {
	if limit := s.cfg.Sizes.URL; int64(len(r.RequestURI)) > limit {
		w.Header().Set("Connection", "close")
		return &RepeatError{http.StatusRequestURITooLong, fmt.Sprintf("the URL is longer than %d bytes (sizes.url)", limit)}
	}
	bytes, count := int64(len(r.Host)+len("host: \r\n")), 0
	for name, values := range r.Header {
		for _, v := range values {
			bytes += int64(len(name) + len(v) + len(": \r\n"))
			count++
		}
	}
	if limit := s.cfg.Sizes.Headers; bytes > limit {
		w.Header().Set("Connection", "close")
		return &RepeatError{http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("the headers are longer than %d bytes (sizes.headers)", limit)}
	}
	if limit := s.cfg.Firewall.maxHeaders(); count > limit {
		w.Header().Set("Connection", "close")
		return &RepeatError{http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("there are more than %d header fields (waf.max_headers)", limit)}
	}
	if exchangeOf(w).conn.ambiguous() {
		w.Header().Set("Connection", "close")
		return &RepeatError{http.StatusBadRequest, "a request with a Transfer-Encoding must not have a Content-Length"}
	}
	if q := r.URL.RawQuery; strings.Contains(q, "%") { // the parameter would silently not be there
		if _, err := url.QueryUnescape(q); err != nil {
			return &RepeatError{http.StatusBadRequest, fmt.Sprintf("the query: %v; a %% that stands for itself is %%25", err)}
		}
	}
	return s.cfg.Firewall.override(r)
}

// wall asks the rules of the waf section.
func (x *exchange) wall(r *http.Request) error {
	f := x.server.cfg.Firewall
	if f == nil {
		return nil
	}
	begun := time.Now()
	rule, limit, err := f.check(r, x.server.cfg.Links.Source(r), x.server.cfg.Metrics)
	x.wafRule, x.bodyLimit = rule, limit
	x.waf.Status, x.waf.Latency = http.StatusOK, time.Since(begun)
	if err == nil {
		return nil
	}
	var blocked *Blocked
	if errors.As(err, &blocked) {
		x.waf.Status, x.waf.Error = http.StatusForbidden, blocked.Rule
	}
	return err
}
