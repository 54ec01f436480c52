package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
)

// claimDepth bounds how deep the members of a token may be nested.
const claimDepth = 20

// A parsedToken is a token whose signature has not been looked at.
type parsedToken struct {
	text     string
	alg, kid string
	typ      string
	claims   map[string]any
}

// parseToken takes a token apart. Whatever is not in the one form that everybody
// agrees on is malformed.
func parseToken(text string) (*parsedToken, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, tokenError(tokenMalformed)
	}
	var decoded [3][]byte
	for i, part := range parts {
		if strings.ContainsAny(part, "\r\n") { // which the decoder would skip
			return nil, tokenError(tokenMalformed)
		}
		var err error
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return nil, tokenError(tokenMalformed)
		}
	}
	header, err := decodeObject(decoded[0])
	if err != nil {
		return nil, tokenError(tokenMalformed)
	}
	t := &parsedToken{text: text}
	var ok bool
	if t.alg, ok = header["alg"].(string); !ok {
		return nil, tokenError(tokenMalformed)
	}
	for name, into := range map[string]*string{"kid": &t.kid, "typ": &t.typ} {
		if v, there := header[name]; there {
			if *into, ok = v.(string); !ok {
				return nil, tokenError(tokenMalformed)
			}
		}
	}
	if _, there := header["crit"]; there {
		return nil, tokenError(tokenMalformed)
	}
	if b64, there := header["b64"]; there && b64 != true {
		return nil, tokenError(tokenMalformed)
	}
	if t.claims, err = decodeObject(decoded[1]); err != nil {
		return nil, tokenError(tokenMalformed)
	}
	return t, nil
}

// decodeObject reads a JSON object in which no member stands twice, at any depth.
func decodeObject(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := decodeValue(d, 0)
	if err != nil {
		return nil, err
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("not an object")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something behind the object")
	}
	return object, nil
}

func decodeValue(d *json.Decoder, depth int) (any, error) {
	if depth > claimDepth {
		return nil, errors.New("nested too deep")
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		object := map[string]any{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			if _, twice := object[name.(string)]; twice {
				return nil, errors.New("a member stands twice")
			}
			if object[name.(string)], err = decodeValue(d, depth+1); err != nil {
				return nil, err
			}
		}
		_, err := d.Token()
		return object, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	return token, nil
}

// signed checks a signature with a key.
func (t *parsedToken) signed(key any) bool {
	s, err := jose.ParseSignedCompact(t.text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(t.alg)})
	if err != nil {
		return false
	}
	_, err = s.Verify(key)
	return err == nil
}
