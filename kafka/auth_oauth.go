package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/secret"
)

const (
	tokenTimeout  = 10 * time.Second
	mostTokenBody = 1 << 20
	// longestToken bounds a token, in bytes: brokers bound the message too.
	longestToken = 64 << 10
)

// tokens are those that OAUTHBEARER shows. One is asked for when there is none, and
// again when four fifths of its time are over; the old one serves as long as there is
// no new one.
type tokens struct {
	cfg OAuth

	mu      sync.Mutex // held while one is asked for; guards what follows
	token   string
	renew   time.Time
	expires time.Time
}

var tokenClient = &http.Client{
	Timeout:       tokenTimeout,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// check reads what is on this machine.
func (t *tokens) check(ctx context.Context) error {
	ref, path := t.cfg.Token, "token"
	if ref.IsZero() {
		ref, path = t.cfg.ClientSecret, "client_secret"
	}
	if _, err := secret.Local(ctx, ref); err != nil {
		return fmt.Errorf("oauth.%s: %w", path, err)
	}
	return nil
}

// tokenForm is that of RFC 6750, 2.1.
var tokenForm = regexp.MustCompile(`^[A-Za-z0-9._~+/=-]+$`)

// get returns a token that is good now.
func (t *tokens) get(ctx context.Context) (string, error) {
	if !t.cfg.Token.IsZero() {
		token, err := secret.Local(ctx, t.cfg.Token)
		if err != nil {
			return "", fmt.Errorf("oauth.token: %w", err)
		}
		return checked(strings.TrimSpace(token))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.token != "" && now.Before(t.renew) {
		return t.token, nil
	}
	token, lasts, err := t.ask(ctx)
	if err != nil {
		if t.token != "" && now.Before(t.expires) {
			return t.token, nil
		}
		return "", err
	}
	t.token, t.renew, t.expires = token, now.Add(lasts*4/5), now.Add(lasts)
	return token, nil
}

func checked(token string) (string, error) {
	if len(token) > longestToken || !tokenForm.MatchString(token) {
		return "", errors.New("the token is empty, too long, or has characters that no token has")
	}
	return token, nil
}

// ask sends a request of client credentials (RFC 6749, 4.4). Errors hold nothing of
// what is sent.
func (t *tokens) ask(ctx context.Context) (string, time.Duration, error) {
	key, err := secret.Local(ctx, t.cfg.ClientSecret)
	if err != nil {
		return "", 0, fmt.Errorf("oauth.client_secret: %w", err)
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if t.cfg.Scope != "" {
		form.Set("scope", t.cfg.Scope)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.cfg.TokenEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, fmt.Errorf("token endpoint: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	r.SetBasicAuth(url.QueryEscape(t.cfg.ClientID), url.QueryEscape(key)) // RFC 6749, 2.3.1
	resp, err := tokenClient.Do(r)
	if err != nil {
		return "", 0, fmt.Errorf("token endpoint: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostTokenBody))
	if err != nil {
		return "", 0, fmt.Errorf("token endpoint %s: %w", t.cfg.TokenEndpoint, err)
	}
	var answer struct {
		AccessToken string  `json:"access_token"`
		ExpiresIn   float64 `json:"expires_in"`
		Error       string  `json:"error"`
	}
	bad := json.Unmarshal(body, &answer)
	if resp.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("token endpoint %s answered %d %s", t.cfg.TokenEndpoint, resp.StatusCode, oauthErrorForm.FindString(answer.Error))
	}
	if bad != nil || answer.AccessToken == "" {
		return "", 0, fmt.Errorf("token endpoint %s: its answer holds no access_token", t.cfg.TokenEndpoint)
	}
	token, err := checked(answer.AccessToken)
	if err != nil {
		return "", 0, fmt.Errorf("token endpoint %s: %w", t.cfg.TokenEndpoint, err)
	}
	if answer.ExpiresIn <= 0 || answer.ExpiresIn > 30*24*3600 {
		answer.ExpiresIn = 300
	}
	return token, time.Duration(answer.ExpiresIn * float64(time.Second)), nil
}

// oauthErrorForm is that of an error's name, as in invalid_client.
var oauthErrorForm = regexp.MustCompile(`^[a-z_]{1,60}$`)
