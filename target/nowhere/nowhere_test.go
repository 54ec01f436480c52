package nowhere

import (
	"encoding/json"
	"testing"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

func TestEveryDeliveryFails(t *testing.T) {
	for _, c := range []struct {
		name  string
		in    Config
		final bool
	}{
		{"for good", Config{Reason: "there is no such thing", Code: target.CodeNoResource}, true},
		{"for now", Config{Reason: "there is no such thing", Code: target.CodeNoResource, Passing: true}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw, err := json.Marshal(c.in)
			if err != nil {
				t.Fatal(err)
			}
			tg, err := Kind().Open(raw, targettest.Env(t, ""))
			if err != nil {
				t.Fatal(err)
			}
			err = tg.Deliver(t.Context(), []*event.Event{targettest.Event(1, "k", "1")})
			if err == nil || err.Error() != c.in.Reason || target.ErrorCode(err) != c.in.Code || target.FailureOf(err).Final != c.final {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Configuration files cannot have it: all its fields are klamm's own.
func TestTheEmptyConfigurationIsNotValid(t *testing.T) {
	problems := 0
	Kind().Config().Validate(func(string, string) { problems++ })
	if problems == 0 {
		t.Error("it is accepted")
	}
}
