package gate

import (
	"context"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// says is a policy that gives the same answer to everything.
type says struct{ err error }

func (a says) Check(context.Context, *Call) error { return a.err }

func TestDecisionsAreCounted(t *testing.T) {
	answer := &says{}
	g := New(nil, answer)
	for _, err := range []error{nil, nil, &Error{Denied, "no"}, &Error{Unavailable, "later"}} {
		answer.err = err
		_ = g.allow(t.Context(), Anonymous, DescribeGroup, "group", "g")
	}
	want := `# HELP klamm_policy_decisions_total Calls that policies have decided about: allow, deny, or error where they could not be asked and nothing passes.
# TYPE klamm_policy_decisions_total counter
klamm_policy_decisions_total{decision="allow"} 2
klamm_policy_decisions_total{decision="deny"} 1
klamm_policy_decisions_total{decision="error"} 1
`
	if err := testutil.CollectAndCompare(g.Decisions(), strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
