package app_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/waittest"
)

// A sink with the converter of AWS Glue puts the JSON of what Glue's serializers wrote,
// and people who read the topic see it, too.
func TestSinkWithGlue(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	var mu sync.Mutex
	var details []string
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			SchemaVersionID string
			Entries         []struct{ Detail string }
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		switch r.Header.Get("X-Amz-Target") {
		case "AWSGlue.GetSchemaVersion":
			if in.SchemaVersionID != "01020304-0506-0708-090a-0b0c0d0e0f10" || !strings.Contains(r.Header.Get("Authorization"), "/eu-west-3/glue/") {
				t.Errorf("asked for %s with %s", in.SchemaVersionID, r.Header.Get("Authorization"))
			}
			_ = json.NewEncoder(w).Encode(map[string]string{"DataFormat": "AVRO", "Status": "AVAILABLE",
				"SchemaDefinition": `{"type":"record","name":"N","fields":[{"name":"eventType","type":"string"}]}`})
		case "AWSEvents.PutEvents":
			mu.Lock()
			defer mu.Unlock()
			for _, e := range in.Entries {
				details = append(details, e.Detail)
			}
			_, _ = io.WriteString(w, `{"FailedEntryCount":0,"Entries":[`+strings.TrimSuffix(strings.Repeat(`{"EventId":"1"},`, len(in.Entries)), ",")+`]}`)
		}
	}))
	defer far.Close()
	r := start(t, fmt.Sprintf("egress: {allow: [127.0.0.0/8]}\nschema_registry: {glue: {region: eu-west-3, endpoint: %q}}\n", far.URL), t.TempDir())
	c := connectClient{t, r.url}
	topic := fmt.Sprintf("glue-%d", time.Now().UnixNano())
	value := "\x03\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x0cplaced"
	r.binary(topic, value)
	c.want(201, "POST", "/connectors", fmt.Sprintf(`{"name":%q,"config":{"connector.class":"software.amazon.event.kafkaconnector.EventBridgeSinkConnector","topics":%q,
"key.converter":"org.apache.kafka.connect.storage.StringConverter","value.converter":"com.amazonaws.services.schemaregistry.kafkaconnect.AWSKafkaAvroConverter",
"value.converter.region":"eu-west-3","value.converter.registry.name":"shop","value.converter.avroRecordType":"GENERIC_RECORD",
"aws.eventbridge.connector.id":"c","aws.eventbridge.region":"us-east-1","aws.eventbridge.eventbus.arn":"arn:aws:events:us-east-1:123456789012:event-bus/far","aws.eventbridge.endpoint.uri":%q}}`, topic, topic, far.URL))
	waittest.Until(t, "the event is put", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(details) > 0
	})
	mu.Lock()
	if !strings.Contains(details[0], `"value":{"eventType":"placed"}`) {
		t.Errorf("put %s", details[0])
	}
	mu.Unlock()
	c.want(200, "GET", "/klamm/v1/topics/"+topic+"/records?from=beginning", "", `"eventType":"placed"`, `"value_schema":{"id":"01020304-0506-0708-090a-0b0c0d0e0f10","type":"AVRO"}`)
}

// binary writes a record of any bytes.
func (r *running) binary(topic, value string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.url+"/topics/"+topic, strings.NewReader(`{"records":[{"value":"`+base64.StdEncoding.EncodeToString([]byte(value))+`"}]}`))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/vnd.kafka.binary.v2+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || strings.Contains(string(text), "error_code\":4") {
		r.t.Fatalf("produce: %d %s", resp.StatusCode, text)
	}
}
