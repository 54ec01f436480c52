package aws

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/function"
)

func TestWhenAThrottledCallerMayComeBack(t *testing.T) {
	t.Parallel()
	elsewhere := func(after time.Duration) error {
		return &function.UnreachedError{Status: http.StatusTooManyRequests, After: after, Err: errors.New("busy")}
	}
	for _, tc := range []struct {
		in   error
		want string
	}{
		{function.ErrThrottled, "1"},
		{elsewhere(0), "1"},
		{elsewhere(7 * time.Second), "7"},
		{elsewhere(1500 * time.Millisecond), "2"},
	} {
		w := httptest.NewRecorder()
		writeLambdaError(w, nil, tc.in)
		if got := w.Header().Get("Retry-After"); w.Code != http.StatusTooManyRequests || got != tc.want {
			t.Errorf("%v: %d with Retry-After %q, want 429 with %q", tc.in, w.Code, got, tc.want)
		}
	}
}
