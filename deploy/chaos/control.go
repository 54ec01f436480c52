package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"time"
)

var readyLine = regexp.MustCompile(`(?m)^klamm ready: http=(\S+)`)

// address returns where the process serves HTTP since its last start, once it is
// ready; empty: it is not.
func (p *process) address() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since > len(text) {
		return ""
	}
	if m := readyLine.FindSubmatch(text[p.since:]); m != nil {
		return "http://" + string(m[1])
	}
	return ""
}

// A pipeState is what DescribePipe says of a pipe, and how changes answer.
type pipeState struct {
	CurrentState, StateReason string
	LastModifiedTime          float64
	Source                    string
}

type doc = map[string]any

// control is a client of klamm's control planes.
type control struct{ client http.Client }

// ask calls an operation; status 0 says that nobody answered.
func (c *control) ask(ctx context.Context, at, method, path, operation string, body, answer any) (status int, text string) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	raw, _ := json.Marshal(body) // maps of texts
	req, err := http.NewRequestWithContext(ctx, method, at+path, bytes.NewReader(raw))
	if err != nil {
		return 0, err.Error()
	}
	req.Header.Set("Content-Type", "application/json")
	if operation != "" {
		req.Header.Set("X-Amz-Target", "AWSEvents."+operation)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	all, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return 0, err.Error()
	}
	if resp.StatusCode == http.StatusOK && answer != nil {
		if err := json.Unmarshal(all, answer); err != nil {
			return 0, err.Error()
		}
	}
	return resp.StatusCode, string(all)
}

// destination makes an API destination and its connection, and returns its ARN.
func (c *control) destination(ctx context.Context, at, name, url string) (string, error) {
	var connection struct{ ConnectionArn string }
	var destination struct {
		ARN string `json:"ApiDestinationArn"`
	}
	auth := doc{"ApiKeyAuthParameters": doc{"ApiKeyName": "X-Key", "ApiKeyValue": "chaos"}}
	if status, text := c.ask(ctx, at, http.MethodPost, "/", "CreateConnection", doc{"Name": name, "AuthorizationType": "API_KEY", "AuthParameters": auth}, &connection); status != http.StatusOK {
		return "", fmt.Errorf("make a connection: %d %s", status, text)
	}
	ask := doc{"Name": name, "ConnectionArn": connection.ConnectionArn, "InvocationEndpoint": url, "HttpMethod": "POST", "InvocationRateLimitPerSecond": 300}
	if status, text := c.ask(ctx, at, http.MethodPost, "/", "CreateApiDestination", ask, &destination); status != http.StatusOK {
		return "", fmt.Errorf("make an API destination: %d %s", status, text)
	}
	return destination.ARN, nil
}

const anyRole = "arn:aws:iam::000000000000:role/chaos"

// pipe is a CreatePipe from a topic of the proof's cluster to an API destination whose
// URL ends with the values.
func (s *stage) pipe(topic, group, target string, values ...string) doc {
	return doc{"Source": "smk://" + s.brokers[0], "RoleArn": anyRole, "Target": target, "TargetParameters": pathOf(values...),
		"SourceParameters": doc{"SelfManagedKafkaParameters": doc{"TopicName": topic, "StartingPosition": "TRIM_HORIZON", "BatchSize": 1, "ConsumerGroupID": group}}}
}

func pathOf(values ...string) doc {
	return doc{"HttpParameters": doc{"PathParameterValues": values}}
}
