package klamm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/cloudevent"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/scan"
)

// busRoutes are the routes for event buses; their own API is that of AWS.
func (a api) busRoutes() []front.Route {
	return []front.Route{
		{Name: "buses.look", Pattern: "GET /klamm/v1/buses/{bus}", Serve: a.lookAtBus},
		{Name: "buses.event", Pattern: "GET /klamm/v1/buses/{bus}/events/{id}", Serve: a.tellEvent},
		{Name: "buses.put", Pattern: "POST /klamm/v1/buses/{bus}/events", Serve: a.putCloudEvents, Repeat: front.RepeatOnce},
	}
}

// A putDoc says what came of an event that was to be put on a bus.
type putDoc struct {
	ID    string `json:"id,omitempty"`
	Error string `json:"error,omitempty"`
}

// putCloudEvents serves POST /klamm/v1/buses/{bus}/events: CloudEvents in binary,
// structured or batched mode, put on a bus in their order. The type becomes the
// detail-type, the subject the only resource, and the data the detail; the event gets an
// id of the bus. One event that is not valid spoils the request.
func (a api) putCloudEvents(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	if a.cfg.Buses == nil {
		return &gate.Error{Kind: gate.NotFound, Message: "there are no event buses"}
	}
	body, release, err := front.ReadBody(r)
	if err != nil {
		return err
	}
	defer release()
	if !cloudevent.Is(r.Header) {
		return invalid("want a CloudEvent: headers that begin with ce-, or the content type " + cloudevent.MediaJSON + " or " + cloudevent.MediaBatch)
	}
	parsed, err := cloudevent.Parse(r.Header, body)
	if errors.Is(err, cloudevent.ErrFormat) || errors.Is(err, cloudevent.ErrInvalid) {
		return invalid(err.Error())
	}
	if err != nil {
		return err
	}
	events := make([]*gate.BusEvent, len(parsed))
	for i := range parsed {
		if events[i], err = a.busEvent(&parsed[i]); err != nil {
			return invalid(fmt.Sprintf("event %d: %s", i+1, err))
		}
		events[i].Bus = r.PathValue("bus")
	}
	if err := a.putAll(r, who, events); err != nil {
		return err
	}
	docs, failed := make([]putDoc, len(events)), 0
	var first error
	for i, e := range events {
		if docs[i].ID = e.ID; e.Err == nil {
			continue
		}
		if failed++; first == nil {
			first = e.Err
		}
		_, docs[i].Error = explain(e.Err)
	}
	if failed > 0 && failed == len(events) {
		return first
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"events": docs})
}

// putAll puts events on a bus that exists.
func (a api) putAll(r *http.Request, who gate.Principal, events []*gate.BusEvent) error {
	missing := func(err error) error {
		if errors.Is(err, gate.ErrNoBus) {
			return &gate.Error{Kind: gate.NotFound, Message: err.Error()}
		}
		return err
	}
	if len(events) == 0 {
		return nil
	}
	if err := a.cfg.Buses.Allow(r.Context(), who, events[0].Bus); err != nil {
		return missing(err)
	}
	return a.cfg.Buses.Put(r.Context(), who, events)
}

// busEvent makes of a CloudEvent one for a bus, which shares no memory with it.
func (a api) busEvent(e *cloudevent.Event) (*gate.BusEvent, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	b := &gate.BusEvent{}
	b.Source, _ = e.Get("source")
	b.DetailType, _ = e.Get("type")
	if strings.HasPrefix(b.Source, "aws.") {
		return nil, errors.New("sources that begin with aws. are not for callers")
	}
	if subject, ok := e.Get("subject"); ok && subject != "" {
		b.Resources = []string{subject}
	}
	if at, ok := e.Time(); ok && at.Year() >= 0 && at.UTC().Year() <= 9999 {
		b.Time = at
	}
	if trace, ok := e.Get("traceparent"); ok && len(trace) <= 500 {
		b.Trace = trace
	}
	var err error
	if b.Detail, err = detailOf(e); err != nil {
		return nil, err
	}
	if size := int64(len(b.Source) + len(b.DetailType) + len(b.Detail)); size >= a.cfg.Buses.MaxEntries() {
		return nil, fmt.Errorf("it has %d bytes, and a bus takes less than %d (bus.entries)", size, a.cfg.Buses.MaxEntries())
	}
	return b, nil
}

// detailOf is the data of an event as a detail: an object as it is, none as an empty one,
// and anything else as the only member of one: data, or data_base64 for what is not text.
func detailOf(e *cloudevent.Event) ([]byte, error) {
	if e.Data == nil {
		return []byte("{}"), nil
	}
	if i := scan.Space(e.Data, 0); i < len(e.Data) && e.Data[i] == '{' && isJSON(e.ContentType) {
		detail, err := event.CompactDetail(slices.Clone(e.Data))
		if err != nil {
			return nil, errors.New("its data is malformed, nested deeper than 1000 levels, or has an integer beyond 64 bits")
		}
		return detail, nil
	}
	// What the event looks like in JSON says which member its data is.
	whole := *e
	whole.JSON = nil
	var members map[string]json.RawMessage
	if err := json.Unmarshal(whole.AppendJSON(nil), &members); err != nil {
		return nil, errors.New("its data cannot be a detail")
	}
	for _, name := range []string{"data", "data_base64"} {
		if value, ok := members[name]; ok {
			return event.CompactDetail(bytes.Join([][]byte{[]byte(`{"` + name + `":`), value, []byte("}")}, nil))
		}
	}
	return []byte("{}"), nil
}

// isJSON says whether data of a content type is JSON; none at all is.
func isJSON(contentType string) bool {
	media, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	media = strings.TrimSpace(media)
	return media == "" || media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json")
}
