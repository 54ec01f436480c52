package klamm

import (
	"fmt"
	"io"
	"testing"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

func TestStatusesOfWhatTheFrontTurnsAway(t *testing.T) {
	for _, tc := range []struct {
		name   string
		err    error
		status int
		detail string
	}{
		{"another host", &front.RepeatError{Status: 421, Message: "Misdirected Request"}, 421, "Misdirected Request"},
		{"a long URL", fmt.Errorf("look: %w", &front.RepeatError{Status: 414, Message: "the URL\nis long"}), 414, "the URL; is long"},
		{"a large body", fmt.Errorf("read: %w", front.ErrBodyTooLarge), 413, "read: " + front.ErrBodyTooLarge.Error()},
		{"a slow body", front.ErrBodyTimeout, 408, front.ErrBodyTimeout.Error()},
		{"too much at once", front.ErrBusy, 503, front.ErrBusy.Error()},
		{"half a body", io.ErrUnexpectedEOF, 400, "the request body breaks off"},
		{"a kind", &gate.Error{Kind: gate.Conflict, Message: "twice"}, 409, "twice"},
		{"anything else", io.ErrClosedPipe, 500, unexpected},
	} {
		if status, detail := explain(tc.err); status != tc.status || detail != tc.detail {
			t.Errorf("%s: got %d %q, want %d %q", tc.name, status, detail, tc.status, tc.detail)
		}
	}
}
