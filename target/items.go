package target

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/klamm-gateway/klamm/event"
)

// ItemFailures reads from an answer which records of a batch a receiver has not
// accepted (pipes.md 10): {"batchItemFailures": [{"itemIdentifier": ID}]}, where ID is
// "TOPIC-PARTITION-OFFSET" or {"partition": "TOPIC-PARTITION", "offset": N}. An answer
// that names none, and an empty one, is a success; a *PartialError has those that are
// named; another error says why the answer is not understood, so that the whole batch
// has failed.
func ItemFailures(answer []byte, events []*event.Event) error {
	bad := func(problem string) error { return errors.New("the answer is no list of failures: " + problem) }
	if len(bytes.TrimSpace(answer)) == 0 {
		return nil
	}
	var doc *struct {
		Failures []struct {
			Identifier json.RawMessage `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	if json.Unmarshal(answer, &doc) != nil {
		return bad("not an object with batchItemFailures")
	}
	if doc == nil || len(doc.Failures) == 0 {
		return nil
	}
	places := make(map[place]int, len(events))
	names := make(map[string]int, len(events))
	for i, e := range events {
		partition := e.Record.Topic + "-" + strconv.Itoa(int(e.Record.Partition))
		places[place{partition, e.Record.Offset}] = i
		names[partition+"-"+strconv.FormatInt(e.Record.Offset, 10)] = i
	}
	failed := map[int]error{}
	for _, f := range doc.Failures {
		var name string
		var at struct {
			Partition string
			Offset    *int64
		}
		var i int
		var known bool
		switch {
		case json.Unmarshal(f.Identifier, &name) == nil && name != "":
			i, known = names[name]
		case json.Unmarshal(f.Identifier, &at) == nil && at.Offset != nil:
			i, known = places[place{at.Partition, *at.Offset}]
		default:
			return bad("an itemIdentifier is neither a text nor {partition, offset}")
		}
		if !known {
			return bad("an itemIdentifier is not of this batch")
		}
		failed[i] = &Failure{Status: http.StatusOK, Err: errors.New("the receiver has not accepted this record")}
	}
	return &PartialError{Failed: failed}
}

// ReportsItems says whether an answer is one for ItemFailures. Receivers behind
// EventBridge Pipes may answer anything else.
func ReportsItems(answer []byte) bool {
	var doc struct {
		Failures json.RawMessage `json:"batchItemFailures"`
	}
	return json.Unmarshal(answer, &doc) == nil && doc.Failures != nil
}

// A place is where a record stands: "TOPIC-PARTITION" and the offset.
type place struct {
	partition string
	offset    int64
}
