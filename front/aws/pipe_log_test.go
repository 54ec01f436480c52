package aws_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

// A logged is a record of the log of executions.
type logged struct {
	ExecutionID, MessageType, LogLevel, ResourceArn string
	Timestamp                                       int64
	Payload, AWSRequest, AWSResponse                string
	Error                                           *struct {
		HTTPStatusCode int `json:"httpStatusCode"`
		Message        string
	}
}

// logged reads what is in the log by now.
func (s *server) logged(topic string) (all []logged) {
	s.t.Helper()
	t, err := s.cluster.Topic(s.t.Context(), topic)
	if err != nil {
		return nil
	}
	records, _, err := s.cluster.Read(s.t.Context(), t, 0, 0, kafka.Limits{Records: 10_000, Bytes: 8 << 20})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range records {
		var one logged
		if err := json.Unmarshal(r.Value, &one); err != nil {
			s.t.Fatalf("%s: %v", r.Value, err)
		}
		all = append(all, one)
	}
	return all
}

func TestExecutionsAreLogged(t *testing.T) {
	s := start(t)
	enrich := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case strings.Contains(string(body), "nothing"):
		case strings.Contains(string(body), "wrong"):
			w.WriteHeader(500)
			_, _ = io.WriteString(w, "no such order")
		default:
			_, _ = io.WriteString(w, `{"enriched":1}`)
		}
	}))
	t.Cleanup(enrich.Close)
	topic := s.topic()
	asked := s.destination(topic, enrich.URL+"/ask")
	for _, c := range []struct {
		name, level, value string
		data, enriched     bool
		want               []string // the first steps
	}{
		{"everything", "TRACE", `{"v":1}`, true, true, []string{
			"EXECUTION_STARTED", "ENRICHMENT_STAGE_ENTERED", "ENRICHMENT_TRANSFORMATION_STARTED", "ENRICHMENT_TRANSFORMATION_SUCCEEDED", "ENRICHMENT_INVOCATION_STARTED", "ENRICHMENT_INVOCATION_SUCCEEDED", "ENRICHMENT_STAGE_SUCCEEDED",
			"TARGET_STAGE_ENTERED", "TARGET_TRANSFORMATION_STARTED", "TARGET_TRANSFORMATION_SUCCEEDED", "TARGET_INVOCATION_STARTED", "TARGET_INVOCATION_SUCCEEDED", "TARGET_STAGE_SUCCEEDED", "EXECUTION_SUCCEEDED"}},
		{"stages", "INFO", `{"v":1}`, false, true, []string{
			"EXECUTION_STARTED", "ENRICHMENT_STAGE_ENTERED", "ENRICHMENT_STAGE_SUCCEEDED", "TARGET_STAGE_ENTERED", "TARGET_STAGE_SUCCEEDED", "EXECUTION_SUCCEEDED"}},
		{"nothing to deliver", "TRACE", `{"v":"nothing"}`, false, true, []string{
			"EXECUTION_STARTED", "ENRICHMENT_STAGE_ENTERED", "ENRICHMENT_TRANSFORMATION_STARTED", "ENRICHMENT_TRANSFORMATION_SUCCEEDED", "ENRICHMENT_INVOCATION_STARTED", "ENRICHMENT_INVOCATION_SUCCEEDED", "ENRICHMENT_STAGE_SUCCEEDED",
			"TARGET_STAGE_SKIPPED", "EXECUTION_SUCCEEDED"}},
		{"failures", "ERROR", `{"v":"wrong"}`, true, true, []string{"ENRICHMENT_INVOCATION_FAILED", "ENRICHMENT_STAGE_FAILED", "EXECUTION_FAILED"}},
		{"without an enrichment", "TRACE", `{"v":1}`, false, false, []string{
			"EXECUTION_STARTED", "TARGET_STAGE_ENTERED", "TARGET_INVOCATION_STARTED", "TARGET_INVOCATION_SUCCEEDED", "TARGET_STAGE_SUCCEEDED", "EXECUTION_SUCCEEDED"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			from, group := s.topic(), s.topic()
			configuration := m{"Level": c.level, "CloudwatchLogsLogDestination": m{"LogGroupArn": "arn:aws:logs:us-east-1:000000000000:log-group:/aws/vendedlogs/pipes/" + group}}
			if c.data {
				configuration["IncludeExecutionData"] = []string{"ALL"}
			}
			body := s.create(from, "arn:klamm:kafka:::topic/"+from+".out", m{"LogConfiguration": configuration})
			if c.enriched {
				body["Enrichment"] = asked
				body["EnrichmentParameters"] = m{"InputTemplate": `{"n":<$.value.v>}`}
				body["TargetParameters"] = m{"InputTemplate": `{"out":<$.enriched>}`}
			}
			if status, _, answer := s.ask("POST", "/v1/pipes/"+from, nil, body); status != 200 {
				t.Fatalf("%d %v", status, answer)
			}
			s.state(from, "RUNNING")
			s.produce(from, c.value)
			var got []logged
			eventually(t, "it is logged", func() bool {
				got = s.logged("klamm.log..aws.vendedlogs.pipes." + group)
				return len(got) >= len(c.want)
			})
			got = got[:len(c.want)]
			steps := make([]string, len(got))
			for i, one := range got {
				steps[i] = one.MessageType
				if one.ExecutionID != got[0].ExecutionID || len(one.ExecutionID) != 36 || one.ResourceArn != "arn:aws:pipes:us-east-1:000000000000:pipe/"+from || one.Timestamp < 1_700_000_000_000 {
					t.Errorf("%+v", one)
				}
				if !c.data && one.Payload+one.AWSRequest+one.AWSResponse != "" {
					t.Errorf("%s shows data that nobody asked for", one.MessageType)
				}
			}
			if diff := cmp.Diff(c.want, steps); diff != "" {
				t.Fatal(diff)
			}
			switch c.name {
			case "everything":
				data := map[string]string{}
				for _, one := range got {
					data[one.MessageType] = one.Payload + "|" + one.AWSRequest + "|" + one.AWSResponse
				}
				want := map[string]string{
					"ENRICHMENT_TRANSFORMATION_SUCCEEDED": `[{"n":1}]||`,
					"ENRICHMENT_INVOCATION_STARTED":       `|` + fmt.Sprintf(`{"body":"{\"n\":1}","endpoint":"%s/ask","httpMethod":"POST"}`, enrich.URL) + `|`,
					"ENRICHMENT_INVOCATION_SUCCEEDED":     `||{"body":"{\"enriched\":1}"}`,
					"TARGET_STAGE_ENTERED":                `[{"enriched":1}]||`,
					"TARGET_INVOCATION_STARTED":           `|[{"out":1}]|`,
				}
				for step, text := range want {
					if data[step] != text {
						t.Errorf("%s: %s, want %s", step, data[step], text)
					}
				}
				if !strings.Contains(data["EXECUTION_STARTED"], `"eventSource":"SelfManagedKafka"`) || !strings.Contains(data["EXECUTION_STARTED"], `"value":"eyJ2IjoxfQ=="`) {
					t.Errorf("the execution began with %s", data["EXECUTION_STARTED"])
				}
			case "failures":
				if e := got[0].Error; e == nil || e.HTTPStatusCode != 500 || !strings.Contains(e.Message, "500") || got[0].AWSRequest == "" {
					t.Errorf("%+v", got[0])
				}
			}
		})
	}
}

