package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
)

const (
	excerpt = 1 << 10
	// drained is how much of an answer is read so that its connection can be
	// used again, and drainTime how long that may take: the outcome is known.
	drained   = 64 << 10
	drainTime = time.Second
	// longestRetryAfter bounds what a receiver may ask for.
	longestRetryAfter = 24 * time.Hour
)

// outcome says what an answer means. With keep it returns the body of a success.
func (w *webhook) outcome(ctx context.Context, resp *http.Response, keep bool, report *target.Report) ([]byte, error) {
	defer func() { _ = resp.Body.Close() }()
	if report != nil {
		report.Status = resp.StatusCode
	}
	success := resp.StatusCode >= 200 && resp.StatusCode < 300
	if success && keep {
		body, err := io.ReadAll(io.LimitReader(resp.Body, target.MaxAnswer+1))
		switch {
		case err != nil:
			return nil, w.failed(ctx, err)
		case len(body) > target.MaxAnswer && w.reported:
			body = nil // whatever it is, it is no list of failures
		case len(body) > target.MaxAnswer:
			return nil, &target.Failure{Status: resp.StatusCode, Final: true, Err: fmt.Errorf("%s %s: the answer has more than %d MiB", w.method, w.plan.name, target.MaxAnswer>>20)}
		}
		if report != nil {
			report.Response = body[:min(len(body), excerpt)]
		}
		return body, nil
	}
	var said []byte
	if !success || report != nil {
		said = finish(resp, excerpt)
	} else {
		finish(resp, 0)
	}
	if report != nil {
		report.Response = said
	}
	if success {
		return nil, nil
	}
	f := &target.Failure{Status: resp.StatusCode, Response: said, Final: !w.retried(resp.StatusCode)}
	f.Err = fmt.Errorf("%s %s: HTTP status %d", w.method, w.plan.name, resp.StatusCode)
	if !f.Final {
		after := retryAfter(resp.Header.Get("Retry-After"), time.Now())
		switch {
		case after < 0:
			f.Final = true
			f.Err = fmt.Errorf("%w, and not to be tried again", f.Err)
		case w.patient || resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable:
			f.After = after
		}
	}
	return nil, f
}

// finish reads what an answer has, so that its connection can be used again, and
// returns the beginning of it. It gives up where there is too much to read, or it
// comes too slowly.
func finish(resp *http.Response, most int64) []byte {
	if resp.ContentLength == 0 || resp.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	late := time.AfterFunc(drainTime, func() { _ = resp.Body.Close() })
	defer late.Stop()
	var said []byte
	if most > 0 {
		said, _ = io.ReadAll(io.LimitReader(resp.Body, most))
	}
	_, _ = io.CopyN(io.Discard, resp.Body, drained)
	return said
}

// retried says whether a status that is no success is worth another attempt: by
// interface.md 4, unless the configuration has other statuses.
func (w *webhook) retried(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusProxyAuthRequired:
		return w.tokens != nil
	}
	return status >= 500 || slices.Contains(w.again, status)
}

// retryAfter reads a Retry-After header, seconds or a date. Anything else, and a
// time that has passed, is 0; a negative number, which says never (event-bus.md
// 6), is negative.
func retryAfter(text string, now time.Time) time.Duration {
	text = strings.TrimSpace(text)
	seconds, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err == nil || errors.Is(err, strconv.ErrRange):
		return time.Duration(min(max(seconds, -1), int64(longestRetryAfter/time.Second))) * time.Second
	case text == "":
		return 0
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), longestRetryAfter)
	}
	return 0
}

// failures reads which records of a batch a receiver has not accepted.
func (w *webhook) failures(body []byte, events []*event.Event) error {
	if err := target.ItemFailures(body, events); err != nil {
		var partial *target.PartialError
		if errors.As(err, &partial) {
			return err
		}
		return &target.Failure{Status: http.StatusOK, Response: body[:min(len(body), excerpt)], Err: fmt.Errorf("%s %s: %w", w.method, w.plan.name, err)}
	}
	return nil
}
