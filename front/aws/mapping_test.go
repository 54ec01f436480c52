package aws

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// registryOf is a request with a schema registry.
func registryOf(members string) string {
	return `{"SelfManagedKafkaEventSourceConfig":{"SchemaRegistryConfig":{` + members + `}}}`
}

// strictKeys is a request with a filter on keys and a schema registry for an attribute.
func strictKeys(attribute string) string {
	return `{"SourceAccessConfigurations":[{"Type":"BASIC_AUTH","URI":"s"}],"ProvisionedPollerConfig":{"MinimumPollers":1},"FilterCriteria":{"Filters":[{"Pattern":"{\"key\":[\"x\"]}"}]},` +
		registryOf(`"SchemaRegistryURI":"http://r","EventRecordFormat":"JSON","SchemaValidationConfigs":[{"Attribute":` + attribute + `}]`)[1:]
}

func requestOf(t *testing.T, change string) *mappingRequest {
	t.Helper()
	all := map[string]json.RawMessage{}
	for _, text := range []string{`{"Topics":["orders"],"StartingPosition":"TRIM_HORIZON","SelfManagedEventSource":{"Endpoints":{"KAFKA_BOOTSTRAP_SERVERS":["h:1"]}}}`, change} {
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	q := &mappingRequest{}
	if err := json.Unmarshal(text, q); err != nil {
		t.Fatal(err)
	}
	return q
}

// verdictOf is the name and the message of what is wrong with a request.
func verdictOf(q *mappingRequest, strict bool) (name, message string) {
	v := &violations{}
	q.check(v)
	err := v.validation()
	for _, check := range []func() error{q.checkOthers, func() error { return q.checkSource(strict) }, func() error { return q.checkRules(strict) }} {
		if err == nil {
			err = check()
		}
	}
	var f *lambdaFault
	if errors.As(err, &f) {
		return f.name, f.message
	}
	return "", ""
}

func TestMappingRequests(t *testing.T) {
	t.Parallel()
	const (
		validation = "ValidationException"
		invalid    = "InvalidParameterValueException"
		secret     = `"URI":"arn:aws:secretsmanager:us-east-1:000000000000:secret:s"`
	)
	for _, tc := range []struct {
		in     string
		strict bool
		want   string
		text   string
	}{
		{in: `{}`},
		{in: `{"Topics":["o"]}`},
		{in: `{"BatchSize":10000,"MaximumBatchingWindowInSeconds":300,"MaximumRetryAttempts":-1,"MaximumRecordAgeInSeconds":604800}`},
		{in: `{"BatchSize":0}`, want: validation, text: "1 validation error detected: Value '0' at 'batchSize' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{in: `{"StartingPosition":"MIDDLE"}`, want: validation, text: "1 validation error detected: Value 'MIDDLE' at 'startingPosition' failed to satisfy constraint: Member must satisfy enum value set: [LATEST, AT_TIMESTAMP, TRIM_HORIZON]"},
		{in: `{"SelfManagedEventSource":null}`, want: invalid, text: "Unrecognized event source."},
		{in: `{"SelfManagedEventSource":null,"EventSourceArn":"arn:aws:sqs:us-east-1:000000000000:q"}`, want: invalid, text: "Unrecognized event source."},
		{in: `{"SelfManagedEventSource":{"Endpoints":{"KAFKA_BOOTSTRAP_SERVERS":["[::1]:9092"]}}}`, want: validation, text: "regular expression"},
		{in: `{"SelfManagedEventSource":{"Endpoints":{"KAFKA_BOOTSTRAP_SERVERS":["h:99999"]}}}`, want: invalid, text: "port"},
		{in: `{"Topics":["a","b"]}`, want: validation, text: "topics"},
		{in: `{"Topics":null}`, want: invalid, text: "topic"},
		{in: `{"StartingPosition":"AT_TIMESTAMP"}`, want: invalid, text: "StartingPositionTimestamp"},
		{in: `{"StartingPosition":"AT_TIMESTAMP","StartingPositionTimestamp":1760001122.845}`},
		{in: `{"StartingPosition":"AT_TIMESTAMP","StartingPositionTimestamp":"2025-10-09T09:12:02Z"}`},
		{in: `{"StartingPosition":"AT_TIMESTAMP","StartingPositionTimestamp":4102444800}`, want: invalid, text: "future"},
		{in: `{"StartingPosition":"AT_TIMESTAMP","StartingPositionTimestamp":1760001122845}`, want: invalid, text: "future"},
		{in: `{"StartingPosition":"AT_TIMESTAMP","StartingPositionTimestamp":1e300}`, want: invalid, text: "future"},
		{in: `{"MaximumRecordAgeInSeconds":59}`, want: invalid, text: "MaximumRecordAgeInSeconds"},
		{in: `{"FilterCriteria":{}}`},
		{in: `{"FilterCriteria":{"Filters":[{"Pattern":"{}"}]}}`, want: invalid, text: "Invalid filter pattern definition."},
		{in: `{"FilterCriteria":{"Filters":[{"Pattern":"{\"value\":\"x\"}"}]}}`, want: invalid, text: "Invalid filter pattern definition."},
		{in: `{"FilterCriteria":{"Filters":[{"Pattern":"{\"key\":[\"x\"]}"}]}}`},
		{in: `{"SourceAccessConfigurations":[{"Type":"BASIC_AUTH",` + secret + `}],"FilterCriteria":{"Filters":[{"Pattern":"{\"key\":[\"x\"]}"}]}}`, strict: true, want: invalid, text: "Invalid filter pattern definition."},
		{in: strictKeys(`"KEY"`), strict: true},
		{in: strictKeys(`"VALUE"`), strict: true, want: invalid, text: "Invalid filter pattern definition."},
		{in: `{}`, strict: true, want: invalid, text: "Required 'sourceAccessConfigurations' parameter is missing."},
		{in: `{"SourceAccessConfigurations":[{"Type":"BASIC_AUTH",` + secret + `},{"Type":"SASL_SCRAM_512_AUTH",` + secret + `}]}`, want: invalid, text: "At most one"},
		{in: `{"SourceAccessConfigurations":[{"Type":"SASL_SCRAM_512_AUTH",` + secret + `},{"Type":"VPC_SUBNET","URI":"subnet:subnet-1"}]}`},
		{in: `{"SelfManagedEventSource":null,"EventSourceArn":"arn:klamm:kafka:::cluster/east","SourceAccessConfigurations":[{"Type":"BASIC_AUTH",` + secret + `}]}`, want: invalid, text: "BASIC_AUTH"},
		{in: `{"SourceAccessConfigurations":[{"Type":"BASIC_AUTH",` + secret + `}],"MaximumRetryAttempts":1}`, strict: true, want: invalid, text: "ProvisionedPollerConfig"},
		{in: `{"SourceAccessConfigurations":[{"Type":"BASIC_AUTH",` + secret + `}],"MaximumRetryAttempts":1,"ProvisionedPollerConfig":{"MinimumPollers":1}}`, strict: true},
		{in: `{"SourceAccessConfigurations":[{"Type":"BASIC_AUTH",` + secret + `}],` + registryOf(`"SchemaRegistryURI":"http://r","EventRecordFormat":"JSON","SchemaValidationConfigs":[{"Attribute":"KEY"}]`)[1:], strict: true, want: invalid, text: "SchemaRegistryConfig is only supported with ProvisionedPollerConfig."},
		{in: `{"ProvisionedPollerConfig":{"MinimumPollers":5,"MaximumPollers":2}}`, want: invalid, text: "MaximumPollers"},
		{in: `{"ProvisionedPollerConfig":{"MinimumPollers":200,"MaximumPollers":2000,"PollerGroupName":"a-B_9"}}`},
		{in: `{"ProvisionedPollerConfig":{"MinimumPollers":0}}`, want: validation, text: "Value '0' at 'provisionedPollerConfig.minimumPollers' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{in: `{"ProvisionedPollerConfig":{"MinimumPollers":201}}`, want: validation, text: "less than or equal to 200"},
		{in: `{"ProvisionedPollerConfig":{"MaximumPollers":2001}}`, want: validation, text: "'provisionedPollerConfig.maximumPollers' failed to satisfy constraint: Member must have value less than or equal to 2000"},
		{in: `{"ProvisionedPollerConfig":{"PollerGroupName":"a.b"}}`, want: validation, text: "provisionedPollerConfig.pollerGroupName"},
		{in: `{"ProvisionedPollerConfig":{"PollerGroupName":"` + strings.Repeat("g", 129) + `"}}`, want: validation, text: "provisionedPollerConfig.pollerGroupName"},
		{in: `{"DestinationConfig":{"OnSuccess":{"Destination":"kafka://x"}}}`, want: invalid, text: "Unsupported DestinationConfig parameter for given event source mapping type."},
		{in: `{"DestinationConfig":{"OnFailure":{"Destination":"kafka://orders"}}}`, want: invalid, text: "must not be the topic"},
		{in: `{"DestinationConfig":{"OnFailure":{"Destination":"kafka://failed"}}}`},
		{in: `{"DestinationConfig":{"OnFailure":{"Destination":"arn:aws:s3:::bucket"}}}`},
		{in: `{"DestinationConfig":{"OnFailure":{"Destination":"arn:aws:sqs:us-east-1:000000000000:q.fifo"}}}`, want: invalid, text: "FIFO"},
		{in: `{"DestinationConfig":{"OnFailure":{"Destination":"arn:aws:sns:us-east-1:000000000000:t"}}}`},
		{in: `{"DestinationConfig":{"OnFailure":{"Destination":"arn:aws:sns:us-east-1:000000000000:t.fifo"}}}`, want: invalid, text: "FIFO"},
		{in: `{"DestinationConfig":{"OnFailure":{"Destination":"arn:aws:kinesis:us-east-1:000000000000:stream/s"}}}`, want: invalid, text: "not supported"},
		{in: `{"TumblingWindowInSeconds":5}`, want: invalid, text: "TumblingWindowInSeconds"},
		{in: `{"SelfManagedKafkaEventSourceConfig":{"ConsumerGroupId":"a#b"}}`, want: validation, text: "selfManagedKafkaEventSourceConfig.consumerGroupId"},
		{in: `{"SelfManagedKafkaEventSourceConfig":{"SchemaRegistryConfig":{"SchemaRegistryURI":"http://r"}}}`, want: invalid, text: "SchemaRegistryConfig"},
		{in: registryOf(`"SchemaRegistryURI":"http://r:8081","EventRecordFormat":"JSON","SchemaValidationConfigs":[{"Attribute":"VALUE"}],"AccessConfigs":[{"Type":"BASIC_AUTH",` + secret + `}]`)},
		{in: registryOf(`"SchemaRegistryURI":"http://r:8081","EventRecordFormat":"XML","SchemaValidationConfigs":[{"Attribute":"VALUE"}]`), want: validation, text: "schemaRegistryConfig.eventRecordFormat"},
		{in: registryOf(`"SchemaRegistryURI":"http://r:8081","EventRecordFormat":"JSON","SchemaValidationConfigs":[{"Attribute":"HEADER"}]`), want: validation, text: "schemaValidationConfigs.1.member.attribute"},
		{in: registryOf(`"SchemaRegistryURI":"http://r:8081","EventRecordFormat":"JSON","SchemaValidationConfigs":[{"Attribute":"KEY"},{"Attribute":"KEY"}]`), want: invalid, text: "at most once"},
		{in: registryOf(`"SchemaRegistryURI":"http://r:8081","EventRecordFormat":"JSON","SchemaValidationConfigs":[{"Attribute":"VALUE"}],"AccessConfigs":[{"Type":"BASIC_AUTH",` + secret + `},{"Type":"CLIENT_CERTIFICATE_TLS_AUTH",` + secret + `},{"Type":"SERVER_ROOT_CA_CERTIFICATE",` + secret + `}]`), want: validation,
			text: "1 validation error detected: Value '3 members' at 'selfManagedKafkaEventSourceConfig.schemaRegistryConfig.accessConfigs' failed to satisfy constraint: Member must have length less than or equal to 2"},
		{in: registryOf(`"SchemaRegistryURI":"http://r:8081","EventRecordFormat":"JSON"`), want: invalid, text: "SchemaValidationConfigs"},
		{in: registryOf(`"SchemaRegistryURI":"ftp://r","EventRecordFormat":"JSON","SchemaValidationConfigs":[{"Attribute":"KEY"}]`), want: invalid, text: "HTTP"},
		{in: registryOf(`"SchemaRegistryURI":"arn:aws:glue:us-east-1:000000000000:registry/r","EventRecordFormat":"JSON","SchemaValidationConfigs":[{"Attribute":"KEY"}]`)},
		{in: registryOf(`"SchemaRegistryURI":"arn:aws:glue:us-east-1:000000000000:registry/r","EventRecordFormat":"JSON"`), want: invalid, text: "SchemaValidationConfigs"},
		{in: registryOf(`"SchemaRegistryURI":"arn:aws:glue:us-east-1:000000000000:registry/r","EventRecordFormat":"JSON","SchemaValidationConfigs":[{"Attribute":"KEY"}],"AccessConfigs":[{"Type":"BASIC_AUTH",` + secret + `}]`), want: invalid, text: "AccessConfigs"},
		{in: registryOf(`"SchemaRegistryURI":"arn:aws:glue:us-east-1:000000000000:schema/r/s","EventRecordFormat":"JSON","SchemaValidationConfigs":[{"Attribute":"KEY"}]`), want: invalid, text: "ARN"},
		{in: registryOf(`"SchemaRegistryURI":"arn:aws:glue:x.example.com/:000000000000:registry/r","EventRecordFormat":"JSON","SchemaValidationConfigs":[{"Attribute":"KEY"}]`), want: invalid, text: "ARN"},
		{in: registryOf(`"EventRecordFormat":"JSON"`), want: invalid, text: "SchemaRegistryURI is required"},
		{in: `{"AmazonManagedKafkaEventSourceConfig":{"ConsumerGroupId":"g"}}`, want: invalid, text: "AmazonManagedKafkaEventSourceConfig"},
		{in: `{"FunctionResponseTypes":["Nope"]}`, want: validation, text: "functionResponseTypes"},
	} {
		name, text := verdictOf(requestOf(t, tc.in), tc.strict)
		if name != tc.want || !strings.Contains(text, tc.text) {
			t.Errorf("%s: %s %q, want %s %q", tc.in, name, text, tc.want, tc.text)
		}
	}
}

func TestMappingUpdate(t *testing.T) {
	t.Parallel()
	make := func() *mappingBody {
		b := &mappingBody{Mapping: requestOf(t, `{"FilterCriteria":{"Filters":[{"Pattern":"{\"value\":[1]}"}]},"DestinationConfig":{"OnFailure":{"Destination":"kafka://failed"}}}`).mappingDocument}
		b.complete("0f2c0000-0000-4000-8000-000000000000")
		return b
	}
	for in, want := range map[string]string{
		`{"BatchSize":7}`:       `{"BatchSize":7}`,
		`{"FilterCriteria":{}}`: `{"FilterCriteria":null}`,
		`{"DestinationConfig":{"OnFailure":{"Destination":""}}}`:                                           `{"DestinationConfig":null}`,
		`{"ProvisionedPollerConfig":{}}`:                                                                   `{}`,
		`{"Topics":["a","b"],"StartingPosition":"NEVER","StartingPositionTimestamp":1}`:                    `{}`,
		`{"FunctionResponseTypes":[]}`:                                                                     `{"FunctionResponseTypes":[]}`,
		`{"SelfManagedKafkaEventSourceConfig":{"ConsumerGroupId":"0f2c0000-0000-4000-8000-000000000000"}}`: `{}`,
		`{"SelfManagedKafkaEventSourceConfig":{"SchemaRegistryConfig":{}}}`:                                `{}`,
	} {
		var q mappingRequest
		if err := json.Unmarshal([]byte(in), &q); err != nil {
			t.Fatal(err)
		}
		q.forgetSource()
		b := make()
		if err := b.Mapping.update(&q.mappingDocument); err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		b.Mapping.tidy()
		all := shownOf(t, &make().Mapping)
		var changes map[string]any
		if err := json.Unmarshal([]byte(want), &changes); err != nil {
			t.Fatal(err)
		}
		for name, value := range changes {
			if all[name] = value; value == nil {
				delete(all, name)
			}
		}
		if diff := cmp.Diff(all, shownOf(t, &b.Mapping)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
	}
	var q mappingRequest
	if err := json.Unmarshal([]byte(`{"SelfManagedKafkaEventSourceConfig":{"ConsumerGroupId":"other"}}`), &q); err != nil {
		t.Fatal(err)
	}
	if err := make().Mapping.update(&q.mappingDocument); err == nil {
		t.Error("the consumer group can be changed")
	}
}

func TestPollerConfigUpdate(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ have, in, want string }{
		{`{"MinimumPollers":2,"PollerGroupName":"g"}`, `{}`, ``},
		{`{"MinimumPollers":2,"PollerGroupName":"g"}`, `{"MaximumPollers":9}`, `{"MaximumPollers":9,"PollerGroupName":"g"}`},
		{`{"MinimumPollers":2,"PollerGroupName":"g"}`, `{"PollerGroupName":""}`, `{"MinimumPollers":2}`},
		{`{"MinimumPollers":2,"PollerGroupName":"g"}`, `{"MinimumPollers":3,"PollerGroupName":""}`, `{"MinimumPollers":3}`},
		{`{"MinimumPollers":2,"PollerGroupName":"g"}`, `{"PollerGroupName":"h"}`, `{"MinimumPollers":2,"PollerGroupName":"h"}`},
		{`{"PollerGroupName":"g"}`, `{"PollerGroupName":""}`, ``},
		{``, `{"PollerGroupName":"h"}`, `{"PollerGroupName":"h"}`},
	} {
		d, q := mappingDocument{}, mappingPollers{}
		for text, into := range map[string]any{tc.have: &d.ProvisionedPollerConfig, tc.in: &q} {
			if text == "" {
				continue
			}
			if err := json.Unmarshal([]byte(text), into); err != nil {
				t.Fatal(err)
			}
		}
		d.updatePollers(&q)
		d.tidy()
		got := ""
		if d.ProvisionedPollerConfig != nil {
			text, err := json.Marshal(d.ProvisionedPollerConfig)
			if err != nil {
				t.Fatal(err)
			}
			got = string(text)
		}
		if got != tc.want {
			t.Errorf("%s with %s is %s, want %s", tc.have, tc.in, got, tc.want)
		}
	}
}

func shownOf(t *testing.T, d *mappingDocument) (all map[string]any) {
	t.Helper()
	text, err := json.Marshal(d)
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestCompileMapping(t *testing.T) {
	t.Parallel()
	a := New(Config{Region: "us-east-1", Account: "000000000000", Brokers: func() []string { return []string{"own:1"} }, Clusters: []Cluster{{Name: "east", ARNs: []string{"arn:aws:kafka:us-east-1:111111111111:cluster/east/1"}, Brokers: []string{"e:1", "e:2"}}}})
	defer a.Close()
	compiled := func(change string) (b *mappingBody, err error) {
		b = &mappingBody{Mapping: requestOf(t, change).mappingDocument, Function: "f"}
		b.complete("0f2c0000-0000-4000-8000-000000000000")
		return b, nil
	}
	for _, tc := range []struct {
		in, cluster, source, bootstrap, brokers, auth string
	}{
		{in: `{}`, source: "aws:SelfManagedKafka", bootstrap: "h:1", brokers: "h:1"},
		{in: `{"SelfManagedEventSource":{"Endpoints":{"KAFKA_BOOTSTRAP_SERVERS":["x:1","own:1"]}}}`, source: "aws:SelfManagedKafka", bootstrap: "x:1,own:1"},
		{in: `{"SelfManagedEventSource":{"Endpoints":{"KAFKA_BOOTSTRAP_SERVERS":["e:2"]}}}`, source: "aws:SelfManagedKafka", bootstrap: "e:2", cluster: "east"},
		{in: `{"SourceAccessConfigurations":[{"Type":"SASL_SCRAM_512_AUTH","URI":"s"}]}`, source: "aws:SelfManagedKafka", bootstrap: "h:1", brokers: "h:1", auth: "scram-512"},
		{in: `{"SelfManagedEventSource":null,"EventSourceArn":"arn:aws:kafka:us-east-1:111111111111:cluster/east/1"}`, source: "aws:kafka", bootstrap: "e:1,e:2", cluster: "east"},
		{in: `{"SelfManagedEventSource":null,"EventSourceArn":"arn:klamm:kafka:::cluster/klamm"}`, source: "aws:kafka", bootstrap: "own:1"},
	} {
		b, err := compiled(tc.in)
		if err != nil {
			t.Fatal(err)
		}
		p, err := a.compileMapping("0f2c0000-0000-4000-8000-000000000000", b)
		if err != nil {
			t.Errorf("%s: %v", tc.in, err)
			continue
		}
		brokers, auth := "", ""
		if p.SourceLogin != nil {
			brokers, auth = p.SourceLogin.Brokers, p.SourceLogin.Auth
		}
		if e := p.Envelope; e.EventSource != tc.source || e.Bootstrap != tc.bootstrap || p.SourceCluster != tc.cluster || brokers != tc.brokers || auth != tc.auth {
			t.Errorf("%s: %s of %s in %q, login %q %q", tc.in, e.EventSource, e.Bootstrap, p.SourceCluster, brokers, auth)
		}
	}
	for _, kind := range []string{"sqs", "sns"} {
		b, _ := compiled(`{"DestinationConfig":{"OnFailure":{"Destination":"arn:aws:` + kind + `:us-east-1:000000000000:failed"}}}`)
		p, err := a.compileMapping("0f2c0000-0000-4000-8000-000000000000", b)
		if err != nil || p.Envelope.FailureTarget == nil || p.Envelope.FailureTarget.Kind != "topic" || string(p.Envelope.FailureTarget.Config) != `{"name":"failed"}` {
			t.Errorf("%s: %+v, %v, want the topic failed", kind, p.Envelope.FailureTarget, err)
		}
	}
	for in, want := range map[string]int{
		`{}`:                         0,
		`{"MaximumRetryAttempts":0}`: 1,
		`{"DestinationConfig":{"OnFailure":{"Destination":"kafka://failed"}}}`:                          11,
		`{"MaximumRetryAttempts":2,"DestinationConfig":{"OnFailure":{"Destination":"kafka://failed"}}}`: 3,
	} {
		b, _ := compiled(in)
		p, err := a.compileMapping("0f2c0000-0000-4000-8000-000000000000", b)
		if err != nil || p.Envelope.Attempts != want || p.Delivery.Batch.Wait != 500*time.Millisecond || p.Delivery.Batch.Records != 100 {
			t.Errorf("%s: %d attempts, %v, want %d", in, p.Envelope.Attempts, err, want)
		}
	}
}

// TestMappingBodies has bodies that cannot be read.
func TestMappingBodies(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"BatchSize":5.5}`:                     "BatchSize must be a whole number",
		`{"BatchSize":"5"}`:                     "BatchSize cannot be a JSON string",
		`{"Topics":"t"}`:                        "Topics cannot be a JSON string",
		`{"Enabled":"yes"}`:                     "Enabled cannot be a JSON string",
		`{"BatchSize":1e400}`:                   "number",
		`{"StartingPositionTimestamp":"soon"}`:  "a time",
		`{"StartingPositionTimestamp":-1}`:      "a time",
		`{"DestinationConfig":{"OnFailure":1}}`: "DestinationConfig.OnFailure cannot be a JSON number",
		`[]`:                                    "not a JSON object",
		`{`:                                     "not a JSON object",
		``:                                      "not a JSON object",
	} {
		err := json.Unmarshal([]byte(in), &mappingRequest{})
		if err == nil || !strings.Contains(mistake(err), want) {
			t.Errorf("%s: %q, want %q", in, mistake(err), want)
		}
	}
}

func FuzzMoment(f *testing.F) {
	for _, seed := range []string{"1760001122", "1760001122.845", `"2026-01-02T03:04:05Z"`, "1e400", "null", "-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var m moment
		if json.Unmarshal([]byte(in), &m) != nil {
			return
		}
		if _, err := json.Marshal(m); err != nil {
			t.Fatalf("%q becomes %v: %v", in, m.Time, err)
		}
	})
}

func TestStrictFiltersOfMappings(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		`{"value":{"a":[{"wildcard":"*a"}]}}`:                                   "wildcard",
		`{"value":{"a":[1,{"anything-but":{"equals-ignore-case":"a"}}]}}`:       "anything-but with equals-ignore-case",
		`{"value":{"a":[{"anything-but":[1]},{"suffix":"a"},{"exists":true}]}}`: "",
	} {
		filter, err := json.Marshal(map[string]any{"FilterCriteria": map[string]any{"Filters": []any{map[string]any{"Pattern": pattern}}}})
		if err != nil {
			t.Fatal(err)
		}
		err = requestOf(t, string(filter)).checkStrict()
		var f *lambdaFault
		if errors.As(err, &f) != (want != "") || f != nil && (f.name != "InvalidParameterValueException" || !strings.Contains(f.message, " "+want+",")) {
			t.Errorf("%s: %v, want %q", pattern, err, want)
		}
	}
}
