package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// TestTemporaryCredentials: who has come with an API key signs requests with what klamm
// has given for it, until a policy says no to the session.
func TestTemporaryCredentials(t *testing.T) {
	r := start(t, keysOf("root", "device")+`
  iam: {sts: {key: {value: a master key of more than 32 characters}}}
rules:
  - {who: ["*"], can: [all], topics: ["*"], groups: ["*"]}
`, t.TempDir())
	take := func() (c aws.Credentials) {
		t.Helper()
		var doc struct {
			Version                                   int
			AccessKeyID                               string `json:"AccessKeyId"`
			SecretAccessKey, SessionToken, Expiration string
		}
		text := r.want(asking{caller: "device", method: "POST", target: "/_klamm/sts", media: "application/json", body: `{"DurationSeconds":900}`})
		if err := json.Unmarshal([]byte(text), &doc); err != nil || doc.Version != 1 {
			t.Fatalf("%s: %v", text, err)
		}
		if end, err := time.Parse(time.RFC3339, doc.Expiration); err != nil || time.Until(end) > 15*time.Minute {
			t.Errorf("they end at %s, %v", doc.Expiration, err)
		}
		return aws.Credentials{AccessKeyID: doc.AccessKeyID, SecretAccessKey: doc.SecretAccessKey, SessionToken: doc.SessionToken}
	}
	call := func(c aws.Credentials, method, path string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, r.url+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
		if err := v4.NewSigner().SignHTTP(context.Background(), c, req, empty, "execute-api", "us-east-1", time.Now()); err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	one, other := take(), take()
	var who struct{ Principal string }
	status, text := call(one, "GET", "/klamm/v1/session")
	if err := json.Unmarshal([]byte(text), &who); err != nil || status != http.StatusOK || who.Principal != "User:device" {
		t.Fatalf("who is calling: %d %s", status, text)
	}
	if status, text := call(one, "POST", "/_klamm/sts"); status != http.StatusForbidden {
		t.Errorf("further credentials for temporary ones: %d %s", status, text)
	}
	name := fmt.Sprintf("ended-%d", time.Now().UnixNano())
	document := `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringEquals":{"klamm:Session":"` + one.AccessKeyID + `"}}}}`
	r.want(asking{caller: "root", method: "PUT", target: "/klamm/v1/policies/" + name, media: "application/json", body: `{"kind":"identity","attach":["*"],"document":` + document + `}`})
	t.Cleanup(func() { r.ask(asking{caller: "root", method: "DELETE", target: "/klamm/v1/policies/" + name}) })
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if status, text = call(one, "GET", "/topics"); status == http.StatusForbidden {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the session has not ended: %d %s", status, text)
		}
	}
	if status, text := call(other, "GET", "/topics"); status != http.StatusOK {
		t.Errorf("the other session: %d %s", status, text)
	}
}
