package secret

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// chainTimeout bounds one look for AWS credentials: outside of AWS, the address of
// its metadata service may not answer at all.
const chainTimeout = 10 * time.Second

// errNoAWS says that nothing gives AWS credentials.
var errNoAWS = errors.New("no AWS credentials")

// A chain gives AWS credentials as the SDKs of AWS find them: the environment, the
// shared files with their profiles and roles, web identity, the endpoint of a
// container, the metadata service of a machine. They are renewed before they end.
type chain struct {
	region string

	mu       sync.Mutex // guards what follows
	provider aws.CredentialsProvider
}

// AWS returns the AWS credentials that klamm itself has. They may be temporary, and
// have to be asked for again each time.
func (s *Store) AWS(ctx context.Context) (aws.Credentials, error) {
	if s == nil {
		return aws.Credentials{}, errNoAWS
	}
	ctx, cancel := context.WithTimeout(ctx, chainTimeout)
	defer cancel()
	provider, err := s.aws.get(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	c, err := provider.Retrieve(ctx)
	if err != nil {
		return c, fmt.Errorf("%w: %w", errNoAWS, err)
	}
	return c, nil
}

func (c *chain) get(ctx context.Context) (aws.CredentialsProvider, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.provider != nil {
		return c.provider, nil
	}
	var options []func(*config.LoadOptions) error
	if c.region != "" {
		options = append(options, config.WithDefaultRegion(c.region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoAWS, err)
	}
	c.provider = cfg.Credentials
	return c.provider, nil
}
