package sink

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
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
	// Short, Integer, Long, Float and Double take big-endian numbers of 2, 4, 8, 4 and
	// 8 bytes, and Boolean takes one byte, 0 or 1: what Kafka's own serializers write.
	Short   = "short"
	Integer = "integer"
	Long    = "long"
	Float   = "float"
	Double  = "double"
	Boolean = "boolean"
)

// sizes are the bytes of what has always as many.
var sizes = map[string]int{Short: 2, Integer: 4, Long: 8, Float: 4, Double: 8, Boolean: 1}

// Sized says whether a converter takes bytes of numbers or booleans.
func Sized(converter string) bool { return sizes[converter] > 0 }

func known(converter string) bool {
	switch converter {
	case String, JSON, Enveloped, Bytes, Registry, Simple:
		return true
	}
	return Sized(converter)
}

// sized makes JSON of what has always as many bytes.
func sized(converter string, raw []byte) ([]byte, error) {
	if len(raw) != sizes[converter] {
		return nil, fmt.Errorf("it has %d bytes; a %s has %d", len(raw), converter, sizes[converter])
	}
	switch converter {
	case Short:
		return strconv.AppendInt(nil, int64(int16(binary.BigEndian.Uint16(raw))), 10), nil
	case Integer:
		return strconv.AppendInt(nil, int64(int32(binary.BigEndian.Uint32(raw))), 10), nil
	case Long:
		return strconv.AppendInt(nil, int64(binary.BigEndian.Uint64(raw)), 10), nil
	case Float:
		f := math.Float32frombits(binary.BigEndian.Uint32(raw))
		return numeral(float64(f), f)
	case Double:
		f := math.Float64frombits(binary.BigEndian.Uint64(raw))
		return numeral(f, f)
	}
	if raw[0] > 1 {
		return nil, errors.New("it is neither 0 nor 1, as a boolean is")
	}
	return strconv.AppendBool(nil, raw[0] == 1), nil
}

// numeral makes JSON of a number in its own precision. What JSON has no number for is text,
// as in Connect's JSON.
func numeral(f float64, number any) ([]byte, error) {
	switch {
	case math.IsNaN(f):
		return []byte(`"NaN"`), nil
	case math.IsInf(f, 1):
		return []byte(`"Infinity"`), nil
	case math.IsInf(f, -1):
		return []byte(`"-Infinity"`), nil
	}
	return json.Marshal(number)
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
	if Sized(converter) {
		return sized(converter, raw)
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
