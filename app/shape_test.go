package app

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/throttle"
)

// TestRoutesThatAreNotThere expects a warning for each limit, plan and class that names
// a route that no API and no route of the file has.
func TestRoutesThatAreNotThere(t *testing.T) {
	cfg := &config.Config{
		Routes: []config.Route{{Route: "ANY /old/{proxy+}"}},
		Limits: []throttle.Rule{
			{Match: throttle.Match{Route: "POST /topics/{any}"}}, {Match: throttle.Match{Route: "POST /"}}, {Match: throttle.Match{Route: "ANY /old/{rest}"}},
			{Match: throttle.Match{Route: "GET /topics/{topic}"}}, {},
		},
		UsagePlans: []gate.UsagePlan{{Methods: map[string]throttle.Rate{"POST /topics/{topic}": {}, "POST /topic/{topic}": {}}}},
	}
	cfg.Adaptive.Classes = []throttle.ClassRule{{Match: throttle.Match{Route: "PUT /topics"}}}
	var log bytes.Buffer
	warnUnrouted(cfg, []front.Dialect{{Routes: []front.Route{{Pattern: "POST /topics/{topic}"}, {Pattern: "POST /{$}"}}}}, slog.New(slog.NewTextHandler(&log, nil)))
	for _, want := range []string{
		`key=limits[3].match.route route="GET /topics/{topic}"`, `key=usage_plans[0].methods route="POST /topic/{topic}"`, `key=adaptive.classes[0].match.route route="PUT /topics"`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no warning %s in\n%s", want, log.String())
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 3 {
		t.Errorf("%d warnings in\n%s", n, log.String())
	}
}
