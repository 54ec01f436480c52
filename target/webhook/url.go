package webhook

import (
	"bytes"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/transform"
)

// A param is a parameter of a URL's query: "name=value", percent-encoded.
type param struct {
	name string // decoded
	text text
}

// A namedParam is a parameter whose name has placeholders.
type namedParam struct{ name, value text }

// planURL takes the URL apart. Scheme and host come from the configuration
// alone; path and query are texts whose placeholders are percent-encoded.
func (c *Config) planURL(p *plan, report func(path, problem string)) {
	front, rest := cutHost(c.URL)
	templated := strings.Contains(rest, "<$")
	if problem := c.frontProblem(front, rest, templated); problem != "" {
		report("url", problem)
		return
	}
	if templated {
		p.base, _ = url.Parse(front)
	} else {
		p.base, _ = url.Parse(c.URL)
		rest, _, _ = strings.Cut(rest, "#")
	}
	all, err := p.compile(rest)
	if err != nil {
		// Positions are told within the whole URL.
		if _, whole := new(plan).compile(c.URL); whole != nil {
			err = whole
		}
		report("url", err.Error())
		return
	}
	path, query, problem := splitQuery(all)
	if problem != "" {
		report("url", problem)
		return
	}
	p.name = front + path.String()
	if c.PathParameters != nil {
		path, query = c.planStars(p, path, query, report)
	}
	p.path = escapeLiterals(path)
	c.planQuery(p, query, report)
	c.planNamed(p, report)
	p.moving = !p.path.plain() || len(p.named) > 0 || slices.ContainsFunc(p.query, func(q param) bool { return !q.text.plain() })
	p.made = templated || c.PathParameters != nil || len(c.Query) > 0 || len(c.NamedQuery) > 0 || c.Connection != nil && len(c.Connection.Query) > 0
	switch q := p.base.RawQuery; {
	case p.made:
		p.base = &url.URL{Scheme: p.base.Scheme, Host: p.base.Host}
	case strings.ContainsFunc(q, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		// net/url leaves a query as it is written.
		p.base.RawQuery = escapeLiterals(text{{literal: q, path: -1}})[0].literal
	}
}

// frontProblem says what is wrong with a URL but for its placeholders; it is
// empty if nothing is.
func (c *Config) frontProblem(front, rest string, templated bool) string {
	switch {
	case c.URL == "":
		return "a webhook needs a url"
	case strings.Contains(front, "<"):
		return "scheme and host cannot have placeholders"
	case c.PathParameters != nil && strings.Contains(front, "*"):
		return "a * cannot stand in the host"
	case len(c.URL) > maxURL || strings.HasPrefix(rest, `\`):
		return "not a URL"
	case templated:
		return urlProblem(front)
	}
	return urlProblem(c.URL)
}

// cutHost splits a URL behind its host.
func cutHost(text string) (front, rest string) {
	_, after, ok := strings.Cut(text, "://")
	if !ok {
		return text, ""
	}
	i := strings.IndexAny(after, `/?#\`)
	if i < 0 {
		return text, ""
	}
	return text[:len(text)-len(after)+i], after[i:]
}

// splitQuery splits what follows the host at the question mark.
func splitQuery(all text) (path, query text, problem string) {
	for i, p := range all {
		if p.path >= 0 {
			continue
		}
		if strings.Contains(p.literal, "#") {
			return nil, nil, "what follows a # is never sent; leave it out"
		}
		before, after, ok := strings.Cut(p.literal, "?")
		if !ok {
			continue
		}
		path = slices.Clone(all[:i])
		if before != "" {
			path = append(path, piece{literal: before, path: -1})
		}
		if after != "" {
			query = append(query, piece{literal: after, path: -1})
		}
		return path, append(query, all[i+1:]...), ""
	}
	return all, nil, ""
}

// planStars puts the path parameters into the places of the *.
func (c *Config) planStars(p *plan, path, query text, report func(path, problem string)) (withPath, withQuery text) {
	if len(c.PathParameters) > maxParameters {
		report("path_parameters", fmt.Sprintf("has %d entries; at most %d are allowed", len(c.PathParameters), maxParameters))
	}
	next := 0
	fill := func(t text) (out text) {
		for _, one := range t {
			for i, literal := range strings.Split(one.literal, "*") {
				if i > 0 && next >= len(c.PathParameters) {
					p.short = true
					return out
				}
				if i > 0 {
					value, err := p.star(c.PathParameters[next])
					if err != nil {
						report(fmt.Sprintf("path_parameters[%d]", next), err.Error())
					}
					out = append(out, value...)
					next++
				}
				if literal != "" || one.path >= 0 {
					out = append(out, piece{literal: literal, path: one.path, source: one.source})
				}
			}
		}
		return out
	}
	return fill(path), fill(query)
}

// star compiles what takes the place of a *. It is never without a piece, so that
// it is seen where it is empty.
func (p *plan) star(parameter string) (text, error) {
	t, err := p.compile(parameter)
	if len(t) == 0 {
		t = text{{path: -1}}
	}
	for i := range t {
		t[i].literal, t[i].star = string(appendEscaped(nil, []byte(t[i].literal))), true
	}
	return t, err
}

// planQuery lists the parameters: those of the URL, then those of the target,
// which win, without those of the connection, which win over both (event-bus.md
// 6).
func (c *Config) planQuery(p *plan, own text, report func(path, problem string)) {
	params, problem := splitParams(own)
	if problem != "" {
		report("url", problem)
		return
	}
	if len(c.Query) > maxParameters {
		report("query", fmt.Sprintf("has %d entries; at most %d are allowed", len(c.Query), maxParameters))
	}
	params = slices.DeleteFunc(params, func(q param) bool { _, later := c.Query[q.name]; return later })
	for _, name := range sorted(c.Query) {
		value, err := p.compile(c.Query[name])
		switch {
		case err != nil:
			report("query."+name, err.Error())
		case name == "" || len(name)+len(c.Query[name]) > maxValue:
			report("query."+name, "want a name, and a shorter text")
		}
		t := text{{literal: string(append(appendEscaped(nil, []byte(name)), '=')), path: -1}}
		for _, v := range value {
			v.literal = string(appendEscaped(nil, []byte(v.literal)))
			t = append(t, v)
		}
		params = append(params, param{name, t})
	}
	if c.Connection != nil {
		params = slices.DeleteFunc(params, func(q param) bool { _, later := c.Connection.Query[q.name]; return later })
	}
	p.query = params
}

// planNamed prepares the parameters whose names have placeholders. None of them gets
// the name of one that is configured.
func (c *Config) planNamed(p *plan, report func(path, problem string)) {
	if len(c.NamedQuery) == 0 {
		return
	}
	if len(c.NamedQuery) > maxParameters {
		report("named_query", fmt.Sprintf("has %d entries; at most %d are allowed", len(c.NamedQuery), maxParameters))
	}
	p.taken = map[string]bool{"": true}
	for _, q := range p.query {
		p.taken[q.name] = true
	}
	if c.Connection != nil {
		for name := range c.Connection.Query {
			p.taken[name] = true
		}
	}
	for _, name := range sorted(c.NamedQuery) {
		var one namedParam
		for _, part := range []struct {
			from string
			to   *text
		}{{name, &one.name}, {c.NamedQuery[name], &one.value}} {
			var err error
			if *part.to, err = p.compile(part.from); err != nil {
				report("named_query."+name, err.Error())
			} else if len(part.from) > maxValue {
				report("named_query."+name, "want a shorter text")
			}
		}
		p.named = append(p.named, one)
	}
}

// appendNamed appends the parameters whose names have placeholders; of several with the
// same name the first one counts.
func (p *plan) appendNamed(query []byte, values [][]byte) []byte {
	have := map[string]bool{}
	for _, q := range p.named {
		name := string(q.name.appendRaw(nil, values))
		if p.taken[name] || have[name] {
			continue
		}
		have[name] = true
		if len(query) > 0 {
			query = append(query, '&')
		}
		query = append(appendEscaped(query, []byte(name)), '=')
		query = appendEscaped(query, q.value.appendRaw(nil, values))
	}
	return query
}

// splitParams splits a query at its ampersands. A name is always a literal, so
// that a record can neither add a parameter nor replace one.
func splitParams(query text) (params []param, problem string) {
	var t text
	end := func() {
		if len(t) > 0 {
			name, _, _ := strings.Cut(t[0].literal, "=")
			if decoded, err := url.QueryUnescape(name); err == nil {
				name = decoded
			}
			params = append(params, param{name, escapeLiterals(t)})
		}
		t = nil
	}
	for _, p := range query {
		if p.path >= 0 || p.star {
			if len(t) == 0 || !strings.Contains(t[0].literal, "=") || t[0].star {
				return nil, "in a query only values can have placeholders, as in ?id=<$.key>"
			}
			t = append(t, p)
			continue
		}
		for i, literal := range strings.Split(p.literal, "&") {
			if i > 0 {
				end()
			}
			if literal != "" {
				t = append(t, piece{literal: literal, path: -1})
			}
		}
	}
	end()
	return params, ""
}

const hexDigits = "0123456789ABCDEF"

// appendEscaped percent-encodes everything that is not unreserved (RFC 3986,
// 2.3), so that it is one path segment and one query component alike.
func appendEscaped(dst, s []byte) []byte {
	for _, c := range s {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~' {
			dst = append(dst, c)
			continue
		}
		dst = append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
	}
	return dst
}

// escapeLiterals percent-encodes what cannot stand in a path or query, and
// leaves what is encoded already.
func escapeLiterals(t text) text {
	out := slices.Clone(t)
	for i := range out {
		var b []byte
		for j := range len(out[i].literal) {
			c := out[i].literal[j]
			switch {
			case c == '%' && j+2 < len(out[i].literal) && isHex(out[i].literal[j+1]) && isHex(out[i].literal[j+2]), strings.IndexByte("/!$&'()*+,;=:@?", c) >= 0:
				b = append(b, c)
			default:
				b = appendEscaped(b, []byte{c})
			}
		}
		out[i].literal = string(b)
	}
	return out
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// url makes the URL of a request, but for secret parameters.
func (p *plan) url(values [][]byte) (*url.URL, error) {
	path, err := p.appendPath(nil, values)
	if err != nil {
		return nil, err
	}
	var query []byte
	for _, q := range p.query {
		if len(query) > 0 {
			query = append(query, '&')
		}
		query = q.text.appendEncoded(query, values)
		if len(path)+len(query) > maxURL {
			return nil, refusal("the URL would have more than %d bytes", maxURL)
		}
	}
	if len(p.named) > 0 {
		if query = p.appendNamed(query, values); len(path)+len(query) > maxURL {
			return nil, refusal("the URL would have more than %d bytes", maxURL)
		}
	}
	u := *p.base
	u.RawPath, u.RawQuery = string(path), string(query)
	if u.Path, err = url.PathUnescape(u.RawPath); err != nil || u.EscapedPath() != u.RawPath {
		return nil, refusal("the path of the URL is not valid")
	}
	return &u, nil
}

// withQuery returns a URL with further parameters, which are encoded.
func withQuery(u *url.URL, further string) *url.URL {
	if further == "" {
		return u
	}
	with := *u
	if with.RawQuery != "" {
		with.RawQuery += "&"
	}
	with.RawQuery += further
	return &with
}

// appendRaw appends a text as it is.
func (t text) appendRaw(dst []byte, values [][]byte) []byte {
	for _, p := range t {
		if p.path < 0 {
			dst = append(dst, p.literal...)
			continue
		}
		dst = transform.AppendText(dst, values[p.path])
	}
	return dst
}

func (t text) appendEncoded(dst []byte, values [][]byte) []byte {
	for _, p := range t {
		if p.path < 0 {
			dst = append(dst, p.literal...)
			continue
		}
		dst = appendEscaped(dst, transform.AppendText(nil, values[p.path]))
	}
	return dst
}

// asSeen decodes what some receivers decode before they resolve dots.
var asSeen = strings.NewReplacer("%2e", ".", "%2E", ".", "%2f", "/", "%2F", "/", "%5c", "/", "%5C", "/", "%3b", ";", "%3B", ";")

// appendPath makes the path. A record must not lead to another place than the
// one meant: a segment that a placeholder makes "." or ".." is refused, since
// receivers resolve it, and so is one that is empty, unless it is a path
// parameter's (event-bus.md 4).
func (p *plan) appendPath(dst []byte, values [][]byte) ([]byte, error) {
	start, filled, star := 0, false, false
	check := func(end int) error {
		if !filled {
			return nil
		}
		if end == start && !star {
			return refusal("a segment of the URL's path would be empty")
		}
		for part := range strings.SplitSeq(asSeen.Replace(string(dst[start:end])), "/") {
			if part, _, _ = strings.Cut(part, ";"); part == "." || part == ".." {
				return refusal("a segment of the URL's path would be %s", part)
			}
		}
		return nil
	}
	for _, one := range p.path {
		if one.path >= 0 || one.star {
			filled, star = true, star || one.star
		}
		if one.path >= 0 {
			dst = appendEscaped(dst, transform.AppendText(nil, values[one.path]))
			if len(dst) > maxURL {
				return nil, refusal("the URL would have more than %d bytes", maxURL)
			}
			continue
		}
		for rest := one.literal; rest != ""; {
			i := strings.IndexByte(rest, '/')
			if i < 0 {
				dst = append(dst, rest...)
				break
			}
			dst = append(dst, rest[:i]...)
			if err := check(len(dst)); err != nil {
				return nil, err
			}
			dst, rest = append(dst, '/'), rest[i+1:]
			start, filled, star = len(dst), false, false
		}
	}
	if err := check(len(dst)); err != nil {
		return nil, err
	}
	if len(dst) > 0 && !bytes.HasPrefix(dst, []byte("/")) {
		return nil, refusal("the path of the URL does not begin with /")
	}
	return dst, nil
}
