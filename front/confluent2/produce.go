package confluent2

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/cloudevent"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// produce serves POST /topics/{topic} and POST
// /topics/{topic}/partitions/{partition} (rest-apis.md 4.3): an envelope in one
// of the embedded formats, CloudEvents, or one plain record (interface.md 3).
//
// Beyond the original: headers and timestamp in Strimzi's form, ?async=true, and
// an immediate answer for a partition that does not exist. What profiles do
// differently is in their habits.
func (a *api) produce(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	partition := int32(-1)
	if text := r.PathValue("partition"); text != "" {
		n, err := partitionNumber(text)
		if err != nil {
			return err
		}
		partition = n
	}
	contentType := ""
	if values := r.Header["Content-Type"]; len(values) > 0 {
		contentType = values[0]
	}
	f, err := a.contentFormat(contentType)
	if err != nil {
		return err
	}
	media, err := a.accept(r, v2Only)
	if err != nil {
		return err
	}
	if a.habits.knownTopics {
		if err := a.checkPlace(r, who, partition); err != nil {
			return err
		}
	}
	body, release, err := front.LendBody(r)
	if err != nil {
		return err
	}
	settled := true
	defer func() {
		if release != nil {
			// A record that was not acknowledged in time may still be on its
			// way out of this very buffer.
			release(settled)
		}
	}()
	if f == formatNone {
		if cloudevent.Is(r.Header) {
			settled, err = a.produceEvents(w, r, who, media, partition, body)
			return err
		}
		if !isEnvelope(body) {
			settled, err = a.producePlain(w, r, who, media, contentType, partition, body)
			return err
		}
		f = formatBinary
	}
	who, records, ids, err := a.recordsOf(r, who, f, contentType, partition, body)
	if err != nil {
		return err
	}
	if r.URL.RawQuery != "" && a.habits.async {
		async, err := asynchronous(r)
		if err != nil {
			return err
		}
		if async {
			done := release
			if err := a.gate.SendAll(r.Context(), who, r.PathValue("topic"), records, func() { done(true) }); err != nil {
				return refusedEnvelope(err)
			}
			release = nil
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
	}
	settled, err = a.produceEnvelope(w, r, who, media, records, ids)
	return err
}

// recordsOf reads the records of an envelope, and writes their values by the schemas that
// it names. Who is the caller with what was found out about him on the way.
func (a *api) recordsOf(r *http.Request, who gate.Principal, f format, contentType string, partition int32, body []byte) (_ gate.Principal, records []*kgo.Record, ids schemaIDs, err error) {
	e, err := parseEnvelope(body, f, partition, a.envelopeRules())
	if err != nil {
		return who, nil, ids, err
	}
	if f == formatSchema {
		if who, ids, err = a.encode(r.Context(), who, r.PathValue("topic"), schemaFormat(contentType), &e); err != nil {
			return who, nil, ids, err
		}
	}
	records = make([]*kgo.Record, len(e.records))
	for i := range e.records {
		records[i] = &e.records[i]
	}
	return who, records, ids, nil
}

// produceEnvelope writes the records of an envelope and answers with what became of each.
func (a *api) produceEnvelope(w http.ResponseWriter, r *http.Request, who gate.Principal, media string, records []*kgo.Record, ids schemaIDs) (settled bool, err error) {
	results, err := a.gate.Produce(r.Context(), who, r.PathValue("topic"), records)
	if err != nil {
		return true, refusedEnvelope(err)
	}
	settled = allSettled(results)
	for i := range results {
		if err := results[i].Err; err != nil && isForeign(err) {
			return settled, fmt.Errorf("%w: %w", errForeign, err)
		}
	}
	return settled, a.writeResultsOf(w, media, results, a.habits.results, ids)
}

// envelopeRules are those of the profile. The strict mode refuses headers and
// timestamp, which only Strimzi's bridge has.
func (a *api) envelopeRules() envelopeRules {
	return envelopeRules{bare: a.cfg.StrictMediaTypes && a.cfg.Profile != profileStrimzi, whole: a.habits.wholeRecords}
}

// checkPlace looks up the topic, and the partition if it is one, of a request.
func (a *api) checkPlace(r *http.Request, who gate.Principal, partition int32) error {
	t, err := a.topic(r.Context(), r, who)
	if err == nil && partition >= 0 {
		_, err = t.Partition(partition)
	}
	return err
}

// errForeign is a failure to write that is none of Kafka's (rest-apis.md 4.3).
var errForeign = errors.New("Unexpected non-Kafka exception returned by Kafka") //nolint:staticcheck // the text is the original's

// isForeign says whether an error comes neither from a broker nor from the way
// there.
func isForeign(err error) bool {
	var broker *kerr.Error
	return gate.Classify(err) == gate.Internal && !errors.As(err, &broker)
}

// asynchronous reads ?async, which must be a boolean.
func asynchronous(r *http.Request) (bool, error) {
	query := r.URL.Query()
	if !query.Has("async") {
		return false, nil
	}
	async, err := strconv.ParseBool(query.Get("async"))
	if err != nil {
		return false, refuseShape(badRequest, "async must be true or false")
	}
	return async, nil
}

// partitionNumber reads a partition in a path; what is no number matches no
// route of the original.
func partitionNumber(text string) (int32, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > math.MaxInt32 {
		return 0, errNotFound
	}
	if n < 0 {
		return 0, refuseShape(unprocessable, "partition must be greater than or equal to 0 (was %d)", n)
	}
	return int32(n), nil
}

// allSettled says whether no record is under way any more.
func allSettled(results kgo.ProduceResults) bool {
	for i := range results {
		if results[i].Err != nil && errors.Is(results[i].Err, kafka.ErrNotAcknowledged) {
			return false
		}
	}
	return true
}
