package webhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
)

const (
	// exchangeTimeout bounds one request to a token endpoint.
	exchangeTimeout = 10 * time.Second
	// largestTokenAnswer is how much of its answer is read.
	largestTokenAnswer = 1 << 20
	// longestToken is how long a token is used that says no end, or a later one.
	longestToken = time.Hour
	// refreshAhead is how long before its end a token is replaced; where a tenth
	// of its life is less, that (event-bus.md 7).
	refreshAhead = time.Minute
	// refusedApart is the least time between two tokens that a refusal replaces: a
	// receiver that refuses every token must not cost one for every request.
	refusedApart = time.Second
	// The wait after an exchange that failed, doubled each time.
	exchangeAgain, exchangeAgainMost = time.Second, time.Minute
)

// tokens gets tokens from a token endpoint and keeps the newest. However many
// requests need one, only one exchange is under way. It is safe for concurrent
// use.
type tokens struct {
	config    *OAuth
	endpoint  *url.URL
	lookup    secret.Lookup
	transport http.RoundTripper
	egress    *target.Egress
	now       func() time.Time
	left      func() bool                          // says at close whether nobody else uses them; nil: nobody does
	told      func(ctx context.Context, err error) // hears of each exchange; nil: nobody does

	telling sync.Mutex // held while told is called: it hears the newest last
	stop    context.CancelFunc
	stopped context.Context // ends the exchange under way
	running sync.WaitGroup

	mu       sync.Mutex // guards everything below
	current  *token
	exchange chan struct{} // closed when the one under way ends; nil: none is
	err      error         // of the last exchange
	failures int           // in a row
	notUntil time.Time     // after a failure
	replaced time.Time     // when a refusal has replaced one last
}

// A token is what a request carries, and how long.
type token struct {
	header       string
	renew, until time.Time
}

func newTokens(config *OAuth, env target.Env) (*tokens, error) {
	u, err := url.Parse(config.TokenURL)
	if err != nil {
		return nil, errors.New("auth.oauth.token_url: not a URL")
	}
	if err := env.Egress.CheckHost(u.Hostname()); err != nil {
		return nil, fmt.Errorf("auth.oauth.token_url: %w", err)
	}
	o := &tokens{config: config, endpoint: u, lookup: env.Secret, transport: env.Transport, egress: env.Egress, now: time.Now}
	o.stopped, o.stop = context.WithCancel(context.Background())
	return o, nil
}

// close ends the exchange under way, unless others use the tokens as well.
func (o *tokens) close() {
	if o.left != nil && !o.left() {
		return
	}
	o.stop()
	o.running.Wait()
}

// get returns a token that is good now. An old one serves while a new one is
// under way, as long as it lasts.
func (o *tokens) get(ctx context.Context) (*token, error) {
	for {
		o.mu.Lock()
		now := o.now()
		t := o.current
		lasts := t != nil && now.Before(t.until)
		if lasts && now.Before(t.renew) {
			o.mu.Unlock()
			return t, nil
		}
		if o.exchange == nil {
			if now.Before(o.notUntil) {
				err, wait := o.err, o.notUntil.Sub(now)
				o.mu.Unlock()
				if lasts {
					return t, nil
				}
				return nil, target.RetryAfter(err, wait)
			}
			o.begin()
		}
		done := o.exchange
		o.mu.Unlock()
		if lasts {
			return t, nil
		}
		select {
		case <-done:
		case <-ctx.Done():
			return nil, errors.New("oauth: no token in time")
		}
	}
}

// refused notes that a receiver does not accept a token, and says whether another
// one may do better.
func (o *tokens) refused(t *token) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.current == t {
		now := o.now()
		if now.Sub(o.replaced) < refusedApart {
			return false
		}
		o.current, o.replaced = nil, now
	}
	return true
}

// begin starts an exchange; the caller holds the mutex. close ends it and waits.
func (o *tokens) begin() {
	done := make(chan struct{})
	o.exchange = done
	o.running.Go(func() {
		ctx, cancel := context.WithTimeout(o.stopped, exchangeTimeout)
		defer cancel()
		t, after, err := o.fetch(ctx)
		o.end(t, after, err)
		close(done)
		o.tell()
	})
}

// end notes what came of an exchange.
func (o *tokens) end(t *token, after time.Duration, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.exchange, o.err = nil, err
	if err == nil {
		o.current, o.failures, o.notUntil = t, 0, time.Time{}
		return
	}
	wait := min(exchangeAgain<<min(o.failures, 10), exchangeAgainMost)
	o.failures++
	o.notUntil = o.now().Add(max(wait, min(after, exchangeAgainMost)))
}

// tell says what came of the newest exchange. One that close has ended says nothing.
func (o *tokens) tell() {
	if o.told == nil {
		return
	}
	o.telling.Lock()
	defer o.telling.Unlock()
	o.mu.Lock()
	err := o.err
	o.mu.Unlock()
	if o.stopped.Err() == nil {
		ctx, cancel := context.WithTimeout(o.stopped, exchangeTimeout)
		defer cancel()
		o.told(ctx, err)
	}
}

