package klamm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/pipe"
)

// named checks what every operation on one pipe checks first, and returns the
// pipe's name.
func (a api) named(r *http.Request, who gate.Principal, action gate.Action) (string, error) {
	name := r.PathValue("pipe")
	if err := a.allow(r, who, action, name); err != nil {
		return "", err
	}
	return name, a.exists(name)
}

// exists is an error where there are no pipes at all.
func (a api) exists(name string) error {
	if a.cfg.Pipes == nil {
		return missing(name)
	}
	return nil
}

func missing(name string) error { return fmt.Errorf("%w: %q", pipe.ErrNoPipe, name) }

// listPipes serves GET /klamm/v1/pipes: {"pipes": [Status]}, those that the
// caller may see, by name. With any parameter it is a page of them (pipes_page.go).
func (a api) listPipes(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	q, err := queryOf(r, "limit", "after", "search", "state", "sort", "brief")
	if err != nil {
		return err
	}
	if len(q) > 0 {
		return a.pagePipes(w, r, who, q)
	}
	seen := []pipe.Status{}
	if a.cfg.Pipes != nil {
		ctx, cancel := context.WithTimeout(r.Context(), readTime)
		defer cancel()
		if err := a.reachable(ctx); err != nil {
			return err
		}
		all, err := a.cfg.Pipes.List(ctx)
		if err != nil {
			return err
		}
		for _, s := range all {
			if a.allow(r, who, gate.AdminRead, s.Pipe) == nil {
				seen = append(seen, whole(s))
			}
		}
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"pipes": seen})
}

// whole has empty lists where a status has none.
func whole(s pipe.Status) pipe.Status {
	if s.Partitions == nil {
		s.Partitions = []pipe.PartitionStatus{}
	}
	return s
}

// getPipe serves GET /klamm/v1/pipes/{pipe}.
func (a api) getPipe(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, err := a.named(r, who, gate.AdminRead)
	if err != nil {
		return err
	}
	if _, err := queryOf(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTime)
	defer cancel()
	if err := a.reachable(ctx); err != nil {
		return err
	}
	return a.writeStatus(ctx, w, name)
}

func (a api) writeStatus(ctx context.Context, w http.ResponseWriter, name string) error {
	s, err := a.cfg.Pipes.Status(ctx, name)
	if errors.Is(err, pipe.ErrNoPipe) && a.cfg.Catalog.Definitions != nil {
		if problem := a.cfg.Catalog.Definitions.Problem(name); problem != nil {
			return &gate.Error{Kind: gate.NotFound, Message: fmt.Sprintf("pipe %q does not run, its definition cannot be carried out: %s", name, oneLine(problem))}
		}
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, "application/json", whole(s))
}

// longestReason bounds the bytes of the reason of a pause, which is kept in Kafka
// and shown in every status.
const longestReason = 1024

// pause serves POST /klamm/v1/pipes/{pipe}/pause {"reason"?}. A pipe that is
// paused or halted already keeps its reason.
func (a api) pause(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, err := a.named(r, who, gate.AdminWrite)
	if err != nil {
		return err
	}
	var ask struct {
		Reason string `json:"reason"`
	}
	if err := decode(r, &ask); err != nil {
		return err
	}
	ask.Reason = strings.TrimSpace(ask.Reason)
	if len(ask.Reason) > longestReason || !utf8.ValidString(ask.Reason) {
		return invalid(fmt.Sprintf("reason: want text of at most %d bytes", longestReason))
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	if err := a.reachable(ctx); err != nil {
		return err
	}
	if err := a.cfg.Pipes.Pause(ctx, name, ask.Reason); err != nil {
		return err
	}
	return a.writeStatus(ctx, w, name)
}

// resume serves POST /klamm/v1/pipes/{pipe}/resume, of a pipe that is paused or
// halted.
func (a api) resume(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, err := a.named(r, who, gate.AdminWrite)
	if err != nil {
		return err
	}
	if err := decode(r, &struct{}{}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	if err := a.reachable(ctx); err != nil {
		return err
	}
	if err := a.cfg.Pipes.Resume(ctx, name); err != nil {
		return err
	}
	return a.writeStatus(ctx, w, name)
}

// seek serves POST /klamm/v1/pipes/{pipe}/seek {"to", "dry_run"?}: {"moves":
// [Move]}. A dry run needs the same right as what it tries out.
func (a api) seek(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, err := a.named(r, who, gate.AdminWrite)
	if err != nil {
		return err
	}
	var ask struct {
		To     string `json:"to"`
		DryRun bool   `json:"dry_run"`
	}
	if err := decode(r, &ask); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	moves, err := a.cfg.Pipes.Seek(ctx, name, ask.To, ask.DryRun)
	if err != nil {
		return err
	}
	if moves == nil {
		moves = []pipe.Move{}
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"moves": moves})
}
