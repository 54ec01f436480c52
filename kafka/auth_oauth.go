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
	tokenTimeout = 10 * time.Second
	// refreshPause comes before the next attempt at renewing a token that is still good.
	refreshPause  = 5 * time.Second
	mostTokenBody = 1 << 20
	// longestToken bounds a token, in bytes: brokers bound the message too.
	longestToken = 64 << 10
)

// tokens are those that OAUTHBEARER shows. One is asked for when there is none, and
// again in the background when four fifths of its time are over, if it has been shown;
// the old one serves as long as there is no new one (kafka-auth.md A3.3).
type tokens struct {
	cfg OAuth

	asking sync.Mutex // held while one is asked for

	mu      sync.Mutex // guards what follows
	token   string
	renew   time.Time
	expires time.Time
	shown   bool
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
	if token := t.show((*tokens).fresh); token != "" {
		return token, nil
	}
	err := t.replace(ctx)
	if token := t.show((*tokens).good); token != "" {
		return token, nil
	}
	if err == nil {
		err = errors.New("token endpoint: the token had expired when it came")
	}
	return "", err
}

func (t *tokens) fresh() bool { return time.Now().Before(t.renew) }
func (t *tokens) good() bool  { return time.Now().Before(t.expires) }

// show returns the token, if it is as wanted.
func (t *tokens) show(wanted func(*tokens) bool) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token == "" || !wanted(t) {
		return ""
	}
	t.shown = true
	return t.token
}

// replace asks for a token, unless somebody else has got a fresh one meanwhile.
func (t *tokens) replace(ctx context.Context) error {
	t.asking.Lock()
	defer t.asking.Unlock()
	t.mu.Lock()
	fresh := t.fresh()
	t.mu.Unlock()
	if fresh {
		return nil
	}
	asked := time.Now()
	token, lasts, err := t.ask(ctx)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.token, t.renew, t.expires, t.shown = token, asked.Add(lasts*4/5), asked.Add(lasts), false
	time.AfterFunc(time.Until(t.renew), t.refresh)
	return nil
}

// refresh asks for the next token while the one before is good, so that no login waits
// for it. A token that nobody was shown is the last: a login that is not used any more
// asks no longer.
func (t *tokens) refresh() {
	ctx, cancel := context.WithTimeout(context.Background(), tokenTimeout)
	defer cancel()
	t.mu.Lock()
	shown := t.shown
	t.mu.Unlock()
	if !shown || t.replace(ctx) == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.good() {
		time.AfterFunc(refreshPause, t.refresh)
	}
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
