package app_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/waittest"
)

// A pipe whose definition cannot be carried out is among what is wrong, and says why
// where it is asked for.
func TestPipesThatCannotRunAreTold(t *testing.T) {
	r := start(t, "", t.TempDir())
	name := fmt.Sprintf("undefined-%d", time.Now().UnixNano())
	type m = map[string]any
	if status, answer := r.call("POST", "/v1/pipes/"+name, m{"Source": "arn:klamm:kafka:::cluster/nowhere", "RoleArn": "arn:aws:iam::000000000000:role/r",
		"SourceParameters": m{"SelfManagedKafkaParameters": m{"TopicName": "in"}}, "Target": "arn:klamm:kafka:::topic/out"}); status != 200 {
		t.Fatalf("%d %v", status, answer)
	}
	wrong := func() m {
		_, answer := r.call("GET", "/klamm/v1/status", nil)
		list, _ := answer["wrong"].([]any)
		for _, w := range list {
			if w, _ := w.(m); w["pipe"] == name {
				return w
			}
		}
		return nil
	}
	waittest.Until(t, "the status names the pipe", func() bool {
		w := wrong()
		return w["state"] == "undefined" && strings.Contains(fmt.Sprint(w["reason"]), "nowhere")
	})
	if status, answer := r.call("GET", "/klamm/v1/pipes/"+name, nil); status != 404 || !strings.Contains(fmt.Sprint(answer["detail"]), "nowhere") {
		t.Errorf("%d %v", status, answer)
	}
	if status, answer := r.call("POST", "/v1/pipes/"+name+"/stop", nil); status != 200 {
		t.Fatalf("%d %v", status, answer)
	}
	waittest.Until(t, "the status forgets a pipe that need not run", func() bool { return wrong() == nil })
}
