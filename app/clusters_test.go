package app_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/waittest"
)

// clusterPolicy calls the API of the policies of clusters.
func (r *running) clusterPolicy(method, arn, policy, version string) (int, map[string]any) {
	r.t.Helper()
	body := map[string]any{}
	if policy != "" {
		body["policy"] = policy
	}
	if version != "" {
		body["currentVersion"] = version
	}
	return r.call(method, "/v1/clusters/"+url.PathEscape(arn)+"/policy", body)
}

func TestClusterPolicies(t *testing.T) {
	const (
		arn    = "arn:aws:kafka:us-east-1:111111111111:cluster/producer/0f2c-7"
		policy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:role/r"},"Action":"kafka-cluster:Connect","Resource":"*"}]}`
		other  = `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":"*","Action":"kafka-cluster:DeleteTopic","Resource":"*"}}`
	)
	t.Setenv("KLAMM_TEST_BROKERS", "") // a policy decides for everybody in the cluster
	r := start(t, fmt.Sprintf("kafka: {clusters: [{name: producer, arns: [%q, %q], brokers: ['127.0.0.1:1']}]}", strings.Replace(arn, "cluster/", "vpc-connection/222222222222/", 1), arn), t.TempDir())

	if status, got := r.clusterPolicy("GET", arn, "", ""); status != 404 || got["__type"] != "NotFoundException" {
		t.Fatalf("before there is one: %d %v", status, got)
	}
	status, first := r.clusterPolicy("PUT", arn, policy, "")
	if status != 200 || first["currentVersion"] == "" {
		t.Fatalf("put: %d %v", status, first)
	}
	version := fmt.Sprint(first["currentVersion"])
	if status, got := r.clusterPolicy("GET", arn, "", ""); status != 200 || got["policy"] != policy || got["currentVersion"] != version {
		t.Errorf("get: %d %v", status, got)
	}
	if status, got := r.call("GET", "/v1/clusters/"+arn+"/policy", nil); status != 200 || got["policy"] != policy {
		t.Errorf("get with slashes: %d %v", status, got)
	}
	status, second := r.clusterPolicy("PUT", arn, other, version)
	if status != 200 || second["currentVersion"] == version {
		t.Errorf("put over a version: %d %v", status, second)
	}
	for _, c := range []struct {
		name, method, arn, policy, version string
		status                             int
		error                              string
	}{
		{"over an old version", "PUT", arn, policy, version, 409, "ConflictException"},
		{"over no version", "PUT", arn, policy, "nonsense", 409, "ConflictException"},
		{"no policy", "PUT", arn, "", "", 400, "BadRequestException"},
		{"wrong policy", "PUT", arn, `{"Version":"2012-10-17"}`, "", 400, "BadRequestException"},
		{"unknown operator", "PUT", arn, strings.Replace(policy, `"Resource":"*"`, `"Resource":"*","Condition":{"Like":{"a":"b"}}`, 1), "", 400, "BadRequestException"},
		{"too large", "PUT", arn, policy + strings.Repeat(" ", 21<<10), "", 400, "BadRequestException"},
		{"no ARN", "GET", "nonsense", "", "", 400, "BadRequestException"},
		{"a topic", "GET", strings.Replace(arn, "cluster/", "topic/", 1) + "/t", "", "", 400, "BadRequestException"},
		{"another cluster", "GET", arn + "1", "", "", 404, "NotFoundException"},
		{"of the own cluster", "GET", "arn:klamm:kafka:::cluster/klamm", "", "", 404, "NotFoundException"},
		{"delete", "DELETE", arn, "", "", 200, ""},
		{"delete again", "DELETE", arn, "", "", 404, "NotFoundException"},
		{"put over nothing", "PUT", arn, policy, version, 409, "ConflictException"},
		{"the own cluster", "PUT", "arn:klamm:kafka:::cluster/klamm", policy, "", 200, ""},
	} {
		status, got := r.clusterPolicy(c.method, c.arn, c.policy, c.version)
		if kind, _ := got["__type"].(string); status != c.status || kind != c.error {
			t.Errorf("%s: %d %v, want %d %s", c.name, status, got, c.status, c.error)
		}
	}
}

