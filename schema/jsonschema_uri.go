package schema

import (
	"errors"
	"net/url"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// uriFormats are the formats uri and uri-reference, in which there are only the
// characters of RFC 3986: net/url, which the library asks, takes others too.
var uriFormats = []*jsonschema.Format{
	{Name: "uri", Validate: func(v any) error { return checkURI(v, true) }},
	{Name: "uri-reference", Validate: func(v any) error { return checkURI(v, false) }},
}

var (
	errNoURI    = errors.New("is no URI of RFC 3986")
	errRelative = errors.New("has no scheme")
)

func checkURI(v any, absolute bool) error {
	text, ok := v.(string)
	if !ok {
		return nil
	}
	for i := range len(text) {
		if !uriCharacter(text[i]) {
			return errNoURI
		}
	}
	// Brackets stand around the address in a host, and nowhere else.
	u, err := url.Parse(text)
	if err != nil || strings.ContainsAny(u.EscapedPath()+u.RawQuery+u.EscapedFragment(), "[]") || strings.Count(text, "#") > 1 {
		return errNoURI
	}
	if _, err := url.PathUnescape(u.RawQuery); err != nil {
		return errNoURI
	}
	if absolute && u.Scheme == "" {
		return errRelative
	}
	return nil
}

// uriCharacter says whether RFC 3986 has a character: unreserved, reserved, or a
// percent sign.
func uriCharacter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~:/?#[]@!$&'()*+,;=%", c) >= 0
}
