package target

import (
	"context"
	"time"
)

// A Report is what an attempt looked like, beyond its outcome. A target that can
// tell fills it in; what it cannot tell stays zero.
type Report struct {
	Status   int    // of an HTTP answer
	Response []byte // the beginning of its body, at most 1 KiB
	// DNS, Connect and TLS are zero where a connection was there already. Wait
	// is from the end of the request to the first byte of the answer.
	DNS, Connect, TLS, Wait time.Duration
}

type reportKey struct{}

// WithReport asks a target to fill in a report. It belongs to the target until
// the attempt has returned.
func WithReport(ctx context.Context, r *Report) context.Context {
	return context.WithValue(ctx, reportKey{}, r)
}

// ReportOf returns the report that is asked for; nil: none is.
func ReportOf(ctx context.Context) *Report {
	r, _ := ctx.Value(reportKey{}).(*Report)
	return r
}
