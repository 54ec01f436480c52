package aws

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pipes.md 17, event-bus.md 1: each violation is told once, with its place.
func TestViolationsOfPipesAreToldOnce(t *testing.T) {
	t.Parallel()
	const (
		kafka = "sourceParameters.selfManagedKafkaParameters."
		least = "Member must have length greater than or equal to 1"
		most  = "Member must have length less than or equal to "
	)
	for _, c := range []struct {
		name, change string
		want         []fieldError
	}{
		{"nothing", `{}`, nil},
		{"a large batch", `{"SourceParameters":{"SelfManagedKafkaParameters":{"TopicName":"t","BatchSize":10001}},"Enrichment":"arn:aws:lambda:us-east-1:000000000000:function:f"}`,
			[]fieldError{{kafka + "batchSize", "Member must have value less than or equal to 10000"}}},
		{"a long pattern", `{"SourceParameters":{"SelfManagedKafkaParameters":{"TopicName":"t"},"FilterCriteria":{"Filters":[{"Pattern":"` + strings.Repeat("x", 4097) + `"}]}}}`,
			[]fieldError{{"sourceParameters.filterCriteria.filters.1.member.pattern", most + "4096"}}},
		{"no pattern", `{"SourceParameters":{"SelfManagedKafkaParameters":{"TopicName":"t"},"FilterCriteria":{"Filters":[{"Pattern":"{\"value\":1}"}]}}}`,
			[]fieldError{{"sourceParameters.filterCriteria.filters.1.member.pattern", `Event pattern is not valid. Reason: "value" must be an object or an array`}}},
		{"long templates", `{"EnrichmentParameters":{"InputTemplate":"\"` + strings.Repeat("x", 8191) + `\""},"TargetParameters":{"InputTemplate":"\"` + strings.Repeat("é", 8191) + `\""}}`,
			[]fieldError{{"enrichmentParameters.inputTemplate", most + "8192"}, {"targetParameters.inputTemplate", most + "8192"}}},
		{"the longest template", `{"TargetParameters":{"InputTemplate":"\"` + strings.Repeat("é", 8190) + `\""}}`, nil},
		{"unknown logins", `{"SourceParameters":{"SelfManagedKafkaParameters":{"TopicName":"t","Credentials":{"Iam":"x","Oauth":null}}}}`,
			[]fieldError{{kafka + "credentials", "want exactly one of BasicAuth, SaslScram512Auth, SaslScram256Auth, ClientCertificateTlsAuth"}}},
		{"a login without its secret", `{"SourceParameters":{"SelfManagedKafkaParameters":{"TopicName":"t","Credentials":{"SaslScram512Auth":""}}}}`,
			[]fieldError{{kafka + "credentials.saslScram512Auth", least}}},
		{"tags", `{"Tags":{}}`, []fieldError{{"tags", least}}},
		{"keys of tags", `{"Tags":{"":"x","a":null,"b":"` + strings.Repeat("v", 257) + `"}}`, []fieldError{{"tags.key", least}, {"tags.value", "Member must not be null"}, {"tags.value", most + "256"}}},
		{"execution data", `{"LogConfiguration":{"Level":"INFO","IncludeExecutionData":["ALL","SOME"]}}`,
			[]fieldError{{"logConfiguration.includeExecutionData.2.member", "Member must satisfy enum value set: [ALL]"}}},
		{"log groups of no region", `{"LogConfiguration":{"Level":"INFO","CloudwatchLogsLogDestination":{"LogGroupArn":"arn:aws:logs:nowhere:000000000000:log-group:g"},"FirehoseLogDestination":{"DeliveryStreamArn":"arn:aws:firehose::000000000000:deliverystream/s"}}}`,
			[]fieldError{
				{"logConfiguration.firehoseLogDestination.deliveryStreamArn", "Member must satisfy regular expression pattern: " + streamShape.text},
				{"logConfiguration.cloudwatchLogsLogDestination.logGroupArn", "Member must satisfy regular expression pattern: " + logGroupShape.text},
			}},
		{"log groups", `{"LogConfiguration":{"Level":"INFO","CloudwatchLogsLogDestination":{"LogGroupArn":"arn:aws-us-gov:logs:us-gov-west-1:000000000000:log-group:/a/b#c:*"},"FirehoseLogDestination":{"DeliveryStreamArn":"arn:aws:firehose:eu-west-1:000000000000:deliverystream/s"}}}`, nil},
	} {
		p := &pipeDocument{}
		for _, text := range []string{`{"Source":"smk://h:9092","SourceParameters":{"SelfManagedKafkaParameters":{"TopicName":"t"}},"Target":"arn:klamm:kafka:::topic/out","RoleArn":"arn:aws:iam::000000000000:role/r"}`, c.change} {
			if err := parse([]byte(text), p); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
		v := &violations{}
		p.check(v)
		if diff := cmp.Diff(c.want, v.fields); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// event-bus.md 1: members of parameters count only by their own names, too.
func TestParametersOfTargetsCountByTheirNames(t *testing.T) {
	t.Parallel()
	p, err := parseBus([]byte(`{"detailType":"no","DetailType":"yes","source":"no"}`))
	if err != nil || textOf(p.DetailType) != "yes" || p.Source != nil {
		t.Errorf("%+v %v", p, err)
	}
	if !fireAndForget([]byte(`{"InvocationType":"FIRE_AND_FORGET"}`)) || fireAndForget([]byte(`{"invocationType":"FIRE_AND_FORGET"}`)) {
		t.Error("InvocationType is not what decides")
	}
}
