package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// An exactRecord is a record byte by byte as it is; nil is null.
type exactRecord struct {
	Topic         string  `json:"topic"`
	Partition     int32   `json:"partition"`
	Offset        int64   `json:"offset"`
	Timestamp     int64   `json:"timestamp"`      // milliseconds
	TimestampType *string `json:"timestamp_type"` // create or append; nil: there is no time
	Key           []byte  `json:"key"`
	Value         []byte  `json:"value"`
	Headers       []struct {
		Name  string `json:"name"`
		Value []byte `json:"value"`
	} `json:"headers"`

	// Of records that cannot be returned.
	Code  int    `json:"error_code"`
	Error string `json:"error"`
}

// exactType is what asks for exactRecords.
const exactType = "application/vnd.klamm.records+json"

// A kcatFormat prints records as kcat 1.7 does.
type kcatFormat struct {
	parts      []formatPart
	null       string // stands for nothing
	key, value packing
	envelope   bool            // JSON, an object a line
	leaders    map[int32]int32 // the brokers of partitions, for the envelope
}

const kcatTokens = "%t topic, %p partition, %o offset, %k key, %s value, %K and %S their lengths (-1: null), %R the value's length as four bytes, %T time in ms, %h headers, %% a percent sign"

// parseKcat reads a format. Texts between tokens have kcat's escapes.
func parseKcat(text string) (parts []formatPart, err error) {
	for {
		before, rest, found := strings.Cut(text, "%")
		if before != "" {
			parts = append(parts, formatPart{text: kcatUnescape(before)})
		}
		switch {
		case !found:
			return parts, nil
		case rest == "" || !strings.Contains("tpoksKSRTh%", rest[:1]):
			return nil, fmt.Errorf("%%%s is no token: there are %s", firstRune(rest), kcatTokens)
		case rest[0] == '%':
			parts = append(parts, formatPart{text: "%"})
		default:
			parts = append(parts, formatPart{token: rest[0]})
		}
		text = rest[1:]
	}
}

// kcatUnescape resolves what kcat does: \n, \t, \r, \x and hexadecimal digits, and
// numbers as C writes them. What follows any other \ stands for itself.
func kcatUnescape(text string) string {
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			b = append(b, text[i])
			continue
		}
		i++
		switch c := text[i]; {
		case c == 'n':
			b = append(b, '\n')
		case c == 't':
			b = append(b, '\t')
		case c == 'r':
			b = append(b, '\r')
		case c == 'x':
			value, n := number(text[i+1:], 16)
			b = append(b, value)
			i += n
		case c >= '0' && c <= '9':
			value, n := number(text[i:], 0)
			b = append(b, value)
			i += max(n, 1) - 1
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

// number reads digits as C's strtoul does, of which one byte remains, and how many they
// were. Base 0 is octal behind a 0, hexadecimal behind 0x, else decimal.
func number(text string, base int) (value byte, n int) {
	rest := text
	if (base == 0 || base == 16) && len(text) > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X') && digit(text[2]) < 16 {
		base, rest = 16, text[2:]
	}
	switch {
	case base == 0 && strings.HasPrefix(text, "0"):
		base = 8
	case base == 0:
		base = 10
	}
	n = len(text) - len(rest)
	for i := 0; i < len(rest) && digit(rest[i]) < base; i++ {
		value = value*byte(base) + byte(digit(rest[i]))
		n++
	}
	return value, n
}

// digit is what a digit stands for; 99: it is none.
func digit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return 99
}

// append prints a record. With an error, what could be printed was.
func (f *kcatFormat) append(b []byte, r *exactRecord) ([]byte, error) {
	if f.envelope {
		return f.appendEnvelope(b, r), nil
	}
	var err error
	for _, p := range f.parts {
		switch p.token {
		case 0, 't', 'p', 'o', 'T':
			b = p.appendPlace(b, r.Topic, r.Partition, r.Offset, r.Timestamp)
		case 'k':
			b, err = f.appendData(b, "key", f.key, r.Key)
		case 's':
			b, err = f.appendData(b, "value", f.value, r.Value)
		case 'K':
			b = appendLength(b, r.Key)
		case 'S':
			b = appendLength(b, r.Value)
		case 'R':
			size := int32(-1)
			if r.Value != nil {
				size = int32(len(r.Value))
			}
			b = binary.BigEndian.AppendUint32(b, uint32(size))
		case 'h':
			b = appendKcatHeaders(b, r)
		}
		if err != nil {
			return b, fmt.Errorf("%s [%d] at offset %d: %w", r.Topic, r.Partition, r.Offset, err)
		}
	}
	return b, nil
}

func (f *kcatFormat) appendData(b []byte, what string, p packing, data []byte) ([]byte, error) {
	switch {
	case len(data) == 0: // kcat takes what is empty for null here
		return append(b, f.null...), nil
	case p == "":
		return append(b, data...), nil
	}
	return p.append(b, what, data)
}

func appendKcatHeaders(b []byte, r *exactRecord) []byte {
	for i, h := range r.Headers {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, h.Name...), '=')
		if h.Value == nil {
			b = append(b, "NULL"...)
		}
		b = append(b, h.Value...)
	}
	return b
}

