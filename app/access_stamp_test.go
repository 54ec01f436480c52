package app_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// headersOf are the values of a header of the records of a topic, in order; "-" for a
// record without it.
func (r *running) headersOf(topic, header, caller string) (list []string) {
	r.t.Helper()
	_, text := r.exchange("GET", "/topics/"+topic+"/records?offset=earliest", "", "X-Api-Key: "+keyOf(caller))
	var records []struct {
		Headers []struct{ Name, Value string }
	}
	if err := json.Unmarshal([]byte(text), &records); err != nil {
		r.t.Fatalf("%v: %s", err, text)
	}
	for _, one := range records {
		found := "-"
		for _, h := range one.Headers {
			if strings.EqualFold(h.Name, header) {
				if found != "-" {
					r.t.Errorf("a record has %s twice: %v", header, one.Headers)
				}
				found = h.Value
			}
		}
		list = append(list, found)
	}
	return list
}

// TestRecordsNameTheirCallers writes by several APIs, as callers who would like to be
// somebody else.
func TestRecordsNameTheirCallers(t *testing.T) {
	topic := fmt.Sprintf("stamped-%x", time.Now().UnixNano())
	r := start(t, keysOf("acme", "root")+`
kafka: {stamp_principal: true}
routes:
  - {route: "POST /p/{topic}", stamp_principal: false}
rules:
  - {who: ["*"], can: [all], topics: ["*"], groups: ["*"]}
`, t.TempDir())
	key, forged := "X-Api-Key: "+keyOf("acme"), "X-Kafka-H-Klamm-Principal: User:root"
	var clusters struct {
		Data []struct {
			ID string `json:"cluster_id"`
		}
	}
	_, text := r.exchange("GET", "/v3/clusters", "", key)
	if err := json.Unmarshal([]byte(text), &clusters); err != nil || len(clusters.Data) != 1 {
		t.Fatalf("%v, %s", err, text)
	}
	for _, q := range []struct{ path, body, media string }{
		{"/topics/" + topic + "/partitions/0", "plain", "text/plain"},
		{"/topics/" + topic, `{"records":[{"partition":0,"value":{"n":1},"headers":[{"key":"klamm-principal","value":"VXNlcjpyb290"},{"key":"KLAMM-PRINCIPAL","value":"VXNlcjpyb290"}]}]}`, v2JSON},
		{"/v3/clusters/" + clusters.Data[0].ID + "/topics/" + topic + "/records", `{"partition_id":0,"headers":[{"name":"klamm-principal","value":"VXNlcjpyb290"}],"value":{"type":"JSON","data":1}}`, "application/json"},
		{"/p/" + topic + "?partition=0", "light", "text/plain"},
	} {
		if resp, text := r.exchange("POST", q.path, q.body, key, forged, "Content-Type: "+q.media); resp.StatusCode/100 != 2 {
			t.Fatalf("%s: %d %s", q.path, resp.StatusCode, text)
		}
	}
	if got := fmt.Sprint(r.headersOf(topic, "klamm-principal", "acme")); got != "[User:acme User:acme User:acme -]" {
		t.Errorf("the records name %s", got)
	}
}
