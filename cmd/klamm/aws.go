package main

import (
	"context"
	"net/http"
	"net/url"
	"strings"
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

// aws asks one of the AWS APIs, with a document if there is one. The path may have a
// query.
func (c *client) aws(ctx context.Context, method, path string, doc any) (awsAnswer, error) {
	return c.awsAs(ctx, method, path, doc, nil)
}

// awsRaw is aws for a body that is there already.
func (c *client) awsRaw(ctx context.Context, method, path string, body []byte, headers map[string]string) (awsAnswer, error) {
	return c.awsAs(ctx, method, path, body, headers)
}

// answersAsAWS says whether a success is one of an AWS API. Its document alone does not
// tell: a list without the member that it should have looks like an empty one.
func answersAsAWS(a answer) bool { return a.Header.Get("X-Amzn-Requestid") != "" }

func (c *client) awsAs(ctx context.Context, method, path string, body any, headers map[string]string) (awsAnswer, error) {
	at, err := url.Parse(path)
	if err != nil {
		return awsAnswer{}, err
	}
	r := request{method: method, other: true, query: at.Query(), header: headers, body: body, within: longestInvocation}
	for part := range strings.SplitSeq(strings.TrimPrefix(at.EscapedPath(), "/"), "/") {
		if part, err = url.PathUnescape(part); err != nil {
			return awsAnswer{}, err
		}
		r.path = append(r.path, part)
	}
	a, err := c.ask(ctx, r)
	if err != nil {
		return awsAnswer{}, err
	}
	if !answersAsAWS(a) {
		return awsAnswer{}, c.wrongServer(a.Response)
	}
	return awsAnswer{a.Header, a.text}, nil
}