// A mapping reads as the role of its function, where policies say who may read.
func TestMappingsReadAsTheirFunctionsRole(t *testing.T) {
	t.Setenv("KLAMM_TEST_BROKERS", "")
	r := start(t, `
auth: {anonymous: true}
rules: [{who: [anonymous], can: [all], topics: ["*"], groups: ["*"]}]
policies:
  - {name: door, kind: identity, attach: [anonymous], document: {Version: "2012-10-17", Statement: {Effect: Allow, Action: "execute-api:Invoke", Resource: "*"}}}
  - {name: consumer, kind: identity, attach: ["arn:aws:iam::222222222222:role/consumer"], document: {Version: "2012-10-17", Statement: {Effect: Allow, Action: "kafka-cluster:*", Resource: "*"}}}
`, t.TempDir())
	create := fmt.Sprintf(`{"FunctionName":"reader","Runtime":"provided.al2023","Handler":"h","Role":"arn:aws:iam::222222222222:role/consumer","Timeout":60,"Code":{"ZipFile":%q}}`, packageOf(t))
	if status, _, text := r.lambda("POST", "/2015-03-31/functions", create); status != 201 {
		t.Fatalf("create the function: %d %s", status, text)
	}
	if status, got := r.call("POST", "/topics/customer", map[string]any{"n": 1}); status != 200 {
		t.Fatalf("produce: %d %v", status, got)
	}
	const at = "/2015-03-31/event-source-mappings"
	status, made := r.call("POST", at, map[string]any{
		"FunctionName": "reader", "Topics": []string{"customer"}, "StartingPosition": "TRIM_HORIZON", "EventSourceArn": "arn:klamm:kafka:::cluster/klamm",
		"AmazonManagedKafkaEventSourceConfig": map[string]string{"ConsumerGroupId": "msk-lambda-iam"},
	})
	if status != 202 || made["State"] != "Creating" {
		t.Fatalf("create the mapping: %d %v", status, made)
	}
	mapping := at + "/" + fmt.Sprint(made["UUID"])
	becomes := func(state, reason string) {
		t.Helper()
		var got map[string]any
		for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			if _, got = r.call("GET", mapping, nil); got["State"] == state && got["StateTransitionReason"] == reason {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("never %s because of %s: %v", state, reason, got)
			}
		}
		if denied := reason != "USER_INITIATED"; denied != (got["LastProcessingResult"] == "PROBLEM: Cluster failed to authorize Lambda.") {
			t.Errorf("%s because of %s, and the result is %v", state, reason, got["LastProcessingResult"])
		}
	}
	const (
		own    = "arn:klamm:kafka:::cluster/klamm"
		policy = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"222222222222"},"Action":"kafka-cluster:*","Resource":["cluster:*","topic:customer","group:%s"]}}`
	)
	becomes("Creating", "EVENT_SOURCE_AUTHZ_ERROR")
	if status, got := r.clusterPolicy("PUT", own, fmt.Sprintf(policy, "another"), ""); status != 200 {
		t.Fatalf("put: %d %v", status, got)
	}
	becomes("Creating", "EVENT_SOURCE_AUTHZ_ERROR") // the group is still missing
	if status, got := r.clusterPolicy("PUT", own, fmt.Sprintf(policy, "msk-lambda-*"), ""); status != 200 {
		t.Fatalf("put: %d %v", status, got)
	}
	becomes("Enabled", "USER_INITIATED")
	waittest.Until(t, "the function has the record", func() bool {
		_, _, text := r.lambda("GET", "/topics/klamm.log..aws.lambda.reader/records?offset=earliest", "")
		return strings.Contains(text, `"customer-`)
	})
	if status, got := r.clusterPolicy("DELETE", own, "", ""); status != 200 {
		t.Fatalf("delete: %d %v", status, got)
	}
	becomes("Enabled", "EVENT_SOURCE_AUTHZ_ERROR")
	if status, got := r.clusterPolicy("PUT", own, fmt.Sprintf(policy, "*"), ""); status != 200 {
		t.Fatalf("put again: %d %v", status, got)
	}
	becomes("Enabled", "USER_INITIATED")
}
