package function

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	signer "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/klamm-gateway/klamm/secret"
)

// A Lambda names a function behind the Lambda API, of AWS or of an emulator.
type Lambda struct {
	// Endpoint is the URL of the API; empty: that of the Lambda service in Region.
	Endpoint string
	// Function is its name or ARN; Qualifier a version or alias, or empty.
	Function, Qualifier string
	// Region is what requests are signed for; empty: that of the ARN, else the host's.
	Region string
	// AccessKey, SecretKey and SessionToken sign requests. Without them the host's
	// credentials do where there is no Endpoint, and nothing does where there is one.
	AccessKey, SecretKey, SessionToken secret.Ref
}

// A lambda calls a function through the Lambda API (function-targets.md 1).
type lambda struct {
	*remote
	at     string
	region string
	signer *signer.Signer
	keys   aws.CredentialsProvider // nil: requests are not signed
}

// fresh is how long credentials are used before they are looked up anew.
const fresh = 5 * time.Minute

func newLambda(r *remote) *lambda {
	d := r.def.Remote.Lambda
	l := &lambda{remote: r, region: d.Region, signer: signer.NewSigner()}
	if parts := strings.Split(d.Function, ":"); l.region == "" && len(parts) > 5 {
		l.region = parts[3]
	}
	if l.region == "" {
		l.region = r.cfg.Region
	}
	endpoint := strings.TrimSuffix(d.Endpoint, "/")
	if endpoint == "" {
		endpoint = "https://lambda." + l.region + ".amazonaws.com"
	}
	l.at = endpoint + "/2015-03-31/functions/" + url.PathEscape(d.Function) + "/invocations"
	if d.Qualifier != "" {
		l.at += "?Qualifier=" + url.QueryEscape(d.Qualifier)
	}
	switch {
	case !d.AccessKey.IsZero():
		l.keys = aws.NewCredentialsCache(aws.CredentialsProviderFunc(l.lookup))
	case d.Endpoint == "" && r.cfg.Credentials != nil:
		l.keys = aws.NewCredentialsCache(aws.CredentialsProviderFunc(r.cfg.Credentials))
	}
	return l
}

func (l *lambda) lookup(ctx context.Context) (c aws.Credentials, err error) {
	d := l.def.Remote.Lambda
	for _, one := range []struct {
		name string
		ref  secret.Ref
		into *string
	}{{"access_key", d.AccessKey, &c.AccessKeyID}, {"secret_key", d.SecretKey, &c.SecretAccessKey}, {"session_token", d.SessionToken, &c.SessionToken}} {
		if one.ref.IsZero() {
			continue
		}
		if *one.into, err = l.cfg.Secret(ctx, one.ref); err != nil {
			return c, fmt.Errorf("%s: %w", one.name, err)
		}
	}
	c.CanExpire, c.Expires = true, time.Now().Add(fresh)
	return c, nil
}

// request makes a signed request.
func (l *lambda) request(ctx context.Context, in Invocation) (*http.Request, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, l.at, io.NopCloser(bytes.NewReader(in.Payload)))
	if err != nil {
		return nil, err
	}
	if q.ContentLength = int64(len(in.Payload)); q.ContentLength == 0 {
		q.Body = http.NoBody
	}
	h := q.Header
	h.Set("Content-Type", "application/json")
	h.Set("X-Amz-Invocation-Type", "RequestResponse")
	if in.Tail {
		h.Set("X-Amz-Log-Type", "Tail")
	}
	if in.ClientContext != "" {
		h.Set("X-Amz-Client-Context", base64.StdEncoding.EncodeToString([]byte(in.ClientContext)))
	}
	if in.Trace != "" {
		h.Set("X-Amzn-Trace-Id", in.Trace)
	}
	if in.Tenant != "" {
		h.Set("X-Amz-Tenant-Id", in.Tenant)
	}
	if l.keys == nil {
		return q, nil
	}
	credentials, err := l.keys.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	sum := sha256.Sum256(in.Payload)
	return q, l.signer.SignHTTP(ctx, credentials, q, hex.EncodeToString(sum[:]), "lambda", l.region, time.Now())
}

