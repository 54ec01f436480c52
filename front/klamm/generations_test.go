package klamm_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/front/klamm"
	"github.com/klamm-gateway/klamm/gate"
)

// history is one of two configurations, which go back to each other.
func (k *klammd) history() *klamm.History {
	now := 2
	return &klamm.History{
		List: func() []klamm.Generation {
			return []klamm.Generation{{Number: now, Hash: "0123456789abcdef", Since: time.Unix(1_700_000_000, 0).UTC()}}
		},
		Compare: func(text []byte) ([]klamm.Change, error) {
			switch string(text) {
			case "same":
				return nil, nil
			case "bad":
				return nil, &gate.Error{Kind: gate.Invalid, Message: "klamm.yaml:1:1: a text"}
			}
			was, is := "5", "7"
			return []klamm.Change{{Path: "limits[a].requests.rate", Was: &was, Is: &is}, {Path: "kafka.brokers[0]", Is: &is, Restart: true}}, nil
		},
		Back: func(context.Context) error {
			now++
			return nil
		},
	}
}

func TestConfigurationsAreComparedAndRolledBack(t *testing.T) {
	k := start(t, &receiver{})
	const one = `{"generations":[{"generation":2,"hash":"0123456789abcdef","since":"2023-11-14T22:13:20Z"}]}`
	if got := k.want(nil, "GET", "/configuration", ""); strings.TrimSpace(got) != one {
		t.Errorf("got %s", got)
	}
	want := `{"changes":[{"path":"limits[a].requests.rate","was":"5","is":"7","restart":false},{"path":"kafka.brokers[0]","was":null,"is":"7","restart":true}]}`
	if got := k.want(nil, "POST", "/configuration/diff", "limits: []"); strings.TrimSpace(got) != want {
		t.Errorf("got %s", got)
	}
	if got := k.want(nil, "POST", "/configuration/diff", "same"); strings.TrimSpace(got) != `{"changes":[]}` {
		t.Errorf("got %s", got)
	}
	if got := k.want(nil, "POST", "/configuration/rollback", ""); !strings.Contains(got, `"generation":3`) {
		t.Errorf("got %s", got)
	}
}
