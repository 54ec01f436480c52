package klamm_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/waittest"
)

func TestStagesAndTargets(t *testing.T) {
	to := &receiver{answer: func(value string) error {
		if value == `"bad"` {
			return refuse(400)
		}
		return nil
	}}
	k := start(t, to)
	k.produce(`"good"`, `"bad"`, `"good"`)
	var got struct {
		Pipe   string
		Stages []pipe.Stage
	}
	waittest.Until(t, "three records settled", func() bool {
		k.want(&got, "GET", "/pipes/PIPE/stages", "")
		d := got.Stages[pipe.StageDeliver]
		return d.Out == 2 && d.Dropped == 1
	})
	deliver := got.Stages[pipe.StageDeliver]
	if got.Pipe != k.pipe || deliver.In != 3 || deliver.Failed != 1 || deliver.Passed.Value != `"good"` || deliver.Stopped.Value != `"bad"` || !strings.Contains(deliver.Stopped.Note, "400") {
		t.Errorf("%+v", got)
	}
	var targets struct{ Targets []pipe.EndpointStatus }
	k.want(&targets, "GET", "/targets", "")
	if len(targets.Targets) != 1 || targets.Targets[0].Attempts != 3 || targets.Targets[0].Well != 2 || targets.Targets[0].State != pipe.BreakerClosed {
		t.Errorf("%+v", targets)
	}
	if k.want(&targets, "GET", "/targets?search=nothing-like-that", ""); len(targets.Targets) != 0 {
		t.Errorf("%+v", targets)
	}
	if k.want(&targets, "GET", "/targets?state=down", ""); len(targets.Targets) != 0 {
		t.Errorf("%+v", targets)
	}
	if k.want(&targets, "GET", "/targets?state=closed", ""); len(targets.Targets) != 1 {
		t.Errorf("%+v", targets)
	}
	if status, _, text := k.ask("GET", "/targets?state=up", ""); status != http.StatusBadRequest || !strings.Contains(text, "probing") {
		t.Errorf("%d %s", status, text)
	}
	var page struct {
		Pipes []struct {
			Pipe   string
			Behind *float64 `json:"behind_seconds"`
			Counts pipe.Counts
		}
		Next  string
		Total int
	}
	k.want(&page, "GET", "/pipes?limit=1&search="+k.pipe[:5], "")
	if len(page.Pipes) != 1 || page.Total != 1 || page.Next != "" || page.Pipes[0].Counts.Delivered != 2 || page.Pipes[0].Counts.DeadLettered != 1 || page.Pipes[0].Behind == nil {
		t.Errorf("%+v", page)
	}
	for _, none := range []string{"search=nothing", "state=paused", "after=" + k.pipe} {
		if k.want(&page, "GET", "/pipes?"+none, ""); len(page.Pipes) != 0 {
			t.Errorf("%s: %+v", none, page)
		}
	}
	var sorted struct {
		Pipes []struct {
			Pipe       string
			Partitions []pipe.PartitionStatus
		}
		Total int
		Sums  struct {
			Pipes, Looked int
			DeadLettered  int `json:"dead_lettered"`
		}
	}
	if k.want(&sorted, "GET", "/pipes?sort=dead_lettered&brief=true", ""); sorted.Total != 1 || len(sorted.Pipes) != 1 || sorted.Pipes[0].Pipe != k.pipe || len(sorted.Pipes[0].Partitions) != 0 || sorted.Sums.DeadLettered != 1 || sorted.Sums.Pipes != 1 {
		t.Errorf("%+v", sorted)
	}
	if k.want(&sorted, "GET", "/pipes?sort=dead_lettered&search=nothing", ""); sorted.Total != 0 || len(sorted.Pipes) != 0 || sorted.Sums.Pipes != 0 {
		t.Errorf("%+v", sorted)
	}
	for query, want := range map[string]string{"sort=age": "behind or dead_lettered", "sort=behind&after=x": "leave sort out", "brief=yes": "true or false"} {
		if status, _, text := k.ask("GET", "/pipes?"+query, ""); status != http.StatusBadRequest || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s", query, status, text)
		}
	}
	var list struct {
		Deliveries []pipe.Delivery
		More       bool
	}
	waittest.Until(t, "the delivery log", func() bool {
		k.want(&list, "GET", "/deliveries?pipe=PIPE", "")
		return len(list.Deliveries) == 3
	})
	if k.want(&list, "GET", "/deliveries?pipe=PIPE&outcome=dead_lettered", ""); len(list.Deliveries) != 1 || list.Deliveries[0].Offset != 1 || list.More {
		t.Errorf("%+v", list)
	}
	if status, _, text := k.ask("GET", "/deliveries?pipe=PIPE&outcome=lost", ""); status != http.StatusBadRequest || !strings.Contains(text, "dead_lettered") {
		t.Errorf("%d %s", status, text)
	}
	var groups struct {
		Groups []struct {
			Reason, Example string
			Status, Count   int
		}
		Letters int
	}
	k.want(&groups, "GET", "/pipes/PIPE/dead-letters/reasons", "")
	if groups.Letters != 1 || len(groups.Groups) != 1 || groups.Groups[0].Count != 1 || groups.Groups[0].Status != 400 || groups.Groups[0].Reason != "HTTP status 400" {
		t.Errorf("%+v", groups)
	}
	var letters struct {
		Letters []pipe.Letter `json:"dead_letters"`
	}
	if k.want(&letters, "GET", "/pipes/PIPE/dead-letters?reason=HTTP+status+400", ""); len(letters.Letters) != 1 || letters.Letters[0].ID != groups.Groups[0].Example {
		t.Errorf("%+v", letters)
	}
	if k.want(&letters, "GET", "/pipes/PIPE/dead-letters?reason=another", ""); len(letters.Letters) != 0 {
		t.Errorf("%+v", letters)
	}
}

