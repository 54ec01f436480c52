package aws

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/klamm-gateway/klamm/scan"
	"github.com/klamm-gateway/klamm/transform"
)

// mostEntries is how many entries a request may have.
const mostEntries = 10

// A putEntry is one entry of a PutEvents request. A member that is missing or null is
// empty, which comes to the same for all but two: hasBus and hasTrace say that there is
// one.
type putEntry struct {
	source, detailType, bus, trace string
	detail                         []byte // own memory
	resources                      []string
	time                           time.Time
	hasBus, hasTrace, hasTime      bool
}

// size is how many bytes the entry counts (event-bus.md 3).
func (e *putEntry) size() int64 {
	n := len(e.source) + len(e.detailType) + len(e.detail)
	for _, r := range e.resources {
		n += len(r)
	}
	if e.hasTime {
		n += 14
	}
	return int64(n)
}

// A putRequest is what PutEvents is called with.
type putRequest struct {
	entries     []putEntry // the first of them, as many as there may be
	count       int        // how many there are
	hasEntries  bool
	endpoint    string
	hasEndpoint bool
}

// errShape is the answer to a request that is not JSON, or has something in it that is of
// the wrong JSON type.
func errShape(text string) error {
	return &fault{name: "SerializationException", status: http.StatusBadRequest, message: text}
}

// parsePut reads the body of a PutEvents request. Nothing of it refers to the body.
func parsePut(body []byte) (putRequest, error) {
	p := putParser{b: body}
	start := scan.Space(body, 0)
	if start == len(body) {
		return p.q, nil
	}
	end, ok := start, body[start] == '{' && utf8.Valid(body)
	if ok {
		end, ok = scan.Members(body, start, p.member)
	}
	if p.err == nil && !(ok && scan.Space(body, end) == len(body)) {
		p.err = errShape("the body is not a JSON object")
	}
	return p.q, p.err
}

// A putParser reads a PutEvents request in one pass. Its methods read the value that begins
// at b[i], and return where it ends; false if it is not valid, or err is set.
type putParser struct {
	b   []byte
	q   putRequest
	err error
}

func (p *putParser) member(name []byte, escaped bool, i int) (end int, ok bool) {
	switch memberName(name, escaped) {
	case "Entries":
		p.q.entries, p.q.count, p.q.hasEntries = nil, 0, !p.isNull(i)
		if p.q.hasEntries {
			return p.elements(i, "Entries", p.entry)
		}
	case "EndpointId":
		return p.leaf(i, func(value []byte) (err error) {
			p.q.endpoint, p.q.hasEndpoint, err = textIn(value, "EndpointId")
			return err
		})
	}
	return scan.Value(p.b, i)
}

func (p *putParser) entry(_, i int) (end int, ok bool) {
	e := &putEntry{} // one too many is read, too, for what is wrong with it
	if p.q.count++; p.q.count <= mostEntries {
		p.q.entries = append(p.q.entries, putEntry{})
		e = &p.q.entries[len(p.q.entries)-1]
	}
	switch {
	case p.isNull(i):
		return scan.Value(p.b, i)
	case i < len(p.b) && p.b[i] != '{':
		return p.fail(i, wrongType("Entries", p.b[i:]))
	}
	return scan.Members(p.b, i, func(name []byte, escaped bool, i int) (int, bool) {
		member := memberName(name, escaped)
		if member == "Resources" {
			return p.resources(e, i)
		}
		return p.leaf(i, func(value []byte) error { return e.set(member, value) })
	})
}

func (p *putParser) resources(e *putEntry, i int) (end int, ok bool) {
	e.resources = nil
	if p.isNull(i) {
		return scan.Value(p.b, i)
	}
	return p.elements(i, "Resources", func(_, i int) (int, bool) {
		return p.leaf(i, func(value []byte) error {
			r, _, err := textIn(value, "Resources")
			e.resources = append(e.resources, r)
			return err
		})
	})
}

func (p *putParser) elements(i int, member string, visit func(index, i int) (end int, ok bool)) (end int, ok bool) {
	if i < len(p.b) && p.b[i] != '[' {
		return p.fail(i, wrongType(member, p.b[i:]))
	}
	return scan.Elements(p.b, i, visit)
}

// leaf hands a whole value to take.
func (p *putParser) leaf(i int, take func(value []byte) error) (end int, ok bool) {
	end, ok = scan.Value(p.b, i)
	if !ok {
		return end, false
	}
	if err := take(p.b[i:end]); err != nil {
		return p.fail(end, err)
	}
	return end, true
}

func (p *putParser) isNull(i int) bool { return i < len(p.b) && p.b[i] == 'n' }

func (p *putParser) fail(i int, err error) (int, bool) {
	p.err = err
	return i, false
}

