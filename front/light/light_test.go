package light

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/confluent2"
	"github.com/klamm-gateway/klamm/front/fronttest"
	"github.com/klamm-gateway/klamm/gate"
)

// dialects has v2 too, to read what was written.
func dialects(g *gate.Gate) []front.Dialect {
	return []front.Dialect{confluent2.Dialect(g, confluent2.Config{}), Dialect(g, NewConnections(nil))}
}

func TestTranscripts(t *testing.T) {
	now := fronttest.Mask{Pattern: regexp.MustCompile(`"timestamp":\d+`), Text: `"timestamp":NOW`}
	fronttest.Start(t, fronttest.Setup{Dialects: dialects}).Transcripts(t, "testdata", now)
}

func TestConforms(t *testing.T) {
	fronttest.Conform(t, fronttest.Subject{
		Dialects: dialects,
		Unknown:  "/p/a/b",
		Upload:   "POST /p/%s",
		Head:     "21.5",
		Failure: func(_ int, header http.Header, body []byte) error {
			var e struct {
				Code    int `json:"error_code"`
				Message string
			}
			if err := json.Unmarshal(body, &e); err != nil {
				return err
			}
			if e.Code == 0 || e.Message == "" || header.Get("Content-Type") != "application/json" {
				return errors.New("not v2's error body")
			}
			return nil
		},
	})
}

type refuse struct{}

func (refuse) Check(context.Context, *gate.Call) error {
	return &gate.Error{Kind: gate.Denied, Message: "not for you"}
}

func TestWithoutAcknowledgementThePoliciesHoldToo(t *testing.T) {
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects, Policies: []gate.Policy{refuse{}}})
	for _, query := range []string{"", "?ack=0"} {
		resp, err := http.Post(s.URL+"/p/t"+query, "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%q: got %s, want 403", query, resp.Status)
		}
	}
}

func TestWithoutAcknowledgementTheTopicIsValid(t *testing.T) {
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	for topic, want := range map[string]int{"no%20topic": 400, "no%2Ftopic": 400, strings.Repeat("t", 250): 400, strings.Repeat("t", 249): 202} {
		resp, err := http.Post(s.URL+"/p/"+topic+"?ack=0", "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%q: got %s, want %d", topic, resp.Status, want)
		}
	}
}

func TestAcknowledgementIsAskedForPlainly(t *testing.T) {
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	for query, want := range map[string]int{
		"ack=7": 400, "ack=": 400, "ack=0&ack=1": 400, "ack=00": 400, "ack=false": 400, "ack=0": 202, "ack=1": 204, "ack=all": 204, "other=7": 204,
	} {
		resp, err := http.Post(s.URL+"/p/acknowledged?"+query, "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%q: got %s, want %d", query, resp.Status, want)
		}
	}
}
