package aws_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/front/aws"
)

const eventsARN = "arn:aws:events:us-east-1:000000000000:"

var lastName int

// unique returns a name that no other test has, also on a cluster that others use.
func unique(prefix string) string {
	lastName++
	return fmt.Sprintf("%s-%d-%d", prefix, time.Now().UnixNano(), lastName)
}

// refused calls an operation of EventBridge that must fail, and returns the error's name
// and message.
func (s *server) refused(operation string, body any) (name, message string) {
	s.t.Helper()
	status, header, answer := s.ask("POST", "/", http.Header{"X-Amz-Target": {"AWSEvents." + operation}}, body)
	if status != 400 || header.Get("X-Amzn-Errortype") != answer["__type"] || header.Get("X-Amzn-Requestid") == "" {
		s.t.Fatalf("%s: %d %v %v", operation, status, header, answer)
	}
	name, _ = answer["__type"].(string)
	message, _ = answer["message"].(string)
	return name, message
}

// told fails unless an operation is refused with this error, whose message begins so.
func (s *server) told(operation string, body any, name, message string) {
	s.t.Helper()
	gotName, got := s.refused(operation, body)
	if gotName != name || !strings.HasPrefix(got, message) {
		s.t.Errorf("%s %v: got %s: %s; want %s: %s", operation, body, gotName, got, name, message)
	}
}

const (
	missing    = "ResourceNotFoundException"
	taken      = "ResourceAlreadyExistsException"
	notValid   = "ValidationException"
	tooMany    = "LimitExceededException"
	notShaped  = "SerializationException"
	notPattern = "InvalidEventPatternException"
)

