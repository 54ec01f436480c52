package klamm_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/fronttest"
	"github.com/klamm-gateway/klamm/front/klamm"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/waittest"
)

func TestStatus(t *testing.T) {
	k := start(t, &receiver{})
	var s map[string]any
	k.want(&s, "GET", "/status", "")
	if s["ready"] != true || s["version"] != "v1.2.3" || len(s["brokers"].([]any)) == 0 || len(s["problems"].([]any)) != 0 {
		t.Error(s)
	}
}

func TestPauseSeekResume(t *testing.T) {
	to := &receiver{}
	k := start(t, to)
	k.produce("1", "2", "3")
	var s pipe.Status
	waittest.Until(t, "committed", func() bool {
		k.want(&s, "GET", "/pipes/PIPE", "")
		return s.Lag == 0 && s.Members == 1 && to.accepted() == 3
	})
	if s.State != pipe.Running || s.Members != 1 || len(s.Partitions) != 1 || s.Partitions[0].Committed != 3 {
		t.Errorf("%+v", s)
	}
	var list struct{ Pipes []pipe.Status }
	if k.want(&list, "GET", "/pipes", ""); len(list.Pipes) != 1 || list.Pipes[0].Pipe != k.pipe {
		t.Errorf("%+v", list)
	}
	if status, _, text := k.ask("POST", "/pipes/PIPE/seek", `{"to":"earliest"}`); status != http.StatusConflict || !strings.Contains(text, "pause it first") {
		t.Errorf("a seek under a running pipe: %d %s", status, text)
	}
	var moved struct{ Moves []pipe.Move }
	want := []pipe.Move{{Topic: k.pipe, From: 3, To: 1, Records: 2}}
	seek := fmt.Sprintf(`{"to":"%s/0=1","dry_run":%%v}`, k.pipe)
	k.want(&moved, "POST", "/pipes/PIPE/seek", fmt.Sprintf(seek, true))
	if diff := cmp.Diff(want, moved.Moves); diff != "" {
		t.Errorf("dry run (-want +got):\n%s", diff)
	}
	if k.want(&s, "POST", "/pipes/PIPE/pause", `{"reason":" maintenance "}`); s.State != pipe.Paused || s.Reason != "maintenance" {
		t.Errorf("%+v", s)
	}
	k.want(&moved, "POST", "/pipes/PIPE/seek", fmt.Sprintf(seek, false))
	if diff := cmp.Diff(want, moved.Moves); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if to.accepted() != 3 {
		t.Errorf("%d deliveries while paused", to.accepted()-3)
	}
	if k.want(&s, "POST", "/pipes/PIPE/resume", ""); s.State != pipe.Running {
		t.Errorf("%+v", s)
	}
	waittest.Until(t, "the rest again", func() bool { return to.accepted() == 5 })
}

func TestWithoutPipes(t *testing.T) {
	s := fronttest.Start(t, fronttest.Setup{Dialects: func(g *gate.Gate) []front.Dialect {
		return []front.Dialect{klamm.Dialect(klamm.Config{Gate: g})}
	}})
	k := &klammd{t: t, url: s.URL, pipe: "p"}
	if text := k.want(nil, "GET", "/pipes", ""); text != `{"pipes":[]}` {
		t.Error(text)
	}
	for _, path := range []string{"GET /pipes/p", "POST /pipes/p/pause", "POST /pipes/p/resume", "POST /pipes/p/seek", "POST /pipes/p/replay", "GET /pipes/p/dead-letters",
		"POST /pipes/p/dead-letters/redrive", "POST /pipes/p/dead-letters/discard", "GET /deliveries?pipe=p", "GET /deliveries/tail?pipe=p", "GET /deliveries/p:t:0:0:x", "POST /deliveries/p:t:0:0:x/retry"} {
		method, path, _ := strings.Cut(path, " ")
		if status, _, text := k.ask(method, path, ""); status != http.StatusNotFound {
			t.Errorf("%s %s: %d %s", method, path, status, text)
		}
	}
}

func TestBrokersThatAreGoneAreNamedAtOnce(t *testing.T) {
	brokers := []string{"127.0.0.1:1"}
	cluster, err := kafka.Open(kafka.Config{Brokers: brokers}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	runner := run(t, cluster, &receiver{}, catalog.Pipe{Name: "p", Topics: []string{"t"}, Target: catalog.Target{Kind: "receiver"}})
	s := fronttest.Start(t, fronttest.Setup{Brokers: brokers, Dialects: func(g *gate.Gate) []front.Dialect {
		return []front.Dialect{klamm.Dialect(klamm.Config{Ready: cluster.Ready, Gate: g, Pipes: runner, Brokers: cluster.Brokers})}
	}})
	k := &klammd{t: t, url: s.URL, pipe: "p"}
	for _, path := range []string{"GET /pipes", "GET /pipes/p", "POST /pipes/p/pause", "POST /pipes/p/resume", "GET /pipes/p/dead-letters", "GET /deliveries?pipe=p", "GET /deliveries/tail"} {
		method, path, _ := strings.Cut(path, " ")
		before := time.Now()
		status, media, text := k.ask(method, path, "")
		if status != http.StatusServiceUnavailable || media != "application/problem+json" || !strings.Contains(text, "127.0.0.1:1") || time.Since(before) > 30*time.Second {
			t.Errorf("%s %s: %d %s after %s", method, path, status, text, time.Since(before))
		}
	}
	var status map[string]any
	if k.want(&status, "GET", "/status", ""); status["ready"] != false || len(status["problems"].([]any)) == 0 {
		t.Error(status)
	}
}
