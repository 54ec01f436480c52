package pipe

import (
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/transform"
)

func TestLenientTemplatesOfAllPipes(t *testing.T) {
	for name, c := range map[string]struct {
		all, own bool
		want     string
	}{
		"as EventBridge Pipes has it": {false, false, `"{id:7}"`},
		"of this pipe":                {false, true, `{"id":7}`},
		"of all pipes":                {true, false, `{"id":7}`},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Runner{cfg: Config{LenientTemplates: c.all}}
			tr, err := r.compile(transform.Spec{Template: "<$.value>", Lenient: c.own}, "p")
			if err != nil {
				t.Fatal(err)
			}
			got, err := tr.Apply(nil, []byte(`{"value":{"id":7}}`), time.Now())
			if err != nil || string(got) != c.want {
				t.Errorf("%s, %v; want %s", got, err, c.want)
			}
		})
	}
}
