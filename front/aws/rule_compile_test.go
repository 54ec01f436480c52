package aws_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
)

// compiled makes the pipes of a rule.
func (s *server) compiled(name string, rule catalog.Rule) []catalog.Pipe {
	s.t.Helper()
	body, err := json.Marshal(rule)
	if err != nil {
		s.t.Fatal(err)
	}
	pipes, err := s.api.CompileRule(s.t.Context(), catalog.Document{Kind: catalog.KindRule, Name: name, Version: 7, Dialect: "aws", Body: body})
	if err != nil {
		s.t.Fatal(err)
	}
	return pipes
}

func text(s string) *string { return &s }

func configOf(t *testing.T, p catalog.Pipe) m {
	t.Helper()
	var config m
	if err := json.Unmarshal(p.Target.Config, &config); err != nil {
		t.Fatal(err)
	}
	return config
}

func TestKindsOfTargets(t *testing.T) {
	s := start(t)
	far, named := "far"+s.topic(), "d"+s.topic() // the cluster may be one that others have used
	s.events("CreateEventBus", m{"Name": far, "Tags": []m{{"Key": catalog.TagOrderKey, "Value": "$.detail.id"}}})
	destination := s.destination(named, "http://127.0.0.1:1/in/*")
	trace := []any{event.HeaderTrace}
	nowhere := func(code string) m { return m{"code": code, "passing": false} }
	for _, c := range []struct {
		name, arn, kind string
		want            m // of the configuration
	}{
		{"a topic", "arn:klamm:kafka:::topic/a.b", "topic", m{"name": "a.b", "headers": trace}},
		{"a queue", "arn:aws:sqs:us-east-1:000000000000:q", "topic", m{"name": "q", "headers": trace}},
		{"a FIFO queue", "arn:aws:sqs:us-east-1:000000000000:q.fifo", "topic", m{"name": "q.fifo", "headers": trace}},
		{"a log group", "arn:aws:logs:us-east-1:000000000000:log-group:/aws/events/o:*", "log", m{"name": "/aws/events/o", "headers": trace}},
		{"a function", "arn:aws:lambda:us-east-1:000000000000:function:f", "function", m{"name": "f", "asynchronous": true}},
		{"a version of a function", "arn:aws:lambda:us-east-1:000000000000:function:f:live", "function", m{"name": "f", "asynchronous": true}},
		{"a bus", "arn:aws:events:us-east-1:000000000000:event-bus/" + far, "bus", m{"name": far, "forward": true, "order_key": "$.detail.id"}},
		{"the default bus", "arn:aws:events:us-east-1:000000000000:event-bus/default", "bus", m{"name": "default", "forward": true, "order_key": ""}},
		{"a bus that is not there", "arn:aws:events:us-east-1:000000000000:event-bus/gone", "nowhere", nowhere(target.CodeNoResource)},
		{"a bus of another account", "arn:aws:events:us-east-1:111122223333:event-bus/" + far, "nowhere", nowhere("CROSS_ACCOUNT_INGESTION_FAILED")},
		{"a bus of another region", "arn:aws:events:eu-west-1:000000000000:event-bus/" + far, "nowhere", nowhere("CROSS_REGION_INGESTION_FAILED")},
		{"an API destination", destination, "webhook", m{"method": "POST", "plain": true}},
		{"an API destination that is not there", strings.Replace(destination, named, named+"x", 1), "nowhere", nowhere(target.CodeNoResource)},
		{"an API destination of another time", destination[:len(destination)-4] + "0000", "nowhere", nowhere(target.CodeNoResource)},
		{"a gateway", "arn:aws:execute-api:us-east-1:000000000000:abc/prod/GET/pets/*", "webhook", m{"url": "http://127.0.0.1:1/base/prod/pets/*", "method": "GET"}},
		{"a stage of a gateway", "arn:aws:execute-api:us-east-1:000000000000:abc/test/*/pets", "webhook", m{"url": "http://127.0.0.1:2/pets", "method": "POST"}},
		{"a gateway that has no URL", "arn:aws:execute-api:us-east-1:000000000000:def/prod/GET/pets", "nowhere", nowhere(target.CodeNoResource)},
		{"a stream", "arn:aws:kinesis:us-east-1:000000000000:stream/s", "nowhere", nowhere(target.CodeNoResource)},
		{"a notification", "arn:aws:sns:us-east-1:000000000000:s", "nowhere", nowhere(target.CodeNoResource)},
		{"a state machine", "arn:aws:states:us-east-1:000000000000:stateMachine:s", "nowhere", nowhere(target.CodeNoResource)},
		{"a delivery stream", "arn:aws:firehose:us-east-1:000000000000:deliverystream/s", "nowhere", nowhere(target.CodeNoResource)},
		{"something else", "arn:aws:ecs:us-east-1:000000000000:cluster/c", "nowhere", nowhere(target.CodeNoResource)},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := s.compiled("default/r", catalog.Rule{Targets: []catalog.RuleTarget{{Id: "t", Arn: c.arn}}})[0]
			config := configOf(t, p)
			for name := range config {
				if _, ok := c.want[name]; !ok {
					delete(config, name)
				}
			}
			if diff := cmp.Diff(c.want, config); diff != "" || p.Target.Kind != c.kind {
				t.Errorf("kind %s, configuration (-want +got):\n%s", p.Target.Kind, diff)
			}
			if p.Bus.TargetARN != c.arn || p.Bus.RuleARN != "arn:aws:events:us-east-1:000000000000:rule/r" {
				t.Errorf("%+v", p.Bus)
			}
		})
	}
}

