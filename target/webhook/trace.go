package webhook

import (
	"context"
	"net/http"

	"github.com/klamm-gateway/klamm/trace"
)

// passTrace tells a receiver which span it is called in (W3C Trace Context), unless
// the configuration says something of its own.
func passTrace(ctx context.Context, h http.Header) {
	c := trace.From(ctx)
	if !c.Valid() || h["Traceparent"] != nil {
		return
	}
	h["Traceparent"] = []string{c.Traceparent()}
	if c.State != "" {
		h["Tracestate"] = []string{c.State}
	}
}