func (l *lambda) invoke(ctx context.Context, in Invocation) (Outcome, error) {
	q, err := l.request(ctx, in)
	if err != nil {
		return Outcome{}, l.unreached(answered{}, err)
	}
	a, _, err := l.send(q)
	if err != nil {
		return Outcome{}, l.unreached(a, err)
	}
	switch a.status {
	case http.StatusOK:
	case http.StatusRequestEntityTooLarge:
		return Outcome{}, fmt.Errorf("%w: the Lambda API answers 413 for %s", ErrTooLarge, l.def.Name)
	default:
		if cache, ok := l.keys.(*aws.CredentialsCache); ok && a.status == http.StatusForbidden {
			cache.Invalidate()
		}
		if kind := a.header.Get("X-Amzn-Errortype"); kind != "" {
			return Outcome{}, l.unreached(a, errors.New(excerpt(fmt.Appendf(nil, "the Lambda API answers %d %s: %s", a.status, kind, a.body))))
		}
		return Outcome{}, l.unreached(a, nil)
	}
	if a.over {
		return failure(in.ID, "Function.ResponseSizeTooLarge", "Response payload size exceeded maximum allowed payload size (%d bytes).", maxResponse), nil
	}
	out := Outcome{Payload: a.body, Error: a.header.Get("X-Amz-Function-Error"), Version: a.header.Get("X-Amz-Executed-Version")}
	if in.Tail {
		out.Log, _ = base64.StdEncoding.DecodeString(a.header.Get("X-Amz-Log-Result"))
		out.Log = out.Log[:min(len(out.Log), maxLogTail)]
	}
	return out, nil
}

// emulatorPath is the one function of the Runtime Interface Emulator.
const emulatorPath = "/2015-03-31/functions/function/invocations"

// emulate calls the function of a Runtime Interface Emulator, which answers 200
// whatever becomes of it (function-targets.md 1.6).
func (r *remote) emulate(ctx context.Context, in Invocation) (Outcome, error) {
	at := strings.TrimSuffix(r.def.Remote.RIE, "/")
	if !strings.HasSuffix(at, emulatorPath) {
		at += emulatorPath
	}
	h := http.Header{"Content-Type": {"application/json"}}
	if in.ClientContext != "" {
		h.Set("X-Amz-Client-Context", base64.StdEncoding.EncodeToString([]byte(in.ClientContext)))
	}
	if in.Trace != "" {
		h.Set("X-Amzn-Trace-Id", in.Trace)
	}
	if in.Tenant != "" {
		h.Set("X-Amz-Tenant-Id", in.Tenant)
	}
	a, sent, err := r.exchange(ctx, at, h, in.Payload)
	switch {
	case err != nil && sent && isTimeout(ctx):
		return r.timedOut(in.ID), nil
	case err != nil:
		return Outcome{}, r.unreached(a, err)
	case a.status == http.StatusRequestEntityTooLarge:
		return Outcome{}, fmt.Errorf("%w: the emulator answers 413 for %s", ErrTooLarge, r.def.Name)
	case a.status == http.StatusBadRequest: // it has an invocation already, of somebody else
		return Outcome{}, ErrThrottled
	case a.status != http.StatusOK:
		return Outcome{}, r.unreached(a, nil)
	case a.over:
		return failure(in.ID, "Function.ResponseSizeTooLarge", "Response payload size exceeded maximum allowed payload size (%d bytes).", maxResponse), nil
	case bytes.HasPrefix(a.body, []byte("Task timed out")):
		return failure(in.ID, "Sandbox.Timedout", "%s", excerpt(a.body)), nil
	case looksFailed(a.body):
		return Outcome{Error: Unhandled, Payload: a.body}, nil
	}
	return Outcome{Payload: a.body}, nil
}

// looksFailed says whether an answer is how the emulator describes a failure: an
// object with the members of one, and no others.
func looksFailed(body []byte) bool {
	var doc map[string]json.RawMessage
	if json.Unmarshal(body, &doc) != nil {
		return false
	}
	for name := range doc {
		switch name {
		case "errorType", "errorMessage", "stackTrace", "requestId":
		default:
			return false
		}
	}
	return doc["errorType"] != nil || doc["errorMessage"] != nil && (doc["stackTrace"] != nil || doc["requestId"] != nil)
}