func TestWhatATargetOfARuleSays(t *testing.T) {
	s := start(t)
	bus := "a/b" + s.topic()
	s.events("CreateEventBus", m{"Name": bus, "Tags": []m{{"Key": catalog.TagOrderKey, "Value": "$.detail.id"}}})
	five, hundred := int64(5), int64(100)
	rule := catalog.Rule{EventPattern: text(`{"source":["s"]}`), State: catalog.RuleEnabled, Targets: []catalog.RuleTarget{
		{Id: "plain", Arn: "arn:klamm:kafka:::topic/t"},
		{Id: "much", Arn: "arn:klamm:kafka:::topic/t", InputPath: text("$.detail"), RetryPolicy: &catalog.RuleRetry{MaximumRetryAttempts: &five, MaximumEventAgeInSeconds: &hundred},
			DeadLetterConfig: &catalog.RuleDeadLetter{Arn: text("arn:aws:sqs:us-east-1:000000000000:dlq")}},
		{Id: "made", Arn: "arn:klamm:kafka:::topic/t", InputTransformer: &catalog.RuleTransformer{InputPathsMap: map[string]string{"a": "$.id"}, InputTemplate: text(`"<a>"`)}, DeadLetterConfig: &catalog.RuleDeadLetter{Arn: text("arn:klamm:kafka:::topic/letters")}},
	}}
	pipes := s.compiled(bus+"/r", rule)
	if len(pipes) != 3 {
		t.Fatalf("%d pipes", len(pipes))
	}
	for i, want := range []struct {
		name, letters string
		attempts      int
		age           time.Duration
		input         *catalog.Input
	}{
		{"klamm.rule." + bus + "/r/plain", "", 186, 24 * time.Hour, nil},
		{"klamm.rule." + bus + "/r/much", "dlq", 6, 100 * time.Second, &catalog.Input{Path: "$.detail"}},
		{"klamm.rule." + bus + "/r/made", "letters", 186, 24 * time.Hour, &catalog.Input{Template: `"<a>"`, Paths: map[string]string{"a": "$.id"}}},
	} {
		p := pipes[i]
		if p.Name != want.name || p.Version != 7 || p.Bus.DeadLetter != want.letters || p.Delivery.Attempts != want.attempts || p.Delivery.MaxAge != want.age || p.Delivery.Order != catalog.OrderKey {
			t.Errorf("%+v, %+v", p, p.Bus)
		}
		if diff := cmp.Diff(want.input, p.Bus.Input); diff != "" {
			t.Errorf("%s: input (-want +got):\n%s", p.Name, diff)
		}
		if p.Bus.Bus != bus || p.Bus.Rule != "r" || p.Bus.RuleARN != "arn:aws:events:us-east-1:000000000000:rule/"+bus+"/r" || string(p.Bus.Pattern) != `{"source":["s"]}` ||
			p.Topics[0] != event.BusTopic(bus) || p.Topics[1] != event.RetryTopic(bus) {
			t.Errorf("%+v", p.Bus)
		}
	}
	rule.State = catalog.RuleDisabled
	if pipes := s.compiled(bus+"/r", rule); len(pipes) != 0 {
		t.Errorf("a disabled rule has %d pipes", len(pipes))
	}
	if p := s.compiled("default/r", catalog.Rule{Targets: rule.Targets[:1]})[0]; p.Delivery.Order != catalog.OrderNone || p.Bus.Pattern != nil {
		t.Errorf("%+v", p)
	}
}

