package app_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestPoliciesAskForSubjects has a policy by which records are written with one schema
// only.
func TestPoliciesAskForSubjects(t *testing.T) {
	topic := fmt.Sprintf("subject-%x", time.Now().UnixNano())
	r := start(t, keysOf("acme")+`
schema_registry: {embedded: true}
policies:
  - name: p
    kind: identity
    attach: ["User:acme"]
    document:
      Version: "2012-10-17"
      Statement:
        - {Effect: Allow, Action: ["execute-api:Invoke", "kafka-cluster:Connect", "kafka-cluster:Describe*"], Resource: "*"}
        - {Effect: Allow, Action: "kafka-cluster:WriteData", Resource: "*", Condition: {StringEquals: {"klamm:SchemaSubject": ["`+topic+`-value", "com.acme.Beat"]}}}
        - {Effect: Allow, Action: "schemas:*", Resource: "*", Condition: {StringEquals: {"klamm:SchemaSubject": ["seen"]}}}
`, t.TempDir())
	key := "X-Api-Key: " + keyOf("acme")
	var clusters struct {
		Data []struct {
			ID string `json:"cluster_id"`
		}
	}
	_, text := r.exchange("GET", "/v3/clusters", "", key)
	if err := json.Unmarshal([]byte(text), &clusters); err != nil || len(clusters.Data) != 1 {
		t.Fatalf("%v, %s", err, text)
	}
	v3 := "/v3/clusters/" + clusters.Data[0].ID + "/topics/" + topic + "/records"
	const schema = `{\"type\":\"record\",\"name\":\"Beat\",\"namespace\":\"com.acme\",\"fields\":[{\"name\":\"n\",\"type\":\"int\"}]}`
	v3Value := func(more string) string {
		return `{"value":{"type":"AVRO","schema":"` + schema + `",` + more + `"data":{"n":1}}}`
	}
	avro := "application/vnd.kafka.avro.v2+json"
	for _, c := range []struct {
		name, path, media, body string
		want                    string
	}{
		{"v2 with the schema of the topic", "/topics/" + topic, avro, `{"value_schema":"` + schema + `","records":[{"value":{"n":1}}]}`, `"error_code":null`},
		{"v2 with a key's schema too", "/topics/" + topic, avro, `{"key_schema":"\"string\"","value_schema":"` + schema + `","records":[{"key":"k","value":{"n":1}}]}`, `"error_code":null`},
		{"v2 without a schema", "/topics/" + topic, v2JSON, `{"records":[{"value":{"n":1}}]}`, "not authorized"},
		{"v2 with the schema of another topic", "/topics/" + topic + "-other", avro, `{"value_schema":"` + schema + `","records":[{"value":{"n":1}}]}`, "not authorized"},
		{"v3 with the schema of the topic", v3, "application/json", v3Value(""), `"error_code":200`},
		{"v3 with the schema of a record", v3, "application/json", v3Value(`"subject_name_strategy":"RECORD_NAME",`), `"error_code":200`},
		{"v3 with another subject", v3, "application/json", v3Value(`"subject":"x",`), "not authorized"},
		{"a subject that may be seen", "/subjects/seen/versions", "application/json", `{"schema":"\"string\""}`, `"id":`},
		{"a subject that may not", "/subjects/unseen/versions", "application/json", `{"schema":"\"string\""}`, "not authorized"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &running{t: t, url: r.url}
			if resp, text := r.exchange("POST", c.path, c.body, key, "Content-Type: "+c.media); !strings.Contains(text, c.want) {
				t.Errorf("got %d %s, want %s", resp.StatusCode, text, c.want)
			}
		})
	}
}
