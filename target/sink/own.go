package sink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
)

// own writes events to the topic of a bus of klamm's own, as PutEvents does.
type own struct {
	cfg     Config
	produce target.Produce
}

func (o own) put(ctx context.Context, entries []entry) ([]error, error) {
	now := time.Now()
	records := make([]*kgo.Record, len(entries))
	errs := make([]error, len(entries))
	for i, one := range entries {
		e := event.Envelope{ID: event.NewID(), DetailType: one.detailType, Source: "kafka-connect." + o.cfg.Connector, Account: o.cfg.Account,
			Time: now, Region: o.cfg.Region, Resources: o.cfg.Resources, Detail: one.detail}
		records[i] = &kgo.Record{Topic: event.BusTopic(o.cfg.Bus), Partition: -1, Key: []byte(e.ID), Value: e.Append(make([]byte, 0, len(one.detail)+256)),
			Headers: event.WithHops(one.headers, []string{event.HeaderTrace}, event.HeaderHops, event.Hops(one.headers, event.HeaderHops)+1)}
	}
	for i, r := range o.produce(ctx, records...) {
		if r.Err == nil {
			continue
		}
		errs[i] = fmt.Errorf("put an event on bus %s: %w", o.cfg.Bus, r.Err)
		if errors.Is(r.Err, kerr.MessageTooLarge) || errors.Is(r.Err, kerr.InvalidRecord) {
			errs[i] = target.Permanent(errs[i])
		}
	}
	return errs, nil
}
