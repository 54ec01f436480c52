package certificate

import (
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// keywords are the attribute types that have a name in RFC 2253; all others are
// shown by number.
var keywords = map[string]string{
	"2.5.4.3": "CN", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.6": "C", "2.5.4.9": "STREET",
	"0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID",
}

var errName = errors.New("malformed distinguished name")

// A attribute is one part of a name.
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// Name returns a distinguished name in DER in the form of RFC 2253, as Java's
// X500Principal.getName does: the most special part first.
func Name(der []byte) (string, error) {
	var sets []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &sets); err != nil || len(rest) > 0 {
		return "", errName
	}
	var b strings.Builder
	for i := len(sets) - 1; i >= 0; i-- {
		if sets[i].Class != asn1.ClassUniversal || sets[i].Tag != asn1.TagSet || !sets[i].IsCompound || len(sets[i].Bytes) == 0 {
			return "", errName
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		rest := sets[i].Bytes
		for first := true; len(rest) > 0; first = false {
			var a attribute
			var err error
			if rest, err = asn1.Unmarshal(rest, &a); err != nil {
				return "", errName
			}
			if !first {
				b.WriteByte('+')
			}
			appendAttribute(&b, a)
		}
	}
	return b.String(), nil
}

func appendAttribute(b *strings.Builder, a attribute) {
	oid := a.Type.String()
	text, ok := textOf(a.Value)
	if keyword, known := keywords[oid]; known && ok {
		b.WriteString(keyword + "=" + escape(text))
		return
	}
	if keyword, known := keywords[oid]; known {
		oid = keyword
	}
	b.WriteString(oid + "=#" + hex.EncodeToString(a.Value.FullBytes))
}

// textOf decodes the string types of ASN.1 that names are made of.
func textOf(v asn1.RawValue) (string, bool) {
	if v.Class != asn1.ClassUniversal || v.IsCompound {
		return "", false
	}
	switch v.Tag {
	case asn1.TagUTF8String:
		return string(v.Bytes), utf8.Valid(v.Bytes)
	case asn1.TagPrintableString, asn1.TagIA5String, asn1.TagNumericString:
		for _, c := range v.Bytes {
			if c >= 0x80 {
				return "", false
			}
		}
		return string(v.Bytes), true
	case asn1.TagT61String:
		var b strings.Builder
		for _, c := range v.Bytes {
			b.WriteRune(rune(c))
		}
		return b.String(), true
	case asn1.TagBMPString:
		if len(v.Bytes)%2 != 0 {
			return "", false
		}
		units := make([]uint16, len(v.Bytes)/2)
		for i := range units {
			units[i] = uint16(v.Bytes[2*i])<<8 | uint16(v.Bytes[2*i+1])
		}
		return string(utf16.Decode(units)), true
	}
	return "", false
}

// escape marks what would end a value or change its meaning.
func escape(s string) string {
	var b strings.Builder
	for i, c := range s {
		switch {
		case strings.ContainsRune(`,+"\<>;`, c), c == '#' && i == 0, c == ' ' && (i == 0 || i == len(s)-1):
			b.WriteByte('\\')
			b.WriteRune(c)
		case c < ' ' || c == 0x7f: // nothing that could break a line of a log
			fmt.Fprintf(&b, `\%02X`, c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}
