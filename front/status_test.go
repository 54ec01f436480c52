package front_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/klamm-gateway/klamm/front"
)

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		name   string
		in     error
		status int
		ok     bool
	}{
		{"no route", front.ErrNoRoute, 404, true},
		{"method", front.ErrMethod, 405, true},
		{"a large body, with its details", fmt.Errorf("%w: at most 5 bytes", front.ErrBodyTooLarge), 413, true},
		{"a silent client", front.ErrBodyTimeout, 408, true},
		{"too much in flight", front.ErrBusy, 503, true},
		{"a body that breaks off", fmt.Errorf("read the request body: %w", io.ErrUnexpectedEOF), 400, true},
		{"a repeated request", &front.RepeatError{Status: 409, Message: "not twice"}, 409, true},
		{"anything else", errors.New("else"), 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, text, ok := front.Status(c.in)
			if status != c.status || ok != c.ok || ok != (text != "") {
				t.Errorf("got %d %q %v, want %d %v", status, text, ok, c.status, c.ok)
			}
		})
	}
}
