package registry

import (
	"mime"
	"net/http"
	"strings"

	"github.com/klamm-gateway/klamm/front"
)

// offered are the media types of answers, the best first.
var offered = []string{"application/vnd.schemaregistry.v1+json", "application/vnd.schemaregistry+json", "application/json"}

// accepted chooses the media type of an answer: the one that the client wants most, and
// of equals the first one offered.
func accepted(headers []string) (string, bool) {
	if strings.TrimSpace(strings.Join(headers, "")) == "" {
		return offered[0], true
	}
	best := front.ParseAccept(headers).Preferred(offered)
	if best < 0 {
		return "", false
	}
	return offered[best], true
}

// readable says whether a request body may have a media type; none is as good as JSON.
func readable(header string) bool {
	if header == "" {
		return true
	}
	name, _, err := mime.ParseMediaType(header)
	if err != nil {
		return false
	}
	switch name {
	case "application/vnd.schemaregistry.v1+json", "application/vnd.schemaregistry+json", "application/json", "application/octet-stream":
		return true
	}
	return false
}

// write answers 200 with a body.
func write(w http.ResponseWriter, r *http.Request, body []byte) error {
	kind, _ := accepted(r.Header.Values("Accept"))
	w.Header()["Content-Type"] = []string{kind}
	_, err := w.Write(body)
	return err
}
