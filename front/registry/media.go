package registry

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// offered are the media types of answers, the best first.
var offered = []string{"application/vnd.schemaregistry.v1+json", "application/vnd.schemaregistry+json", "application/json"}

// accepted chooses the media type of an answer: the one that the client wants most, and
// of equals the first one offered.
func accepted(headers []string) (string, bool) {
	header := strings.Join(headers, ",")
	if strings.TrimSpace(header) == "" {
		return offered[0], true
	}
	best, quality := "", 0.0
	for _, kind := range offered {
		if q := wanted(header, kind); q > quality {
			best, quality = kind, q
		}
	}
	return best, best != ""
}

// wanted is how much a client wants a type: what names it most closely counts.
func wanted(header, kind string) float64 {
	closest, quality := 0, 0.0
	for part := range strings.SplitSeq(header, ",") {
		name, params, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil {
			continue
		}
		near := 0
		switch name {
		case kind:
			near = 3
		case "application/*":
			near = 2
		case "*/*", "*":
			near = 1
		}
		if near <= closest {
			continue
		}
		q := 1.0
		if text, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(text, 64); err != nil || q < 0 || q > 1 {
				q = 0
			}
		}
		closest, quality = near, q
	}
	return quality
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
