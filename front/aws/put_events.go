package aws

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/scan"
)

// ready is an answer that is JSON already.
type ready []byte

// putEvents serves PutEvents (event-bus.md 3). Of entries for a bus that does not exist
// the events are dropped and counted, or refused where the configuration says so.
func (a *API) putEvents(r *http.Request, who gate.Principal, body []byte) (any, error) {
	q, err := parsePut(body)
	if err != nil {
		return nil, err
	}
	v := &violations{}
	q.check(v)
	if err := v.fault(); err != nil {
		return nil, err
	}
	var size int64
	for i := range q.entries {
		size += q.entries[i].size()
	}
	if size >= a.cfg.Bus.Entries {
		return nil, invalid("Total size of the entries in the request is over the limit.")
	}
	results := make([]putResult, len(q.entries))
	events := make([]*gate.BusEvent, 0, len(q.entries))
	for i := range q.entries {
		e := &q.entries[i]
		if results[i] = e.accept(); results[i].code != "" {
			continue
		}
		results[i].event = &gate.BusEvent{Bus: a.cfg.Buses.Name(e.bus), Trace: e.trace, Envelope: event.Envelope{Source: e.source, DetailType: e.detailType, Resources: e.resources, Detail: e.detail, Time: e.time}}
		events = append(events, results[i].event)
	}
	if len(events) > 0 {
		if err := a.cfg.Buses.Put(r.Context(), who, events); err != nil {
			return nil, err
		}
	}
	return a.putAnswer(r, results), nil
}

// longestDetailType bounds DetailType, in characters.
const longestDetailType = 128

// A putResult is what came of an entry: an event that was put, or an error.
type putResult struct {
	event         *gate.BusEvent
	code, message string
}

// accept checks an entry; its detail is compact afterwards.
func (e *putEntry) accept() putResult {
	missing := ""
	switch {
	case e.source == "":
		missing = "Source"
	case e.detailType == "":
		missing = "DetailType"
	case len(e.detail) == 0:
		missing = "Detail"
	}
	if missing != "" {
		return putResult{code: "InvalidArgument", message: "Parameter " + missing + " is not valid. Reason: " + missing + " is a required argument."}
	}
	if utf8.RuneCountInString(e.detailType) > longestDetailType {
		return putResult{code: "InvalidArgument", message: fmt.Sprintf("Parameter DetailType is not valid. Reason: DetailType must have length less than or equal to %d.", longestDetailType)}
	}
	var err error
	if e.detail, err = event.CompactDetail(e.detail); err != nil {
		return putResult{code: "MalformedDetail", message: "Detail is malformed."}
	}
	if strings.HasPrefix(e.source, "aws.") {
		return putResult{code: "NotAuthorizedForSourceException", message: "Not authorized for the source."}
	}
	return putResult{}
}

// putAnswer is the answer to PutEvents.
func (a *API) putAnswer(r *http.Request, results []putResult) ready {
	failed := 0
	for i := range results {
		if p := &results[i]; p.event != nil && p.event.Err != nil {
			p.code, p.message = a.putFault(r, p.event.Err)
		}
		if results[i].code != "" {
			failed++
		}
	}
	a.puts.answered(len(results), failed)
	out := make([]byte, 0, 64+64*len(results))
	out = append(out, `{"FailedEntryCount":`...)
	out = strconv.AppendInt(out, int64(failed), 10)
	out = append(out, `,"Entries":[`...)
	for i := range results {
		if i > 0 {
			out = append(out, ',')
		}
		if p := &results[i]; p.code == "" {
			out = append(out, `{"EventId":`...)
			out = scan.AppendString(out, p.event.ID)
		} else {
			out = append(out, `{"ErrorCode":`...)
			out = scan.AppendString(out, p.code)
			out = append(out, `,"ErrorMessage":`...)
			out = scan.AppendString(out, p.message)
		}
		out = append(out, '}')
	}
	return append(out, "]}"...)
}

// putFault is how an event that could not be written is answered; the caller may put it
// again where that can help.
func (a *API) putFault(r *http.Request, err error) (code, message string) {
	switch {
	case errors.Is(err, gate.ErrNoBus):
		return events.missing.name, "Event bus does not exist."
	case errors.Is(err, kerr.MessageTooLarge):
		return "LimitExceededException", "The event is larger than the topic of the event bus takes."
	case gate.Classify(err) == gate.Throttled:
		return "ThrottlingException", "Rate exceeded"
	}
	a.cfg.Log.Error("an event could not be put", "remote", r.RemoteAddr, "err", err)
	return "InternalFailure", "The event could not be written; try again."
}
