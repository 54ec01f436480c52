package objectstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
)

// A bucket is the store of an S3-compatible service. An object is put in one
// request, whose signature covers its bytes.
type bucket struct {
	core *minio.Core
	name string
	keys *keys
}

func newBucket(c *Config, u *url.URL, env target.Env) (*bucket, error) {
	k := &keys{access: c.AccessKey, secret: c.SecretKey, lookup: env.Secret}
	if _, err := k.Retrieve(); err != nil {
		return nil, err
	}
	region := c.Region
	if region == "" {
		region = "us-east-1"
	}
	lookup := minio.BucketLookupAuto
	if c.PathStyle {
		lookup = minio.BucketLookupPath
	}
	core, err := minio.NewCore(u.Host, &minio.Options{
		Creds: credentials.New(k), Secure: u.Scheme == "https", Transport: env.Transport, Region: region, BucketLookup: lookup,
		MaxRetries: 1, // the pipe decides about retries
	})
	if err != nil {
		return nil, err
	}
	return &bucket{core: core, name: c.Bucket, keys: k}, nil
}

func (b *bucket) close() error { return nil }

func (b *bucket) put(ctx context.Context, o *object) error {
	sum := sha256.Sum256(o.body)
	// The library's own hash would be one of chunks, in an encoding that not every
	// store knows; it is switched off for the one that is given to it.
	opts := minio.PutObjectOptions{ContentType: o.mediaType, DisableMultipart: true, DisableContentSha256: true}
	if printable(o.delivery) {
		opts.UserMetadata = map[string]string{"klamm-delivery-id": o.delivery}
	}
	_, err := b.core.PutObject(ctx, b.name, o.key, bytes.NewReader(o.body), int64(len(o.body)), "", hex.EncodeToString(sum[:]), opts)
	if err == nil {
		return nil
	}
	return b.failed(ctx, err)
}

// failed says what an error of the store means. What concerns every object alike
// - credentials, a bucket that is missing - is worth another attempt: giving
// records up one after the other would help nobody.
func (b *bucket) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) || answer.StatusCode == 0 {
		return err
	}
	if answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusUnauthorized {
		b.keys.forget()
	}
	f := &target.Failure{Status: answer.StatusCode, Err: fmt.Errorf("the store answers %d %s", answer.StatusCode, code(answer.Code))}
	switch answer.Code {
	case "EntityTooLarge", "KeyTooLongError", "InvalidArgument", "InvalidObjectName", "XMinioInvalidObjectName", "MetadataTooLarge":
		f.Final = true
	}
	if answer.StatusCode == http.StatusRequestEntityTooLarge {
		f.Final = true
	}
	if report := target.ReportOf(ctx); report != nil {
		report.Status = answer.StatusCode
	}
	return f
}

// code is an error code that may be shown: the store's own text is not.
func code(text string) string {
	if len(text) > 64 || !printable(text) {
		return "with an error"
	}
	return text
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

const (
	// fresh is how long credentials are used before they are looked up anew.
	fresh = 5 * time.Minute
	// lookupTime bounds a look-up.
	lookupTime = 10 * time.Second
)

// keys are the credentials, looked up anew now and then. It is safe for
// concurrent use.
type keys struct {
	access, secret secret.Ref
	lookup         secret.Lookup

	mu    sync.Mutex // guards until
	until time.Time
}

// Retrieve looks the credentials up.
func (k *keys) Retrieve() (credentials.Value, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	access, err := k.lookup(ctx, k.access)
	if err != nil {
		return credentials.Value{}, fmt.Errorf("access_key: %w", err)
	}
	secretKey, err := k.lookup(ctx, k.secret)
	if err != nil {
		return credentials.Value{}, fmt.Errorf("secret_key: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.until = time.Now().Add(fresh)
	return credentials.Value{AccessKeyID: access, SecretAccessKey: secretKey, SignerType: credentials.SignatureV4}, nil
}

// RetrieveWithCredContext is Retrieve.
func (k *keys) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return k.Retrieve()
}

// IsExpired says whether the credentials are to be looked up anew.
func (k *keys) IsExpired() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return time.Now().After(k.until)
}

// forget has the credentials looked up anew for the next request.
func (k *keys) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.until = time.Time{}
}
