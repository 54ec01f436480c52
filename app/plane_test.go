package app_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Each of the AWS APIs takes signatures for its own service and for no other one's.
func TestSignaturesOfTheAWSAPIsHaveTheirScopes(t *testing.T) {
	r := start(t, `
auth:
  iam: {keys: [{access_key_id: AKIAKLAMMEXAMPLE0001, secret: {value: very-secret-access-key-12345}, user: alice}]}
rules: [{who: ["User:alice"], can: [all], topics: ["*"], groups: ["*"]}]
`, t.TempDir())
	key := aws.Credentials{AccessKeyID: "AKIAKLAMMEXAMPLE0001", SecretAccessKey: "very-secret-access-key-12345"}
	ask := func(t *testing.T, key aws.Credentials, method, path, operation, service, region string) (int, string, string) {
		t.Helper()
		body := ""
		if operation != "" {
			body = "{}"
		}
		req, err := http.NewRequestWithContext(t.Context(), method, r.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if operation != "" {
			req.Header.Set("X-Amz-Target", operation)
			req.Header.Set("Content-Type", "application/x-amz-json-1.1")
		}
		digest := sha256.Sum256([]byte(body))
		if service != "" {
			if err := v4.NewSigner().SignHTTP(t.Context(), key, req, hex.EncodeToString(digest[:]), service, region, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		if !json.Valid(text) {
			t.Errorf("%s %s: the answer is not JSON: %.200s", method, path, text)
		}
		kind := resp.Header.Get("X-Amzn-Errortype")
		if operation != "" && kind != "" { // SDKs know errors of this protocol by what the body says
			var said struct {
				Type    string `json:"__type"`
				Message string `json:"message"`
			}
			if err := json.Unmarshal(text, &said); err != nil || said.Type != kind || said.Message == "" || resp.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
				t.Errorf("%s: %s %q (%v), want the type %s", operation, resp.Header.Get("Content-Type"), text, err, kind)
			}
		}
		return resp.StatusCode, kind, string(text)
	}
	const list = "AWSEvents.ListConnections"
	for _, one := range []struct {
		name, method, path, operation, service string
		others                                 []string
		refused                                int
	}{
		{"pipes", "GET", "/v1/pipes", "", "pipes", []string{"events", "lambda", "s3"}, 403},
		{"tags of pipes", "GET", "/tags/arn:aws:pipes:us-east-1:000000000000:pipe%2Fnone", "", "pipes", []string{"events", "lambda", "tag"}, 403},
		{"events", "POST", "/", list, "events", []string{"pipes", "lambda"}, 400},
		{"lambda", "GET", "/2015-03-31/functions/none", "", "lambda", []string{"pipes", "events"}, 403},
	} {
		t.Run(one.name, func(t *testing.T) {
			status, _, text := ask(t, key, one.method, one.path, one.operation, one.service, "us-east-1")
			if status == 403 || status == 400 || status >= 500 {
				t.Errorf("its own scope: %d %.300s", status, text)
			}
			for _, other := range one.others {
				if status, _, text := ask(t, key, one.method, one.path, one.operation, other, "us-east-1"); status != one.refused || !strings.Contains(text, "Credential should be scoped to correct service") {
					t.Errorf("the scope of %s: %d %.300s", other, status, text)
				}
			}
			if status, _, text := ask(t, key, one.method, one.path, one.operation, one.service, "eu-west-3"); status != one.refused || !strings.Contains(text, "valid region") {
				t.Errorf("another region: %d %.300s", status, text)
			}
			wrong := aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: "another-secret-access-key-12345"}
			if status, kind, text := ask(t, wrong, one.method, one.path, one.operation, one.service, "us-east-1"); status != one.refused || kind != "InvalidSignatureException" {
				t.Errorf("another secret: %d %s %.300s", status, kind, text)
			}
			unknown := aws.Credentials{AccessKeyID: "AKIAKLAMMEXAMPLE0002", SecretAccessKey: key.SecretAccessKey}
			if status, kind, text := ask(t, unknown, one.method, one.path, one.operation, one.service, "us-east-1"); status != one.refused || kind != "UnrecognizedClientException" {
				t.Errorf("an unknown key: %d %s %.300s", status, kind, text)
			}
			if status, kind, text := ask(t, key, one.method, one.path, one.operation, "", ""); status != 403 || kind != "MissingAuthenticationTokenException" {
				t.Errorf("no signature: %d %s %.300s", status, kind, text)
			}
		})
	}
}
