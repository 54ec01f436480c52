package pipe

import (
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/transform"
)

// compileInput returns what makes of an event what its target gets; nil: it gets the
// event.
func compileInput(def catalog.Pipe) (func(dst, envelope []byte, intake time.Time) ([]byte, error), error) {
	if def.Bus == nil || def.Bus.Input == nil {
		return nil, nil
	}
	in, err := transform.CompileInput(transform.Input(*def.Bus.Input), transform.InputVars{RuleARN: def.Bus.RuleARN, RuleName: def.Bus.Rule})
	if err != nil || in.Whole() {
		return nil, err
	}
	return in.Apply, nil
}
