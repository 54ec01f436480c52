package confluent2

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/fronttest"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// changing are the parts of answers that differ from run to run.
var changing = []fronttest.Mask{
	{Pattern: regexp.MustCompile(`http://127\.0\.0\.1:\d+`), Text: "URL"},
	{Pattern: regexp.MustCompile(`-consumer-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), Text: "-consumer-UUID"},
	{Pattern: regexp.MustCompile(`_version":"[^"]*"`), Text: `_version":"VERSION"`},
	{Pattern: regexp.MustCompile(`"timestamp":(170[1-9]|17[1-9]\d|1[89]\d\d|[2-9]\d\d\d)\d{9}\b`), Text: `"timestamp":NOW`},
}

// TestProfileTranscripts plays the differences of each profile.
func TestProfileTranscripts(t *testing.T) {
	t.Parallel()
	for _, profile := range profiles {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			var served *gate.Gate
			s := fronttest.Start(t, fronttest.Setup{Dialects: func(g *gate.Gate) []front.Dialect {
				served = g
				return []front.Dialect{Dialect(g, Config{Profile: profile})}
			}})
			t.Cleanup(func() {
				if err := served.CloseConsumers(context.WithoutCancel(t.Context())); err != nil {
					t.Error(err)
				}
			})
			s.Transcripts(t, "testdata/"+profile, changing...)
		})
	}
}

// TestProfileErrors looks at errors that transcripts cannot bring about.
func TestProfileErrors(t *testing.T) {
	for _, c := range []struct {
		profile      string
		in           error
		status, code int
		message      string
	}{
		{"", front.ErrBusy, 503, 503, front.ErrBusy.Error()},
		{"strimzi", front.ErrBusy, 503, 503, "Bridge is overloaded, please retry later"},
		{"strimzi", &gate.Error{Kind: gate.Unauthenticated, Message: "who?"}, 401, 401, "who?"},
		{"strimzi", kerr.TopicAuthorizationFailed, 403, 403, kerr.TopicAuthorizationFailed.Description},
		{"strimzi", kafka.ErrUnreachable, 500, 500, kafka.ErrUnreachable.Error()},
		{"strimzi", errors.New("a secret"), 500, 500, "Internal Server Error"},
		{"karapace", kerr.TopicAuthorizationFailed, 403, 40301, kerr.TopicAuthorizationFailed.Description},
		{"redpanda", kerr.BrokerNotAvailable, 503, 50302, kerr.BrokerNotAvailable.Description},
	} {
		a, w := newAPI(nil, Config{Profile: c.profile}), httptest.NewRecorder()
		a.writeError(w, httptest.NewRequest("GET", "/topics", nil), c.in)
		if want := fmt.Sprintf(`{"error_code":%d,"message":%q}`, c.code, c.message); w.Code != c.status || w.Body.String() != want {
			t.Errorf("%s, %v: got %d %s, want %d %s", c.profile, c.in, w.Code, w.Body, c.status, want)
		}
	}
}

// TestProfileResults looks at outcomes that brokers seldom give.
func TestProfileResults(t *testing.T) {
	for _, c := range []struct {
		name                                    string
		in                                      error
		confluent, strimzi, karapace, redpanda  int
		confluentStatus, strimziStatus, kStatus int
	}{
		{"too large", kerr.MessageTooLarge, 50002, 500, 1, 10, 200, 200, 422},
		{"no topic", fmt.Errorf("%w: topic x", kafka.ErrNoPartition), 50003, 404, 1, 3, 200, 200, 422},
		{"no answer", kafka.ErrNotAcknowledged, 50003, 500, 2, 7, 200, 200, 422},
		{"too few replicas", kerr.NotEnoughReplicas, 50003, 500, 2, 19, 200, 200, 422},
		{"not allowed", kerr.TopicAuthorizationFailed, 40301, 500, 1, 29, 403, 200, 422},
		{"not known", kerr.SaslAuthenticationFailed, 40101, 500, 1, 58, 401, 200, 422},
	} {
		results := kgo.ProduceResults{{Record: &kgo.Record{Partition: 1, Offset: 5}}, {Record: &kgo.Record{Partition: 2}, Err: c.in}}
		for _, shape := range []struct {
			profile      string
			status, code int
		}{
			{"", c.confluentStatus, c.confluent}, {"strimzi", c.strimziStatus, c.strimzi}, {"karapace", c.kStatus, c.karapace}, {"redpanda", 200, c.redpanda},
		} {
			a, w := newAPI(nil, Config{Profile: shape.profile}), httptest.NewRecorder()
			if err := a.writeResults(w, mediaV2, results, a.habits.results); err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf(`"error_code":%d,`, shape.code); w.Code != shape.status || !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s as %q: got %d %s, want %d with %s", c.name, shape.profile, w.Code, w.Body, shape.status, want)
			}
		}
	}
}

func TestStatusReady(t *testing.T) {
	for _, c := range []struct {
		in     error
		status int
		body   string
	}{
		{nil, 200, ""},
		{errors.Join(errors.New("kafka-1:9092 does not answer"), errors.New("kafka-2:9092 neither")), 503, `{"error_code":50302,"message":"kafka-1:9092 does not answer; kafka-2:9092 neither"}`},
	} {
		a, w, r := newAPI(nil, Config{Ready: func(context.Context) error { return c.in }}), httptest.NewRecorder(), httptest.NewRequest("GET", "/status/ready", nil)
		if err := a.ready(w, r, gate.Anonymous); err != nil {
			a.writeError(w, r, err)
		}
		if w.Code != c.status || w.Body.String() != c.body {
			t.Errorf("%v: got %d %s, want %d %s", c.in, w.Code, w.Body, c.status, c.body)
		}
	}
}
