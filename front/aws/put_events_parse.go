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

// parsePut reads the body of a PutEvents request, in one pass for its form and one for
// its members. Nothing of it refers to the body.
func parsePut(body []byte) (q putRequest, err error) {
	start := scan.Space(body, 0)
	if start == len(body) {
		return q, nil
	}
	if !scan.Valid(body) || body[start] != '{' || !utf8.Valid(body) {
		return q, errShape("the body is not a JSON object")
	}
	err = eachMember(body, start, func(name string, value []byte) error {
		switch name {
		case "Entries":
			q.entries, q.count, q.hasEntries = nil, 0, string(value) != "null"
			if !q.hasEntries {
				return nil
			}
			return eachElement(value, "Entries", func(value []byte) error {
				if q.count++; q.count > mostEntries {
					return (&putEntry{}).parse(value)
				}
				q.entries = append(q.entries, putEntry{})
				return q.entries[len(q.entries)-1].parse(value)
			})
		case "EndpointId":
			q.endpoint, q.hasEndpoint, err = textIn(value, "EndpointId")
			return err
		}
		return nil
	})
	return q, err
}

// parse reads an entry.
func (e *putEntry) parse(value []byte) (err error) {
	if string(value) == "null" {
		return nil
	}
	if value[0] != '{' {
		return wrongType("Entries", value)
	}
	return eachMember(value, 0, func(name string, value []byte) (err error) {
		switch name {
		case "Source":
			e.source, _, err = textIn(value, name)
		case "DetailType":
			e.detailType, _, err = textIn(value, name)
		case "Detail":
			if value[0] != '"' && string(value) != "null" {
				return wrongType(name, value)
			}
			e.detail = transform.AppendText(make([]byte, 0, len(value)), value)
		case "EventBusName":
			e.bus, e.hasBus, err = textIn(value, name)
		case "TraceHeader":
			e.trace, e.hasTrace, err = textIn(value, name)
		case "Time":
			e.time, e.hasTime, err = timeIn(value)
		case "Resources":
			e.resources = nil
			if string(value) == "null" {
				return nil
			}
			return eachElement(value, name, func(value []byte) error {
				r, _, err := textIn(value, "Resources")
				e.resources = append(e.resources, r)
				return err
			})
		}
		return err
	})
}

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

// eachMember calls f with every member of the object that begins at b[i], in JSON that is
// valid.
func eachMember(b []byte, i int, f func(name string, value []byte) error) error {
	for i = scan.Space(b, i+1); b[i] != '}'; {
		end, _, _ := scan.String(b, i)
		name, _, err := textIn(b[i:end], "")
		if err != nil {
			return err
		}
		i = scan.Space(b, scan.Space(b, end)+1)
		if end, err = valueAt(b, i); err != nil {
			return err
		}
		if err := f(name, b[i:end]); err != nil {
			return err
		}
		if i = scan.Space(b, end); b[i] == ',' {
			i = scan.Space(b, i+1)
		}
	}
	return nil
}

// eachElement calls f with every element of an array, in JSON that is valid.
func eachElement(b []byte, member string, f func(value []byte) error) error {
	if b[0] != '[' {
		return wrongType(member, b)
	}
	for i := scan.Space(b, 1); b[i] != ']'; {
		end, err := valueAt(b, i)
		if err != nil {
			return err
		}
		if err := f(b[i:end]); err != nil {
			return err
		}
		if i = scan.Space(b, end); b[i] == ',' {
			i = scan.Space(b, i+1)
		}
	}
	return nil
}

func valueAt(b []byte, i int) (int, error) {
	end, ok := scan.Value(b, i)
	if !ok {
		return 0, errShape("the body is not a JSON object")
	}
	return end, nil
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
