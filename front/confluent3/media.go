package confluent3

import (
	"net/http"
	"strings"

	"github.com/klamm-gateway/klamm/front"
)

var jsonType = []string{"application/json"}

// acceptable says whether the client takes JSON; the error is errNotAcceptable.
func acceptable(r *http.Request) error {
	header := r.Header["Accept"]
	if len(header) == 0 || len(header) == 1 && strings.TrimSpace(header[0]) == "" || front.ParseAccept(header).Preferred(jsonType) >= 0 {
		return nil
	}
	return errNotAcceptable
}

// contentType says whether the body of a request is JSON; one without a type is
// taken as such. The error is errMediaType.
func contentType(r *http.Request) error {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
	default:
		return nil
	}
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if media = strings.TrimSpace(media); media != "" && !strings.EqualFold(media, "application/json") {
		return errMediaType
	}
	return nil
}
