package sink

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/klamm-gateway/klamm/scan"
)

// The converters: what makes JSON of a key, a value or a header.
const (
	// String takes UTF-8 text.
	String = "string"
	// JSON takes JSON as it is.
	JSON = "json"
	// Enveloped takes JSON with a Connect schema around it, which it drops.
	Enveloped = "enveloped"
	// Bytes takes anything, as base64.
	Bytes = "bytes"
	// Registry takes what is framed for a schema registry; the pipe has made JSON of it.
	Registry = "registry"
	// Simple takes text that is read as a number, a boolean, an array or an object
	// where it is one.
	Simple = "simple"
)

func known(converter string) bool {
	switch converter {
	case String, JSON, Enveloped, Bytes, Registry, Simple:
		return true
	}
	return false
}

// convert makes JSON without whitespace between its tokens of bytes.
func convert(converter string, raw []byte) ([]byte, error) {
	if raw == nil {
		return []byte("null"), nil
	}
	switch converter {
	case String:
		return scan.AppendString(nil, strings.ToValidUTF8(string(raw), "\uFFFD")), nil
	case Bytes:
		b := append([]byte{'"'}, base64.StdEncoding.AppendEncode(nil, raw)...)
		return append(b, '"'), nil
	case Simple:
		text := bytes.TrimSpace(raw)
		if utf8.Valid(text) && scan.Valid(text) && len(text) > 0 && text[0] != '"' {
			return scan.Compact(bytes.Clone(text)), nil
		}
		return convert(String, raw)
	case Registry:
		if len(raw) > 0 && raw[0] == 0 {
			return nil, errors.New("it is framed for a schema registry that klamm does not have, or of a schema that cannot be read")
		}
		if !scan.Valid(raw) {
			return nil, errors.New("it is not framed for a schema registry")
		}
		return raw, nil
	}
	if len(raw) == 0 {
		return []byte("null"), nil // as Connect's converter has it
	}
	if !utf8.Valid(raw) || !scan.Valid(raw) {
		return nil, errors.New("it is not JSON")
	}
	whole := scan.Compact(bytes.Clone(raw))
	if converter == JSON {
		return whole, nil
	}
	var in struct {
		Schema  json.RawMessage `json:"schema"`
		Payload json.RawMessage `json:"payload"`
	}
	if string(whole) == "null" {
		return whole, nil
	}
	if err := json.Unmarshal(whole, &in); err != nil || in.Schema == nil || in.Payload == nil {
		return nil, fmt.Errorf("with schemas.enable=true a value is an object of schema and payload")
	}
	return in.Payload, nil
}
