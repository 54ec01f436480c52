package sink

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/klamm-gateway/klamm/target"
)

// A Remote is a bus that is reached by PutEvents.
type Remote struct {
	// BusARN is the ARN of the bus, and Region where it is.
	BusARN string `yaml:"-" json:"bus_arn"`
	Region string `yaml:"-" json:"region"`
	// Endpoint is the URL of the API; empty: that of AWS in the region. EndpointID is
	// that of a global endpoint.
	Endpoint   string `yaml:"-" json:"endpoint,omitempty"`
	EndpointID string `yaml:"-" json:"endpoint_id,omitempty"`
	Login      Login  `yaml:"-" json:"login"`
}

// A Login says how calls to AWS are signed: with what the AWS SDKs find, or a role that
// is assumed with it.
type Login struct {
	Profile    string `json:"profile,omitempty"`
	Role       string `json:"role,omitempty"`
	ExternalID string `json:"external_id,omitempty"`
	Session    string `json:"session"`
}

const (
	// mostEntries and mostBytes bound one call of PutEvents.
	mostEntries = 10
	mostBytes   = 262_144
	// callTimeout bounds one call.
	callTimeout = 5 * time.Second
	// longestAnswer bounds what is read of an answer.
	longestAnswer = 1 << 20
)

// credentials finds credentials and keeps them while they are valid.
func (l Login) credentials(region string, client *http.Client) aws.CredentialsProvider {
	return aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		options := []func(*config.LoadOptions) error{config.WithRegion(region)}
		if l.Profile != "" {
			options = append(options, config.WithSharedConfigProfile(l.Profile))
		}
		found, err := config.LoadDefaultConfig(ctx, options...)
		if err != nil {
			return aws.Credentials{}, err
		}
		if l.Role == "" {
			return found.Credentials.Retrieve(ctx)
		}
		found.HTTPClient = client
		return stscreds.NewAssumeRoleProvider(sts.NewFromConfig(found), l.Role, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName, o.Duration = l.Session, 15*time.Minute
			if l.ExternalID != "" {
				o.ExternalID = &l.ExternalID
			}
		}).Retrieve(ctx)
	}))
}

// A caller makes signed calls.
type caller struct {
	client      *http.Client
	credentials aws.CredentialsProvider
	region      string
	timeout     time.Duration // of a call
}

func newCaller(l Login, region string, env target.Env, timeout time.Duration) caller {
	client := &http.Client{Transport: env.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return caller{client, l.credentials(region, client), region, timeout}
}

// call sends a signed request and returns the status and the beginning of the body.
func (c caller) call(ctx context.Context, service string, r *http.Request, body []byte) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	who, err := c.credentials.Retrieve(ctx)
	if err != nil {
		return 0, nil, fmt.Errorf("find AWS credentials: %w", err)
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	r.Header.Set("X-Amz-Content-Sha256", hash)
	if err := v4.NewSigner().SignHTTP(ctx, who, r, hash, service, c.region, time.Now()); err != nil {
		return 0, nil, err
	}
	resp, err := c.client.Do(r.WithContext(ctx))
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, longestAnswer))
	return resp.StatusCode, answer, err
}

type remote struct {
	cfg      Config
	to       Remote
	endpoint string
	caller   caller
	log      *slog.Logger
	large    seldom // entries that are larger than a call may be
}

func newRemote(cfg Config, env target.Env, timeout time.Duration) (*remote, error) {
	r := &remote{cfg: cfg, to: *cfg.Remote, endpoint: cfg.Remote.Endpoint, caller: newCaller(cfg.Remote.Login, cfg.Remote.Region, env, timeout), log: env.Log}
	if r.endpoint == "" {
		r.endpoint = "https://events." + r.to.Region + ".amazonaws.com/"
	}
	if u, err := url.Parse(r.endpoint); err != nil || u.Host == "" {
		return nil, fmt.Errorf("%s is no URL", clip(r.endpoint))
	}
	return r, nil
}