func TestRequestsOfRules(t *testing.T) {
	s := start(t)
	destination := s.destination("d"+s.topic(), "http://127.0.0.1:1/v/*/o/*?fixed=1")
	make := func(p *catalog.RuleHTTP) (catalog.Pipe, m) {
		pipe := s.compiled("default/r", catalog.Rule{Targets: []catalog.RuleTarget{{Id: "t", Arn: destination, HttpParameters: p}}})[0]
		return pipe, configOf(t, pipe)
	}
	pipe, got := make(&catalog.RuleHTTP{
		PathParameterValues: []string{"$.detail.shop", "a b/c", "more"},
		HeaderParameters:    map[string]string{"x-id": "$.detail.id", "X-Plain": "is $.detail.id", "X-No": "$.detail.id or", "content-type": "text/plain"},
		QueryStringParameters: map[string]string{
			"q": "$['detail']['a b'][0]", "c": "1",
		},
	})
	want := m{
		"url": "http://127.0.0.1:1/v/*/o/*?fixed=1", "method": "POST", "plain": true, "fail_unknown_hosts": true, "close": false, "retry_conflict": true, "retry_statuses": []any{429.},
		"path_parameters": []any{"<$.detail.shop>", "a b/c"}, "query": m{"q": "<$['detail']['a b'][0]>", "c": "1"},
		"headers": m{"User-Agent": "klamm/test", "Content-Type": "text/plain", "Range": "bytes=0-1048575", "Accept-Encoding": "gzip,deflate", "X-Id": "<$.detail.id>", "X-Plain": "is $.detail.id", "X-No": "$.detail.id or"},
		"auth":    m{"api_key": m{"header": "X-Key", "value": m{"value": "s3cret"}}},
	}
	if diff := cmp.Diff(want, got); diff != "" || pipe.Delivery.Timeout != 5*time.Second || pipe.Bus.Rate != (catalog.Rate{Of: destination, PerSecond: 300}) {
		t.Errorf("timeout %s, rate %+v, configuration (-want +got):\n%s", pipe.Delivery.Timeout, pipe.Bus.Rate, diff)
	}
	if _, got = make(nil); got["headers"].(m)["Content-Type"] != "application/json; charset=utf-8" || len(got["path_parameters"].([]any)) != 0 {
		t.Errorf("without parameters: %v", got)
	}
	if pipe, got = make(&catalog.RuleHTTP{HeaderParameters: map[string]string{"Cookie": "$.detail.id"}}); pipe.Target.Kind != "nowhere" || got["code"] != target.CodeParameter {
		t.Errorf("a header that must not be made of an event: %v", got)
	}
	if pipe, got = make(&catalog.RuleHTTP{PathParameterValues: []string{"..", "x"}}); pipe.Target.Kind != "nowhere" || got["code"] != target.CodeParameter || got["passing"] != false {
		t.Errorf("a path that leads away: %v", got)
	}
}
