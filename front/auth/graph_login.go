package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/klamm-gateway/klamm/certificate"
)

const (
	// assertedFor is how long an assertion of klamm's own holds, and assertedBefore how
	// far its clock may be ahead.
	assertedFor    = 5 * time.Minute
	assertedBefore = time.Minute
	// largestAssertion bounds the token in a file.
	largestAssertion = 16 << 10
	// assertionType says that what stands for a secret is a token (RFC 7523).
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// A proof adds to the form of a login what shows that it is klamm's application that
// logs in. Its errors say what cannot be used, and show nothing of it.
type proof func(ctx context.Context, form url.Values) error

// newProof returns the proof of the one way that the configuration names. What it needs
// is looked at already, so that a mistake shows when klamm starts.
func newProof(ctx context.Context, cfg Graph, env Env) (proof, error) {
	switch {
	case cfg.TokenFile != "":
		p := func(_ context.Context, form url.Values) error { return proveByFile(cfg, env, form) }
		return p, p(ctx, url.Values{})
	case cfg.Certificate != "":
		p := func(ctx context.Context, form url.Values) error { return proveByCertificate(ctx, cfg, env, form) }
		return p, p(ctx, url.Values{})
	}
	text, err := env.Secret(ctx, cfg.ClientSecret)
	if err != nil {
		return nil, fmt.Errorf("client_secret: %w", err)
	}
	return func(_ context.Context, form url.Values) error {
		form.Set("client_secret", text)
		return nil
	}, nil
}

// proveByFile takes the token that the platform klamm runs on keeps in a file: the
// application trusts who has signed it. It is read anew each time, as it does not hold
// for long.
func proveByFile(cfg Graph, env Env, form url.Values) error {
	text, err := env.Read(cfg.TokenFile)
	if err != nil {
		return fmt.Errorf("token_file: %w", err)
	}
	text = bytes.TrimSpace(text)
	if len(text) == 0 || len(text) > largestAssertion || bytes.Count(text, []byte(".")) != 2 || bytes.ContainsAny(text, " \t\r\n") {
		return fmt.Errorf("token_file: %s: want one token (JWT) and nothing else, of up to 16KiB", cfg.TokenFile)
	}
	form.Set("client_assertion_type", assertionType)
	form.Set("client_assertion", string(text))
	return nil
}

// proveByCertificate signs an assertion with the key of the certificate that is known to
// the application. Both are read anew each time, so that a renewed certificate counts
// from the next login on.
func proveByCertificate(ctx context.Context, cfg Graph, env Env, form url.Values) error {
	chain, err := env.Read(cfg.Certificate)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	var key, password string
	if !cfg.Key.IsZero() {
		if key, err = env.Secret(ctx, cfg.Key); err != nil {
			return fmt.Errorf("key: %w", err)
		}
	}
	if !cfg.KeyPassword.IsZero() {
		if password, err = env.Secret(ctx, cfg.KeyPassword); err != nil {
			return fmt.Errorf("key_password: %w", err)
		}
	}
	own, err := certificate.Identity(string(chain), key, password)
	if err != nil {
		return fmt.Errorf("certificate: %s: %w", cfg.Certificate, err)
	}
	private, ok := own.PrivateKey.(*rsa.PrivateKey)
	if !ok {
		return fmt.Errorf("certificate: %s: want one with an RSA key: Entra ID takes no other", cfg.Certificate)
	}
	text, err := assertion(cfg, private, own.Certificate[0], env.now())
	if err != nil {
		return fmt.Errorf("certificate: %s: %w", cfg.Certificate, err)
	}
	form.Set("client_assertion_type", assertionType)
	form.Set("client_assertion", text)
	return nil
}

// assertion says who logs in where, for a few minutes, signed as Entra ID wants it: by
// PS256, with the hash of the certificate in the header.
func assertion(cfg Graph, key *rsa.PrivateKey, certificate []byte, now time.Time) (string, error) {
	digest := sha256.Sum256(certificate)
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("x5t#S256", base64.RawURLEncoding.EncodeToString(digest[:]))
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.PS256, Key: key}, options)
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(map[string]any{
		"aud": cfg.tokens(), "iss": cfg.ClientID, "sub": cfg.ClientID, "jti": rand.Text(),
		"iat": now.Unix(), "nbf": now.Add(-assertedBefore).Unix(), "exp": now.Add(assertedFor).Unix(),
	})
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// tokens is where tokens are made for the application.
func (g Graph) tokens() string {
	return strings.TrimSuffix(g.Login, "/") + "/" + url.PathEscape(g.Tenant) + "/oauth2/v2.0/token"
}

// login returns klamm's own token for Graph.
func (g *graph) login(ctx context.Context) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.env.now()
	if now.UnixNano() < g.pause.Load() {
		return "", errors.New("it has asked to be left alone for a moment")
	}
	if now.Before(g.until) {
		return g.token, nil
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {g.cfg.ClientID}, "scope": {strings.TrimSuffix(g.cfg.URL, "/") + "/.default"}}
	if err := g.prove(ctx, form); err != nil {
		return "", fmt.Errorf("log in: auth.graph.%w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.cfg.tokens(), strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		Token   string  `json:"access_token"`
		Expires float64 `json:"expires_in"`
	}
	if _, err := g.send(r, &answer); err != nil {
		return "", fmt.Errorf("log in: %w", err)
	}
	if answer.Token == "" {
		return "", errors.New("log in: there is no token in the answer")
	}
	life := time.Duration(min(max(answer.Expires, 0), 86400)) * time.Second
	g.token, g.until = answer.Token, now.Add(life*8/10)
	return g.token, nil
}

func (g *graph) forget(token string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.token == token {
		g.until = time.Time{}
	}
}
