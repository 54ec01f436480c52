package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"
)

// longestInvocation bounds what an AWS API may take to answer: a function may run for
// a quarter of an hour.
const longestInvocation = 16 * time.Minute

// An awsAnswer is a success.
type awsAnswer struct {
	header http.Header
	body   []byte
}

// An awsError is a refusal by one of the AWS APIs.
type awsError struct {
	kind, message string
	status        int
}

func (e *awsError) Error() string { return e.kind + ": " + printable(e.message) }

// isMissing says whether what was asked for is not there.
func isMissing(err error) bool {
	var e *awsError
	return errors.As(err, &e) && e.status == http.StatusNotFound
}

// aws asks one of the AWS APIs, with a document if there is one.
func (c *client) aws(ctx context.Context, method, path string, doc any) (awsAnswer, error) {
	var body []byte
	if doc != nil {
		var err error
		if body, err = json.Marshal(doc); err != nil {
			return awsAnswer{}, err
		}
	}
	return c.awsRaw(ctx, method, path, body, nil)
}

// awsRaw is aws for a body that is there already.
func (c *client) awsRaw(ctx context.Context, method, path string, body []byte, headers map[string]string) (awsAnswer, error) {
	bounded, cancel := context.WithTimeout(ctx, longestInvocation)
	defer cancel()
	rel, err := url.Parse(path)
	if err != nil {
		return awsAnswer{}, err
	}
	u := c.base.JoinPath(rel.EscapedPath())
	u.RawQuery = rel.RawQuery
	req, err := http.NewRequestWithContext(bounded, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return awsAnswer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := c.do(req)
	if err != nil {
		if ctx.Err() != nil {
			return awsAnswer{}, errInterrupted
		}
		return awsAnswer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, largestAnswer))
	if err != nil {
		return awsAnswer{}, c.broken(err)
	}
	if resp.StatusCode/100 == 2 {
		return awsAnswer{resp.Header, text}, nil
	}
	refusal := &awsError{kind: resp.Header.Get("X-Amzn-Errortype"), status: resp.StatusCode}
	var said struct{ Message string } // or message
	if refusal.kind == "" || json.Unmarshal(text, &said) != nil {
		return awsAnswer{}, c.wrongServer(resp)
	}
	refusal.message = said.Message
	return awsAnswer{}, refusal
}
