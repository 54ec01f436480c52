package klamm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/pipe"
)

// replay serves POST /klamm/v1/pipes/{pipe}/replay {"from", "to", "where"?,
// "rate"?, "dry_run"?}: lines of Progress, the last one with "finished"; of a dry
// run one line, {"records": N}.
func (a api) replay(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, err := a.named(r, who, gate.AdminWrite)
	if err != nil {
		return err
	}
	var body struct {
		From   string          `json:"from"`
		To     string          `json:"to"`
		Where  json.RawMessage `json:"where"`
		Rate   int             `json:"rate"`
		DryRun bool            `json:"dry_run"`
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	ask := pipe.Replay{Pipe: name, Rate: body.Rate, DryRun: body.DryRun}
	if ask.From, err = timeOf("from", body.From); err != nil {
		return err
	}
	if ask.To, err = timeOf("to", body.To); err != nil {
		return err
	}
	if !bytes.Equal(body.Where, []byte("null")) {
		ask.Where = bytes.Clone(body.Where)
	}
	return a.stream(w, r, func(ctx context.Context, emit func(any)) error {
		p, err := a.cfg.Pipes.Replay(ctx, ask, func(p pipe.Progress) {
			if !ask.DryRun {
				emit(p)
			}
		})
		switch {
		case err != nil:
			return err
		case ask.DryRun:
			emit(map[string]int64{"records": p.Records})
		default:
			emit(finished{true, p})
		}
		return nil
	})
}

func timeOf(member, text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, invalid(fmt.Sprintf("%s %q: want a time such as 2026-01-31T12:00:00Z", member, text))
	}
	return at, nil
}
