package secret

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// A Vault is where HashiCorp Vault answers.
type Vault struct {
	// Address is its URL, such as https://vault.example.com:8200.
	Address string `yaml:"address"`
	// Token is what klamm shows.
	Token Ref `yaml:"token"`
	// Mount is where the key-value engine lies; the default is secret.
	Mount string `yaml:"mount"`
	// Namespace is Vault Enterprise's; the default is none.
	Namespace string `yaml:"namespace"`
}

// Validate reports each problem with the field it lies in.
func (v *Vault) Validate(report func(path, problem string)) {
	if !isURL(v.Address) {
		report("address", "want an http or https URL")
	}
	if v.Token.IsZero() {
		report("token", "want {env: NAME}, {file: PATH} or {value: TEXT}")
	}
}

// A Manager is where AWS Secrets Manager answers.
type Manager struct {
	// Endpoint is its URL; the default is AWS's own in the region.
	Endpoint string `yaml:"endpoint"`
	// Region is where the secrets lie; the default is that of an ARN, and
	// otherwise aws.region.
	Region string `yaml:"region"`
}

// Validate reports each problem with the field it lies in.
func (m *Manager) Validate(report func(path, problem string)) {
	if m.Endpoint != "" && !isURL(m.Endpoint) {
		report("endpoint", "want an http or https URL")
	}
}

func isURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
}

// remoteTimeout bounds one answer.
const remoteTimeout = 10 * time.Second

var remote = &http.Client{
	Timeout:       remoteTimeout,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// ErrAway says that a place over the network could not be asked, or did not answer
// as it should.
var ErrAway = errors.New("cannot be asked")

// far asks over the network.
func (s *Store) far(ctx context.Context, name, short string) (text string, err error) {
	err = fmt.Errorf("secret %s: %w", short, ErrUnknown)
	if s.cfg.Vault != nil {
		if text, err = s.askVault(ctx, short); err != nil && !errors.Is(err, ErrUnknown) {
			return "", fmt.Errorf("secrets.vault %w: %w", ErrAway, err)
		}
	}
	if err != nil && s.cfg.AWS != nil {
		if text, err = s.askManager(ctx, name); err != nil && !errors.Is(err, ErrUnknown) {
			return "", fmt.Errorf("secrets.aws %w: %w", ErrAway, err)
		}
	}
	return text, err
}

// askVault reads the newest version of a secret, whose members are those of AWS's
// formats.
func (s *Store) askVault(ctx context.Context, short string) (string, error) {
	v := s.cfg.Vault
	token, err := Local(ctx, v.Token)
	if err != nil {
		return "", fmt.Errorf("secrets.vault.token: %w", err)
	}
	mount := strings.Trim(v.Mount, "/")
	if mount == "" {
		mount = "secret"
	}
	for _, name := range []string{short, ending.ReplaceAllString(short, "")} {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(v.Address, "/")+"/v1/"+mount+"/data/"+(&url.URL{Path: name}).EscapedPath(), nil)
		if err != nil {
			return "", fmt.Errorf("secrets.vault: %w", err)
		}
		r.Header.Set("X-Vault-Token", token)
		if v.Namespace != "" {
			r.Header.Set("X-Vault-Namespace", v.Namespace)
		}
		status, body, err := exchange(r)
		switch {
		case err != nil:
			return "", fmt.Errorf("secret %s: Vault: %w", short, err)
		case status == http.StatusNotFound:
			continue
		case status != http.StatusOK:
			return "", fmt.Errorf("secret %s: Vault answered %d", short, status)
		}
		var answer struct {
			Data struct {
				Data json.RawMessage `json:"data"`
			} `json:"data"`
		}
		if json.Unmarshal(body, &answer) != nil || len(answer.Data.Data) == 0 {
			return "", fmt.Errorf("secret %s: Vault's answer is not that of a key-value engine of version 2", short)
		}
		return string(answer.Data.Data), nil
	}
	return "", fmt.Errorf("secret %s: %w in Vault", short, ErrUnknown)
}

// askManager is GetSecretValue.
func (s *Store) askManager(ctx context.Context, name string) (string, error) {
	region := s.cfg.AWS.Region
	if parts := strings.Split(name, ":"); region == "" && len(parts) > 6 && arnForm.MatchString(name) {
		region = parts[3]
	}
	if region == "" {
		region = s.region
	}
	endpoint := s.cfg.AWS.Endpoint
	if endpoint == "" {
		endpoint = "https://secretsmanager." + region + ".amazonaws.com"
	}
	body, _ := json.Marshal(map[string]string{"SecretId": name})
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(endpoint, "/")+"/", bytes.NewReader(body))
	if err != nil {
		return "", fmt.Errorf("secrets.aws: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "secretsmanager.GetSecretValue")
	credentials, err := s.AWS(ctx)
	if err != nil {
		return "", fmt.Errorf("secret %s: %w", name, err)
	}
	digest := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, credentials, r, hex.EncodeToString(digest[:]), "secretsmanager", region, time.Now()); err != nil {
		return "", fmt.Errorf("secret %s: %w", name, err)
	}
	status, answer, err := exchange(r)
	if err != nil {
		return "", fmt.Errorf("secret %s: Secrets Manager: %w", name, err)
	}
	var got struct {
		Type         string `json:"__type"`
		SecretString string `json:"SecretString"`
	}
	bad := json.Unmarshal(answer, &got)
	switch {
	case strings.HasSuffix(got.Type, "ResourceNotFoundException"):
		return "", fmt.Errorf("secret %s: %w in Secrets Manager", name, ErrUnknown)
	case status != http.StatusOK:
		return "", fmt.Errorf("secret %s: Secrets Manager answered %d %.100s", name, status, got.Type)
	case bad != nil || got.SecretString == "":
		return "", fmt.Errorf("secret %s: Secrets Manager: %w", name, ErrEmpty)
	}
	return got.SecretString, nil
}

// exchange sends a request and reads its bounded answer.
func exchange(r *http.Request) (status int, body []byte, err error) {
	resp, err := remote.Do(r)
	if err != nil {
		var outer *url.Error
		if errors.As(err, &outer) { // it would repeat the whole URL
			err = outer.Err
		}
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 4*MaxFile+1))
	if err == nil && len(body) > 4*MaxFile {
		err = fmt.Errorf("the answer has more than %d bytes", 4*MaxFile)
	}
	return resp.StatusCode, body, err
}
