package confluent2

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/cloudevent"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// eventRoutes are the operations that only CloudEvents have.
func eventRoutes(a *api) []front.Route {
	if !a.cfg.CloudEvents.Webhook {
		return nil
	}
	return []front.Route{
		{Name: "webhook.ask", Pattern: "OPTIONS /topics/{topic}", Serve: a.askWebhook},
		{Name: "webhook.ask", Pattern: "OPTIONS /topics/{topic}/partitions/{partition}", Serve: a.askWebhook},
	}
}

// produceEvents writes the CloudEvents of a request, one record each
// (gateway-policies.md 6.4). The answer is 202 with v2's results where a plain
// record has 200, and a batch of which some could not be written has the status
// of that: its sender is to repeat it. It says whether the records are settled, so
// that their bytes may be used again.
func (a *api) produceEvents(w http.ResponseWriter, r *http.Request, who gate.Principal, media string, partition int32, body []byte) (settled bool, err error) {
	records, err := a.cfg.CloudEvents.Records(r.Header, body)
	if errors.Is(err, cloudevent.ErrFormat) {
		return true, &refusal{status: http.StatusUnsupportedMediaType, code: 415, message: err.Error()}
	}
	if err != nil {
		return true, refuse(badRequest, 400, "%s", err.Error())
	}
	for _, record := range records {
		record.Partition = partition
	}
	var results kgo.ProduceResults
	if len(records) > 0 {
		if results, err = a.gate.Produce(r.Context(), who, r.PathValue("topic"), records); err != nil {
			return true, err
		}
	}
	settled = allSettled(results)
	status := http.StatusAccepted
	for i := range results {
		if results[i].Err == nil {
			continue
		}
		failure := a.plainFailure(r, who, partition, results[i].Err)
		if len(results) == 1 {
			return settled, failure
		}
		// What may pass decides: the batch is worth another try.
		if s := a.refusalOf(failure).status; status == http.StatusAccepted || s == http.StatusServiceUnavailable {
			status = s
		}
	}
	b := append(make([]byte, 0, 128+64*len(results)), `{"offsets":[`...)
	for i := range results {
		if i > 0 {
			b = append(b, ',')
		}
		b, _ = a.appendResult(b, results[i])
	}
	return settled, writeStatus(w, status, media, append(b, `],"key_schema_id":null,"value_schema_id":null}`...))
}

// isEvents says whether a read is to answer with CloudEvents.
func isEvents(media string) bool { return media == mediaEvents || media == mediaEvent }

// appendEvent appends the CloudEvent that a record is, or that stands for it.
func appendEvent(b []byte, r *kgo.Record) []byte {
	e := cloudevent.Of(r)
	return e.AppendJSON(b)
}

// appendDelivered appends the CloudEvent of what an instance delivers, which says
// why where a record cannot be returned.
func appendDelivered(b []byte, d gate.Delivery) []byte {
	if d.Bad == nil {
		return appendEvent(b, d.Record)
	}
	e := cloudevent.Unreadable(d.Record, badCode(d.Bad), d.Bad.Error())
	return e.AppendJSON(b)
}

// askWebhook serves the handshake of CloudEvents' "HTTP 1.1 Web Hooks": a sender
// asks whether it may deliver here, and gets leave at once. Who may not is told
// when it delivers.
func (a *api) askWebhook(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
	origins := r.Header["Webhook-Request-Origin"]
	if len(origins) != 1 || origins[0] == "" || len(origins[0]) > 253 {
		return refuse(badRequest, 400, "want one WebHook-Request-Origin header with the name of the sender's system")
	}
	rate := "*"
	if n, err := strconv.ParseUint(r.Header.Get("Webhook-Request-Rate"), 10, 31); err == nil && n > 0 {
		rate = strconv.FormatUint(n, 10)
	}
	h := w.Header()
	h["Allow"] = []string{"POST"}
	h["Webhook-Allowed-Origin"] = origins
	h["Webhook-Allowed-Rate"] = []string{rate}
	w.WriteHeader(http.StatusOK)
	return nil
}
