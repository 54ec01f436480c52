package queue

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
)

// SQS is a queue of Amazon SQS. A message has at most 1 MiB. One whose payload is
// not text is sent as base64, with the attribute klamm-encoding.
type SQS struct {
	// URL is the queue's URL, such as
	// https://sqs.eu-central-1.amazonaws.com/123456789012/orders. Where it ends in
	// .fifo, the record's key is the message group, and the delivery id keeps
	// duplicates out.
	URL string `yaml:"url" json:"url"`
	// Endpoint is where requests are sent, if not to the host of the URL.
	Endpoint string `yaml:"endpoint" json:"endpoint,omitempty"`
	// Region is the queue's region; the default is that in the URL, or us-east-1.
	Region string `yaml:"region" json:"region,omitempty"`
	// AccessKey says with SecretKey who klamm is.
	AccessKey secret.Ref `yaml:"access_key" json:"access_key"`
	// SecretKey goes with AccessKey. Both are looked up anew every few minutes, and
	// when the queue refuses them.
	SecretKey secret.Ref `yaml:"secret_key" json:"secret_key"`
}

const (
	maxURL = 2048
	// The limits of SQS: messages and bytes of a request, attributes of a message,
	// and characters of a group or deduplication id.
	sqsMessages   = 10
	sqsBytes      = 1 << 20
	sqsAttributes = 10
	sqsID         = 128
)

var (
	region    = regexp.MustCompile(`^[A-Za-z0-9-]{0,64}$`)
	sqsHost   = regexp.MustCompile(`^sqs\.([a-z0-9-]+)\.`)
	sqsHeader = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
)

func (c *SQS) fifo() bool { return strings.HasSuffix(c.URL, ".fifo") }

func (c *SQS) validate(report func(path, problem string)) {
	if u := parseHTTP(c.URL); u == nil || strings.Trim(u.Path, "/") == "" {
		report("url", "want the URL of a queue, such as https://sqs.eu-central-1.amazonaws.com/123456789012/orders")
	}
	if c.Endpoint != "" && parseHTTP(c.Endpoint) == nil {
		report("endpoint", "want http://HOST[:PORT] or https://HOST[:PORT]")
	}
	if !region.MatchString(c.Region) {
		report("region", "want the name of a region, such as eu-central-1")
	}
	required(report, "access_key", c.AccessKey)
	required(report, "secret_key", c.SecretKey)
}

// parseHTTP returns nil for what is no plain HTTP URL.
func parseHTTP(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil || len(text) > maxURL || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil
	}
	return u
}

type sqsSender struct {
	client      *sqs.Client
	credentials *aws.CredentialsCache
	url         string
	fifo        bool
}

func newSQS(c *SQS, env target.Env) (*sqsSender, error) {
	u := parseHTTP(c.URL)
	endpoint := c.Endpoint
	if endpoint == "" {
		endpoint = u.Scheme + "://" + u.Host
	}
	if err := env.Egress.CheckHost(parseHTTP(endpoint).Hostname()); err != nil {
		return nil, err
	}
	in := c.Region
	if in == "" {
		in = "us-east-1"
		if found := sqsHost.FindStringSubmatch(u.Hostname()); found != nil {
			in = found[1]
		}
	}
	s := &sqsSender{url: c.URL, fifo: c.fifo()}
	lookup := aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) { return c.credentials(ctx, env.Secret) })
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	if _, err := lookup(ctx); err != nil {
		return nil, err
	}
	s.credentials = aws.NewCredentialsCache(lookup)
	s.client = sqs.New(sqs.Options{
		Region: in, BaseEndpoint: &endpoint, Credentials: s.credentials, Retryer: aws.NopRetryer{}, // the pipe decides about retries
		HTTPClient: &http.Client{Transport: env.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	})
	return s, nil
}

// fresh is how long credentials are used before they are looked up anew.
const fresh = 5 * time.Minute

func (c *SQS) credentials(ctx context.Context, lookup secret.Lookup) (aws.Credentials, error) {
	access, err := lookup(ctx, c.AccessKey)
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("access_key: %w", err)
	}
	key, err := lookup(ctx, c.SecretKey)
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("secret_key: %w", err)
	}
	return aws.Credentials{AccessKeyID: access, SecretAccessKey: key, CanExpire: true, Expires: time.Now().Add(fresh)}, nil
}

func (s *sqsSender) close() error { return nil }

// An entry is a message in SQS's terms.
type entry struct {
	at   int // position among the messages
	size int
	types.SendMessageBatchRequestEntry
}

func (s *sqsSender) send(ctx context.Context, messages []*message) []error {
	errs := make([]error, len(messages))
	var batch []*entry
	size := 0
	for i, m := range messages {
		e, err := s.entry(i, m)
		if err != nil {
			errs[i] = err
			continue
		}
		if len(batch) == sqsMessages || size+e.size > sqsBytes {
			s.sendBatch(ctx, batch, errs)
			batch, size = nil, 0
		}
		batch, size = append(batch, e), size+e.size
	}
	s.sendBatch(ctx, batch, errs)
	return errs
}

