package config

import (
	"strings"
	"testing"

	"github.com/klamm-gateway/klamm/target/all"
)

func TestVariablesOfStages(t *testing.T) {
	const stages = `
stages:
  - {name: dev, variables: {prefix: "dev-", n: "5", host: dev.example.com}, cors: {allow_origins: ["https://${stage.host}"]}}
  - {name: prod, variables: {prefix: "prod-"}}
`
	cfg, problems := Load([]byte(stages+`
limits:
  - {name: a, match: {stage: dev, topic: "${stage.prefix}orders", principal: "User:${stage.prefix}*"}, requests: {rate: 5}}
  - {name: b, match: {stage: prod, group: "${stage.prefix}${stage.prefix}g"}, requests: {rate: 5}}
adaptive: {produce: 50, classes: [{match: {stage: prod, topic: "${stage.prefix}bulk"}, class: bulk}]}
routes:
  - {route: "GET /legacy/{proxy+}", type: proxy, stages: [dev], url: "http://${stage.host}/v1/{proxy}"}
  - {route: "POST /beats", type: rewrite, stages: [dev], to: "/topics/beats-${stage.n}"}
  - {route: "POST /p/{topic}", stages: [dev], body: {application/json: {title: "of ${stage.host}"}}}
  - {route: "POST /x/{id}", type: produce, topic: "${stage.prefix}x"}
`), all.Kinds())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	got := []string{
		cfg.Stages[0].CORS.AllowOrigins[0], cfg.Limits[0].Match.Topic, cfg.Limits[0].Match.Principal, cfg.Limits[1].Match.Group, cfg.Adaptive.Classes[0].Match.Topic,
		cfg.Routes[0].URL, cfg.Routes[1].To, string(cfg.Routes[2].Body["application/json"]), cfg.Routes[3].Topic,
	}
	want := []string{
		"https://dev.example.com", "dev-orders", "User:dev-*", "prod-prod-g", "prod-bulk", "http://dev.example.com/v1/{proxy}", "/topics/beats-5", `{"title":"of dev.example.com"}`, "${stage.prefix}x",
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
	for text, want := range map[string]string{
		`limits: [{name: a, match: {stage: dev, topic: "${stage.none}"}, requests: {rate: 5}}]`:            "${stage.none} is no variable of the stage",
		`limits: [{name: a, match: {topic: "${stage.prefix}x"}, requests: {rate: 5}}]`:                     "${stage.prefix} stands here for no stage",
		`topics: [{match: "${stage.prefix}x", key: {type: string}}]`:                                       "${stage.prefix} stands here for no stage",
		`routes: [{route: "POST /b", type: rewrite, stages: [dev, prod], to: "/p/${stage.prefix}b"}]`:      "${stage.prefix} stands here for no stage",
		`limits: [{name: a, match: {stage: test}, requests: {rate: 5}}]`:                                   `there is no stage "test"`,
		`usage_plans: [{name: a, stages: [dev, test], quotas: [{unit: requests, limit: 5, period: DAY}]}]`: `there is no stage "test"`,
		`adaptive: {produce: 50, classes: [{match: {stage: test}, class: bulk}]}`:                          `there is no stage "test"`,
		`cors: {allow_origins: ["https://${stage.host}"]}`:                                                 "${stage.host} stands here for no stage",
	} {
		_, problems := Load([]byte(stages+text), all.Kinds())
		if len(problems) == 0 || !strings.Contains(problems[0].Text+problems[len(problems)-1].Text, want) {
			t.Errorf("%s: got %v", text, problems)
		}
	}
}