// A wireEntry is an entry of PutEvents.
type wireEntry struct {
	EventBusName string   `json:"EventBusName"`
	Source       string   `json:"Source"`
	DetailType   string   `json:"DetailType"`
	Detail       string   `json:"Detail"`
	Resources    []string `json:"Resources,omitempty"`
}

// size is what counts of an entry for the limits (event-bus.md 3).
func (e wireEntry) size() int {
	n := len(e.Source) + len(e.DetailType) + len(e.Detail)
	for _, r := range e.Resources {
		n += len(r)
	}
	return n
}

// put sends entries in as many calls as their number and sizes ask for, in order. When a
// call as a whole fails, the ones after it are not made, unless it is one that will never
// do: that says nothing about the others.
func (r *remote) put(ctx context.Context, entries []entry) ([]error, error) {
	wire := make([]wireEntry, len(entries))
	for i, e := range entries {
		wire[i] = wireEntry{r.to.BusARN, "kafka-connect." + r.cfg.Connector, e.detailType, string(e.detail), r.cfg.Resources}
	}
	errs := make([]error, len(entries))
	for from := 0; from < len(wire); {
		to, size := from+1, wire[from].size()
		if size > mostBytes {
			if times := r.large.due(); times > 0 {
				r.log.Warn("an event is larger than a call of PutEvents may be; it is sent alone", "bytes", size, "bus", r.to.BusARN, "times", times)
			}
		}
		for to < len(wire) && to-from < mostEntries && size+wire[to].size() <= mostBytes {
			size += wire[to].size()
			to++
		}
		if err := r.send(ctx, wire[from:to], errs[from:to]); err != nil {
			if !target.FailureOf(err).Final {
				to = len(wire)
			}
			for i := from; i < to; i++ {
				errs[i] = err
			}
		}
		from = to
	}
	return errs, nil
}

// throttledFor is the shortest wait after an entry was throttled.
const throttledFor = 200 * time.Millisecond

// retried are the codes of entries that are worth another attempt.
func retried(code string) bool {
	return strings.Contains(code, "Throttl") || code == "InternalFailure" || code == "InternalException" || code == "ServiceUnavailable" || code == "RequestLimitExceeded"
}

func (r *remote) send(ctx context.Context, wire []wireEntry, errs []error) error {
	body, err := json.Marshal(struct {
		Entries    []wireEntry `json:"Entries"`
		EndpointID string      `json:"EndpointId,omitempty"`
	}{wire, r.to.EndpointID})
	if err != nil {
		return err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, r.endpoint, bytes.NewReader(body))
	if err != nil {
		return target.Permanent(err)
	}
	q.Header.Set("Content-Type", "application/x-amz-json-1.1")
	q.Header.Set("X-Amz-Target", "AWSEvents.PutEvents")
	status, answer, err := r.caller.call(ctx, "events", q, body)
	switch {
	case err != nil:
		return fmt.Errorf("put events: %w", err)
	case status == http.StatusRequestEntityTooLarge:
		return &target.Failure{Final: true, Status: status, Err: errors.New("EventBridge batch size limit exceeded")}
	case status != http.StatusOK:
		return &target.Failure{Status: status, Response: answer[:min(len(answer), 1<<10)], Err: fmt.Errorf("put events: the answer is %d", status)}
	}
	var out struct {
		Entries []struct {
			EventID      string `json:"EventId"`
			ErrorCode    string
			ErrorMessage string
		}
	}
	if err := json.Unmarshal(answer, &out); err != nil || len(out.Entries) != len(wire) {
		return fmt.Errorf("put events: the answer cannot be read: %d entries of %d", len(out.Entries), len(wire))
	}
	for i, e := range out.Entries {
		if e.ErrorCode == "" {
			continue
		}
		errs[i] = fmt.Errorf("put events: %s: %s", clip(e.ErrorCode), clip(e.ErrorMessage))
		if retried(e.ErrorCode) {
			// The service is there, and this is no reason for the task to fail.
			errs[i] = target.RetryAfter(errs[i], throttledFor)
		} else {
			errs[i] = target.Permanent(errs[i])
		}
	}
	return nil
}
