package function

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/cloudevent"
	"github.com/klamm-gateway/klamm/scan"
	"github.com/klamm-gateway/klamm/trace"
)

// A message is one request to a function.
type message struct {
	header http.Header
	body   []byte
}

// post sends an event to a function that is reached by HTTP, in its format: one request
// or, where a request carries one record, several, in order. The first one that is not
// taken ends it.
func (r *remote) post(ctx context.Context, in Invocation) (Outcome, error) {
	var authorization string
	if ref := r.def.Remote.Authorization; !ref.IsZero() {
		var err error
		if authorization, err = r.cfg.Secret(ctx, ref); err != nil {
			return Outcome{}, fmt.Errorf("function %s: authorization: %w", r.def.Name, err)
		}
	}
	var out Outcome
	messages := r.messages(in)
	for n, m := range messages {
		r.describe(ctx, m.header, in, n, len(messages))
		if authorization != "" {
			m.header.Set("Authorization", authorization)
		}
		var err error
		if out, err = r.postOne(ctx, in, m); err != nil || out.Error != "" {
			return out, err
		}
	}
	return out, nil
}

// messages makes the requests of an invocation.
func (r *remote) messages(in Invocation) []message {
	format := r.def.Remote.Format
	plain := func(mediaType string, body []byte) message {
		return message{http.Header{"Content-Type": {mediaType}}, body}
	}
	if format == "" || format == FormatLambda || format == FormatRecord && in.Records == nil {
		return []message{plain("application/json", in.Payload)}
	}
	var all []message
	if format == FormatRecord {
		for _, record := range in.Records {
			m := plain(mediaType(record), record.Value)
			m.header.Set("X-Klamm-Topic", record.Topic)
			m.header.Set("X-Klamm-Partition", strconv.Itoa(int(record.Partition)))
			m.header.Set("X-Klamm-Offset", strconv.FormatInt(record.Offset, 10))
			if key := string(record.Key); key != "" && printable(key) {
				m.header.Set("X-Klamm-Key", key)
			}
			all = append(all, m)
		}
		return all
	}
	events := r.events(in)
	if format == FormatBatch {
		return []message{plain("application/cloudevents-batch+json; charset=UTF-8", cloudevent.AppendBatch(nil, events))}
	}
	for i := range events {
		e := &events[i]
		if format == FormatStructured {
			all = append(all, plain("application/cloudevents+json; charset=UTF-8", e.AppendJSON(nil)))
			continue
		}
		m := message{http.Header{}, e.Data}
		e.WriteHeader(m.header)
		all = append(all, m)
	}
	return all
}

// events are the CloudEvents of an invocation: those that its records hold, or else
// such that say what a record is (function-targets.md 5).
func (r *remote) events(in Invocation) []cloudevent.Event {
	kind := r.def.Remote.EventType
	if in.Records == nil {
		return []cloudevent.Event{{ContentType: "application/json", Data: in.Payload, Attributes: []cloudevent.Attribute{
			{Name: "specversion", Value: "1.0"}, {Name: "type", Value: cmp.Or(kind, "klamm.invocation")}, {Name: "source", Value: "/klamm/function/" + r.def.Name},
			{Name: "id", Value: in.ID}, {Name: "time", Value: time.Now().UTC().Format(time.RFC3339Nano)},
		}}}
	}
	all := make([]cloudevent.Event, len(in.Records))
	for i, record := range in.Records {
		if e, ok, err := cloudevent.FromRecord(record); ok && err == nil {
			all[i] = e
			continue
		}
		e := cloudevent.Wrap(record, "/klamm/"+url.PathEscape(cmp.Or(in.Cluster, "default"))+"/"+url.PathEscape(cmp.Or(in.Caller, r.def.Name))+"#"+record.Topic)
		if e.ContentType != "" && header(record, "content-type") != e.ContentType {
			e.ContentType = "application/octet-stream" // it was a guess
		}
		for j := range e.Attributes {
			if e.Attributes[j].Name == "type" && kind != "" {
				e.Attributes[j].Value = kind
			}
		}
		all[i] = e
	}
	return all
}

// header returns the last header of a record by its name, whatever its case.
func header(r *kgo.Record, name string) string {
	value := ""
	for _, h := range r.Headers {
		if strings.EqualFold(h.Key, name) {
			value = string(h.Value)
		}
	}
	return value
}

