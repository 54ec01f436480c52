package gate_test

import (
	"slices"
	"testing"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

func TestStreamsAskThePolicies(t *testing.T) {
	c := cluster(t)
	open, closed := newTopic(t, c, "open"), newTopic(t, c, "closed")
	policy := &refuser{refused: []string{"AlterGroup group shut", "ReadData topic " + closed}}
	s := gate.NewStreams(gate.New(c, policy))
	if _, err := s.Follow(t.Context(), gate.Anonymous, closed, -1, kafka.From{}); gate.Classify(err) != gate.Denied {
		t.Errorf("a topic that is not allowed: %v", err)
	}
	for _, refused := range [][2]string{{"shut", open}, {"g", closed}} {
		if _, _, err := s.Join(t.Context(), gate.Anonymous, refused[0], refused[1], kafka.Start{}, nil); gate.Classify(err) != gate.Denied {
			t.Errorf("group %s on %s: %v", refused[0], refused[1], err)
		}
	}
	subscription, err := s.Follow(t.Context(), gate.Anonymous, open, -1, kafka.From{})
	if err != nil {
		t.Fatal(err)
	}
	defer subscription.Close()
	for _, want := range []string{"AlterGroup group g", "ReadData topic " + open} {
		if !slices.Contains(policy.asked, want) {
			t.Errorf("nobody asked for %s", want)
		}
	}
	policy.refused = append(policy.refused, "ReadData topic "+open)
	if err := s.MayFollow(t.Context(), gate.Anonymous, open, -1); gate.Classify(err) != gate.Denied {
		t.Errorf("a grant that has ended: %v", err)
	}
}