func TestPipesThatAreBehind(t *testing.T) {
	free := make(chan struct{})
	let := sync.OnceFunc(func() { close(free) })
	t.Cleanup(let)
	k := start(t, &receiver{answer: func(string) error { <-free; return nil }})
	k.produce(`1`, `2`, `3`)
	var page struct {
		Pipes []struct {
			Pipe       string
			Lag        int
			Behind     *float64 `json:"behind_seconds"`
			Partitions []pipe.PartitionStatus
		}
		Total int
		Sums  struct{ Pipes, Looked, Lag int }
	}
	waittest.Until(t, "three records before the pipe", func() bool {
		k.want(&page, "GET", "/pipes?sort=behind&limit=5", "")
		return page.Sums.Lag == 3
	})
	if len(page.Pipes) != 1 || page.Pipes[0].Pipe != k.pipe || page.Pipes[0].Lag != 3 || len(page.Pipes[0].Partitions) != 1 || page.Total != 1 || page.Sums.Pipes != 1 || page.Sums.Looked != 1 {
		t.Errorf("%+v", page)
	}
	let()
	waittest.Until(t, "no pipe is behind", func() bool {
		k.want(&page, "GET", "/pipes?sort=behind&limit=5", "")
		return len(page.Pipes) == 0 && page.Total == 0 && page.Sums.Lag == 0 && page.Sums.Looked == 1
	})
}

// A blinder lets nobody read topics.
type blinder struct{}

func (blinder) Check(_ context.Context, c *gate.Call) error {
	if c.Action == gate.ReadData {
		return &gate.Error{Kind: gate.Denied, Message: "not for you"}
	}
	return nil
}

func TestStagesWithoutTheRightToRead(t *testing.T) {
	k := start(t, &receiver{}, blinder{})
	k.produce(`"secret"`)
	var got struct{ Stages []pipe.Stage }
	var text string
	waittest.Until(t, "a sample", func() bool {
		text = k.want(&got, "GET", "/pipes/PIPE/stages", "")
		return got.Stages[pipe.StageDeliver].Passed != nil
	})
	if s := got.Stages[pipe.StageRead].Passed; strings.Contains(text, "secret") || !s.Withheld || s.Topic != k.pipe {
		t.Errorf("%s", text)
	}
	if status, _, text := k.ask("POST", "/rules/explain", `{"pattern":{"value":["x"]},"topic":"`+k.pipe+`"}`); status != http.StatusForbidden {
		t.Errorf("%d %s", status, text)
	}
}