// memberName is the name of a member of the request, or empty for one that it does not
// have.
func memberName(name []byte, escaped bool) string {
	if escaped {
		name = scan.AppendUnescaped(nil, name)
	}
	for _, known := range []string{"Source", "DetailType", "Detail", "EventBusName", "Resources", "Time", "TraceHeader", "Entries", "EndpointId"} {
		if string(name) == known {
			return known
		}
	}
	return ""
}

// set takes the value of a member of an entry.
func (e *putEntry) set(member string, value []byte) (err error) {
	switch member {
	case "Source":
		e.source, _, err = textIn(value, member)
	case "DetailType":
		e.detailType, _, err = textIn(value, member)
	case "Detail":
		if value[0] != '"' && string(value) != "null" {
			return wrongType(member, value)
		}
		e.detail = transform.AppendText(make([]byte, 0, len(value)), value)
	case "EventBusName":
		e.bus, e.hasBus, err = textIn(value, member)
	case "TraceHeader":
		e.trace, e.hasTrace, err = textIn(value, member)
	case "Time":
		e.time, e.hasTime, err = timeIn(value)
	}
	return err
}

// wrongType says that a member is of the JSON type that value begins with.
func wrongType(member string, value []byte) error {
	kind := "number"
	switch value[0] {
	case '{':
		kind = "object"
	case '[':
		kind = "array"
	case '"':
		kind = "string"
	case 't', 'f':
		kind = "bool"
	}
	return errShape(member + " cannot be a JSON " + kind)
}

// textIn is what a JSON string stands for; false for null.
func textIn(value []byte, member string) (string, bool, error) {
	switch {
	case string(value) == "null":
		return "", false, nil
	case value[0] != '"':
		return "", false, wrongType(member, value)
	}
	if inside := value[1 : len(value)-1]; plain(inside) {
		return string(inside), true, nil
	}
	return string(transform.AppendText(nil, value)), true, nil
}

func plain(b []byte) bool {
	for _, c := range b {
		if c == '\\' {
			return false
		}
	}
	return true
}

// timeIn is a time in a request: seconds since 1970, or a text in RFC 3339. The year has
// to be one that an event can be written with.
func timeIn(value []byte) (t time.Time, ok bool, err error) {
	switch {
	case string(value) == "null":
		return t, false, nil
	case value[0] == '"':
		text, _, _ := textIn(value, "Time")
		if t, err = time.Parse(time.RFC3339, text); err != nil {
			return t, false, errShape("Time is neither seconds since 1970 nor a time such as 2026-01-31T12:00:00Z")
		}
	case value[0] == '-' || value[0] >= '0' && value[0] <= '9':
		seconds, err := strconv.ParseFloat(string(value), 64)
		if err != nil || math.Abs(seconds) > 1e12 {
			return t, false, errShape("Time is out of range")
		}
		t = time.Unix(int64(math.Floor(seconds)), 0)
	default:
		return t, false, wrongType("Time", value)
	}
	if t = t.UTC().Truncate(time.Second); t.Year() < 0 || t.Year() > 9999 {
		return t, false, errShape("Time is out of range")
	}
	return t, true, nil
}

// check checks what the model says of a request.
func (q *putRequest) check(v *violations) {
	if !q.hasEntries {
		v.add("entries", nil, "not be null")
	} else {
		v.count("entries", q.count, 1, mostEntries)
	}
	if q.hasEndpoint {
		v.text("endpointId", &q.endpoint, endpointIDShape)
	}
	for i := range q.entries {
		q.entries[i].check(v, i)
	}
}

var (
	endpointIDShape = like(1, 50, `[A-Za-z0-9\-]+[\.][A-Za-z0-9\-]+`).as(`^[A-Za-z0-9\-]+[\.][A-Za-z0-9\-]+$`)
	traceShape      = long(1, 500)
	resourceOfEvent = long(0, 2048)
	// busOfEntry is what the model says, but for the slashes that names of buses may have.
	busOfEntry = busRefShape.as(`(arn:aws[\w-]*:events:[a-z]+-[a-z]+-[\w-]+:[0-9]{12}:event-bus\/)?[\.\-_A-Za-z0-9]+`)
)

func (e *putEntry) check(v *violations, i int) {
	if !e.hasBus && !e.hasTrace && len(e.resources) == 0 {
		return
	}
	at := fmt.Sprintf("entries.%d.member.", i+1)
	if e.hasBus && !simpleBus(e.bus) {
		v.text(at+"eventBusName", &e.bus, busOfEntry)
	}
	if e.hasTrace {
		v.text(at+"traceHeader", &e.trace, traceShape)
	}
	for k := range e.resources {
		if len(e.resources[k]) > resourceOfEvent.most {
			v.text(fmt.Sprintf("%sresources.%d.member", at, k+1), &e.resources[k], resourceOfEvent)
		}
	}
}

// simpleBus says of most names without looking closely that they can be those of buses.
func simpleBus(name string) bool {
	if name == "" || len(name) > 256 {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' && c != '/' {
			return false
		}
	}
	return true
}
