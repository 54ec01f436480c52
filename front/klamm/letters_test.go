package klamm_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/waittest"
)

func TestDeadLetters(t *testing.T) {
	var well, fixed atomic.Bool
	to := &receiver{answer: func(body string) error {
		if body == "fixed" {
			fixed.Store(true)
		}
		if well.Load() {
			return nil
		}
		return refuse(422)
	}}
	k := start(t, to)
	k.produce("1", "2", "3", "4")
	waittest.Until(t, "four letters", func() bool { return len(k.letters()) == 4 })
	var page struct {
		Letters []pipe.Letter `json:"dead_letters"`
		More    bool
	}
	k.want(&page, "GET", "/pipes/PIPE/dead-letters?limit=3", "")
	if len(page.Letters) != 3 || !page.More || page.Letters[1].Offset != 1 || page.Letters[1].Status != 422 {
		t.Errorf("%+v", page)
	}
	k.want(&page, "GET", "/pipes/PIPE/dead-letters?limit=4", "")
	if len(page.Letters) != 4 || page.More {
		t.Errorf("%+v", page)
	}
	var discarded struct{ Discarded int }
	k.want(&discarded, "POST", "/pipes/PIPE/dead-letters/discard", fmt.Sprintf(`{"letters":[%q]}`, page.Letters[3].ID))
	if discarded.Discarded != 1 {
		t.Errorf("%+v", discarded)
	}
	well.Store(true)
	var end struct {
		Finished bool
		pipe.Progress
	}
	for _, body := range []string{`{"value":"x"}`, fmt.Sprintf(`{"letters":[%q,%q],"value":"x"}`, page.Letters[0].ID, page.Letters[1].ID), fmt.Sprintf(`{"letters":[%q],"value":{"base64":"!"}}`, page.Letters[0].ID), fmt.Sprintf(`{"letters":[%q],"value":7}`, page.Letters[0].ID)} {
		if status, _, text := k.ask("POST", "/pipes/PIPE/dead-letters/redrive", body); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, status, text)
		}
	}
	status, media, text := k.ask("POST", "/pipes/PIPE/dead-letters/redrive", fmt.Sprintf(`{"letters":[%q],"value":"fixed"}`, page.Letters[0].ID))
	if last(t, text, &end); status != http.StatusOK || media != "application/x-ndjson" || !end.Finished || end.Delivered != 1 || !fixed.Load() {
		t.Errorf("%d %s %s", status, media, text)
	}
	_, _, text = k.ask("POST", "/pipes/PIPE/dead-letters/redrive", "")
	if last(t, text, &end); !end.Finished || end.Delivered != 2 || end.DeadLettered != 0 {
		t.Error(text)
	}
	if left := k.letters(); len(left) != 0 {
		t.Errorf("%v are left", left)
	}
	k.want(&discarded, "POST", "/pipes/PIPE/dead-letters/discard", `{"all":true}`)
	if discarded.Discarded != 0 {
		t.Errorf("%+v", discarded)
	}
}

func TestReplay(t *testing.T) {
	to := &receiver{}
	k := start(t, to)
	from := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	until := time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
	k.produce(`{"n":1}`, `{"n":2}`, `{"n":3}`)
	waittest.Until(t, "delivered", func() bool { return to.accepted() == 3 })
	ask := fmt.Sprintf(`{"from":%q,"to":%q,"where":{"value":{"n":[{"numeric":["<",3]}]}},"rate":1000,"dry_run":%%v}`, from, until)
	if _, _, text := k.ask("POST", "/pipes/PIPE/replay", fmt.Sprintf(ask, true)); text != `{"records":2}` || to.accepted() != 3 {
		t.Errorf("dry run: %s", text)
	}
	var end struct {
		Finished bool
		pipe.Progress
	}
	_, _, text := k.ask("POST", "/pipes/PIPE/replay", fmt.Sprintf(ask, false))
	if last(t, text, &end); !end.Finished || end.Records != 2 || end.Delivered != 2 || end.Total != 3 || to.accepted() != 5 {
		t.Errorf("%s, %d accepted", text, to.accepted())
	}
}
