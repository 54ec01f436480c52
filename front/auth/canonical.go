package auth

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// algorithm is the only one of Signature Version 4 that is taken.
const algorithm = "AWS4-HMAC-SHA256"

// A form is one of the ways in which clients write down the same request.
type form struct {
	host   string
	query  queryForm
	single bool // the path is taken as it is sent, and otherwise encoded once more
}

// A queryForm is how a client writes a query down before it signs it (kafka-auth.md C2).
type queryForm byte

const (
	queryPlus  queryForm = iota // names and values are encoded anew, and a plus is a plus
	querySpace                  // the same, and a plus is a space
	querySent                   // what is encoded already stays as it is
)

// queryForms are those in which a query is not written as in one before.
func queryForms(query string) []queryForm {
	forms := []queryForm{queryPlus}
	if strings.Contains(query, "+") {
		forms = append(forms, querySpace)
	}
	if canonicalQuery(query, querySent) != canonicalQuery(query, queryPlus) {
		forms = append(forms, querySent)
	}
	return forms
}

// hostForms are a host as it is sent, and with and without the port that is meant
// where there is none: some clients sign it and do not send it, or the other way
// around.
func hostForms(host string) []string {
	for _, port := range []string{":443", ":80"} {
		if bare, ok := strings.CutSuffix(host, port); ok {
			return []string{host, bare}
		}
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		return []string{host}
	}
	return []string{host, host + ":443", host + ":80"}
}

// appendCanonical appends what a signature stands for (gateway-policies.md 1.3.3). The
// signed names are those of SignedHeaders as they came.
func appendCanonical(b []byte, r *http.Request, as form, signed []string, payload string) []byte {
	path, query := wireTarget(r.RequestURI)
	b = append(b, strings.ToUpper(r.Method)...)
	b = append(b, '\n')
	b = appendPath(b, path, as.single)
	b = append(b, '\n')
	b = append(b, canonicalQuery(query, as.query)...)
	b = append(b, '\n')
	for _, name := range signed {
		b = append(append(b, name...), ':')
		b = append(appendHeader(b, r, as.host, name), '\n')
	}
	b = append(b, '\n')
	for i, name := range signed {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	return append(append(b, '\n'), payload...)
}

// wireTarget splits a request target as it is on the wire, without the authority that
// proxies are sent.
func wireTarget(uri string) (path, query string) {
	path, query, _ = strings.Cut(uri, "?")
	if scheme, rest, ok := strings.Cut(path, "://"); ok && !strings.Contains(scheme, "/") {
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			path = rest[i:]
		} else {
			path = "/"
		}
	}
	return path, query
}

// appendHeader appends the values of a header that may be signed: net/http keeps some
// of them elsewhere.
func appendHeader(b []byte, r *http.Request, host, name string) []byte {
	switch name {
	case "host", ":authority":
		return appendCollapsed(b, host)
	case "content-length":
		if r.ContentLength >= 0 {
			return strconv.AppendInt(b, r.ContentLength, 10)
		}
	case "transfer-encoding":
		return appendValues(b, r.TransferEncoding)
	}
	return appendValues(b, valuesOf(r.Header, name))
}

// valuesOf are the fields of a header by its name in lower case. Names that are no
// common ones need no memory.
func valuesOf(h http.Header, name string) []string {
	var room [64]byte
	if len(name) > len(room) {
		return h[http.CanonicalHeaderKey(name)]
	}
	upper := true
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z':
			if upper {
				c -= 'a' - 'A'
			}
		case c == '-' || c >= '0' && c <= '9':
		default:
			return h[http.CanonicalHeaderKey(name)]
		}
		room[i], upper = c, c == '-'
	}
	return h[string(room[:len(name)])]
}

func appendValues(b []byte, values []string) []byte {
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendCollapsed(b, v)
	}
	return b
}

// appendCollapsed appends a value without spaces around it and with one space for
// each run of them.
func appendCollapsed(b []byte, v string) []byte {
	v = strings.Trim(v, " \t")
	space := false
	for i := range len(v) {
		if v[i] == ' ' {
			if space {
				continue
			}
			space = true
		} else {
			space = false
		}
		b = append(b, v[i])
	}
	return b
}

// appendPath removes empty, "." and ".." segments, keeps a slash at the end, and
// encodes what is left.
func appendPath(b []byte, path string, single bool) []byte {
	var room [16]string
	segments := room[:0]
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "", ".":
		case "..":
			segments = segments[:max(len(segments)-1, 0)]
		default:
			segments = append(segments, segment)
		}
	}
	last := path[strings.LastIndexByte(path, '/')+1:]
	for _, segment := range segments {
		b = append(b, '/')
		if single {
			segment = decode(segment)
		}
		b = appendEncoded(b, segment)
	}
	if len(segments) == 0 || last == "" || last == "." || last == ".." {
		b = append(b, '/')
	}
	return b
}

// canonicalQuery sorts by name and then by value, and leaves the signature itself
// out.
func canonicalQuery(query string, as queryForm) string {
	if query == "" {
		return ""
	}
	type pair struct{ name, value string }
	var pairs []pair
	for item := range strings.SplitSeq(query, "&") {
		if item == "" {
			continue
		}
		name, value, _ := strings.Cut(item, "=")
		if decode(name) == "X-Amz-Signature" {
			continue
		}
		pairs = append(pairs, pair{as.encode(name), as.encode(value)})
	}
	// Sorting name=value as one text would put a-b before a.
	slices.SortStableFunc(pairs, func(a, b pair) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.value, b.value))
	})
	var b strings.Builder
	b.Grow(len(query) + 16)
	for i, p := range pairs {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.name)
		b.WriteByte('=')
		b.WriteString(p.value)
	}
	return b.String()
}

// encode is how a name or a value that was sent is written.
func (as queryForm) encode(s string) string {
	switch as {
	case querySpace:
		s = strings.ReplaceAll(s, "+", " ")
	case querySent:
		return legal(s)
	}
	return encode(decode(s))
}

// legal encodes the bytes that cannot stand in a query, and leaves the rest alone
// (RFC 3986 3.4).
func legal(s string) string {
	b := make([]byte, 0, len(s)+8)
	for i := range len(s) {
		if c := s[i]; c > ' ' && c < 0x7f && !strings.ContainsRune("\"#<>[\\]^`{|}", rune(c)) {
			b = append(b, c)
		} else {
			b = appendEncoded(b, s[i:i+1])
		}
	}
	return string(b)
}

// decode undoes percent-encoding; what is none stays as it is, and so does a plus.
func decode(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil && s[i+1] != '+' {
				b = append(b, byte(v))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

func encode(s string) string { return string(appendEncoded(make([]byte, 0, len(s)+8), s)) }

func appendEncoded(b []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '~' {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return b
}

// A scope is what a signing key is good for.
type scope struct{ date, region, service string }

// signingKey derives the key of a scope.
func signingKey(secret string, s scope) []byte {
	key := []byte("AWS4" + secret)
	for _, part := range []string{s.date, s.region, s.service, "aws4_request"} {
		key = sum(key, []byte(part))
	}
	return key
}

func sum(key, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write(text)
	return h.Sum(nil)
}

// appendToSign appends what the signature is made of.
func appendToSign(b []byte, stamp string, s scope, canonical []byte) []byte {
	b = append(append(b, algorithm+"\n"...), stamp...)
	for _, part := range [...]string{"\n", s.date, "/", s.region, "/", s.service, "/aws4_request\n"} {
		b = append(b, part...)
	}
	digest := sha256.Sum256(canonical)
	return hex.AppendEncode(b, digest[:])
}
