package aws

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
)

// proveTime bounds the first exchange with an authorization endpoint.
const proveTime = 20 * time.Second

// prove asks the authorization endpoint of a new connection once for a token, and
// notes what came of it (event-bus.md 7). Deliveries get tokens of their own.
func (a *API) prove(doc catalog.Document, c *connection) {
	if c.State != authorizing {
		return
	}
	a.proving.Go(func() {
		ctx, cancel := context.WithTimeout(a.ctx, proveTime)
		defer cancel()
		c.State, c.Authorized = authorized, now()
		if err := a.exchange(ctx, c); err != nil {
			c.State, c.StateReason, c.Authorized = deauthorized, clip(err.Error()), time.Time{}
		}
		raw, err := json.Marshal(c)
		if err == nil {
			doc.Body = raw
			// Who has changed the connection meanwhile has its own proof.
			_, err = a.cfg.Store.Put(ctx, doc, doc.Version)
		}
		if err != nil {
			a.cfg.Log.Warn("the state of a connection is not noted", "connection", doc.Name, "err", err)
		}
	})
}

// exchange gets a token.
func (a *API) exchange(ctx context.Context, c *connection) error {
	config := map[string]any{}
	if err := a.authorize(ctx, c, config); err != nil {
		return err
	}
	token, _ := config["auth"].(map[string]any)["oauth"].(map[string]any)
	at, err := url.Parse(token["token_url"].(string))
	if err != nil {
		return fmt.Errorf("the authorization endpoint is no URL: %w", err)
	}
	fields := map[string]string{"client_id": token["client_id"].(string), "client_secret": token["client_secret"].(map[string]string)["value"]}
	query := at.Query()
	given := valuesOf(token["query"])
	for name, value := range given {
		query.Set(name, value)
	}
	if _, ok := given["grant_type"]; !ok {
		fields["grant_type"] = "client_credentials"
	}
	for name, value := range valuesOf(token["body"]) {
		fields[name] = value
	}
	method := token["method"].(string)
	header := http.Header{"Accept": {"application/json"}}
	for name, value := range valuesOf(token["headers"]) {
		header.Set(name, value)
	}
	var body []byte
	switch {
	case method == http.MethodGet:
		for name, value := range fields {
			query.Set(name, value)
		}
	case strings.HasPrefix(header.Get("Content-Type"), "application/json"):
		if body, err = json.Marshal(fields); err != nil {
			return err
		}
	default:
		form := url.Values{}
		for name, value := range fields {
			form.Set(name, value)
		}
		body = []byte(form.Encode())
		header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	at.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, at.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("the authorization endpoint cannot be asked: %w", err)
	}
	req.Header = header
	resp, err := a.cfg.Transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("the authorization endpoint cannot be reached: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("the answer of the authorization endpoint breaks off: %w", err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("the authorization endpoint has answered %d", resp.StatusCode)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if json.Unmarshal(text, &answer) != nil || answer.AccessToken == "" {
		return fmt.Errorf("the authorization endpoint has answered without an access_token")
	}
	return nil
}

func valuesOf(parameters any) map[string]string {
	values := map[string]string{}
	all, _ := parameters.(map[string]any)
	for name, ref := range all {
		if m, ok := ref.(map[string]string); ok {
			values[name] = m["value"]
		}
	}
	return values
}
