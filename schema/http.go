package schema

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klamm-gateway/klamm/certificate"
	"github.com/klamm-gateway/klamm/secret"
)

const (
	// maxAnswer bounds what is read of a registry's answer, in bytes.
	maxAnswer = 4 << 20
	// registryMedia is what the API's documents are.
	registryMedia = "application/vnd.schemaregistry.v1+json"

	defaultTimeout = 10 * time.Second
)

// An HTTPRegistry is a registry with Confluent's API. Where it has several
// addresses and one does not answer, or with a 5xx, the next one is asked, and is
// the first to be asked from then on.
type HTTPRegistry struct {
	urls   []string
	first  atomic.Uint32 // index of the address that answered last
	client *http.Client
	// authorize writes klamm's login into a request.
	authorize func(ctx context.Context, r *http.Request) error
	timeout   time.Duration
}

// OpenHTTP makes the registry of a configuration with a URL. It looks up the
// certificates now, and user and token at each request, so that they may change;
// it does not ask the registry anything. Dial is the transport that connections are
// made with; nil is Go's default.
func OpenHTTP(ctx context.Context, cfg Config, lookup secret.Lookup, base *http.Transport) (*HTTPRegistry, error) {
	if base == nil {
		base = http.DefaultTransport.(*http.Transport)
	}
	t := base.Clone()
	t.MaxIdleConnsPerHost = 8
	if err := secure(ctx, t, cfg, lookup); err != nil {
		return nil, fmt.Errorf("schema registry: %w", err)
	}
	h := &HTTPRegistry{urls: cfg.urls(), timeout: cfg.Timeout, client: &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if h.timeout == 0 {
		h.timeout = defaultTimeout
	}
	h.authorize = func(ctx context.Context, r *http.Request) error {
		switch {
		case cfg.Username != "":
			password, err := lookup(ctx, cfg.Password)
			if err != nil {
				return fmt.Errorf("password: %w", err)
			}
			r.SetBasicAuth(cfg.Username, password)
		case !cfg.Bearer.IsZero():
			token, err := lookup(ctx, cfg.Bearer)
			if err != nil {
				return fmt.Errorf("bearer: %w", err)
			}
			r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
		}
		return nil
	}
	return h, nil
}

// secure sets up TLS.
func secure(ctx context.Context, t *http.Transport, cfg Config, lookup secret.Lookup) error {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if !cfg.RootCA.IsZero() {
		text, err := lookup(ctx, cfg.RootCA)
		if err != nil {
			return fmt.Errorf("root_ca: %w", err)
		}
		if conf.RootCAs, err = certificate.Roots(text); err != nil {
			return fmt.Errorf("root_ca: %w", err)
		}
	}
	if !cfg.Certificate.IsZero() {
		var texts [3]string
		for i, ref := range []secret.Ref{cfg.Certificate, cfg.Key, cfg.KeyPassword} {
			if ref.IsZero() {
				continue
			}
			var err error
			if texts[i], err = lookup(ctx, ref); err != nil {
				return fmt.Errorf("certificate: %w", err)
			}
		}
		own, err := certificate.Identity(texts[0], texts[1], texts[2])
		if err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{own}
	}
	t.TLSClientConfig = conf
	return nil
}

// Close closes the connections that are open and idle.
func (h *HTTPRegistry) Close() { h.client.CloseIdleConnections() }

// document is a schema in the API's JSON.
type document struct {
	Subject    string      `json:"subject,omitempty"`
	Version    int         `json:"version,omitempty"`
	ID         int         `json:"id,omitempty"`
	Format     Format      `json:"schemaType,omitempty"`
	Text       string      `json:"schema"`
	References []Reference `json:"references,omitempty"`
}

func (d document) registered() Registered {
	if d.Format == "" {
		d.Format = Avro
	}
	return Registered{Definition: Definition{Format: d.Format, Text: d.Text, References: d.References}, Subject: d.Subject, Version: d.Version, ID: d.ID}
}

func documentOf(d Definition) document {
	out := document{Text: d.Text, References: d.References}
	if d.Format != Avro { // older registries know no other and no such field
		out.Format = d.Format
	}
	return out
}

// ByID implements Registry.
func (h *HTTPRegistry) ByID(ctx context.Context, id int) (Registered, error) {
	var d document
	err := h.schema(ctx, "/schemas/ids/"+strconv.Itoa(id), &d)
	d.ID = id
	return d.registered(), err
}

// ByVersion implements Registry.
func (h *HTTPRegistry) ByVersion(ctx context.Context, subject string, version int) (Registered, error) {
	return h.version(ctx, subject, version, "")
}

// Referred implements Registry.
func (h *HTTPRegistry) Referred(ctx context.Context, subject string, version int) (Registered, error) {
	return h.version(ctx, subject, version, "?deleted=true")
}

func (h *HTTPRegistry) version(ctx context.Context, subject string, version int, query string) (Registered, error) {
	at := "latest"
	if version != Latest {
		at = strconv.Itoa(version)
	}
	var d document
	err := h.schema(ctx, "/subjects/"+url.PathEscape(subject)+"/versions/"+at+query, &d)
	return d.registered(), err
}

// schema asks for a schema. What answers with another document is no registry, which is
// no verdict on the schema.
func (h *HTTPRegistry) schema(ctx context.Context, path string, into *document) error {
	err := h.ask(ctx, http.MethodGet, path, nil, into)
	if err == nil && into.Text == "" {
		err = &RegistryError{Message: "the answer to " + path + " has no schema: it is not a registry's"}
	}
	return err
}

// Find implements Registry.
func (h *HTTPRegistry) Find(ctx context.Context, subject string, d Definition) (Registered, error) {
	// Apicurio leaves out the format here; it can be no other.
	found := document{Format: d.Format}
	err := h.ask(ctx, http.MethodPost, "/subjects/"+url.PathEscape(subject), documentOf(d), &found)
	return found.registered(), err
}

// Versions implements Registry.
func (h *HTTPRegistry) Versions(ctx context.Context, id int) ([]Registered, error) {
	var all []document
	err := h.ask(ctx, http.MethodGet, "/schemas/ids/"+strconv.Itoa(id)+"/versions", nil, &all)
	out := make([]Registered, len(all))
	for i, d := range all {
		out[i] = d.registered()
	}
	return out, err
}

// Register implements Registry.
func (h *HTTPRegistry) Register(ctx context.Context, subject string, d Definition) (int, error) {
	var made document
	err := h.ask(ctx, http.MethodPost, "/subjects/"+url.PathEscape(subject)+"/versions", documentOf(d), &made)
	return made.ID, err
}

// ask asks one address after the other.
func (h *HTTPRegistry) ask(ctx context.Context, method, path string, body, into any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	first := int(h.first.Load())
	var err error
	for i := range h.urls {
		at := (first + i) % len(h.urls)
		err = h.askAt(ctx, h.urls[at], method, path, text, into)
		var refusal *RegistryError
		if err == nil || errors.As(err, &refusal) && refusal.Status != 0 && refusal.Status < 500 || ctx.Err() != nil {
			h.first.Store(uint32(at))
			return err
		}
	}
	return err
}

// askAt asks one address.
func (h *HTTPRegistry) askAt(ctx context.Context, base, method, path string, body []byte, into any) error {
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, base+path, bytes.NewReader(body))
	if err != nil {
		return &RegistryError{Message: err.Error()}
	}
	r.Header.Set("Accept", registryMedia+", application/json;q=0.9")
	if body != nil {
		r.Header.Set("Content-Type", registryMedia)
	}
	if err := h.authorize(ctx, r); err != nil {
		return &RegistryError{Message: "klamm's login: " + err.Error()}
	}
	answer, err := h.client.Do(r)
	if err != nil {
		return &RegistryError{Message: err.Error()}
	}
	defer answer.Body.Close()
	text, err := readAnswer(answer, base)
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return refusalOf(answer, text)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return &RegistryError{Message: fmt.Sprintf("the answer of %s is not a registry's", base)}
	}
	return nil
}

