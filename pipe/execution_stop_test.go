package pipe

import (
	"errors"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/target"
)

func TestPermanentErrorsStopAnExecutionsPipe(t *testing.T) {
	permanent := insist(target.Permanent(errors.New("HTTP status 403")))
	passing := insist(errors.New("HTTP status 503"))
	if f := target.FailureOf(permanent); f.Final {
		t.Fatal("a batch is given up")
	}
	for _, c := range []struct {
		name  string
		after time.Duration
		in    []error // one a minute
		want  bool
	}{
		{"long enough", 15 * time.Minute, []error{15: permanent}, true},
		{"not long enough", 17 * time.Minute, []error{15: permanent}, false},
		{"not often enough", time.Minute, []error{3: permanent}, false},
		{"a success between", 8 * time.Minute, []error{8: nil, 15: permanent}, false},
		{"another error between", 8 * time.Minute, []error{8: passing, 15: permanent}, false},
		{"never", 0, []error{100: permanent}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := &execution{lastings: lastings{after: c.after}}
			f := &flow{target: x, consumer: &kafka.Consumer{}, halted: make(chan struct{})}
			for i, err := range c.in {
				if err == nil && (c.name != "a success between" || i != 8) {
					err = permanent
				}
				if f.stopped == nil {
					f.stopLasting(time.Unix(int64(60*i), 0), err)
				}
			}
			if got := f.stopped != nil; got != c.want {
				t.Errorf("stopped: %v, want %v", got, c.want)
			}
			if c.want && f.stopped.state != Disabled {
				t.Errorf("the pipe is %s", f.stopped.state)
			}
		})
	}
}
