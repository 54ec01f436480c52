// Package objectstore keeps objects in buckets: of an S3-compatible service, or of a
// directory on this machine, which it also serves through the S3 API, so that
// unmodified programs that use an AWS SDK work without the service (interface.md 6).
//
// A Directory (directory.go, name.go, upload.go, list.go) keeps objects as files, each
// written as a whole. A Server (server*.go) speaks S3 over it: signatures are checked in
// signature.go, bodies in body.go. A Store is one entry of the configuration, whichever
// kind it is of.
package objectstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/klamm-gateway/klamm/secret"
)

// Stores is the object_stores section of the configuration file.
type Stores struct {
	// Default is the store of functions and of what names a bucket alone.
	Default Config `yaml:"default"`
}

// Config is the configuration of an object store: Directory, or Endpoint and what
// goes with it. The zero value is no store.
type Config struct {
	// Directory keeps objects as files: a bucket is a sub-directory, which must exist.
	// Functions find the store served as an S3 endpoint.
	Directory string `yaml:"directory"`
	// Endpoint is the URL of an S3-compatible store, http://HOST[:PORT] or
	// https://HOST[:PORT], instead of Directory.
	Endpoint string `yaml:"endpoint"`
	// Region is the store's region; the default is that of aws.region.
	Region string `yaml:"region"`
	// AccessKey says with SecretKey who klamm is, and who functions are.
	AccessKey secret.Ref `yaml:"access_key"`
	// SecretKey goes with AccessKey.
	SecretKey secret.Ref `yaml:"secret_key"`
}

var regionName = regexp.MustCompile(`^[A-Za-z0-9-]{0,64}$`)

// Validate reports each problem with the field it lies in.
func (c Config) Validate(report func(path, problem string)) {
	if c == (Config{}) {
		return
	}
	if (c.Directory == "") == (c.Endpoint == "") {
		report("", "want either directory: DIR, or endpoint: URL with access_key and secret_key")
		return
	}
	if c.Directory != "" {
		if c.Region != "" || !c.AccessKey.IsZero() || !c.SecretKey.IsZero() {
			report("", "region, access_key and secret_key go with endpoint, not with directory")
		}
		return
	}
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		report("endpoint", "want http://HOST[:PORT] or https://HOST[:PORT]")
	case u.User != nil:
		report("endpoint", "credentials do not belong into a URL; use access_key and secret_key")
	}
	if !regionName.MatchString(c.Region) {
		report("region", "want the name of a region, such as eu-central-1")
	}
	const want = "want a secret: {env: NAME}, {file: PATH} or {value: TEXT}"
	if c.AccessKey.IsZero() {
		report("access_key", want)
	}
	if c.SecretKey.IsZero() {
		report("secret_key", want)
	}
}

// A Store puts objects into buckets. It is safe for concurrent use.
type Store struct {
	directory *Directory // nil: a service
	service   *minio.Core
	endpoint  string
	key       Credential
}

// Open returns the store of a configuration that is not empty. Requests to a service
// go through transport.
func Open(ctx context.Context, c Config, region string, lookup secret.Lookup, transport http.RoundTripper) (*Store, error) {
	if c.Directory != "" {
		d, err := openDirectory(c.Directory)
		return &Store{directory: d}, err
	}
	s := &Store{endpoint: strings.TrimSuffix(c.Endpoint, "/")}
	var err error
	if s.key.AccessKey, err = lookup(ctx, c.AccessKey); err != nil {
		return nil, fmt.Errorf("access_key: %w", err)
	}
	if s.key.SecretKey, err = lookup(ctx, c.SecretKey); err != nil {
		return nil, fmt.Errorf("secret_key: %w", err)
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return nil, err
	}
	if c.Region != "" {
		region = c.Region
	}
	s.service, err = minio.NewCore(u.Host, &minio.Options{
		Creds: credentials.NewStaticV4(s.key.AccessKey, s.key.SecretKey, ""), Secure: u.Scheme == "https", Transport: transport, Region: region,
		MaxRetries: 1, // the caller decides about retries
	})
	return s, err
}

// Directory returns the directory of a store that is one; nil: it is a service.
func (s *Store) Directory() *Directory { return s.directory }

// Service returns the endpoint of a store that is a service, and the key for it.
func (s *Store) Service() (endpoint string, key Credential) { return s.endpoint, s.key }

// Put writes an object as a whole, in the place of one with the same key. A bucket
// that is not there is an error.
func (s *Store) Put(ctx context.Context, bucket, key, mediaType string, content []byte) error {
	if s.directory != nil {
		return s.directory.Put(bucket, key, mediaType, bytes.NewReader(content))
	}
	_, err := s.service.PutObject(ctx, bucket, key, bytes.NewReader(content), int64(len(content)), "", "", minio.PutObjectOptions{ContentType: mediaType, DisableMultipart: true})
	var answer minio.ErrorResponse
	if errors.As(err, &answer) && answer.Code == "NoSuchBucket" {
		return errNoBucket
	}
	return err
}