// fetch makes one exchange. Its errors hold nothing of the request but the
// endpoint, and of the answer only the status and the error code of RFC 6749.
func (o *tokens) fetch(ctx context.Context) (*token, time.Duration, error) {
	req, err := o.request(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("oauth: %w", err)
	}
	transport := o.transport
	if t := o.config.TLS; t != nil {
		// Exchanges are rare: a transport for each sees new certificates at once.
		certs, err := t.read(ctx, o.lookup)
		if err != nil {
			return nil, 0, fmt.Errorf("oauth: %w", err)
		}
		own, err := t.transport(certs, o.egress)
		if err != nil {
			return nil, 0, fmt.Errorf("oauth: %w", err)
		}
		defer own.CloseIdleConnections()
		transport = own
	}
	name := o.endpoint.Scheme + "://" + o.endpoint.Host + o.endpoint.EscapedPath()
	asked := o.now()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("no answer in time")
		}
		return nil, 0, fmt.Errorf("oauth: %s: %w", name, err)
	}
	defer func() { _ = resp.Body.Close() }()
	var body []byte
	if resp.StatusCode != http.StatusSwitchingProtocols {
		body, err = io.ReadAll(io.LimitReader(resp.Body, largestTokenAnswer))
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated {
		after := retryAfter(resp.Header.Get("Retry-After"), o.now())
		return nil, max(after, 0), fmt.Errorf("oauth: %s: HTTP status %d%s", name, resp.StatusCode, errorCode(body))
	}
	if err != nil {
		return nil, 0, fmt.Errorf("oauth: %s: the answer broke off", name)
	}
	t, err := tokenOf(body, asked)
	if err != nil {
		return nil, 0, fmt.Errorf("oauth: %s: %w", name, err)
	}
	return t, 0, nil
}

// request makes the request of an exchange (event-bus.md 7).
func (o *tokens) request(ctx context.Context) (*http.Request, error) {
	c := o.config
	password, err := o.lookup(ctx, c.ClientSecret)
	if err != nil {
		return nil, fmt.Errorf("client_secret: %w", err)
	}
	header, err := o.values(ctx, "headers", c.Headers)
	if err != nil {
		return nil, err
	}
	query, err := o.values(ctx, "query", c.Query)
	if err != nil {
		return nil, err
	}
	further, err := o.values(ctx, "body", c.Body)
	if err != nil {
		return nil, err
	}
	params := o.endpoint.Query()
	for name, value := range query {
		params.Set(name, value)
	}
	fields := map[string]string{}
	h := http.Header{"Accept": asJSON, "User-Agent": agent}
	if c.ClientAuth == "header" {
		login := url.QueryEscape(c.ClientID) + ":" + url.QueryEscape(password)
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(login)))
	} else {
		fields["client_id"], fields["client_secret"] = c.ClientID, password
	}
	if c.Scope != "" {
		fields["scope"] = c.Scope
	}
	if c.Audience != "" {
		fields["audience"] = c.Audience
	}
	if !params.Has("grant_type") {
		fields["grant_type"] = "client_credentials"
	}
	maps.Copy(fields, further)
	for _, name := range c.Blank {
		fields[name] = ""
	}
	for name, value := range header {
		if !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("headers.%s: %s cannot be the value of an HTTP header", name, c.Headers[name])
		}
		h.Set(name, value)
	}
	method := c.Method
	if method == "" {
		method = http.MethodPost
	}
	var body []byte
	if method == http.MethodGet {
		for name, value := range fields {
			if !params.Has(name) {
				params.Set(name, value)
			}
		}
	} else {
		body = encodeFields(fields, h)
	}
	u := *o.endpoint
	u.RawQuery = params.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the request to the token endpoint is not valid")
	}
	req.Header = h
	return req, nil
}

// encodeFields makes a form, or JSON where the headers say so.
func encodeFields(fields map[string]string, h http.Header) []byte {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	if strings.EqualFold(strings.TrimSpace(kind), "application/json") {
		body, _ := json.Marshal(fields) // a map of texts always marshals
		return body
	}
	form := url.Values{}
	for name, value := range fields {
		form.Set(name, value)
	}
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", media["form"])
	}
	return []byte(form.Encode())
}

func (o *tokens) values(ctx context.Context, kind string, refs map[string]secret.Ref) (map[string]string, error) {
	all := make(map[string]string, len(refs))
	for _, name := range sorted(refs) {
		value, err := o.lookup(ctx, refs[name])
		if err != nil {
			return nil, fmt.Errorf("%s.%s: %w", kind, name, err)
		}
		all[name] = value
	}
	return all, nil
}

// tokenOf reads the answer to an exchange.
func tokenOf(body []byte, asked time.Time) (*token, error) {
	var answer struct {
		AccessToken string          `json:"access_token"`
		TokenType   string          `json:"token_type"`
		ExpiresIn   json.RawMessage `json:"expires_in"` // a number; some send it as a string
	}
	if json.Unmarshal(body, &answer) != nil {
		return nil, errors.New("the answer is not a JSON object with access_token")
	}
	if answer.TokenType == "" || strings.EqualFold(answer.TokenType, "bearer") {
		answer.TokenType = "Bearer"
	}
	switch {
	case answer.AccessToken == "":
		return nil, errors.New("the answer has no access_token")
	case !printable([]byte(answer.AccessToken)) || len(answer.AccessToken) > 64<<10 || !httpguts.ValidHeaderFieldName(answer.TokenType):
		return nil, errors.New("the answer has an access_token or token_type that cannot be sent in a header")
	}
	life := longestToken
	if seconds, err := strconv.ParseFloat(strings.Trim(string(answer.ExpiresIn), `"`), 64); err == nil && seconds >= 1 && seconds < life.Seconds() {
		life = time.Duration(seconds * float64(time.Second))
	}
	return &token{
		header: answer.TokenType + " " + answer.AccessToken,
		renew:  asked.Add(life - min(refreshAhead, life/10)), until: asked.Add(life),
	}, nil
}

// errorCode returns the error code of RFC 6749 5.2 in parentheses, if an answer
// has one.
func errorCode(body []byte) string {
	var answer struct{ Error string }
	if json.Unmarshal(body, &answer) != nil || answer.Error == "" || len(answer.Error) > 40 || strings.Trim(answer.Error, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return ""
	}
	return " (" + answer.Error + ")"
}