// appendEnvelope prints a record as kcat -J does.
func (f *kcatFormat) appendEnvelope(b []byte, r *exactRecord) []byte {
	b = append(b, `{"topic":`...)
	b = appendQuoted(b, []byte(r.Topic))
	b = append(b, `,"partition":`...)
	b = strconv.AppendInt(b, int64(r.Partition), 10)
	b = append(b, `,"offset":`...)
	b = strconv.AppendInt(b, r.Offset, 10)
	kind, at := "unknown", int64(0)
	if r.TimestampType != nil {
		at = r.Timestamp
		if kind = "create"; *r.TimestampType == "append" {
			kind = "logappend"
		}
	}
	b = append(append(append(b, `,"tstype":"`...), kind...), `","ts":`...)
	b = strconv.AppendInt(b, at, 10)
	b = append(b, `,"broker":`...)
	broker, ok := f.leaders[r.Partition]
	if !ok {
		broker = -1
	}
	b = strconv.AppendInt(b, int64(broker), 10)
	if len(r.Headers) > 0 {
		b = append(b, `,"headers":[`...)
		for i, h := range r.Headers {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendQuoted(b, []byte(h.Name)), ',')
			b = appendQuoted(b, h.Value)
		}
		b = append(b, ']')
	}
	b = appendQuoted(append(b, `,"key":`...), r.Key)
	b = appendQuoted(append(b, `,"payload":`...), r.Value)
	return append(b, "}\n"...)
}

// appendQuoted appends bytes as a JSON string as kcat does: those that are no UTF-8 stay
// as they are. Nil is null.
func appendQuoted(b, data []byte) []byte {
	if data == nil {
		return append(b, "null"...)
	}
	b = append(b, '"')
	for _, c := range data {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c == '\f':
			b = append(b, `\f`...)
		case c == '\b':
			b = append(b, `\b`...)
		case c < 0x20:
			b = fmt.Appendf(b, `\u%04X`, c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// A packing says how the bytes of a key or value are read as numbers and letters: kcat's
// -s. The empty one leaves them as they are.
type packing string

// parsePacking reads a packing.
func parsePacking(text string) (packing, error) {
	for i := range len(text) {
		if strings.IndexByte("<>bBhHiIqQcs$ ", text[i]) < 0 {
			return "", fmt.Errorf("%q is nothing that can be unpacked: there are <, >, b, B, h, H, i, I, q, Q, c, s and $", firstRune(text[i:]))
		}
	}
	return packing(text), nil
}

// append prints what is packed in data.
func (p packing) append(b []byte, what string, data []byte) ([]byte, error) {
	var order binary.ByteOrder = binary.BigEndian
	for i := range len(p) {
		size := map[byte]int{'b': 1, 'B': 1, 'c': 1, 'h': 2, 'H': 2, 'i': 4, 'I': 4, 'q': 8, 'Q': 8}[p[i]]
		if size > len(data) {
			return b, fmt.Errorf("%s truncated: %d bytes are missing for %c", what, size-len(data), p[i])
		}
		of := data[:size]
		data = data[size:]
		switch p[i] {
		case ' ':
			b = append(b, ' ')
		case '<':
			order = binary.LittleEndian
		case '>':
			order = binary.BigEndian
		case 'b':
			b = strconv.AppendInt(b, int64(int8(of[0])), 10)
		case 'B':
			b = strconv.AppendUint(b, uint64(of[0]), 10)
		case 'h':
			b = strconv.AppendInt(b, int64(int16(order.Uint16(of))), 10)
		case 'H':
			b = strconv.AppendUint(b, uint64(order.Uint16(of)), 10)
		case 'i':
			b = strconv.AppendInt(b, int64(int32(order.Uint32(of))), 10)
		case 'I':
			b = strconv.AppendUint(b, uint64(order.Uint32(of)), 10)
		case 'q':
			b = strconv.AppendInt(b, int64(order.Uint64(of)), 10)
		case 'Q':
			b = strconv.AppendUint(b, order.Uint64(of), 10)
		case 'c':
			b = append(b, of[0])
		case 's': // as a string of C, which ends with its first zero
			text, _, _ := bytes.Cut(data, []byte{0})
			b, data = append(b, text...), nil
		case '$':
			if len(data) > 0 {
				return b, fmt.Errorf("%s has %d bytes more than expected", what, len(data))
			}
		}
	}
	return b, nil
}

// packings reads the values of -s: [key=|value=]PACKING.
func packings(all []string) (key, value packing, err error) {
	for _, text := range all {
		rest, forKey := strings.CutPrefix(text, "key=")
		rest, forValue := strings.CutPrefix(rest, "value=")
		p, err := parsePacking(rest)
		if err != nil {
			return "", "", err
		}
		if rest == "" || rest == "avro" {
			return "", "", errors.New("want a text such as >i or key=s")
		}
		if forKey || !forValue {
			key = p
		}
		if forValue || !forKey {
			value = p
		}
	}
	return key, value, nil
}
