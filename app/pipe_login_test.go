package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// call asks klamm and decodes the answer.
func (r *running) call(method, path string, body any) (int, map[string]any) {
	r.t.Helper()
	text, _ := json.Marshal(body)
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(string(text)))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	all, _ := io.ReadAll(resp.Body)
	var answer map[string]any
	_ = json.Unmarshal(all, &answer)
	return resp.StatusCode, answer
}

// Apache Kafka with listeners that want a login is started by deploy/kafka/run --sasl.
func TestPipesLogInByTheirOwnCredentials(t *testing.T) {
	address, mutual, certificates := os.Getenv("KLAMM_TEST_SASL"), os.Getenv("KLAMM_TEST_MTLS"), os.Getenv("KLAMM_TEST_TLS")
	if address == "" {
		t.Skip("KLAMM_TEST_SASL names no listener; deploy/kafka/run --sasl starts one")
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(certificates, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	secrets := t.TempDir()
	for name, content := range map[string]any{
		"good":  map[string]string{"username": "klamm", "password": "klamm-secret"},
		"wrong": map[string]string{"username": "klamm", "password": "wr0ng-secret"},
		"mine":  map[string]string{"certificate": read("klamm.pem"), "privateKey": read("klamm.key")},
		"root":  map[string]string{"certificate": read("ca.pem")},
	} {
		text, _ := json.Marshal(content)
		if err := os.WriteFile(filepath.Join(secrets, name+".json"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const msk = "arn:aws:kafka:us-east-1:000000000000:cluster/far/11111111-2222-3333-4444-555555555555-1"
	r := start(t, fmt.Sprintf(`
egress: {allow: [127.0.0.1]}
secrets: {directory: %q}
kafka: {clusters: [{name: far, arns: [%q], brokers: [%q], root_ca: {file: %q}}]}
`, secrets, msk, address, filepath.Join(certificates, "ca.pem")), "")
	arn := func(name string) string {
		return "arn:aws:secretsmanager:us-east-1:000000000000:secret:" + name + "-AbCdEf"
	}
	type m = map[string]any
	const self, managed = "SelfManagedKafkaParameters", "ManagedStreamingKafkaParameters"
	for i, c := range []struct {
		name, source, parameters string
		more                     m
		want                     string // of the reason; empty: it works
	}{
		{"plain", "smk://" + address, self, m{"Credentials": m{"BasicAuth": arn("good")}, "ServerRootCaCertificate": arn("root")}, ""},
		{"scram-256", "smk://" + address, self, m{"Credentials": m{"SaslScram256Auth": arn("good")}, "ServerRootCaCertificate": arn("root")}, ""},
		{"scram-512", "smk://" + address, self, m{"Credentials": m{"SaslScram512Auth": arn("good")}, "ServerRootCaCertificate": arn("root")}, ""},
		{"the same once more", "smk://" + address, self, m{"Credentials": m{"SaslScram512Auth": arn("good")}, "ServerRootCaCertificate": arn("root")}, ""},
		{"mtls", "smk://" + mutual, self, m{"Credentials": m{"ClientCertificateTlsAuth": arn("mine")}, "ServerRootCaCertificate": arn("root")}, ""},
		{"a cluster of the configuration", msk, managed, m{"Credentials": m{"SaslScram512Auth": arn("good")}}, ""},
		{"a wrong password", "smk://" + address, self, m{"Credentials": m{"SaslScram512Auth": arn("wrong")}, "ServerRootCaCertificate": arn("root")}, "SASL_AUTHENTICATION_FAILED"},
		{"authorities of others", "smk://" + address, self, m{"Credentials": m{"BasicAuth": arn("good")}, "ServerRootCaCertificate": arn("mine")}, "unknown authority"},
		{"no such secret", "smk://" + address, self, m{"Credentials": m{"BasicAuth": arn("none")}, "ServerRootCaCertificate": arn("root")}, "no such secret"},
		{"a password where a certificate is asked for", "smk://" + mutual, self, m{"Credentials": m{"ClientCertificateTlsAuth": arn("good")}}, "certificate"},
		{"nobody there", "smk://127.0.0.1:1", self, m{"Credentials": m{"BasicAuth": arn("good")}}, "127.0.0.1"},
		{"not to be reached", "smk://127.0.0.2:9092", self, nil, "egress"},
	} {
		t.Run(c.name, func(t *testing.T) {
			topic := fmt.Sprintf("login-%d-%d", i, time.Now().UnixNano())
			r.produce(topic, "k", `{"n":1}`)
			k := m{"TopicName": topic, "BatchSize": 1}
			for name, value := range c.more {
				k[name] = value
			}
			status, answer := r.call("POST", "/v1/pipes/"+topic, m{"Source": c.source, "RoleArn": "arn:aws:iam::000000000000:role/r",
				"SourceParameters": m{c.parameters: k}, "Target": "arn:klamm:kafka:::topic/" + topic + ".out"})
			if c.want != "" && status == 400 && strings.Contains(fmt.Sprint(answer), c.want) {
				return // it is clear at once that this cannot work
			}
			if status != 200 {
				t.Fatalf("%d %v", status, answer)
			}
			for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
				_, answer = r.call("GET", "/v1/pipes/"+topic, nil)
				if c.want == "" && answer["CurrentState"] == "RUNNING" || c.want != "" && answer["CurrentState"] == "CREATE_FAILED" && strings.Contains(fmt.Sprint(answer["StateReason"]), c.want) {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("got %v %v, want %q", answer["CurrentState"], answer["StateReason"], c.want)
				}
			}
			if c.want == "" {
				r.awaitRecord(topic + ".out")
			}
			if status, answer = r.call("DELETE", "/v1/pipes/"+topic, nil); status != 200 {
				t.Fatalf("%d %v", status, answer)
			}
		})
	}
	if strings.Contains(r.log.String(), "-secret") {
		t.Error("a password stands in the log")
	}
}

// awaitRecord waits until a topic has a record.
func (r *running) awaitRecord(topic string) {
	r.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get(r.url + "/topics/" + topic + "/records?offset=earliest")
		if err != nil {
			r.t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode == 200 && strings.Contains(string(text), "offset") {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("no record in %s: %d %.300s", topic, resp.StatusCode, text)
		}
	}
}
