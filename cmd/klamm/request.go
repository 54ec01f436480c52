package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A request is what a command asks klamm for. The path begins below /klamm/v1, or is
// that of another API; its parts need no escapes.
type request struct {
	method string
	other  bool // the path is that of another API, from its beginning on
	path   []string
	query  url.Values
	header map[string]string
	body   any           // made JSON, unless it is []byte; nil: none
	secret bool          // the body has secrets
	match  int64         // the version that is expected; 0: any
	within time.Duration // for the whole answer; 0: without end
}

// An answer is a success, whole.
type answer struct {
	*http.Response // whose body is read
	text           []byte
}

// call asks for a document and decodes it. The member must be there: klamm never
// leaves it out.
func (c *client) call(ctx context.Context, r request, member string, into any) error {
	a, err := c.ask(ctx, r)
	if err != nil {
		return err
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(a.text, &members) != nil || members[member] == nil || json.Unmarshal(a.text, into) != nil {
		return c.wrongServer(a.Response)
	}
	return nil
}

// ask sends a request and reads the answer to its end.
func (c *client) ask(ctx context.Context, r request) (answer, error) {
	bounded, within := ctx, r.within
	if c.timeout > 0 {
		within = c.timeout
	}
	if within > 0 {
		var cancel context.CancelFunc
		bounded, cancel = context.WithTimeout(ctx, within)
		defer cancel()
	}
	resp, err := c.send(bounded, r)
	var text []byte
	if err == nil {
		defer resp.Body.Close()
		text, err = io.ReadAll(io.LimitReader(resp.Body, largestAnswer+1))
		if err != nil {
			err = c.broken(err)
		}
	}
	switch {
	case ctx.Err() != nil:
		return answer{}, errInterrupted
	case err != nil && bounded.Err() != nil:
		return answer{}, c.slow(within)
	case err != nil:
		return answer{}, err
	case len(text) > largestAnswer:
		return answer{}, fmt.Errorf("the answer of %s has more than %d MiB; ask for less", c.base.Redacted(), largestAnswer>>20)
	}
	return answer{resp, text}, nil
}

// slow is the error for a server that does not answer in time.
func (c *client) slow(within time.Duration) error {
	return fmt.Errorf("%s has not answered within %s; klamm status says whether it reaches its brokers", c.base.Redacted(), within)
}

// stream asks for lines of JSON and visits each until visit returns an error,
// which it returns, or the answer ends.
func (c *client) stream(ctx context.Context, r request, visit func(line []byte) error) error {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	within := readTime
	if c.timeout > 0 {
		within = c.timeout
	}
	slow := time.AfterFunc(within, cancel) // until the answer begins
	resp, err := c.send(reading, r)
	begun := slow.Stop()
	if err == nil {
		defer resp.Body.Close()
	}
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case !begun:
		return c.slow(within)
	case err != nil:
		return err
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		if line[0] != '{' || !json.Valid(line) {
			return c.wrongServer(resp)
		}
		if err := visit(line); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return errInterrupted
	}
	if err := lines.Err(); err != nil {
		return c.broken(err)
	}
	return nil
}

// send sends a request, with the API key if there is one; any answer but a success is
// an error.
func (c *client) send(ctx context.Context, r request) (*http.Response, error) {
	var escaped []string
	if !r.other {
		escaped = append(escaped, "klamm", "v1")
	}
	for _, part := range r.path {
		escaped = append(escaped, url.PathEscape(part))
	}
	u := c.base.JoinPath(escaped...)
	u.RawQuery = r.query.Encode()
	var text io.Reader
	switch body := r.body.(type) {
	case nil:
	case []byte:
		text = bytes.NewReader(body)
	default:
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		text = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), text)
	if err != nil {
		return nil, err
	}
	if !r.other {
		req.Header.Set("Accept", "application/json, application/x-ndjson, application/problem+json")
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.match != 0 {
		req.Header.Set("If-Match", fmt.Sprintf("%q", fmt.Sprint(r.match)))
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	c.login(req)
	if c.curl {
		return nil, c.printCall(req, r)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreached(err)
	}
	switch {
	case resp.StatusCode/100 != 2:
		err = c.refusal(resp)
	case resp.Header.Get("X-Request-Id") == "": // klamm gives every answer one, and many a document of others fits
		err = c.wrongServer(resp)
	default:
		return resp, nil
	}
	_ = resp.Body.Close()
	return nil, err
}

// unreached says why there is no answer, and what helps.
func (c *client) unreached(err error) error {
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	at, text := c.base.Redacted(), err.Error()
	var noTLS tls.RecordHeaderError
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &noTLS):
		return fmt.Errorf("%s does not speak TLS; %s may be meant", at, c.withScheme("http"))
	case strings.Contains(text, `malformed HTTP response "\x15\x03`): // a TLS alert
		return c.speaksTLS()
	case errors.As(err, &untrusted):
		return fmt.Errorf("the certificate of %s is not trusted: %s; SSL_CERT_FILE can name a file with the CA that is", at, printable(untrusted.Err.Error()))
	case strings.Contains(text, "tls: certificate required"), strings.Contains(text, "tls: bad certificate"):
		return fmt.Errorf("%s wants a client certificate; name a listener without one with --server", at)
	case errors.Is(err, io.EOF) && c.base.Scheme == "http" && c.wantsTLS():
		return c.speaksTLS()
	case strings.Contains(text, "malformed HTTP"):
		return fmt.Errorf("%s does not speak HTTP; check --server and KLAMM_SERVER", at)
	}
	return fmt.Errorf("no klamm answers at %s: %s; start one with klamm dev, or name another with --server or KLAMM_SERVER", at, printable(text))
}

