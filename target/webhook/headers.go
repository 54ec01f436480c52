package webhook

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/net/http/httpguts"

	"github.com/klamm-gateway/klamm/event"
)

var (
	octets = []string{"application/octet-stream"}
	asJSON = []string{"application/json"}
	lines  = []string{"application/x-ndjson"}
	agent  = []string{"klamm"}
)

// reserved are the headers that HTTP itself depends on.
var reserved = map[string]bool{"Content-Length": true, "Transfer-Encoding": true, "Connection": true, "Upgrade": true, "Te": true, "Trailer": true}

// untemplated says whether a header must not depend on a record, because
// receivers and those between decide by it who may do what (event-bus.md 6).
func untemplated(canonical string) bool {
	switch canonical {
	case "Authorization", "Proxy-Authorization", "Content-Encoding", "Cookie", "Forwarded", "Host", "Max-Forwards", "Via", "Www-Authenticate":
		return true
	}
	for _, prefix := range []string{"Klamm-", "X-Amz", "X-Forwarded-", "Proxy-"} {
		if strings.HasPrefix(canonical, prefix) {
			return true
		}
	}
	return false
}

// head makes the request headers. Names are written in their canonical form, so
// that nothing has to be canonicalized for each request.
func (w *webhook) head(events []*event.Event) http.Header {
	first, last := events[0], events[len(events)-1]
	r := first.Record
	h := make(http.Header, w.room(r))
	values := make([]string, 0, 8) // one allocation for all of them
	one := func(value string) []string {
		values = append(values, value)
		n := len(values)
		return values[n-1 : n : n]
	}
	if w.plain {
		w.plainHead(h, first)
		return h
	}
	h["User-Agent"] = agent
	h["Klamm-Pipe"] = w.pipe
	h["Klamm-Topic"] = one(r.Topic)
	h["Klamm-Partition"] = one(strconv.Itoa(int(r.Partition)))
	h["Klamm-Delivery-Id"] = one(first.ID)
	h["Klamm-Attempt"] = one(strconv.Itoa(first.Attempt))
	switch w.format {
	case "":
		h["Klamm-Offset"] = one(strconv.FormatInt(r.Offset, 10))
		if len(r.Key) > 0 && printable(r.Key) {
			h["Klamm-Key"] = one(string(r.Key))
		}
		for _, rh := range r.Headers {
			if len(rh.Key) <= 256 && len(rh.Value) <= 8<<10 && rh.Value != nil && httpguts.ValidHeaderFieldName(rh.Key) && printable(rh.Value) {
				name := http.CanonicalHeaderKey("Klamm-Header-" + rh.Key)
				h[name] = append(h[name], string(rh.Value))
			}
		}
		media := octets
		if first.IsJSON() {
			media = asJSON
		}
		h["Content-Type"] = media // once: a full map grows also for a name that it has
	default:
		h["Klamm-First-Offset"] = one(strconv.FormatInt(r.Offset, 10))
		h["Klamm-Last-Offset"] = one(strconv.FormatInt(last.Record.Offset, 10))
		h["Klamm-Count"] = one(strconv.Itoa(len(events)))
		media := asJSON
		if w.format == "ndjson" {
			media = lines
		}
		h["Content-Type"] = media
	}
	if w.plan.body != nil {
		h["Content-Type"] = one(w.plan.contentType)
	}
	for name, value := range w.headers {
		h[name] = value
	}
	return h
}

// room is how many headers a request has at most, but for those of a trace. A map for
// eight is half as large as one for nine.
func (w *webhook) room(r *kgo.Record) int {
	n := 8 + len(w.headers) + len(r.Headers)
	switch {
	case w.plain:
		n = 4 + len(w.headers)
	case w.format != "":
		n = 10 + len(w.headers)
	case len(r.Key) > 0:
		n++
	}
	if w.vault != nil || w.tokens != nil {
		n += 4 // what is secret
	}
	return n
}

// plainHead adds to headers what the configuration says, and the trace that the record
// is a part of.
func (w *webhook) plainHead(h http.Header, e *event.Event) {
	for _, rh := range e.Record.Headers {
		if rh.Key != event.HeaderTrace || len(rh.Value) == 0 || len(rh.Value) > maxValue || !printable(rh.Value) {
			continue
		}
		name := event.HeaderTrace
		if bytes.HasPrefix(rh.Value, []byte("00-")) {
			name = "Traceparent"
		}
		h[name] = []string{string(rh.Value)}
	}
	if w.plan.body != nil {
		h["Content-Type"] = []string{w.plan.contentType}
	}
	for name, value := range w.headers {
		h[name] = value
	}
}

// printable says whether bytes can be an HTTP header's value as they are:
// printable ASCII, without spaces at either end, which HTTP does not keep.
func printable(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] == ' ' || b[len(b)-1] == ' ' {
		return false
	}
	for _, c := range b {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}