// without compares two answers but for times, of which it only says that they are there.
func without(t *testing.T, got m, members ...string) m {
	t.Helper()
	for _, name := range members {
		if _, ok := got[name].(float64); !ok {
			t.Errorf("%s is %v", name, got[name])
		}
		delete(got, name)
	}
	return got
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestBuses(t *testing.T) {
	s := start(t)
	name := unique("shop")
	arn := eventsARN + "event-bus/" + name
	same(t, "create", s.events("CreateEventBus", m{"Name": name, "Description": "first", "KmsKeyIdentifier": "key", "DeadLetterConfig": m{"Arn": "arn:aws:sqs:us-east-1:000000000000:q"}, "LogConfig": m{"Level": "INFO", "IncludeDetail": "FULL"},
		"Tags": []m{{"Key": "team", "Value": "a"}, {"Key": "klamm:partitions", "Value": "2"}}}),
		m{"EventBusArn": arn, "Description": "first", "KmsKeyIdentifier": "key", "DeadLetterConfig": m{"Arn": "arn:aws:sqs:us-east-1:000000000000:q"}, "LogConfig": m{"Level": "INFO", "IncludeDetail": "FULL"}})
	eventually(t, "the bus's topics", func() bool {
		topic, err := s.cluster.Topic(t.Context(), event.BusTopic(name))
		retries, err2 := s.cluster.Topic(t.Context(), event.RetryTopic(name))
		return err == nil && err2 == nil && len(topic.Partitions) == 2 && len(retries.Partitions) == 2
	})
	s.told("CreateEventBus", m{"Name": name}, taken, "Event bus "+name+" already exists.")
	full := m{"Name": name, "Arn": arn, "Description": "second", "KmsKeyIdentifier": "key", "DeadLetterConfig": m{"Arn": "arn:aws:sqs:us-east-1:000000000000:q"}, "LogConfig": m{"Level": "OFF"}}
	same(t, "update", s.events("UpdateEventBus", m{"Name": name, "Description": "second", "LogConfig": m{"Level": "OFF"}}), full)
	for _, ref := range []string{name, arn} {
		same(t, "describe", without(t, s.events("DescribeEventBus", m{"Name": ref}), "CreationTime", "LastModifiedTime"), full)
	}
	list := s.events("ListEventBuses", m{"NamePrefix": name})["EventBuses"].([]any)
	if len(list) != 1 {
		t.Fatalf("list: %v", list)
	}
	same(t, "list", without(t, list[0].(m), "CreationTime", "LastModifiedTime"), m{"Name": name, "Arn": arn, "Description": "second"})
	for _, none := range []m{{}, {"Name": "default"}, {"Name": eventsARN + "event-bus/default"}} {
		same(t, "default", without(t, s.events("DescribeEventBus", none), "CreationTime", "LastModifiedTime"), m{"Name": "default", "Arn": eventsARN + "event-bus/default"})
	}
	s.told("CreateEventBus", m{"Name": "default"}, taken, "Event bus default already exists.")
	s.told("DeleteEventBus", m{"Name": "default"}, notValid, "Cannot delete event bus default.")
	s.events("PutRule", m{"Name": "r", "EventBusName": name, "EventPattern": `{"source":["a"]}`})
	s.told("DeleteEventBus", m{"Name": name}, notValid, "Event bus "+name+" can't be deleted since it has rules.")
	s.events("DeleteRule", m{"Name": "r", "EventBusName": arn})
	s.events("DeleteEventBus", m{"Name": name})
	s.told("DeleteEventBus", m{"Name": name}, missing, "Event bus "+name+" does not exist.")
	s.told("DescribeEventBus", m{"Name": arn}, missing, "Event bus "+name+" does not exist.")
	s.told("UpdateEventBus", m{"Name": name}, missing, "Event bus "+name+" does not exist.")
	s.told("CreateEventBus", m{"Name": "aws.partner/a/b"}, notValid, "Event bus name aws.partner/a/b is not valid")
	s.told("CreateEventBus", m{"Name": name, "EventSourceName": "aws.partner/a/b"}, missing, "Event source aws.partner/a/b does not exist.")
	s.told("CreateEventBus", m{"Name": name, "Tags": []m{{"Key": "klamm:order-key", "Value": "detail.id"}}}, notValid, "Parameter Tags is not valid. Reason: tag klamm:order-key")
	s.told("CreateEventBus", m{"Name": name, "Tags": []m{{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}}}, notValid, "Invalid parameter: Duplicated keys are not allowed.")
}

func TestPolicyOfABus(t *testing.T) {
	s := start(t)
	name := unique("shop")
	s.events("CreateEventBus", m{"Name": name})
	arn := eventsARN + "event-bus/" + name
	policy := func() any {
		text, ok := s.events("DescribeEventBus", m{"Name": name})["Policy"].(string)
		if !ok {
			return nil
		}
		var p any
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	gone := "Statement with the provided id does not exist."
	s.told("RemovePermission", m{"EventBusName": name, "StatementId": "s1"}, missing, gone)
	s.events("PutPermission", m{"EventBusName": name, "StatementId": "s1", "Action": "events:PutEvents", "Principal": "111122223333"})
	s.events("PutPermission", m{"EventBusName": arn, "StatementId": "s2", "Action": "events:PutEvents", "Principal": "*", "Condition": m{"Type": "StringEquals", "Key": "aws:PrincipalOrgID", "Value": "o-1"}})
	one := m{"Sid": "s1", "Effect": "Allow", "Principal": m{"AWS": "arn:aws:iam::111122223333:root"}, "Action": "events:PutEvents", "Resource": arn}
	two := m{"Sid": "s2", "Effect": "Allow", "Principal": "*", "Action": "events:PutEvents", "Resource": arn, "Condition": m{"StringEquals": m{"aws:PrincipalOrgID": "o-1"}}}
	same(t, "two statements", policy(), m{"Version": "2012-10-17", "Statement": []any{one, two}})
	s.told("RemovePermission", m{"EventBusName": name, "StatementId": "s9"}, missing, gone)
	one["Action"] = "events:PutRule"
	s.events("PutPermission", m{"EventBusName": name, "StatementId": "s1", "Action": "events:PutRule", "Principal": "111122223333"})
	same(t, "a statement again", policy(), m{"Version": "2012-10-17", "Statement": []any{one, two}})
	s.events("RemovePermission", m{"EventBusName": name, "StatementId": "s1"})
	s.events("RemovePermission", m{"EventBusName": name, "StatementId": "s2"})
	same(t, "none left", policy(), nil)
	text := `{"Version":"2012-10-17","Id":"x","Statement":{"Sid":"a","Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"events:PutEvents","Resource":"` + arn + `"}}`
	s.events("PutPermission", m{"EventBusName": name, "Policy": text})
	if got := s.events("DescribeEventBus", m{"Name": name})["Policy"]; got != text {
		t.Errorf("the policy is not kept as it was given: %v", got)
	}
	s.events("PutPermission", m{"EventBusName": name, "StatementId": "b", "Action": "events:PutEvents", "Principal": "444455556666"})
	if p := policy().(m); len(p["Statement"].([]any)) != 2 || p["Id"] != "x" {
		t.Errorf("a statement beside a policy: %v", p)
	}
	s.events("RemovePermission", m{"EventBusName": name, "RemoveAllPermissions": true})
	same(t, "all removed", policy(), nil)
	s.told("PutPermission", m{"EventBusName": name, "Policy": "no json"}, notValid, "Parameter Policy is not valid.")
	s.told("PutPermission", m{"EventBusName": name, "Policy": strings.Repeat(" ", 10241)}, "PolicyLengthExceededException", "")
	s.told("PutPermission", m{"EventBusName": name, "StatementId": "x"}, notValid, "2 validation errors detected: Value null at 'action' failed to satisfy constraint: Member must not be null")
	s.told("PutPermission", m{"EventBusName": name, "StatementId": "x", "Principal": "x", "Action": "events:PutEvents"}, notValid, "1 validation error detected: Value 'x' at 'principal'")
	s.told("PutPermission", m{"EventBusName": unique("gone"), "StatementId": "x", "Principal": "*", "Action": "events:PutEvents"}, missing, "Event bus gone-")
}

func TestRules(t *testing.T) {
	s := start(t)
	bus := unique("shop")
	s.events("CreateEventBus", m{"Name": bus})
	pattern := "{ \"source\" :\n [\"a.b<\"] }"
	arn := eventsARN + "rule/" + bus + "/r1"
	same(t, "put", s.events("PutRule", m{"Name": "r1", "EventBusName": bus, "EventPattern": pattern, "Description": "d", "RoleArn": role, "Tags": []m{{"Key": "a", "Value": "1"}}}), m{"RuleArn": arn})
	want := m{"Name": "r1", "Arn": arn, "EventPattern": pattern, "State": "ENABLED", "Description": "d", "RoleArn": role, "EventBusName": bus, "CreatedBy": "000000000000"}
	same(t, "describe", s.events("DescribeRule", m{"Name": "r1", "EventBusName": eventsARN + "event-bus/" + bus}), want)
	delete(want, "CreatedBy")
	same(t, "list", s.events("ListRules", m{"EventBusName": bus}), m{"Rules": []any{want}})
	s.events("PutTargets", m{"Rule": "r1", "EventBusName": bus, "Targets": []m{{"Id": "t", "Arn": "arn:klamm:kafka:::topic/t"}}})
	// What is left out is reset; targets stay, and so do tags.
	s.events("PutRule", m{"Name": "r1", "EventBusName": bus, "EventPattern": pattern, "State": "DISABLED", "Tags": []m{{"Key": "b", "Value": "2"}}})
	same(t, "describe", s.events("DescribeRule", m{"Name": "r1", "EventBusName": bus}), m{"Name": "r1", "Arn": arn, "EventPattern": pattern, "State": "DISABLED", "EventBusName": bus, "CreatedBy": "000000000000"})
	same(t, "tags", s.events("ListTagsForResource", m{"ResourceARN": arn}), m{"Tags": []any{m{"Key": "a", "Value": "1"}}})
	if list := s.events("ListTargetsByRule", m{"Rule": "r1", "EventBusName": bus})["Targets"].([]any); len(list) != 1 {
		t.Errorf("targets: %v", list)
	}
	s.events("EnableRule", m{"Name": "r1", "EventBusName": bus})
	state := func() any { return s.events("DescribeRule", m{"Name": "r1", "EventBusName": bus})["State"] }
	same(t, "enabled", state(), "ENABLED")
	s.events("DisableRule", m{"Name": "r1", "EventBusName": bus})
	same(t, "disabled", state(), "DISABLED")
	s.events("PutRule", m{"Name": "r1", "EventBusName": bus, "EventPattern": pattern, "State": "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"})
	same(t, "state", state(), "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS")
	s.told("DeleteRule", m{"Name": "r1", "EventBusName": bus, "Force": true}, notValid, "Rule can't be deleted since it has targets.")
	same(t, "remove", s.events("RemoveTargets", m{"Rule": "r1", "EventBusName": bus, "Ids": []string{"t", "never"}}), m{"FailedEntryCount": 0.0, "FailedEntries": []any{}})
	s.events("DeleteRule", m{"Name": "r1", "EventBusName": bus})
	s.events("DeleteRule", m{"Name": "r1", "EventBusName": bus})
	for _, c := range []struct {
		operation     string
		body          m
		name, message string
	}{
		{"DescribeRule", m{"Name": "gone"}, missing, "Rule gone does not exist on EventBus default."},
		{"DescribeRule", m{"Name": "gone", "EventBusName": bus}, missing, "Rule gone does not exist on EventBus " + bus + "."},
		{"EnableRule", m{"Name": "gone"}, missing, "Rule gone does not exist on EventBus default."},
		{"DisableRule", m{"Name": "gone"}, missing, "Rule gone does not exist on EventBus default."},
		{"ListTargetsByRule", m{"Rule": "gone"}, missing, "Rule gone does not exist on EventBus default."},
		{"RemoveTargets", m{"Rule": "gone", "Ids": []string{"a"}}, missing, "Rule gone does not exist on EventBus default."},
		{"DeleteRule", m{"Name": "r", "EventBusName": "gone"}, missing, "Event bus gone does not exist."},
		{"ListRules", m{"EventBusName": "gone"}, missing, "Event bus gone does not exist."},
		{"ListRuleNamesByTarget", m{"EventBusName": "gone", "TargetArn": "arn:x"}, missing, "Event bus gone does not exist."},
		{"PutRule", m{"Name": "r", "EventBusName": "gone", "EventPattern": `{"source":["a"]}`}, missing, "Event bus gone does not exist."},
		{"PutRule", m{"Name": "r"}, notValid, "Parameter(s) EventPattern or ScheduleExpression must be specified."},
		{"PutRule", m{"Name": "r", "EventBusName": bus, "ScheduleExpression": "rate(1 minute)"}, notValid, "ScheduleExpression is supported only on the default event bus."},
		{"PutRule", m{"Name": "r", "ScheduleExpression": "rate(2 minute)"}, notValid, "Parameter ScheduleExpression is not valid."},
		{"PutRule", m{"Name": "r", "EventPattern": `{"source":"a"}`}, notPattern, "Event pattern is not valid. Reason: "},
		{"PutRule", m{"Name": "r", "EventPattern": `{"source":["a"]}`, "State": "ON"}, notValid, "1 validation error detected: Value 'ON' at 'state' failed to satisfy constraint: Member must satisfy enum value set: [ENABLED, DISABLED, ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS]"},
		{"PutRule", m{"Name": strings.Repeat("x", 65), "EventPattern": `{"source":["a"]}`}, notValid, "1 validation error detected: Value 'xxx"},
		{"PutRule", m{"Name": "r", "EventPattern": strings.Repeat(" ", 4097)}, notValid, "1 validation error detected: Value '"},
		{"PutRule", m{"Name": "r", "EventPattern": `{"source":["a"]}`, "Tags": []m{{"Key": "klamm:start", "Value": "soon"}}}, notValid, "Parameter Tags is not valid. Reason: tag klamm:start"},
		{"PutRule", m{"Name": 5}, notShaped, ""},
		{"ListRules", m{"Limit": 101}, notValid, "1 validation error detected: Value '101' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 100"},
		{"ListRules", m{"NextToken": "made up"}, notValid, ""},
		{"ListRules", m{"NextToken": ""}, notValid, "1 validation error detected: Value '***' at 'nextToken' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{"ListReplays", m{"NextToken": strings.Repeat("x", 2049)}, notValid, "1 validation error detected: Value '***' at 'nextToken' failed to satisfy constraint: Member must have length less than or equal to 2048"},
		{"TestEventPattern", m{"EventPattern": `{"source":["a"]}`, "Event": "[]"}, notValid, "Parameter Event is not valid."},
		{"TestEventPattern", m{"EventPattern": `{"source":["a"]}`, "Event": `{"id":"1","account":"1","source":"a","time":"t","region":"r"}`}, notValid, "Parameter Event is not valid."},
		{"TestEventPattern", m{"EventPattern": `{"source":"a"}`, "Event": "{}"}, notPattern, "Event pattern is not valid. Reason: "},
		{"TagResource", m{"ResourceARN": eventsARN + "rule/gone", "Tags": []m{{"Key": "a", "Value": "b"}}}, missing, "Rule gone does not exist on EventBus default."},
		{"ListTagsForResource", m{"ResourceARN": eventsARN + "event-bus/gone"}, missing, "Event bus gone does not exist."},
		{"UntagResource", m{"ResourceARN": eventsARN + "rule/gone/r", "TagKeys": []string{"a"}}, missing, "Event bus gone does not exist."},
		{"UntagResource", m{"ResourceARN": "x", "TagKeys": []string{"a"}}, notValid, "Parameter ResourceARN is not valid."},
	} {
		s.told(c.operation, c.body, c.name, c.message)
	}
	event := m{"id": "1", "account": "1", "source": "a", "time": "2024-01-01T00:00:00Z", "region": "r", "detail-type": "t"}
	text, _ := json.Marshal(event)
	same(t, "match", s.events("TestEventPattern", m{"EventPattern": `{"source":["a"]}`, "Event": string(text)}), m{"Result": true})
	same(t, "no match", s.events("TestEventPattern", m{"EventPattern": `{"source":["b"]}`, "Event": string(text)}), m{"Result": false})
}

func TestPagesOfRulesAndTheirLimit(t *testing.T) {
	s := start(t)
	bus, inside := unique("a"), ""
	inside = bus + "/b"
	s.events("CreateEventBus", m{"Name": bus})
	s.events("CreateEventBus", m{"Name": inside})
	s.events("PutRule", m{"Name": "other", "EventBusName": inside, "EventPattern": `{"source":["a"]}`})
	var want []any
	for i := range 12 {
		name := fmt.Sprintf("p-%02d", 11-i)
		want = append([]any{name}, want...)
		s.events("PutRule", m{"Name": name, "EventBusName": bus, "EventPattern": `{"source":["a"]}`})
		s.events("PutTargets", m{"Rule": name, "EventBusName": bus, "Targets": []m{{"Id": "b", "Arn": "arn:klamm:kafka:::topic/t"}, {"Id": "a", "Arn": "arn:klamm:kafka:::topic/u"}}})
	}
	s.told("PutRule", m{"Name": "more", "EventBusName": bus, "EventPattern": `{"source":["a"]}`}, tooMany, "The requested resource exceeds the maximum number allowed.")
	s.events("PutRule", m{"Name": "p-03", "EventBusName": bus, "EventPattern": `{"source":["b"]}`})
	pages := func(operation, member string, body m) (all []any, sizes []int) {
		for {
			answer := s.events(operation, body)
			list := answer[member].([]any)
			all, sizes = append(all, list...), append(sizes, len(list))
			token, ok := answer["NextToken"]
			if !ok {
				return all, sizes
			}
			body["NextToken"] = token
		}
	}
	rules, sizes := pages("ListRules", "Rules", m{"EventBusName": bus, "NamePrefix": "p", "Limit": 5})
	same(t, "sizes", sizes, []int{5, 5, 2})
	var names []any
	for _, r := range rules {
		names = append(names, r.(m)["Name"])
	}
	same(t, "names", names, want)
	names, sizes = pages("ListRuleNamesByTarget", "RuleNames", m{"EventBusName": bus, "TargetArn": "arn:klamm:kafka:::topic/t", "Limit": 6})
	same(t, "names by target", names, want)
	same(t, "sizes", sizes, []int{6, 6})
	if none := s.events("ListRuleNamesByTarget", m{"EventBusName": bus, "TargetArn": "arn:x:y:z::a"}); len(none["RuleNames"].([]any)) != 0 {
		t.Errorf("names by another target: %v", none)
	}
	targets, sizes := pages("ListTargetsByRule", "Targets", m{"Rule": "p-00", "EventBusName": bus, "Limit": 1})
	same(t, "targets", targets, []any{m{"Id": "a", "Arn": "arn:klamm:kafka:::topic/u"}, m{"Id": "b", "Arn": "arn:klamm:kafka:::topic/t"}})
	same(t, "sizes", sizes, []int{1, 1})
}

func TestTargetsAreKeptAsTheyWerePut(t *testing.T) {
	s := start(t)
	rule := unique("r")
	s.events("PutRule", m{"Name": rule, "EventPattern": `{"source":["never"]}`, "State": "DISABLED"})
	destination := s.destination(unique("d"), "http://127.0.0.1:9/x")
	all := []m{
		{"Id": "1", "Arn": destination, "RoleArn": role, "Input": `{"n": 1}`, "HttpParameters": m{"PathParameterValues": []any{}, "HeaderParameters": m{"X-A": "$.detail.a"}, "QueryStringParameters": m{"q": "<&>", "price": "$.50 off"}},
			"RetryPolicy": m{"MaximumRetryAttempts": 0.0, "MaximumEventAgeInSeconds": 60.0}, "DeadLetterConfig": m{"Arn": "arn:aws:sqs:us-east-1:000000000000:q"}},
		{"Id": "2", "Arn": "arn:aws:ecs:us-east-1:000000000000:cluster/c", "EcsParameters": m{"TaskDefinitionArn": "arn:aws:ecs:x", "TaskCount": 2.0, "Tags": []any{}}, "InputPath": "$.detail"},
		{"Id": "3", "Arn": "arn:klamm:kafka:::topic/t", "InputTransformer": m{"InputPathsMap": m{"a": "$.detail.a"}, "InputTemplate": `{"x": <a>}`}},
		{"Id": "4", "Arn": "arn:aws:sqs:us-east-1:000000000000:q.fifo", "SqsParameters": m{"MessageGroupId": "g"}, "RetryPolicy": m{}},
		{"Id": "5", "Arn": eventsARN + "event-bus/other", "KinesisParameters": m{"PartitionKeyPath": "$.id"}, "BatchParameters": m{}, "AppSyncParameters": m{"GraphQLOperation": "q"}},
	}
	same(t, "put", s.events("PutTargets", m{"Rule": rule, "Targets": all}), m{"FailedEntryCount": 0.0, "FailedEntries": []any{}})
	var want []any
	for _, one := range all {
		want = append(want, one)
	}
	same(t, "list", s.events("ListTargetsByRule", m{"Rule": rule}), m{"Targets": want})
	topic := func(id string, more m) m {
		one := m{"Id": id, "Arn": "arn:klamm:kafka:::topic/t"}
		for k, v := range more {
			one[k] = v
		}
		return one
	}
	for name, c := range map[string]struct {
		targets       any
		name, message string
	}{
		"sixth":           {[]m{topic("6", nil)}, tooMany, "The requested resource exceeds the maximum number allowed."},
		"none":            {[]m{}, notValid, "1 validation error detected: Value '0 members' at 'targets' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		"missing":         {nil, notValid, "1 validation error detected: Value null at 'targets' failed to satisfy constraint: Member must not be null"},
		"id":              {[]m{topic("1", nil), topic("b/d", nil)}, notValid, `1 validation error detected: Value 'b/d' at 'targets.2.member.id' failed to satisfy constraint: Member must satisfy regular expression pattern: [\.\-_A-Za-z0-9]+`},
		"long id":         {[]m{topic(strings.Repeat("x", 65), nil)}, notValid, "1 validation error detected: Value 'xxxxx"},
		"no arn":          {[]m{{"Id": "1"}}, notValid, "1 validation error detected: Value null at 'targets.1.member.arn' failed to satisfy constraint: Member must not be null"},
		"no form of arn":  {[]m{{"Id": "1", "Arn": "topic"}}, notValid, "Parameter topic is not valid. Reason: Provided Arn is not in correct format."},
		"no topic":        {[]m{{"Id": "1", "Arn": "arn:klamm:kafka:::topic/a/b"}}, notValid, "Parameter arn:klamm:kafka:::topic/a/b is not valid."},
		"two inputs":      {[]m{topic("1", m{"Input": "{}", "InputPath": "$"})}, notValid, "Only one of Input, InputPath, or InputTransformer must be provided for target 1."},
		"placeholder":     {[]m{topic("1", m{"InputTransformer": m{"InputPathsMap": m{"a": "$.id"}, "InputTemplate": `"<b>"`}})}, notValid, "InputTemplate for target 1 contains invalid placeholder b."},
		"no template":     {[]m{topic("1", m{"InputTransformer": m{"InputPathsMap": m{"a": "$.id"}}})}, notValid, "1 validation error detected: Value null at 'targets.1.member.inputTransformer.inputTemplate'"},
		"input":           {[]m{topic("1", m{"Input": "{"})}, notValid, "JSON syntax error in input for target 1."},
		"long input":      {[]m{topic("1", m{"Input": `"` + strings.Repeat("x", 8192) + `"`})}, notValid, "1 validation error detected: Value '"},
		"header name":     {[]m{topic("1", m{"HttpParameters": m{"HeaderParameters": m{"a b": "c"}}})}, notValid, "1 validation error detected: Value 'a b' at 'targets.1.member.httpParameters.headerParameters' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[!#$%&'*+-.^_`|~0-9a-zA-Z]+$"},
		"header value":    {[]m{topic("1", m{"HttpParameters": m{"HeaderParameters": m{"A": "\u00e9"}}})}, notValid, `1 validation error detected: Value '***' at 'targets.1.member.httpParameters.headerParameters.A' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[ \t]*[\x20-\x7E]+([ \t]+[\x20-\x7E]+)*[ \t]*$`},
		"query value":     {[]m{topic("1", m{"HttpParameters": m{"QueryStringParameters": m{"a": "\x01"}}})}, notValid, `1 validation error detected: Value '***' at 'targets.1.member.httpParameters.queryStringParameters.a' failed to satisfy constraint: Member must satisfy regular expression pattern: [^\x00-\x09\x0B\x0C\x0E-\x1F\x7F]+`},
		"input of a bus":  {[]m{{"Id": "1", "Arn": eventsARN + "event-bus/b", "Input": "{}"}}, notValid, "Input, InputPath and InputTransformer are not supported for target 1"},
		"attempts":        {[]m{topic("1", m{"RetryPolicy": m{"MaximumRetryAttempts": 186}})}, notValid, "1 validation error detected: Value '186' at 'targets.1.member.retryPolicy.maximumRetryAttempts' failed to satisfy constraint: Member must have value less than or equal to 185"},
		"age":             {[]m{topic("1", m{"RetryPolicy": m{"MaximumEventAgeInSeconds": 59}})}, notValid, "1 validation error detected: Value '59' at 'targets.1.member.retryPolicy.maximumEventAgeInSeconds' failed to satisfy constraint: Member must have value greater than or equal to 60"},
		"shape":           {[]m{topic("1", m{"EcsParameters": "x"})}, notShaped, ""},
		"queue":           {[]m{{"Id": "1", "Arn": "arn:aws:sqs:us-east-1:000000000000:q.fifo"}}, notValid, "Parameter(s) SqsParameters must be specified for target: 1."},
		"name of a path":  {[]m{topic("1", m{"InputTransformer": m{"InputPathsMap": m{"aws.x": "$.id"}, "InputTemplate": `"x"`}})}, notValid, "1 validation error detected: Value 'aws.x' at 'targets.1.member.inputTransformer.inputPathsMap'"},
		"eleven of a few": {[]m{topic("1", nil), topic("1", nil), topic("1", nil), topic("1", nil), topic("1", nil), topic("1", nil), topic("1", nil), topic("1", nil), topic("1", nil), topic("1", nil), topic("1", nil)}, tooMany, ""},
	} {
		t.Run(name, func(t *testing.T) {
			body := m{"Rule": rule}
			if c.targets != nil {
				body["Targets"] = c.targets
			}
			s.told("PutTargets", body, c.name, c.message)
		})
	}
	s.events("PutTargets", m{"Rule": rule, "Targets": []m{topic("1", nil)}})
	want[0] = topic("1", nil)
	same(t, "upsert", s.events("ListTargetsByRule", m{"Rule": rule}), m{"Targets": want})
}

// The default bus is one of those that there may be, whether or not it has been used.
func TestTheDefaultBusCounts(t *testing.T) {
	s := startWith(t, nil, func(c *aws.Config) { c.Bus.Buses = 1 })
	s.told("CreateEventBus", m{"Name": unique("one")}, tooMany, "The requested resource exceeds the maximum number allowed.")
}

func TestTagsOfBusesAndRules(t *testing.T) {
	s := start(t)
	bus := unique("a") + "/b"
	s.events("CreateEventBus", m{"Name": bus})
	s.events("PutRule", m{"Name": "r", "EventBusName": bus, "EventPattern": `{"source":["never"]}`})
	rule := unique("r")
	s.events("PutRule", m{"Name": rule, "EventPattern": `{"source":["never"]}`})
	for _, arn := range []string{eventsARN + "event-bus/" + bus, eventsARN + "rule/" + bus + "/r", eventsARN + "rule/" + rule} {
		same(t, arn, s.events("ListTagsForResource", m{"ResourceARN": arn}), m{"Tags": []any{}})
		s.events("TagResource", m{"ResourceARN": arn, "Tags": []m{{"Key": "b", "Value": "2"}, {"Key": "a", "Value": ""}}})
		s.events("TagResource", m{"ResourceARN": arn, "Tags": []m{{"Key": "b", "Value": "3"}}})
		same(t, arn, s.events("ListTagsForResource", m{"ResourceARN": arn}), m{"Tags": []any{m{"Key": "a", "Value": ""}, m{"Key": "b", "Value": "3"}}})
		s.events("UntagResource", m{"ResourceARN": arn, "TagKeys": []string{"a", "never"}})
		same(t, arn, s.events("ListTagsForResource", m{"ResourceARN": arn}), m{"Tags": []any{m{"Key": "b", "Value": "3"}}})
		s.told("TagResource", m{"ResourceARN": arn, "Tags": []m{{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}}}, notValid, "Invalid parameter: Duplicated keys are not allowed.")
		s.told("TagResource", m{"ResourceARN": arn, "Tags": []m{{"Key": "", "Value": "1"}}}, notValid, "1 validation error detected: Value '' at 'tags.1.member.key' failed to satisfy constraint: Member must have length greater than or equal to 1")
		s.told("TagResource", m{"ResourceARN": arn}, notValid, "1 validation error detected: Value null at 'tags' failed to satisfy constraint: Member must not be null")
	}
	for arn, message := range map[string]string{
		"arn:aws:events:us-east-1:111122223333:rule/a":                     "Rule a does not exist on EventBus default.",
		"arn:aws:events:eu-west-1:000000000000:rule/" + bus + "/r":         "Rule r does not exist on EventBus " + bus + ".",
		"arn:aws:events:us-east-1:111122223333:event-bus/" + bus:           "Event bus arn:aws:events:us-east-1:111122223333:event-bus/" + bus + " does not exist.",
		"arn:aws-us-gov:events:us-gov-west-1:000000000000:event-bus/other": "Event bus arn:aws-us-gov:events:us-gov-west-1:000000000000:event-bus/other does not exist.",
	} {
		s.told("ListTagsForResource", m{"ResourceARN": arn}, missing, message)
	}
	s.told("ListTagsForResource", m{"ResourceARN": eventsARN + "archive/a"}, notValid, "Parameter ResourceARN is not valid.")
}