func TestALogIsSwitchedOnAndOff(t *testing.T) {
	s := start(t)
	from := s.topic()
	group := "g" + from
	body := s.create(from, "arn:klamm:kafka:::topic/"+from+".out", m{"LogConfiguration": m{"Level": "OFF", "CloudwatchLogsLogDestination": m{"LogGroupArn": "arn:aws:logs:us-east-1:000000000000:log-group:" + group + ":*"}}})
	if status, _, answer := s.ask("POST", "/v1/pipes/"+from, nil, body); status != 200 {
		t.Fatalf("%d %v", status, answer)
	}
	s.state(from, "RUNNING")
	s.produce(from, "1")
	eventually(t, "it is delivered", func() bool {
		ranges, err := s.cluster.Ranges(t.Context(), from+".out")
		end := int64(0)
		for _, r := range ranges {
			end += r.End
		}
		return err == nil && end == 1
	})
	body["LogConfiguration"].(m)["Level"] = "INFO"
	if status, _, answer := s.ask("PUT", "/v1/pipes/"+from, nil, m{"RoleArn": role, "LogConfiguration": body["LogConfiguration"]}); status != 200 {
		t.Fatalf("%d %v", status, answer)
	}
	s.state(from, "RUNNING")
	if err := s.cluster.Produce(t.Context(), &kgo.Record{Topic: from, Value: []byte("2")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	var got []logged
	eventually(t, "it is logged", func() bool { got = s.logged("klamm.log." + group); return len(got) >= 4 })
	if got[0].MessageType != "EXECUTION_STARTED" || len(got) != 4 || got[0].LogLevel != "INFO" {
		t.Errorf("%+v", got)
	}
}
