package connect

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/target/sink"
)

func testAPI(topics ...string) *API {
	return New(Config{Account: "000000000000", Region: "us-east-1", Environment: func(name string) (string, bool) { return "", name == "AWS_SESSION_TOKEN" }, Check: func(catalog.Pipe) error { return nil },
		Topics: func(context.Context) ([]string, error) { return topics, nil }})
}

// A pattern that is wide enough would match what klamm itself writes: the connector's dead
// letters too, without end.
func TestPatternsMatchNoTopicsOfKlamm(t *testing.T) {
	a := testAPI("orders", "__consumer_offsets", "klamm.bus.default", "klamm.dlq.klamm.connector.c", "klamm", "bills")
	body, err := json.Marshal(body{Config: with("topics", "", "topics.regex", ".*"), State: running})
	if err != nil {
		t.Fatal(err)
	}
	doc := catalog.Document{Name: "c", Version: 7, Stopped: true, Body: body}
	pipes, err := a.Compile(t.Context(), doc)
	if err != nil || len(pipes) != 1 || !slices.Equal(pipes[0].Topics, []string{"bills", "klamm", "orders"}) || pipes[0].Version != 7 || !pipes[0].Paused {
		t.Errorf("got %+v, %v", pipes, err)
	}
	if pipes, err = testAPI("klamm.pipes").Compile(t.Context(), doc); err != nil || len(pipes) != 0 {
		t.Errorf("while no topic matches: got %+v, %v", pipes, err)
	}
}

// What only the whole configuration shows is told of the setting that it is about.
func TestAProfileIsRefusedByItsName(t *testing.T) {
	_, err := testAPI().compile(t.Context(), "c", with(profile, "shop"))
	var p problem
	if !errors.As(err, &p) || p.name != profile || !strings.Contains(p.text, "AWS_SESSION_TOKEN") || !errors.Is(err, catalog.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

// with is the smallest configuration of a sink, with settings changed: an empty value
// takes one away.
func with(pairs ...string) configuration {
	c := configuration{"name": "c", "connector.class": eventBridge, "topics": "a, b", "aws.eventbridge.connector.id": "id", "aws.eventbridge.region": "us-east-1",
		"aws.eventbridge.eventbus.arn": "arn:aws:events:us-east-1:000000000000:event-bus/shop"}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			delete(c, pairs[i])
		} else {
			c[pairs[i]] = pairs[i+1]
		}
	}
	return c
}

