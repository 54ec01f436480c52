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

// canonicalRequest is what a signature stands for (gateway-policies.md 1.3.3). The
// signed names are those of SignedHeaders as they came. With single, the path is
// taken as it is sent, and otherwise encoded once more.
func canonicalRequest(r *http.Request, host string, signed []string, payload string, single bool) string {
	path, query := wireTarget(r.RequestURI)
	var b strings.Builder
	b.Grow(512)
	b.WriteString(strings.ToUpper(r.Method))
	b.WriteByte('\n')
	b.WriteString(canonicalPath(path, single))
	b.WriteByte('\n')
	b.WriteString(canonicalQuery(query))
	b.WriteByte('\n')
	for _, name := range signed {
		b.WriteString(name)
		b.WriteByte(':')
		for i, v := range headerValues(r, host, name) {
			if i > 0 {
				b.WriteByte(',')
			}
			appendCollapsed(&b, v)
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	b.WriteString(strings.Join(signed, ";"))
	b.WriteByte('\n')
	b.WriteString(payload)
	return b.String()
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

// headerValues are the values of a header that may be signed: net/http keeps some
// of them elsewhere.
func headerValues(r *http.Request, host, name string) []string {
	switch name {
	case "host", ":authority":
		return []string{host}
	case "content-length":
		if r.ContentLength >= 0 {
			return []string{strconv.FormatInt(r.ContentLength, 10)}
		}
	case "transfer-encoding":
		return r.TransferEncoding
	}
	return r.Header[http.CanonicalHeaderKey(name)]
}

// appendCollapsed appends a value without spaces around it and with one space for
// each run of them.
func appendCollapsed(b *strings.Builder, v string) {
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
		b.WriteByte(v[i])
	}
}

// canonicalPath removes empty, "." and ".." segments, keeps a slash at the end, and
// encodes what is left.
func canonicalPath(path string, single bool) string {
	var segments []string
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
	b := make([]byte, 0, len(path)+16)
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
	return string(b)
}

// canonicalQuery sorts by name and then by value, and leaves the signature itself
// out.
func canonicalQuery(query string) string {
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
		if name = decode(name); name == "X-Amz-Signature" {
			continue
		}
		pairs = append(pairs, pair{encode(name), encode(decode(value))})
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
		key = sum(key, part)
	}
	return key
}

func sum(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte(text))
	return h.Sum(nil)
}

// stringToSign is what the signature is made of.
func stringToSign(stamp string, s scope, canonical string) string {
	digest := sha256.Sum256([]byte(canonical))
	return algorithm + "\n" + stamp + "\n" + s.date + "/" + s.region + "/" + s.service + "/aws4_request\n" + hex.EncodeToString(digest[:])
}
