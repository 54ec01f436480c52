package gate_test

import (
	"testing"

	"github.com/klamm-gateway/klamm/gate"
)

func TestClusterPolicyThatShutsOutItsAuthor(t *testing.T) {
	all := document(`{"Effect":"Allow","Action":"*","Resource":"*"}`)
	a, _, own := books(t, ruling(
		gate.PolicyConfig{Name: "home", Kind: "identity", Attach: []string{"User:home"}, Document: all},
		gate.PolicyConfig{Name: "pinned", Kind: "identity", Attach: []string{"User:pinned"}, Document: document(`{"Effect":"Allow","Action":"kafka:GetClusterPolicy","Resource":"*"}`)},
	))
	home := gate.Principal{Name: "User:home"}
	for _, c := range []struct {
		name      string
		who       gate.Principal
		cluster   string
		statement string
		want      bool
	}{
		{"grants something to others", home, gate.OwnCluster, `{"Effect":"Allow","Principal":{"AWS":"` + consumerRole + `"},"Action":"kafka-cluster:ReadData","Resource":"*"}`, false},
		{"denies records", home, gate.OwnCluster, `{"Effect":"Deny","Principal":"*","Action":"kafka-cluster:*","Resource":"*"}`, false},
		{"denies everything", home, gate.OwnCluster, `{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}`, true},
		{"denies its own change", home, gate.OwnCluster, `{"Effect":"Deny","Principal":"*","Action":"kafka:PutClusterPolicy","Resource":"*"}`, true},
		{"denies others", home, gate.OwnCluster, `{"Effect":"Deny","Principal":{"AWS":"` + consumerRole + `"},"Action":"*","Resource":"*"}`, false},
		{"who has no right to it anyway", gate.Principal{Name: "User:pinned"}, gate.OwnCluster, `{"Effect":"Deny","Principal":{"AWS":"` + consumerRole + `"},"Action":"*","Resource":"*"}`, true},
		{"of another cluster", home, "producer", `{"Effect":"Deny","Principal":"*","Action":"kafka:*","Resource":"*"}`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			arn := own
			if c.cluster != gate.OwnCluster {
				arn = producerARN
			}
			out, err := a.ShutsOut(t.Context(), c.who, c.cluster, arn, string(document(c.statement)))
			if err != nil || out != c.want {
				t.Errorf("got %t, %v, want %t", out, err, c.want)
			}
		})
	}
	if _, err := a.ShutsOut(t.Context(), home, gate.OwnCluster, own, "{"); err == nil {
		t.Error("a document that is none is taken")
	}
	if err := a.Check(t.Context(), &gate.Call{Principal: home, Action: gate.PutClusterPolicy, Resource: gate.Resource{Kind: "arn", Name: own}}); err != nil {
		t.Errorf("what was only asked about has taken effect: %v", err)
	}
}
