package confluent2

import (
	"math"
	"net/http"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// createTopic serves POST /admin/topics, which is Strimzi's: 201 without a body.
// Without a number of partitions or replicas the brokers' own default counts.
func (a *api) createTopic(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if _, err := a.negotiated(r, consumerMedia); err != nil {
		return err
	}
	body, release, err := front.ReadBody(r)
	if err != nil {
		return err
	}
	defer release()
	if !blank(body) && !consumerType(r.Header.Get("Content-Type"), a.cfg.StrictMediaTypes) {
		return errMediaType
	}
	t, err := parseTopic(body)
	if err != nil {
		return err
	}
	if err := a.gate.CreateTopic(r.Context(), who, t); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// parseTopic reads {"topic_name", "partitions_count", "replication_factor"}.
func parseTopic(b []byte) (t kafka.NewTopic, err error) {
	if null(b) {
		return t, errNullBody
	}
	err = parseObject(b, "NewTopic", func(p *parser, field []byte) (err error) {
		name := string(field)
		switch name {
		case "topic_name":
			t.Name, _, err = p.textField(field)
			return err
		case "partitions_count", "replication_factor":
		default:
			return unknownField(name)
		}
		most := int64(math.MaxInt32)
		if name == "replication_factor" {
			most = math.MaxInt16
		}
		n, given, err := p.integer(field, math.MinInt32, math.MaxInt32)
		switch {
		case err != nil || !given:
			return err
		case n < 1 || n > most:
			return refuseShape(unprocessable, "%s must be from 1 to %d (was %d)", name, most, n)
		case name == "partitions_count":
			t.Partitions = int32(n)
		default:
			t.Replication = int16(n)
		}
		return nil
	})
	if err == nil && t.Name == "" {
		err = refuseShape(unprocessable, "topic_name must not be empty")
	}
	return t, err
}