// mediaType is that of a record's value.
func mediaType(r *kgo.Record) string {
	if given := header(r, "content-type"); given != "" && printable(given) {
		return given
	}
	if scan.Valid(r.Value) {
		return "application/json"
	}
	return "application/octet-stream"
}

// printable says whether text can be the value of a header.
func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}

// describe tells the function what it is called for.
func (r *remote) describe(ctx context.Context, h http.Header, in Invocation, n, of int) {
	id := cmp.Or(in.Batch, in.ID)
	if of > 1 {
		id += "-" + strconv.Itoa(n)
	}
	h.Set("X-Klamm-Request-Id", id)
	h.Set("X-Klamm-Attempt", strconv.Itoa(max(1, in.Attempt)))
	if in.Caller != "" {
		h.Set("X-Klamm-Mapping", in.Caller)
	}
	if end, ok := ctx.Deadline(); ok {
		h.Set("X-Klamm-Deadline-Ms", strconv.FormatInt(end.UnixMilli(), 10))
		if strings.Contains(r.def.Remote.URL, "/function/") { // OpenFaaS (function-targets.md 6.2)
			h.Set("X-Timeout", time.Until(end).Truncate(time.Millisecond).String())
		}
	}
	c := trace.From(ctx)
	if !c.Valid() {
		c = trace.ParseXRay(in.Trace)
	}
	if c.Valid() {
		h.Set("Traceparent", c.Traceparent())
		if c.State != "" {
			h.Set("Tracestate", c.State)
		}
	}
	if r.def.Remote.ReplyTopic != "" {
		h.Set("Prefer", "reply")
	}
}

// postOne sends one request.
func (r *remote) postOne(ctx context.Context, in Invocation, m message) (Outcome, error) {
	a, sent, err := r.exchange(ctx, r.def.Remote.URL, m.header, m.body)
	if err != nil {
		if sent && isTimeout(ctx) {
			return r.timedOut(in.ID), nil
		}
		return Outcome{}, r.unreached(a, err)
	}
	switch {
	case a.status >= 200 && a.status < 300:
		if a.over {
			return failure(in.ID, "Function.ResponseSizeTooLarge", "Response payload size exceeded maximum allowed payload size (%d bytes).", maxResponse), nil
		}
		if err := r.reply(ctx, a); err != nil {
			return Outcome{}, r.unreached(answered{}, err)
		}
		return Outcome{Payload: a.body, AnyForm: true}, nil
	case a.status == http.StatusRequestEntityTooLarge:
		return Outcome{}, fmt.Errorf("%w: function %s answers 413", ErrTooLarge, r.def.Name)
	case r.missed(a.status):
		return Outcome{}, r.unreached(a, nil)
	}
	return failure(in.ID, "HTTP."+strconv.Itoa(a.status), "the function answered %d %s", a.status, excerpt(a.body)), nil
}

// missed says whether a status means that the function did not get the event, or
// could not take it now: what CloudEvents and Knative say about it is not what others
// mean (function-targets.md 4, 6.1).
func (r *remote) missed(status int) bool {
	if strings.HasPrefix(r.def.Remote.Format, "cloudevents-") {
		return status == http.StatusNotFound || status == http.StatusRequestTimeout || status == http.StatusConflict || status == http.StatusTooManyRequests || status >= 500
	}
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true
	}
	if list := r.def.Remote.NotReached; list != nil {
		return slices.Contains(list, status)
	}
	return status == http.StatusBadGateway || status == http.StatusGatewayTimeout
}

// reply keeps the CloudEvents of an answer.
func (r *remote) reply(ctx context.Context, a answered) error {
	topic := r.def.Remote.ReplyTopic
	if topic == "" || a.status != http.StatusOK || !cloudevent.Is(a.header) {
		return nil
	}
	records, err := cloudevent.Config{}.Records(a.header, a.body)
	if err != nil {
		r.cfg.Log.Warn("the answer of a function is no CloudEvent; it is not kept", "function", r.def.Name, "err", err)
		return nil
	}
	for _, record := range records {
		record.Topic, record.Partition = topic, -1
	}
	if err := r.cfg.Produce(ctx, records...); err != nil {
		return fmt.Errorf("keep its answer in topic %s: %w", topic, err)
	}
	return nil
}
