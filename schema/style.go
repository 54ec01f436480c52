package schema

import (
	"errors"
	"fmt"
	"strings"
)

// A Style is which JSON a value becomes, where its format allows several.
type Style int

const (
	// Bare is what filters, templates, functions and streams see: an Avro union is
	// its value, bytes of Avro are a character a byte, names of Protobuf are those of
	// the .proto file (event-source-mapping.md 12.3, 12.4).
	Bare Style = iota
	// Tagged is what can be turned back: Avro's own JSON, which names the branch of a
	// union, and Protobuf's JSON mapping with its names (rest-apis.md 4.3).
	Tagged
	// Connect is what Kafka Connect's JSON converter makes of a value: bytes and
	// decimals are base64, and a 64-bit integer of Protobuf is a number where a
	// double holds it (event-bus.md 13.2).
	Connect
)

// A ValueError says where a value does not fit its schema, or bytes are not what
// the schema says. It does not repeat the value. The same value will never fit.
type ValueError struct {
	// Path is where in the value, outermost first: members, and indexes in brackets.
	Path []string
	// Detail says what is wrong.
	Detail string
}

func (e *ValueError) Error() string {
	if len(e.Path) == 0 {
		return e.Detail
	}
	return strings.ReplaceAll(strings.Join(e.Path, "."), ".[", "[") + ": " + e.Detail
}

// unfit makes a ValueError.
func unfit(format string, args ...any) error {
	return &ValueError{Detail: fmt.Sprintf(format, args...)}
}

// below puts the name of what encloses the place in front of its path.
func below(err error, name string) error {
	var v *ValueError
	if errors.As(err, &v) && len(v.Path) < maxPath {
		v.Path = append([]string{name}, v.Path...)
	}
	return err
}

// maxPath bounds the path of a ValueError.
const maxPath = 32
