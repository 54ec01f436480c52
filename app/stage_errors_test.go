package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestConsumersAreRefusedInTheFormOfTheStage checks that refusals of consumer instances,
// which are told in a negotiated type elsewhere, have the form of a stage that has one.
func TestConsumersAreRefusedInTheFormOfTheStage(t *testing.T) {
	id := fmt.Sprintf("%x", time.Now().UnixNano())
	r := start(t, keysOf("ann")+`
rules:
  - {who: ["User:ann"], can: [consume, describe], topics: ["*"], groups: ["mine-*"]}
stages: [{name: a, errors: aws}, {name: n}]
limits:
  - {name: once, match: {route: "GET /consumers/{group}/instances/{instance}/subscription"}, key: [stage], requests: {rate: 0.001, burst: 1}}
`, t.TempDir())
	ask := func(method, path, body string) (*http.Response, string) {
		return r.exchange(method, path, body, "X-Api-Key: "+keyOf("ann"), "Content-Type: "+v2JSON, "Accept: application/vnd.kafka.v2+json")
	}
	for _, stage := range []string{"a", "n"} {
		none := "/" + stage + "/consumers/mine-" + id + "/instances/none/subscription"
		for _, c := range []struct{ name, path, kind, aws, native string }{
			{"denied", "/" + stage + "/consumers/other-" + id + "/instances/none/records", "AccessDeniedException", `{"Message":"User: ann is not authorized`, `{"error_code":40301,`},
			{"not there", none, "", `{"error_code":40403,`, `{"error_code":40403,`},
			{"too often", none, "TooManyRequestsException", `{"message":"Too Many Requests"}`, `{"error_code":429,`},
		} {
			want, media := c.native, "application/vnd.kafka.v2+json"
			if stage == "a" {
				want = c.aws
				if c.kind != "" {
					media = "application/json"
				}
			}
			resp, text := ask(http.MethodGet, c.path, "")
			if !strings.HasPrefix(text, want) || resp.Header.Get("Content-Type") != media || stage == "a" && resp.Header.Get("X-Amzn-Errortype") != c.kind {
				t.Errorf("stage %s, %s: %d %v %s, want %s", stage, c.name, resp.StatusCode, resp.Header, text, want)
			}
		}
	}
}