func TestConfigurationsAreChecked(t *testing.T) {
	for _, c := range []struct {
		name string
		in   configuration
		want []string // the settings that are wrong
	}{
		{"the smallest", with(), nil},
		{"everything that is needed is missing", configuration{"connector.class": eventBridge}, []string{"name", "aws.eventbridge.connector.id", "aws.eventbridge.region", "aws.eventbridge.eventbus.arn", "topics"}},
		{"another class", with("connector.class", "com.example.Sink"), []string{"connector.class"}},
		{"a blank id", with("aws.eventbridge.connector.id", " "), []string{"aws.eventbridge.connector.id"}},
		{"no bus", with("aws.eventbridge.eventbus.arn", "arn:aws:sns:us-east-1:000000000000:x"), []string{"aws.eventbridge.eventbus.arn"}},
		{"retries", with("aws.eventbridge.retries.max", "11"), []string{"aws.eventbridge.retries.max"}},
		{"a role", with("aws.eventbridge.iam.role.arn", "admin"), []string{"aws.eventbridge.iam.role.arn"}},
		{"an endpoint id", with("aws.eventbridge.eventbus.global.endpoint.id", "x"), []string{"aws.eventbridge.eventbus.global.endpoint.id"}},
		{"a bucket", with("aws.eventbridge.offloading.default.s3.bucket", "A"), []string{"aws.eventbridge.offloading.default.s3.bucket"}},
		{"tasks", with("tasks.max", "0"), []string{"tasks.max"}},
		{"a converter", with("value.converter", "com.example.Converter"), []string{"value.converter"}},
		{"converters of numbers", with("key.converter", "org.apache.kafka.connect.converters.IntegerConverter", "value.converter", "org.apache.kafka.connect.converters.BooleanConverter"), nil},
		{"converters of numbers for a webhook", configuration{"name": "h", "connector.class": confluentHTTP, "topics": "t", "http.api.url": "http://x/", "value.converter": "org.apache.kafka.connect.converters.IntegerConverter"}, []string{"value.converter"}},
		{"a mapper of others", with("aws.eventbridge.detail.types.mapper.class", "com.example.Mapper"), []string{"aws.eventbridge.detail.types.mapper.class"}},
		{"transforms", with("transforms", "mask"), []string{"transforms"}},
		{"a topic for payloads", with("klamm.offloading.topic.arn", "arn:aws:s3:::x"), []string{"klamm.offloading.topic.arn"}},
		{"a size of payloads", with("klamm.offloading.min.bytes", "-1"), []string{"klamm.offloading.min.bytes"}},
		{"topics twice", with("topics.regex", "x.*"), []string{"topics.regex"}},
		{"a pattern that is none", with("topics", "", "topics.regex", "a("), []string{"topics.regex"}},
		{"pairs", with(detailTypes, "a,b"), []string{detailTypes}},
		{"pairs that do not count", with(detailTypes, "a,b", detailMapper, "software.amazon.event.kafkaconnector.mapping.JsonPathDetailTypeMapper", detailPath, "$.type"), nil},
		{"a mapper without path", with(detailMapper, "software.amazon.event.kafkaconnector.mapping.JsonPathDetailTypeMapper"), []string{detailPath}},
		{"a path that is not definite", with(detailMapper, "software.amazon.event.kafkaconnector.mapping.JsonPathDetailTypeMapper", detailPath, "$..type"), []string{detailPath}},
		{"a path that does not count", with(detailPath, "$..type"), nil},
		{"a field with a star", with(offloadBucket, "bucket", offloadField, "$.detail.value.*"), []string{offloadField}},
		{"a bucket and a topic", with(offloadBucket, "bucket", offloadTopic, sink.TopicARN+"t"), []string{offloadTopic}},
		{"several at once", with(detailTypes, "a,b", "tasks.max", "x", offloadBucket, "bucket", offloadField, "$.detail.key"), []string{detailTypes, "tasks.max", offloadField}},
		{"a region of one word", with("aws.eventbridge.region", "mars"), nil},
		{"a region with a slash", with("aws.eventbridge.region", "us-east-1/x"), []string{"aws.eventbridge.region"}},
		{"dead letters in what is read", with("errors.deadletterqueue.topic.name", "b"), []string{"topics"}},
		{"dead letters that a pattern matches", with("topics", "", "topics.regex", "or.*", "errors.deadletterqueue.topic.name", "orders.dlq"), []string{"topics.regex"}},
		{"dead letters that a pattern matches in part", with("topics", "", "topics.regex", "orders", "errors.deadletterqueue.topic.name", "orders.dlq"), nil},
		{"an HTTP sink", configuration{"name": "h", "connector.class": confluentHTTP, "topics": "t", "http.api.url": "http://x/"}, nil},
		{"an HTTP sink with a login", configuration{"name": "h", "connector.class": confluentHTTP, "topics": "t", "http.api.url": "http://x/", "auth.type": "basic", "connection.password": "p"}, []string{"connection.password", "connection.user"}},
		{"an HTTP sink with a login of another kind", configuration{"name": "h", "connector.class": confluentHTTP, "topics": "t", "http.api.url": "http://x/", "auth.type": "kerberos"}, []string{"auth.type"}},
		{"an HTTP sink whose client logs in otherwise", configuration{"name": "h", "connector.class": aivenHTTP, "topics": "t", "http.url": "http://x/", "http.authorization.type": "oauth2", "oauth2.access.token.url": "http://x/t", "oauth2.client.id": "i",
			"oauth2.client.secret": "${env:KLAMM_SECRET_A}", "oauth2.client.authorization.mode": "cookie"}, []string{"oauth2.client.authorization.mode"}},
		{"a secret that is no definition's", configuration{"name": "h", "connector.class": aivenHTTP, "topics": "t", "http.url": "http://x/", "http.authorization.type": "static", "http.headers.authorization": "${env:HOME}"}, []string{"http.headers.authorization"}},
		{"Aiven's without what it needs", configuration{"name": "h", "connector.class": aivenHTTP, "topics": "t"}, []string{"http.url", "http.authorization.type"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, p := range c.in.check() {
				got = append(got, p.name)
			}
			slices.Sort(got)
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSettingsMayBeNumbersAndBooleans(t *testing.T) {
	var got configuration
	if err := json.Unmarshal([]byte(`{"tasks.max": 2, "value.converter.schemas.enable": false, "topics": "a", "transforms": null}`), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(configuration{"tasks.max": "2", "value.converter.schemas.enable": "false", "topics": "a"}, got); diff != "" {
		t.Error(diff)
	}
	for _, wrong := range []string{`{"topics": ["a"]}`, `{"topics": {}}`, `[]`, `"x"`} {
		if err := json.Unmarshal([]byte(wrong), &got); err == nil {
			t.Errorf("%s was read as %v", wrong, got)
		}
	}
}

func TestSinksAreCompiled(t *testing.T) {
	a := testAPI("orders.eu", "orders.us", "__orders", "other")
	p, err := a.compile(t.Context(), "c", with("key.converter", "org.apache.kafka.connect.storage.StringConverter", "value.converter", "io.confluent.connect.avro.AvroConverter",
		"errors.tolerance", "all", "errors.deadletterqueue.topic.name", "dead", "errors.deadletterqueue.context.headers.enable", "true", "aws.eventbridge.eventbus.resources", "r1, r2"))
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "klamm.connector.c" || p.Group != "connect-c" || p.Start != "earliest" || !slices.Equal(p.Topics, []string{"a", "b"}) || p.Delivery.DeadLetter != "dead" || p.Delivery.Order != catalog.OrderPartition {
		t.Errorf("got %+v", p)
	}
	if diff := cmp.Diff(&catalog.Connector{Name: "c", Value: true, Headers: true}, p.Connector); diff != "" {
		t.Error(diff)
	}
	var got sink.Config
	if err := json.Unmarshal(p.Target.Config, &got); err != nil {
		t.Fatal(err)
	}
	want := sink.Config{Connector: "id", Bus: "shop", Account: "000000000000", Region: "us-east-1", Resources: []string{"r1", "r2"}, DetailTypes: []string{"kafka-connect-${topic}"}, Key: sink.String, Value: sink.Registry, Header: sink.Simple}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	p, err = a.compile(t.Context(), "c", with("key.converter", "org.apache.kafka.connect.converters.LongConverter", "value.converter", "org.apache.kafka.connect.converters.DoubleConverter",
		"header.converter", "org.apache.kafka.connect.json.JsonConverter"))
	if err != nil {
		t.Fatal(err)
	}
	got = sink.Config{}
	if err := json.Unmarshal(p.Target.Config, &got); err != nil || got.Key != sink.Long || got.Value != sink.Double || got.Header != sink.Enveloped {
		t.Errorf("got %+v, %v", got, err)
	}

	p, err = a.compile(t.Context(), "c", with("topics", "", "topics.regex", "orders\\..*", "aws.eventbridge.eventbus.arn", "arn:aws:events:eu-west-1:123456789012:event-bus/far", "aws.eventbridge.region", "eu-west-1"))
	if err != nil || !slices.Equal(p.Topics, []string{"orders.eu", "orders.us"}) {
		t.Fatalf("got %v, %v", p.Topics, err)
	}
	got = sink.Config{}
	if p.Connector.Attempts != 3 || p.Delivery.Backoff != (catalog.Backoff{Min: 200 * time.Millisecond, Max: 200 * time.Millisecond}) {
		t.Errorf("got %+v", p)
	}
	if err := json.Unmarshal(p.Target.Config, &got); err != nil || got.Remote == nil || got.Remote.Region != "eu-west-1" || got.Bus != "" || got.Value != sink.Enveloped {
		t.Errorf("got %+v, %v", got, err)
	}
	for name, c := range map[string]configuration{
		"a wrong setting":      with("tasks.max", "0"),
		"its own dead letters": with("topics", "a,klamm.dlq.klamm.connector.c"),
	} {
		if _, err := a.compile(t.Context(), "c", c); !errors.Is(err, catalog.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHTTPSinksBecomeWebhooks(t *testing.T) {
	p, err := testAPI().compile(t.Context(), "h", configuration{"name": "h", "connector.class": confluentHTTP, "topics": "t", "http.api.url": "http://x/y", "request.method": "put",
		"headers": "X-A: 1|X-B:two", "batch.max.size": "5", "batch.prefix": "[", "batch.suffix": "]", "max.retries": "3"})
	if err != nil {
		t.Fatal(err)
	}
	if p.Target.Kind != "webhook" || string(p.Target.Config) != `{"headers":{"X-A":"1","X-B":"two"},"method":"PUT","url":"http://x/y"}` {
		t.Errorf("got %s", p.Target.Config)
	}
	if d := p.Delivery; d.Batch.Records != 5 || d.Batch.Format != "json" || d.Attempts != 4 {
		t.Errorf("got %+v", d)
	}
	p, err = testAPI().compile(t.Context(), "h", configuration{"name": "h", "connector.class": aivenHTTP, "topics": "t", "http.url": "http://x", "http.authorization.type": "none",
		"batching.enabled": "true", "http.headers.content.type": "text/plain"})
	if err != nil || p.Delivery.Batch.Records != 500 || p.Delivery.Batch.Format != "ndjson" || !strings.Contains(string(p.Target.Config), `"Content-Type":"text/plain"`) {
		t.Errorf("got %+v, %v", p, err)
	}
	if _, err := headersOf([]string{"Authorization: Basic x"}); err == nil {
		t.Error("a login is taken")
	}
}

func TestHTTPSinksLogIn(t *testing.T) {
	confluent := configuration{"name": "h", "connector.class": confluentHTTP, "topics": "t", "http.api.url": "http://x/y"}
	aiven := configuration{"name": "h", "connector.class": aivenHTTP, "topics": "t", "http.url": "http://x/y"}
	for _, c := range []struct {
		name string
		base configuration
		more configuration
		want string // the webhook's auth
	}{
		{"none", confluent, configuration{"auth.type": "NONE"}, "null"},
		{"basic", confluent, configuration{"auth.type": "BASIC", "connection.user": "u", "connection.password": "${env:KLAMM_SECRET_P}"}, `{"basic":{"password":{"env":"KLAMM_SECRET_P"},"username":"u"}}`},
		{"bearer", confluent, configuration{"auth.type": "bearer", "bearer.token": "${env:KLAMM_SECRET_T}"}, `{"bearer":{"env":"KLAMM_SECRET_T"}}`},
		{"oauth2", confluent, configuration{"auth.type": "oauth2", "oauth2.token.url": "http://x/token", "oauth2.client.id": "i", "oauth2.client.secret": "${env:KLAMM_SECRET_S}", "oauth2.client.auth.mode": "url"},
			`{"oauth":{"client_id":"i","client_secret":{"env":"KLAMM_SECRET_S"},"scope":"any","token_url":"http://x/token"}}`},
		{"oauth2 by a header", confluent, configuration{"auth.type": "oauth2", "oauth2.token.url": "http://x/token", "oauth2.client.id": "i", "oauth2.client.secret": "${env:KLAMM_SECRET_S}"},
			`{"oauth":{"client_auth":"header","client_id":"i","client_secret":{"env":"KLAMM_SECRET_S"},"scope":"any","token_url":"http://x/token"}}`},
		{"static", aiven, configuration{"http.authorization.type": "static", "http.headers.authorization": "${env:KLAMM_SECRET_H}"}, `{"api_key":{"header":"Authorization","value":{"env":"KLAMM_SECRET_H"}}}`},
		{"Aiven's oauth2", aiven, configuration{"http.authorization.type": "oauth2", "oauth2.access.token.url": "http://x/token", "oauth2.client.id": "i", "oauth2.client.secret": "${env:KLAMM_SECRET_S}", "oauth2.client.authorization.mode": "URL"},
			`{"oauth":{"client_id":"i","client_secret":{"env":"KLAMM_SECRET_S"},"token_url":"http://x/token"}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := maps.Clone(c.base)
			maps.Copy(config, c.more)
			p, err := testAPI().compile(t.Context(), "h", config)
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if err := json.Unmarshal(p.Target.Config, &got); err != nil {
				t.Fatal(err)
			}
			if auth, _ := json.Marshal(got["auth"]); string(auth) != c.want {
				t.Errorf("got %s, want %s", auth, c.want)
			}
		})
	}
	wrong := maps.Clone(confluent)
	maps.Copy(wrong, configuration{"auth.type": "basic", "connection.user": "u", "connection.password": "hunter-2"})
	if found := wrong.check(); len(found) != 1 || strings.Contains(found[0].text, "hunter-2") || !strings.Contains(found[0].text, "KLAMM_SECRET_") {
		t.Errorf("got %v", found)
	}
}

func TestHTTPSinksTakeEnvelopesOff(t *testing.T) {
	for _, c := range []struct {
		name string
		more configuration
		want bool
	}{
		{"a worker's converter", nil, false},
		{"JSON", configuration{"value.converter": "org.apache.kafka.connect.json.JsonConverter"}, true},
		{"JSON without schemas", configuration{"value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable": "false"}, false},
		{"schemas alone", configuration{"value.converter.schemas.enable": "true"}, true},
		{"text", configuration{"value.converter": "org.apache.kafka.connect.storage.StringConverter"}, false},
	} {
		config := configuration{"name": "h", "connector.class": confluentHTTP, "topics": "t", "http.api.url": "http://x/y"}
		maps.Copy(config, c.more)
		p, err := testAPI().compile(t.Context(), "h", config)
		if err != nil || p.Connector.Enveloped != c.want {
			t.Errorf("%s: %+v, %v", c.name, p.Connector, err)
		}
	}
}

func TestOffloadingIsCompiled(t *testing.T) {
	a := testAPI()
	p, err := a.compile(t.Context(), "c", with("klamm.offloading.topic.arn", "arn:klamm:kafka:::topic/claims", "klamm.offloading.min.bytes", "1024"))
	if err != nil {
		t.Fatal(err)
	}
	var got sink.Config
	if err := json.Unmarshal(p.Target.Config, &got); err != nil {
		t.Fatal(err)
	}
	if o := got.Offload; o == nil || o.Topic != "claims" || o.AtLeast != 1024 || o.Field != "$.detail.value" || o.Bucket != "" {
		t.Errorf("got %+v", o)
	}
	for name, c := range map[string]configuration{
		"a bucket and a topic":                with("klamm.offloading.topic.arn", "arn:klamm:kafka:::topic/claims", "aws.eventbridge.offloading.default.s3.bucket", "claims"),
		"a profile beside the environment's":  with("aws.eventbridge.iam.profile.name", "shop"),
		"a field that is not below the value": with("klamm.offloading.topic.arn", "arn:klamm:kafka:::topic/claims", "aws.eventbridge.offloading.default.fieldref", "$.detail.key"),
	} {
		if _, err := a.compile(t.Context(), "c", c); !errors.Is(err, catalog.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