// readAnswer reads the body of an answer of a registry, whose name errors tell.
func readAnswer(answer *http.Response, of string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, &RegistryError{Message: fmt.Sprintf("read the answer of %s: %v", of, err)}
	case len(text) > maxAnswer:
		return nil, &RegistryError{Message: fmt.Sprintf("the answer of %s is larger than %d bytes", of, maxAnswer)}
	}
	return text, nil
}

// maxMessage bounds what is repeated of a registry's own words, in bytes.
const maxMessage = 1 << 10

// refusalOf reads an answer that is no success.
func refusalOf(answer *http.Response, text []byte) error {
	e := &RegistryError{Status: answer.StatusCode}
	var said struct {
		Code    int    `json:"error_code"`
		Message string `json:"message"`
	}
	if json.Unmarshal(text, &said) == nil {
		e.Code, e.Message = said.Code, said.Message
	}
	if len(e.Message) > maxMessage {
		e.Message = strings.ToValidUTF8(e.Message[:maxMessage], "") + "..."
	}
	if e.Message == "" {
		e.Message = "the registry answered " + strings.TrimSpace(strconv.Itoa(answer.StatusCode)+" "+http.StatusText(answer.StatusCode))
	}
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds > 0 && seconds < 3600 {
		e.After = time.Duration(seconds) * time.Second
	}
	return e
}
