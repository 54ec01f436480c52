package confluent3

import (
	"net/http"
	"strconv"
	"strings"
)

var jsonType = []string{"application/json"}

// acceptable says whether the client takes JSON; the error is errNotAcceptable.
func acceptable(r *http.Request) error {
	header := r.Header["Accept"]
	if len(header) == 0 || len(header) == 1 && strings.TrimSpace(header[0]) == "" {
		return nil
	}
	// The most specific range decides (RFC 9110, 12.5.1).
	best, takes := -1, false
	for _, line := range header {
		if len(line) > 8<<10 {
			line = line[:8<<10]
		}
		for entry := range strings.SplitSeq(line, ",") {
			media, parameters, _ := strings.Cut(entry, ";")
			rank := -1
			switch strings.ToLower(strings.TrimSpace(media)) {
			case "application/json":
				rank = 2
			case "application/*":
				rank = 1
			case "*/*":
				rank = 0
			}
			if rank >= 0 && rank >= best {
				wanted := !refused(parameters)
				takes = wanted || takes && rank == best
				best = rank
			}
		}
	}
	if !takes {
		return errNotAcceptable
	}
	return nil
}

// refused says whether the parameters of a media range give it the quality 0.
func refused(parameters string) bool {
	for p := range strings.SplitSeq(parameters, ";") {
		name, value, ok := strings.Cut(strings.TrimSpace(p), "=")
		if ok && strings.EqualFold(strings.TrimSpace(name), "q") {
			q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return err != nil || !(q > 0)
		}
	}
	return false
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
