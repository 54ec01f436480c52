package queue

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/klamm-gateway/klamm/event"
)

// A message is an event on its way to a queue.
type message struct {
	at    int // its position in the batch
	event *event.Event
	id    string
	pipe  string
}

func (q *queue) message(at int, e *event.Event) *message {
	m := &message{at: at, event: e, pipe: q.pipe, id: e.ID}
	if !q.single || m.id == "" {
		// Of a batch only the first event has an id, and after a part of it was
		// accepted another one is the first: each message needs an id that stays.
		m.id = event.DeliveryID(q.pipe, e.Record)
	}
	return m
}

// An attribute travels beside the body of a message.
type attribute struct {
	name  string
	value []byte
}

// coordinates are klamm's own attributes.
func (m *message) coordinates() []attribute {
	r := m.event.Record
	all := []attribute{
		{"klamm-pipe", []byte(m.pipe)}, {"klamm-topic", []byte(r.Topic)}, {"klamm-partition", strconv.AppendInt(nil, int64(r.Partition), 10)},
		{"klamm-offset", strconv.AppendInt(nil, r.Offset, 10)}, {"klamm-delivery-id", []byte(m.id)},
	}
	if len(r.Key) > 0 && len(r.Key) <= maxKeyAttribute && plain(string(r.Key)) {
		all = append(all, attribute{"klamm-key", r.Key})
	}
	return all
}

// maxKeyAttribute is how long a key may be to travel as an attribute, in bytes.
const maxKeyAttribute = 1024

// headers are the headers of the record that may travel under their own name: of
// several with one name the last. Those are left out that klamm sets itself, and
// those of which the queue's protocol makes more than text.
func (m *message) headers(allowed func(name string) bool) []attribute {
	var all []attribute
	at := map[string]int{}
	for _, h := range m.event.Record.Headers {
		name := strings.ToLower(h.Key)
		if h.Value == nil || strings.HasPrefix(name, "klamm-") || strings.HasPrefix(name, "klamm.") || !allowed(h.Key) {
			continue
		}
		if i, twice := at[h.Key]; twice {
			all[i].value = h.Value
			continue
		}
		at[h.Key] = len(all)
		all = append(all, attribute{h.Key, h.Value})
	}
	return all
}

// contentType is the media type of the payload.
func (m *message) contentType() string {
	switch p := m.event.Payload(); {
	case m.event.IsJSON():
		return "application/json"
	case utf8.Valid(p):
		return "text/plain; charset=utf-8"
	default:
		return "application/octet-stream"
	}
}

// plain says whether a text is printable ASCII.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// An address is a text in which {topic} and {partition} stand for those of the
// record.
type address string

func (a address) of(e *event.Event) string {
	if !strings.Contains(string(a), "{") {
		return string(a)
	}
	return strings.NewReplacer("{topic}", e.Record.Topic, "{partition}", strconv.Itoa(int(e.Record.Partition))).Replace(string(a))
}

// unknown says whether there are other braces than those of placeholders.
func (a address) unknown() bool {
	return strings.ContainsAny(strings.NewReplacer("{topic}", "", "{partition}", "").Replace(string(a)), "{}")
}
