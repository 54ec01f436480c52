package trace

import (
	"context"
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// longestState bounds a tracestate that is passed on, in bytes, and mostStates its
// members (W3C Trace Context 3.3).
const (
	longestState = 512
	mostStates   = 32
)

// A Context names a span: of klamm's, or of somebody's before it. The zero value
// names none.
type Context struct {
	Trace   [16]byte
	Span    [8]byte
	Sampled bool
	// State is the tracestate that goes with it, passed on as it came.
	State string
}

// Valid says whether it names a span.
func (c Context) Valid() bool { return c.Trace != [16]byte{} && c.Span != [8]byte{} }

// TraceID returns the trace's id: 32 hexadecimal digits.
func (c Context) TraceID() string { return hex.EncodeToString(c.Trace[:]) }

// Traceparent returns the header of that name.
func (c Context) Traceparent() string {
	b := make([]byte, 0, 55)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, c.Trace[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, c.Span[:])
	if c.Sampled {
		return string(append(b, "-01"...))
	}
	return string(append(b, "-00"...))
}

// XRay returns the header X-Amzn-Trace-Id.
func (c Context) XRay() string {
	id, sampled := c.TraceID(), "0"
	if c.Sampled {
		sampled = "1"
	}
	return "Root=1-" + id[:8] + "-" + id[8:] + ";Parent=" + hex.EncodeToString(c.Span[:]) + ";Sampled=" + sampled
}

// Parse reads a traceparent and the tracestate beside it. What is malformed counts
// as absent: the zero Context; a malformed tracestate costs only itself.
func Parse(traceparent, tracestate string) Context {
	var c Context
	s := strings.TrimSpace(traceparent)
	// VERSION-TRACE-SPAN-FLAGS; later versions may have more behind it.
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' || len(s) > 55 && (s[:2] == "00" || s[55] != '-') {
		return Context{}
	}
	var version, flags [1]byte
	if !lowerHex(version[:], s[:2]) || version[0] == 0xff || !lowerHex(c.Trace[:], s[3:35]) || !lowerHex(c.Span[:], s[36:52]) || !lowerHex(flags[:], s[53:55]) || !c.Valid() {
		return Context{}
	}
	c.Sampled = flags[0]&1 != 0
	c.State = state(tracestate)
	return c
}

// lowerHex decodes hexadecimal digits, which must be in lower case.
func lowerHex(into []byte, text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	_, err := hex.Decode(into, []byte(text))
	return err == nil
}

// state returns a tracestate that may be passed on, or "".
func state(text string) string {
	text = strings.TrimSpace(text)
	if text == "" || len(text) > longestState {
		return ""
	}
	members := 0
	for member := range strings.SplitSeq(text, ",") {
		member = strings.Trim(member, " \t")
		if member == "" {
			continue
		}
		key, value, ok := strings.Cut(member, "=")
		if members++; !ok || members > mostStates || key == "" || len(key) > 256 || value == "" || len(value) > 256 {
			return ""
		}
		for _, c := range []byte(member) {
			if c < ' ' || c > '~' {
				return ""
			}
		}
	}
	if members == 0 {
		return ""
	}
	return text
}

// ParseXRay reads the header X-Amzn-Trace-Id; without a Parent the span is a new
// one, which only names the trace. What is malformed is the zero Context.
func ParseXRay(header string) Context {
	var c Context
	if len(header) > 1024 {
		return c
	}
	rooted := false
	for field := range strings.SplitSeq(header, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch name {
		case "Root":
			rooted = len(value) == 35 && strings.HasPrefix(value, "1-") && value[10] == '-' && lowerHex(c.Trace[:4], value[2:10]) && lowerHex(c.Trace[4:], value[11:])
		case "Parent":
			if len(value) != 16 || !lowerHex(c.Span[:], value) {
				c.Span = [8]byte{}
			}
		case "Sampled":
			c.Sampled = value == "1"
		}
	}
	if !rooted || c.Trace == [16]byte{} {
		return Context{}
	}
	if c.Span == [8]byte{} {
		c.Span = newSpanID()
	}
	return c
}

// newTraceID begins with the time in seconds, as X-Ray wants it.
func newTraceID() (id [16]byte) {
	now := uint32(time.Now().Unix()) //nolint:gosec // until 2106
	high, low := rand.Uint64(), rand.Uint64()
	for i := range 4 {
		id[i] = byte(now >> (24 - 8*i))
		id[4+i] = byte(high >> (8 * i))
	}
	for i := range 8 {
		id[8+i] = byte(low >> (8 * i))
	}
	return id
}

func newSpanID() (id [8]byte) {
	for id == [8]byte{} {
		n := rand.Uint64()
		for i := range id {
			id[i] = byte(n >> (8 * i))
		}
	}
	return id
}

type key struct{}

// With returns a context that carries c.
func With(ctx context.Context, c Context) context.Context {
	if !c.Valid() {
		return ctx
	}
	return context.WithValue(ctx, key{}, c)
}

// From returns what With has put into ctx, or the zero Context.
func From(ctx context.Context) Context {
	c, _ := ctx.Value(key{}).(Context)
	return c
}

// An Attribute says something about a span.
type Attribute struct {
	Key string
	// Text is the value, unless Number says that it is Int.
	Text   string
	Int    int64
	Number bool
}

// Text returns an attribute with a text.
func Text(key, value string) Attribute { return Attribute{Key: key, Text: value} }

// Int returns an attribute with a number.
func Int(key string, value int64) Attribute { return Attribute{Key: key, Int: value, Number: true} }

func (a Attribute) String() string {
	if a.Number {
		return a.Key + "=" + strconv.FormatInt(a.Int, 10)
	}
	return a.Key + "=" + a.Text
}
