package registry

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/schema"
)

// What the registry refuses is told to the client alone; what it fails with is for the log.
func TestRefusalsAreNotForTheLog(t *testing.T) {
	for _, c := range []struct {
		err      error
		reported bool
	}{
		{&schema.RegistryError{Status: 404, Code: 40401, Message: "Subject 's' not found."}, true},
		{fmt.Errorf("look up: %w", &schema.RegistryError{Status: 409, Code: 409, Message: "incompatible"}), true},
		{&schema.RegistryError{Status: 500, Code: 50001, Message: "the store"}, false},
		{&schema.RegistryError{Message: "no answer"}, false},
		{errors.New("disk"), false},
	} {
		serve := speaks(func(http.ResponseWriter, *http.Request, gate.Principal) error { return c.err })
		err := serve(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/subjects/s/versions", nil), gate.Principal{})
		var told front.Reported
		if errors.As(err, &told) != c.reported {
			t.Errorf("%v: got %v", c.err, err)
		}
		if before, after := refusalOf(c.err), refusalOf(err); *before != *after {
			t.Errorf("%v: answered with %v, want %v", c.err, after, before)
		}
	}
}
