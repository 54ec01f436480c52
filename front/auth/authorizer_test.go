package auth

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/table"
)

// newAuthorizerServer answers every question in the same way, and returns what was
// asked so far.
func newAuthorizerServer(t *testing.T, answer func() string) (url string, asked func() []map[string]any) {
	t.Helper()
	var events []map[string]any
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e map[string]any
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Error(err)
		}
		events = append(events, e)
		_, _ = io.WriteString(w, answer())
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []map[string]any { return events }
}

func TestPoliciesOfOneMethod(t *testing.T) {
	const arn = `"arn:aws:execute-api:us-east-1:000000000000:klamm/dev/GET/topics"`
	for policy, want := range map[string]bool{
		`{"Statement":{"Effect":"Allow","Action":"execute-api:Invoke","Resource":` + arn + `}}`:                                     true,
		`{"Statement":[{"Effect":"Allow","Action":"execute-api:Invoke","Resource":[` + arn + `]}]}`:                                 true,
		`{"Statement":[{"Effect":"Deny","Action":"execute-api:Invoke","Resource":` + arn + `}]}`:                                    false,
		`{"Statement":[{"Effect":"Allow","Action":"execute-api:Invoke","Resource":[` + arn + `,` + arn + `]}]}`:                     false,
		`{"Statement":[{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"arn:aws:execute-api:us-east-1:0:klamm/dev/*"}]}`: false,
		`{"Statement":[{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"*"}]}`:                                           false,
		`{"Statement":[{"Effect":"Allow","Action":"execute-api:Invoke","NotResource":` + arn + `}]}`:                                false,
		`{"Statement":[{"Effect":"Allow","Resource":` + arn + `},{"Effect":"Allow","Resource":"topic:t"}]}`:                         false,
	} {
		if got := ofOneMethod(json.RawMessage(policy)); got != want {
			t.Errorf("%s: %v", policy, got)
		}
	}
}

func TestNobodyIsAskedAboutWhatIsDeniedToEverybody(t *testing.T) {
	url, asked := newAuthorizerServer(t, func() string { return `{"isAuthorized":true}` })
	var seen gate.Principal
	c := newTestChain(t, Config{Authorizers: []Authorizer{{Name: "a", URL: url, Identity: []string{"header:X-Badge"}}}}, func(e *Env) {
		e.Barred = func(who gate.Principal, r *gate.Request) error {
			if seen = who; r.Path == "/topics/t" {
				return &gate.Error{Kind: gate.Denied, Message: "not from there"}
			}
			return nil
		}
	})
	_, err := c.Authenticate(request("X-Badge", "gold"))
	if e := refusalOf(t, err); e.Kind != gate.Denied || e.Message != "not from there" || len(asked()) != 0 {
		t.Errorf("refused with %+v after %d questions", e, len(asked()))
	}
	if seen.Source.String() != "192.0.2.7" || seen.Name != gate.Anonymous.Name {
		t.Errorf("asked about %+v", seen)
	}
	other := request("X-Badge", "gold")
	other.URL = mustURL("/topics/u")
	if who, err := c.Authenticate(other); err != nil || who.Name != "User:a" || len(asked()) != 1 {
		t.Errorf("got %q, %v after %d questions", who.Name, err, len(asked()))
	}
}

// What the policy of an authorizer asks for is all that a request and its caller have.
func TestConditionsOfAuthorizers(t *testing.T) {
	for condition, want := range map[string]bool{
		`"StringEquals":{"request:header/x-color":"red"}`:     true,
		`"StringEquals":{"request:header/x-color":"blue"}`:    false,
		`"StringNotEquals":{"request:header/x-color":"red"}`:  false,
		`"StringEquals":{"request:query/a":"b"}`:              true,
		`"StringEquals":{"klamm:Principal":"User:visitor"}`:   true,
		`"StringEquals":{"klamm:AuthMethod":"authorizer"}`:    true,
		`"StringEquals":{"klamm:Stage":"$default"}`:           true,
		`"StringLike":{"klamm:Route":"* /topics/{topic}"}`:    true,
		`"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}`:         true,
		`"IpAddress":{"aws:SourceIp":"198.51.100.0/24"}`:      false,
		`"Bool":{"aws:SecureTransport":"false"}`:              true,
		`"Null":{"aws:username":"true","jwt:sub":"true"}`:     true,
		`"StringEquals":{"aws:RequestedRegion":"eu-west-3"}`:  true,
		`"DateGreaterThan":{"aws:CurrentTime":"2020-01-01"}`:  true,
		`"NumericGreaterThan":{"aws:EpochTime":"4000000000"}`: false,
	} {
		url, _ := newAuthorizerServer(t, func() string {
			return `{"principalId":"visitor","policyDocument":{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"*","Condition":{` + condition + `}}}}`
		})
		c := newTestChain(t, Config{Authorizers: []Authorizer{{Name: "a", URL: url, Identity: []string{"header:X-Badge"}}}}, nil)
		r := request("X-Badge", "gold", "X-Color", "red")
		r.URL.RawQuery = "a=b"
		if who, err := c.Authenticate(r); (err == nil) != want || want && who.Name != "User:visitor" {
			t.Errorf("%s: got %q, %v; want %v", condition, who.Name, err, want)
		}
	}
}

