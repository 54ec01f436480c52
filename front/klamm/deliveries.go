package klamm

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/pipe"
)

// listDeliveries serves GET /klamm/v1/deliveries?pipe=&since=&limit=&outcome=:
// {"deliveries": [Delivery], "more": bool}, the newest first, with an outcome only those
// that ended so; more says that there may be others.
func (a api) listDeliveries(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	q, err := queryOf(r, "pipe", "since", "limit", "outcome")
	if err != nil {
		return err
	}
	name := q.text("pipe")
	if name == "" {
		return invalid("name the pipe with ?pipe=")
	}
	if err := a.allow(r, who, gate.AdminRead, name); err != nil {
		return err
	}
	if err := a.exists(name); err != nil {
		return err
	}
	since, err := q.since()
	if err != nil {
		return err
	}
	limit, err := q.limit()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime) // the whole log may be read
	defer cancel()
	all, err := a.cfg.Pipes.Deliveries(ctx, name, since, q.text("outcome"), limit)
	if err != nil {
		return err
	}
	if all == nil {
		all = []pipe.Delivery{}
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"deliveries": all, "more": len(all) == limit})
}

// ofDelivery returns the id that the path names, when the caller may do
// something to its pipe, whose name an id begins with.
func (a api) ofDelivery(r *http.Request, who gate.Principal, action gate.Action) (string, error) {
	id := r.PathValue("id")
	name, _, _ := strings.Cut(id, ":")
	if err := a.allow(r, who, action, name); err != nil {
		return "", err
	}
	return id, a.exists(name)
}

// A deliveryDoc is a delivery with its attempts.
type deliveryDoc struct {
	pipe.Delivery
	// Kept are the attempts that the log has, the oldest first. They stand where
	// a list of deliveries has the number of attempts.
	Kept []pipe.Attempt `json:"attempts"`
}

// getDelivery serves GET /klamm/v1/deliveries/{id}: the delivery, and as
// "attempts" those that the log has kept.
func (a api) getDelivery(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	id, err := a.ofDelivery(r, who, gate.AdminRead)
	if err != nil {
		return err
	}
	if _, err := queryOf(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	d, attempts, err := a.cfg.Pipes.Delivery(ctx, id)
	if err != nil {
		return err
	}
	if attempts == nil {
		attempts = []pipe.Attempt{}
	}
	return writeJSON(w, http.StatusOK, "application/json", deliveryDoc{d, attempts})
}

// retry serves POST /klamm/v1/deliveries/{id}/retry: Progress, when the records
// of the delivery are delivered or given up. That takes as long as the pipe's
// attempts do.
func (a api) retry(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	id, err := a.ofDelivery(r, who, gate.AdminWrite)
	if err != nil {
		return err
	}
	if err := decode(r, &struct{}{}); err != nil {
		return err
	}
	ctx, cancel := a.untilStopping(r.Context())
	defer cancel()
	p, err := a.cfg.Pipes.Retry(ctx, id)
	if err != nil {
		return ended(ctx, err)
	}
	return writeJSON(w, http.StatusOK, "application/json", p)
}

// ended is the error of something that takes long: that klamm stops, if that has
// ended it.
func ended(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), front.ErrStopping) {
		return stopping()
	}
	return err
}

// tail serves GET /klamm/v1/deliveries/tail?pipe=: attempts as they are logged,
// of one pipe or of all that the caller may see, as lines of JSON or as an event
// stream.
func (a api) tail(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	q, err := queryOf(r, "pipe")
	if err != nil {
		return err
	}
	name := q.text("pipe")
	if name != "" {
		if err := a.allow(r, who, gate.AdminRead, name); err != nil {
			return err
		}
		if err := a.exists(name); err != nil {
			return err
		}
	}
	return a.stream(w, r, func(ctx context.Context, emit func(any)) error {
		if a.cfg.Pipes == nil {
			<-ctx.Done()
			return ctx.Err()
		}
		return a.cfg.Pipes.Tail(ctx, name, func(l pipe.Logged) error {
			err := a.allow(r, who, gate.AdminRead, l.Pipe) // that may have ended since the stream began
			if err == nil {
				emit(l)
			} else if name != "" {
				return err
			}
			return ctx.Err()
		})
	})
}