// wantsTLS says whether a server that hangs up answers a simple question with a word
// about TLS: many do so for a GET only.
func (c *client) wantsTLS() bool {
	ctx, cancel := context.WithTimeout(context.Background(), dialTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base.String(), nil)
	if err != nil {
		return false
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return refusesClearText(text)
}

// refusesClearText says whether an answer is what TLS servers say to HTTP.
func refusesClearText(text []byte) bool {
	return bytes.Contains(text, []byte("HTTP request to an HTTPS server")) || bytes.Contains(text, []byte("plain HTTP request was sent to HTTPS port"))
}

func (c *client) speaksTLS() error {
	return fmt.Errorf("%s speaks TLS; %s may be meant", c.base.Redacted(), c.withScheme("https"))
}

// withScheme is the server's URL with another scheme.
func (c *client) withScheme(scheme string) string {
	u := *c.base
	u.Scheme = scheme
	return u.Redacted()
}

// A refusal is an answer that is no success, and says why.
type refusal struct {
	status int
	kind   string // the type of an AWS API's error; empty: another API's
	text   string // for the user
}

func (e *refusal) Error() string { return e.text }

// isMissing says whether what was asked for is not there.
func isMissing(err error) bool {
	var e *refusal
	return errors.As(err, &e) && e.status == http.StatusNotFound
}

// isRefused says whether klamm has understood a request and will not do it.
func isRefused(err error) bool {
	var exit *exitError
	var e *refusal
	return errors.As(err, &exit) || errors.As(err, &e) && e.status == http.StatusConflict
}

// refusal reads an answer that is no success.
func (c *client) refusal(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if refusesClearText(text) {
		return c.speaksTLS()
	}
	detail, kind := detailOf(resp, text)
	if detail == "" {
		return c.wrongServer(resp)
	}
	at := c.base.Redacted()
	switch status := resp.StatusCode; {
	case status == http.StatusBadRequest && kind == "":
		return usage("%s", detail)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		detail = fmt.Sprintf("%s does not let you do that: %s; KLAMM_KEY can hold an API key that may", at, detail)
	case kind != "":
		detail = kind + ": " + hinted(at, detail, strings.Contains(kind, "NotFound"), detail)
	default:
		detail = hinted(at, detail, status == http.StatusNotFound, at+": "+detail)
	}
	return &refusal{resp.StatusCode, kind, detail}
}

// hints are what helps where something is not there, by the beginning of what is said.
var hints = map[string]string{
	"no such pipe":                "klamm pipe list shows the pipes there are",
	"there is no such definition": "klamm pipe list shows the pipes there are",
	"no such delivery":            "klamm delivery list shows those of the last days",
	"no such topic":               "klamm topic list shows the topics there are",
	"no such consumer group":      "klamm group list shows the groups there are",
	"no such key":                 "klamm key list shows the keys there are",
	"no such policy":              "klamm policy list shows the policies there are",
	"Subject '":                   "klamm schema list shows the subjects there are",
	"Connector ":                  "klamm connector list shows the connectors there are",
	"Event bus ":                  "klamm bus list shows the buses there are",
	"Archive ":                    "klamm archive list shows the archives there are",
	"Function not found":          "klamm function list shows the functions there are",
	// All that is said of an event source mapping.
	"The resource you requested does not exist": "klamm mapping list shows the mappings there are",
}

// hinted adds what helps to an error that says that something is missing; where nothing is
// known that does, it is otherwise.
func hinted(at, detail string, missing bool, otherwise string) string {
	if missing {
		for beginning, hint := range hints {
			if strings.HasPrefix(detail, beginning) {
				return fmt.Sprintf("%s at %s; %s", strings.TrimSuffix(detail, "."), at, hint)
			}
		}
	}
	return otherwise
}

// detailOf finds what an error says, in the shapes of the APIs that commands use: RFC
// 9457, Confluent's, and those of AWS, whose type comes with it.
func detailOf(resp *http.Response, text []byte) (detail, kind string) {
	var said struct {
		Detail  string `json:"detail"`
		Code    int    `json:"error_code"`
		Message string `json:"message"` // or Message
	}
	if json.Unmarshal(text, &said) != nil {
		return "", ""
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	kind = resp.Header.Get("X-Amzn-Errortype")
	switch {
	case media == "application/problem+json":
		return printable(said.Detail), ""
	case kind != "":
		return printable(said.Message), printable(kind)
	case said.Code != 0:
		return printable(said.Message), ""
	}
	return "", ""
}

// wrongServer is the error for an answer that klamm never gives.
func (c *client) wrongServer(resp *http.Response) error {
	return fmt.Errorf("%s answers, but not as klamm does (HTTP status %d); check --server and KLAMM_SERVER", c.base.Redacted(), resp.StatusCode)
}

func (c *client) broken(err error) error {
	return fmt.Errorf("the answer of %s breaks off: %w", c.base.Redacted(), err)
}