// sendBatch sends what fits into one request.
func (s *sqsSender) sendBatch(ctx context.Context, batch []*entry, errs []error) {
	if len(batch) == 0 {
		return
	}
	in := &sqs.SendMessageBatchInput{QueueUrl: &s.url}
	byID := map[string]*entry{}
	for i, e := range batch {
		id := strconv.Itoa(i)
		e.Id = &id
		byID[id] = e
		errs[e.at] = errors.New("the answer does not mention the message")
		in.Entries = append(in.Entries, e.SendMessageBatchRequestEntry)
	}
	out, err := s.client.SendMessageBatch(ctx, in)
	if err != nil {
		failure := s.failed(ctx, err)
		if failure.Final && len(batch) > 1 {
			// One of them is to blame, and the others need not share its fate.
			for _, e := range batch {
				s.sendBatch(ctx, []*entry{e}, errs)
			}
			return
		}
		for _, e := range batch {
			errs[e.at] = failure
		}
		return
	}
	for _, ok := range out.Successful {
		if e := byID[aws.ToString(ok.Id)]; e != nil {
			errs[e.at] = nil
		}
	}
	for _, bad := range out.Failed {
		if e := byID[aws.ToString(bad.Id)]; e != nil {
			code := aws.ToString(bad.Code)
			errs[e.at] = &target.Failure{Final: bad.SenderFault && hopeless(code), Err: fmt.Errorf("the message is refused: %s", shown(code))}
		}
	}
}

// hopeless says whether a message that is refused for that reason always will be.
func hopeless(code string) bool {
	for _, one := range []string{"InvalidMessageContents", "InvalidParameterValue", "InvalidAttributeValue", "InvalidAttributeName", "MissingParameter", "BatchRequestTooLong", "UnsupportedOperation"} {
		if strings.HasSuffix(code, one) {
			return true
		}
	}
	return false
}

// shown is a code that may be shown: the receiver's own text is not.
func shown(code string) string {
	if code == "" || len(code) > 96 || !plain(code) {
		return "no reason is given"
	}
	return code
}

// failed says what the failure of a whole request means. What is wrong with
// credentials or the queue concerns every message, and is worth another attempt.
func (s *sqsSender) failed(ctx context.Context, err error) *target.Failure {
	if ctx.Err() != nil {
		return &target.Failure{Err: ctx.Err()}
	}
	var answer *smithyhttp.ResponseError
	var api smithy.APIError
	if !errors.As(err, &answer) || answer.HTTPStatusCode() == 0 {
		return &target.Failure{Err: innermost(err)}
	}
	status := answer.HTTPStatusCode()
	code := ""
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	if status == http.StatusForbidden || status == http.StatusUnauthorized || strings.Contains(code, "Token") || strings.Contains(code, "Signature") {
		s.credentials.Invalidate()
	}
	if report := target.ReportOf(ctx); report != nil {
		report.Status = status
	}
	return &target.Failure{Status: status, Final: hopeless(code), Err: fmt.Errorf("the queue answers %d: %s", status, shown(code))}
}

// innermost leaves out what the library says around an error.
func innermost(err error) error {
	var request *smithyhttp.RequestSendError
	if errors.As(err, &request) && request.Err != nil {
		return request.Err
	}
	return err
}

// entry makes what SQS is sent for a message.
func (s *sqsSender) entry(at int, m *message) (*entry, error) {
	e := &entry{at: at}
	e.MessageAttributes = map[string]types.MessageAttributeValue{}
	payload := m.event.Payload()
	body := string(payload)
	switch {
	case payload == nil:
		body = "null"
	case body == "":
		return nil, target.Permanent(errors.New("a message of SQS cannot be empty"))
	case !sendable(body):
		body = base64.StdEncoding.EncodeToString(payload)
		e.attribute("klamm-encoding", []byte("base64"))
	}
	e.MessageBody = &body
	e.size += len(body)
	for _, a := range m.coordinates() {
		e.attribute(a.name, a.value)
	}
	if e.size > sqsBytes {
		return nil, target.Permanent(fmt.Errorf("a message of SQS has at most %d bytes", sqsBytes))
	}
	for _, a := range m.headers(func(name string) bool {
		lower := strings.ToLower(name)
		return len(name) <= 256 && sqsHeader.MatchString(name) && !strings.HasPrefix(lower, "aws.") && !strings.HasPrefix(lower, "amazon.")
	}) {
		if len(e.MessageAttributes) < sqsAttributes && len(a.value) > 0 && e.size+attributeSize(a) <= sqsBytes {
			e.attribute(a.name, a.value)
		}
	}
	if s.fifo {
		group := fmt.Sprintf("%s-%d", m.event.Record.Topic, m.event.Record.Partition)
		if key := m.event.Record.Key; len(key) > 0 {
			group = string(key)
		}
		group, id := identifier(group), identifier(m.id)
		e.MessageGroupId, e.MessageDeduplicationId = &group, &id
	}
	return e, nil
}

// attributeSize is what an attribute counts: name, type and value.
func attributeSize(a attribute) int { return len(a.name) + len("String") + len(a.value) }

func (e *entry) attribute(name string, value []byte) {
	a := attribute{name, value}
	if text := string(value); sendable(text) && text != "" {
		e.MessageAttributes[name] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &text}
	} else {
		e.MessageAttributes[name] = types.MessageAttributeValue{DataType: aws.String("Binary"), BinaryValue: value}
	}
	e.size += attributeSize(a)
}

// identifier is a text in the alphabet of group and deduplication ids: itself
// where it can be, else its hash.
func identifier(text string) string {
	if len(text) <= sqsID && plain(text) && !strings.Contains(text, " ") {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// sendable says whether a text has only the characters that SQS takes.
func sendable(s string) bool {
	for _, r := range s {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff {
			return false
		}
	}
	return utf8.ValidString(s)
}
