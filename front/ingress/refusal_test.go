package ingress

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// TestRefusalsOfTheFront are those that come before or beside the checks of a route.
func TestRefusalsOfTheFront(t *testing.T) {
	for _, c := range []struct {
		err   error
		wait  string // Retry-After, as it was set before
		want  int
		after string
	}{
		{&front.RepeatError{Status: http.StatusUnsupportedMediaType, Message: "no"}, "", 415, ""},
		{&gate.Error{Kind: gate.Unauthenticated, Message: "credentials are required"}, "", 401, ""},
		{&gate.Error{Kind: gate.Denied, Message: "no"}, "", 403, ""},
		{fmt.Errorf("%w: at most 1 bytes", front.ErrBodyTooLarge), "", 413, ""},
		{front.ErrBodyTimeout, "", 408, ""},
		{front.ErrBusy, "", 503, "5"},
		{&gate.Error{Kind: gate.Unavailable, Message: "later"}, "17", 503, "17"},
	} {
		w := httptest.NewRecorder()
		if c.wait != "" {
			w.Header().Set("Retry-After", c.wait)
		}
		writeError(w, nil, c.err)
		if w.Code != c.want || w.Header().Get("Retry-After") != c.after {
			t.Errorf("%v: got %d, Retry-After %q, want %d, %q", c.err, w.Code, w.Header().Get("Retry-After"), c.want, c.after)
		}
	}
}
