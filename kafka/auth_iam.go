package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/twmb/franz-go/pkg/sasl"
)

// iamMechanism is AWS_MSK_IAM (kafka-auth.md A3.4): one message with a signature that
// is made for each broker. It takes the place of the client library's, which finds
// the region of a broker with a private name in the environment only.
type iamMechanism struct{ login *login }

// Name returns the name of the mechanism.
func (iamMechanism) Name() string { return "AWS_MSK_IAM" }

// emptyDigest is the SHA-256 of nothing.
const emptyDigest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// regionForm finds the region in the name of one of AWS's brokers.
var regionForm = regexp.MustCompile(`\.kafka(?:-serverless)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$`)

// Authenticate signs the message for a broker.
func (m iamMechanism) Authenticate(ctx context.Context, address string) (sasl.Session, []byte, error) {
	credentials, err := m.credentials(ctx)
	if err != nil {
		return nil, nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, nil, err
	}
	region := m.login.region
	if found := regionForm.FindStringSubmatch(host); found != nil {
		region = found[1]
	}
	message, err := signIAM(ctx, credentials, host, region, time.Now())
	return iamSession{}, message, err
}

func (m iamMechanism) credentials(ctx context.Context) (aws.Credentials, error) {
	s, err := m.login.shown(ctx)
	switch {
	case err != nil:
		return aws.Credentials{}, err
	case s.aws != nil:
		return *s.aws, nil
	}
	return m.login.secrets.AWS(ctx)
}

// signIAM makes the message: the query of a presigned URL of the broker, as JSON.
func signIAM(ctx context.Context, credentials aws.Credentials, host, region string, now time.Time) ([]byte, error) {
	query := url.Values{"Action": {"kafka-cluster:Connect"}, "X-Amz-Expires": {"900"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, (&url.URL{Scheme: "https", Host: host, Path: "/", RawQuery: query.Encode()}).String(), nil)
	if err != nil {
		return nil, fmt.Errorf("sign for %s: %w", host, err)
	}
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, credentials, r, emptyDigest, "kafka-cluster", region, now.UTC())
	if err != nil {
		return nil, fmt.Errorf("sign for %s: %w", host, err)
	}
	u, err := url.Parse(signed)
	if err != nil {
		return nil, errors.New("sign: the signer made no URL")
	}
	message := map[string]string{"version": "2020_10_22", "host": host, "user-agent": "klamm"}
	for name, values := range u.Query() {
		message[strings.ToLower(name)] = values[0]
	}
	return json.Marshal(message)
}

type iamSession struct{}

// Challenge takes the one answer, which says nothing if it is empty.
func (iamSession) Challenge(answer []byte) (bool, []byte, error) {
	if len(answer) == 0 {
		return false, nil, errors.New("the broker's answer is empty")
	}
	return true, nil, nil
}
