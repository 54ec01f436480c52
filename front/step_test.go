package front

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/shape"
)

func TestStepOf(t *testing.T) {
	refused := RefuseAWS(gate.Denied, http.StatusForbidden, "ForbiddenException", "message", nil)
	tests := []struct {
		name    string
		reached int
		err     error
		status  int
		want    int
	}{
		{"limit of addresses", stepAddress, &gate.Limited{}, 429, 7},
		{"credentials", stepCredentials, &gate.Error{Kind: gate.Unauthenticated}, 401, 8},
		{"credentials that are refused", stepCredentials, refused, 403, 8},
		{"policy of a route", stepRoutePolicy, &gate.Error{Kind: gate.Denied}, 403, 9},
		{"quota of requests", stepRequests, &gate.Limited{Quota: true}, 429, 10},
		{"limit of requests", stepRequests, &gate.Limited{}, 429, 11},
		{"parameters", stepServed, &shape.Mismatch{Fault: shape.Parameters}, 400, 12},
		{"type of a body", stepServed, &shape.Mismatch{Fault: shape.MediaType}, 415, 13},
		{"type that an API does not know", stepServed, errors.New("no"), 415, 13},
		{"size of a body", stepServed, fmt.Errorf("%w: 5", ErrBodyTooLarge), 413, 13},
		{"chunks of a body", stepServed, fmt.Errorf("%w: no length", ErrBodyMalformed), 400, 13},
		{"model", stepServed, &shape.Mismatch{Fault: shape.Body}, 400, 14},
		{"limit of records", stepServed, &gate.Limited{}, 429, 16},
		{"quota of records", stepServed, &gate.Limited{Quota: true}, 429, 10},
		{"schema of a topic", stepServed, &gate.Invalidity{}, 422, 17},
		{"idempotency", stepServed, &RepeatError{http.StatusConflict, "running"}, 409, 18},
		{"overload", stepServed, &gate.Overloaded{}, 503, 19},
		{"credentials of an API's own", stepServed, &gate.Error{Kind: gate.Unauthenticated}, 401, 8},
		{"what does not exist", stepServed, &gate.Error{Kind: gate.NotFound}, 404, 0},
		{"klamm's fault", stepRoutePolicy, errors.New("broken"), 500, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := stepOf(tt.reached, tt.err, tt.status); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestRefusalsAreCountedByStep(t *testing.T) {
	s := stagedServer(t, Edge{})
	for _, how := range []string{"limited", "used", "used", "body", "busy", "encoded", "late"} {
		askStaged(s, "GET", "/fail/"+how, "")
	}
	for label, want := range map[[2]string]float64{
		{"16", "default_4xx"}:    1, // this dialect does not know 429
		{"10", "quota_exceeded"}: 2, {"14", "bad_request_body"}: 1, {"19", "integration_failure"}: 1, {"13", "unsupported_media_type"}: 1,
	} {
		var m dto.Metric
		if err := s.cfg.Metrics.edge.rejects.WithLabelValues(label[0], label[1]).Write(&m); err != nil || m.GetCounter().GetValue() != want {
			t.Errorf("%v: %v %v, want %v", label, m.GetCounter().GetValue(), err, want)
		}
	}
}

// TestRefusedHeadersAreAnsweredToPages shows that a page sees why its request was
// turned away before anything was looked at, in the form of its stage.
func TestRefusedHeadersAreAnsweredToPages(t *testing.T) {
	s := stagedServer(t, Edge{Stages: []Stage{{Name: "dev", Errors: profileAWS, CORS: &CORS{AllowOrigins: []string{"https://app.example.com"}}}, {Name: "prod"}}})
	for name, header := range map[string][2]string{"431": {"X-Large", strings.Repeat("a", 17<<10)}, "400": {"X-HTTP-Method-Override", "PUT"}} {
		got := askStaged(s, "GET", "/dev/topics/t", "", "Origin", "https://app.example.com", header[0], header[1])
		if fmt.Sprint(got.Code) != name || got.Header().Get("Access-Control-Allow-Origin") != "https://app.example.com" || got.Header().Get("Vary") != "Origin" || !strings.HasPrefix(got.Body.String(), `{"message":`) {
			t.Errorf("%s: got %d %v %s", name, got.Code, got.Header(), got.Body)
		}
	}
}
