package catalog

import (
	"strings"
	"testing"
)

func TestAPipeMustNotFeedItself(t *testing.T) {
	for _, c := range []struct {
		name string
		pipe Pipe
		want string
	}{
		{"another topic", Pipe{Name: "p", Topics: []string{"a"}, Target: Target{"topic", []byte(`{"name":"b"}`)}}, ""},
		{"its own topic", Pipe{Name: "p", Topics: []string{"b", "a"}, Target: Target{"topic", []byte(`{"name":"a"}`)}}, "target: topic a is read by this very pipe"},
		{"its own dead letters", Pipe{Name: "p", Topics: []string{"klamm.dlq.p"}, Target: Target{"webhook", []byte(`{}`)}}, "delivery.dead_letter: topic klamm.dlq.p"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			c.pipe.Validate(func(path, problem string) { got = append(got, path+": "+problem) })
			if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], c.want)) {
				t.Errorf("%q", got)
			}
		})
	}
}