func TestRuleSandbox(t *testing.T) {
	k := start(t, &receiver{})
	k.produce(`{"n":1}`, `{"n":2}`, `{"n":3}`, `not json`)
	type finding struct {
		Path, Clause string
		Satisfied    bool
		Values       []string
	}
	var one struct {
		Matched  bool
		Findings []finding
	}
	k.want(&one, "POST", "/rules/explain", `{"pattern":{"source":["shop"],"detail":{"n":[{"numeric":[">",2]}]}},"event":{"source":"shop","detail":{"n":1}}}`)
	if one.Matched || len(one.Findings) != 2 || !one.Findings[0].Satisfied || one.Findings[1].Satisfied || one.Findings[1].Path != "detail.n" || len(one.Findings[1].Values) != 1 {
		t.Errorf("%+v", one)
	}
	var trial struct {
		Scanned, Matched, Invalid int
		Complete                  bool
		Clauses                   []struct{ Satisfied int }
		Matching, Others          []struct {
			Offset   int64
			Document string
		}
	}
	for _, how := range []string{"", `,"since":"1h"`} {
		k.want(&trial, "POST", "/rules/explain", `{"pattern":{"value":{"n":[{"numeric":[">",1]}]}},"topic":"`+k.pipe+`"`+how+`}`)
		if trial.Scanned != 4 || trial.Matched != 3 || !trial.Complete || len(trial.Matching) != 3 || len(trial.Others) != 1 || trial.Others[0].Offset != 0 || !strings.Contains(trial.Others[0].Document, `"n":1`) {
			t.Errorf("%s: %+v", how, trial) // a value that no pattern can look into passes
		}
	}
	if k.want(&trial, "POST", "/rules/explain", `{"pattern":{"value":{"n":[2]}},"topic":"`+k.pipe+`","limit":2}`); trial.Scanned != 2 || len(trial.Others) != 1 {
		t.Errorf("%+v", trial)
	}
	var made struct {
		Result string
		JSON   bool
	}
	if k.want(&made, "POST", "/transforms/try", `{"event":{"value":{"n":7}},"transform":{"template":"{\"m\": <$.value.n>}"}}`); made.Result != `{"m":7}` || !made.JSON {
		t.Errorf("%+v", made)
	}
	if k.want(&made, "POST", "/transforms/try", `{"event":{"detail":{"n":7}},"input":{"template":"number <n>","paths":{"n":"$.detail.n"}}}`); made.Result != `number 7` || made.JSON {
		t.Errorf("%+v", made)
	}
	for name, c := range map[string]struct{ path, body, want string }{
		"nothing to try on":   {"/rules/explain", `{"pattern":{"a":[1]}}`, "one of event, topic and bus"},
		"two things":          {"/rules/explain", `{"pattern":{"a":[1]},"event":{},"topic":"t"}`, "one of event, topic and bus"},
		"no pattern":          {"/rules/explain", `{"event":{}}`, "pattern is missing"},
		"a wrong pattern":     {"/rules/explain", `{"pattern":{"a":1},"event":{}}`, "pattern: "},
		"a wrong event":       {"/rules/explain", `{"pattern":{"a":[1]},"event":[]}`, "event: "},
		"too far back":        {"/rules/explain", `{"pattern":{"value":[1]},"topic":"t","since":"25h"}`, "at most 24h"},
		"too many":            {"/rules/explain", `{"pattern":{"value":[1]},"topic":"t","limit":20001}`, "20000"},
		"no transform":        {"/transforms/try", `{"event":{}}`, "either transform or input"},
		"no event":            {"/transforms/try", `{"transform":{"jq":"."}}`, "event is missing"},
		"a wrong program":     {"/transforms/try", `{"event":{},"transform":{"jq":".a |"}}`, "jq: "},
		"an unknown member":   {"/transforms/try", `{"event":{},"transform":{"templat":"x"}}`, "templat"},
		"a program that ends": {"/transforms/try", `{"event":{"a":"x"},"transform":{"jq":".a + 1"}}`, "cannot add"},
	} {
		status, media, text := k.ask("POST", c.path, c.body)
		var p struct{ Detail string }
		if err := json.Unmarshal([]byte(text), &p); err != nil || status != http.StatusBadRequest || media != "application/problem+json" || !strings.Contains(p.Detail, c.want) {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if status, _, text := k.ask("POST", "/rules/explain", `{"pattern":{"value":[1]},"topic":"nobody-has-it"}`); status != http.StatusNotFound {
		t.Errorf("%d %s", status, text)
	}
}
