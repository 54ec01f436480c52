package aws

import (
	"encoding/json"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/gate"
)

// pipes.md 1: what errors tell beside their message.
func TestErrorsOfPipesHaveTheirMembers(t *testing.T) {
	for _, c := range []struct {
		name   string
		err    error
		status int
		want   map[string]any
	}{
		{"changed meanwhile", catalog.ErrConflict, 409, map[string]any{"__type": "ConflictException", "message": catalog.ErrConflict.Error(), "resourceId": "p", "resourceType": "pipe"}},
		{"another's group", (&API{}).taken("other"), 409, map[string]any{"__type": "ConflictException", "message": "Pipe other already exists.", "resourceId": "other", "resourceType": "pipe"}},
		{"too many", catalog.ErrFull, 402, map[string]any{"__type": "ServiceQuotaExceededException", "message": "The requested resource exceeds the maximum number allowed.", "resourceId": "p", "resourceType": "pipe", "serviceCode": "pipes", "quotaCode": "pipes"}},
		{"too fast", &gate.Error{Kind: gate.Throttled}, 429, map[string]any{"__type": "ThrottlingException", "message": "Rate exceeded", "serviceCode": "pipes", "quotaCode": "pipes"}},
		{"not there", catalog.ErrNotFound, 404, map[string]any{"__type": "NotFoundException", "message": catalog.ErrNotFound.Error()}},
	} {
		r, w := httptest.NewRequest("POST", "/v1/pipes/p", nil), httptest.NewRecorder()
		r.SetPathValue("pipe", "p")
		pipes.writeError(w, r, c.err)
		var got map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != c.status || w.Header().Get("X-Amzn-Errortype") != c.want["__type"] {
			t.Errorf("%s: %d %v %s: %v", c.name, w.Code, w.Header(), w.Body, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}