func TestAuthorizersNameTheKeyThatCounts(t *testing.T) {
	answer := `{"isAuthorized":true,"usageIdentifierKey":"` + acmeKey + `"}`
	url, _ := newAuthorizerServer(t, func() string { return answer })
	c := newTestChain(t, Config{
		APIKeys:     &APIKeys{Keys: []APIKey{{Name: "acme", Key: secret.Ref{Value: acmeKey}}}},
		Authorizers: []Authorizer{{Name: "a", URL: url, Identity: []string{"header:X-Badge"}}},
	}, nil)
	for _, tc := range []struct{ name, answer, want string }{
		{"known", answer, "User:a acme"},
		{"unknown", strings.Replace(answer, acmeKey, "bad-"+acmeKey, 1), "Forbidden"},
		{"none", `{"isAuthorized":true}`, "User:a "},
		{"null", `{"isAuthorized":true,"usageIdentifierKey":null}`, "User:a "},
		{"no text", `{"isAuthorized":true,"usageIdentifierKey":7}`, "AuthorizerConfigurationException"},
		{"empty", `{"isAuthorized":true,"usageIdentifierKey":""}`, "AuthorizerConfigurationException"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			answer = tc.answer
			who, err := c.Authenticate(request("X-Badge", tc.name))
			got := who.Name + " " + who.KeyID
			if err != nil {
				got = textOf(err)
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestResourcesOfAuthorizersAreBounded(t *testing.T) {
	resource := ""
	url, _ := newAuthorizerServer(t, func() string {
		return `{"principalId":"p","policyDocument":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":["*","` + resource + `"]}]}}`
	})
	c := newTestChain(t, Config{Authorizers: []Authorizer{{Name: "a", URL: url, Identity: []string{"header:X-Badge"}}}}, nil)
	resource = "arn:" + strings.Repeat("é", 512-len("arn:"))
	if who, err := c.Authenticate(request("X-Badge", "512")); err != nil || who.Name != "User:p" {
		t.Errorf("512 characters: got %q, %v", who.Name, err)
	}
	resource += "x"
	if _, err := c.Authenticate(request("X-Badge", "513")); err == nil || textOf(err) != "AuthorizerConfigurationException" {
		t.Errorf("513 characters: got %v", err)
	}
}

func TestAHeadIsAskedAboutAsAGet(t *testing.T) {
	url, asked := newAuthorizerServer(t, func() string { return `{"isAuthorized":true}` })
	c := newTestChain(t, Config{Authorizers: []Authorizer{{Name: "a", URL: url, Identity: []string{"header:X-Badge"}}}}, nil)
	r := request("X-Badge", "gold")
	r.Method = http.MethodHead
	if _, err := c.Authenticate(r); err != nil {
		t.Fatal(err)
	}
	if got, _ := asked()[0]["methodArn"].(string); !strings.HasSuffix(got, ":klamm/"+gate.DefaultStage+"/GET/topics/t") {
		t.Errorf("asked about %q", got)
	}
}

func TestKeysBesideOtherCredentialsCountAsThemselves(t *testing.T) {
	c := newTestChain(t, Config{Basic: &Basic{File: "users"}, APIKeys: &APIKeys{}}, func(e *Env) {
		e.Read = func(string) ([]byte, error) { return []byte("dora:" + doraHash), nil }
	})
	key := "klm_abcdefgh_" + strings.Repeat("k", keySecretLength)
	digits := c.keys.hash(key)
	doc, err := json.Marshal(keyDoc{Key: Key{ID: "abcdefgh", Name: "sensors", Principal: "User:sensors", Plans: []string{"small"}, Enabled: true}, Hash: string(digits[:])})
	if err != nil {
		t.Fatal(err)
	}
	c.keys.made.apply([]table.Change{{Entry: table.Entry{Key: "abcdefgh", Value: doc}}})
	who, err := c.Authenticate(request("Authorization", basicHeader("dora", "has:a colon and ümläut"), "X-Api-Key", key))
	if err != nil || who.Name != "User:dora" || who.KeyID != "abcdefgh" || who.KeyName != "sensors" || !slices.Equal(who.Plans, []string{"small"}) {
		t.Errorf("got %+v, %v", who, err)
	}
}
