package aws_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// An issuer is an authorization endpoint at /token, and a receiver of events that knows
// the newest token alone.
type issuer struct {
	*httptest.Server
	mu       sync.Mutex
	refuses  bool
	good     string
	bodies   []string // of events that were accepted
	requests []string // for tokens
}

func newIssuer(t *testing.T) *issuer {
	o := &issuer{good: "t1"}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		o.mu.Lock()
		defer o.mu.Unlock()
		switch {
		case r.URL.Path == "/token":
			o.requests = append(o.requests, r.RequestURI+" "+string(body))
			if o.refuses {
				http.Error(w, `{"error":"invalid_client"}`, 400)
				return
			}
			_, _ = io.WriteString(w, `{"access_token":"`+o.good+`","token_type":"Bearer","expires_in":3600}`)
		case r.Header.Get("Authorization") == "Bearer "+o.good:
			o.bodies = append(o.bodies, string(body))
		default:
			w.WriteHeader(401)
		}
	}))
	t.Cleanup(o.Close)
	return o
}

// accepts says which token is accepted from now on, and whether one is given.
func (o *issuer) accepts(token string, refuses bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.good, o.refuses = token, refuses
}

func (o *issuer) taken(body string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, b := range o.bodies {
		if b == body {
			return true
		}
	}
	return false
}

// TestAConnectionIsAsItsTokensAre has an authorization endpoint that stops giving tokens
// while events are delivered, and then does again (event-bus.md 7).
func TestAConnectionIsAsItsTokensAre(t *testing.T) {
	s, o := start(t), newIssuer(t)
	name := s.topic()
	c := s.events("CreateConnection", m{"Name": name, "AuthorizationType": "OAUTH_CLIENT_CREDENTIALS", "AuthParameters": m{"OAuthParameters": m{
		"AuthorizationEndpoint": o.URL + "/token?grant_type=mine", "HttpMethod": "POST", "ClientParameters": m{"ClientID": "i", "ClientSecret": "s"}}}})
	state := func(want, destination string) m {
		t.Helper()
		var d m
		eventually(t, "the connection is "+want, func() bool {
			d = s.events("DescribeConnection", m{"Name": name})
			return d["ConnectionState"] == want
		})
		if destination != "" {
			eventually(t, "the API destination is "+destination, func() bool {
				return s.events("DescribeApiDestination", m{"Name": name})["ApiDestinationState"] == destination
			})
		}
		return d
	}
	state("AUTHORIZED", "")
	o.mu.Lock()
	if want := "/token?grant_type=mine client_id=i&client_secret=s"; o.requests[0] != want {
		t.Errorf("asked for a token with %q, want %q", o.requests[0], want)
	}
	o.mu.Unlock()
	d := s.events("CreateApiDestination", m{"Name": name, "ConnectionArn": c["ConnectionArn"], "InvocationEndpoint": o.URL + "/in", "HttpMethod": "POST"})
	s.events("PutRule", m{"Name": name, "EventPattern": `{"source":["` + name + `"]}`})
	s.events("PutTargets", m{"Rule": name, "Targets": []m{{"Id": "1", "Arn": d["ApiDestinationArn"], "InputPath": "$.detail.n"}}})
	put := func(n string) {
		t.Helper()
		s.events("PutEvents", m{"Entries": []m{{"Source": name, "DetailType": "t", "Detail": `{"n":` + n + `}`}}})
	}
	put("1")
	eventually(t, "the first event is accepted", func() bool { return o.taken("1") })

	o.accepts("t2", true)
	put("2")
	failed := state("DEAUTHORIZED", "INACTIVE")
	if reason, _ := failed["StateReason"].(string); !strings.Contains(reason, "HTTP status 400 (invalid_client)") {
		t.Errorf("the reason is %q", reason)
	}
	if failed["LastAuthorizedTime"] == nil {
		t.Error("when it was authorized last is forgotten")
	}
	o.accepts("t2", false)
	if again := state("AUTHORIZED", "ACTIVE"); again["StateReason"] != nil {
		t.Errorf("the reason stays: %v", again["StateReason"])
	}
	eventually(t, "the second event is accepted", func() bool { return o.taken("2") })

	// What deliveries by an earlier definition of the connection meet says nothing about
	// this one.
	login := name + "/" + strings.Split(c["ConnectionArn"].(string), "/")[2]
	s.api.LoggedIn(t.Context(), login+"/0", errors.New("not this one"))
	state("AUTHORIZED", "ACTIVE")
	s.api.LoggedIn(t.Context(), login+"/1", errors.New("this one"))
	if d := state("DEAUTHORIZED", ""); d["StateReason"] != "this one" {
		t.Errorf("the reason is %v", d["StateReason"])
	}
	s.events("UpdateConnection", m{"Name": name, "Description": "d"})
	state("AUTHORIZED", "")
	s.events("DeauthorizeConnection", m{"Name": name})
	s.api.LoggedIn(t.Context(), login+"/2", nil)
	state("DEAUTHORIZED", "")
}

// TestEmptyBodyParametersOfConnections checks that members and fields that are empty
// strings reach the endpoint and the authorization endpoint.
func TestEmptyBodyParametersOfConnections(t *testing.T) {
	s, o := start(t), newIssuer(t)
	name := s.topic()
	c := s.events("CreateConnection", m{"Name": name, "AuthorizationType": "OAUTH_CLIENT_CREDENTIALS", "AuthParameters": m{
		"OAuthParameters": m{
			"AuthorizationEndpoint": o.URL + "/token", "HttpMethod": "PUT", "ClientParameters": m{"ClientID": "i", "ClientSecret": "s"},
			"OAuthHttpParameters": m{"BodyParameters": []m{{"Key": "scope", "Value": ""}, {"Key": "aud", "Value": "a"}}},
		},
		"InvocationHttpParameters": m{"BodyParameters": []m{{"Key": "note", "Value": ""}, {"Key": "pin", "Value": "", "IsValueSecret": true}, {"Key": "unset"}, {"Key": "b", "Value": "2"}}},
	}})
	d := s.events("CreateApiDestination", m{"Name": name, "ConnectionArn": c["ConnectionArn"], "InvocationEndpoint": o.URL + "/in", "HttpMethod": "POST"})
	s.events("PutRule", m{"Name": name, "EventPattern": `{"source":["` + name + `"]}`})
	s.events("PutTargets", m{"Rule": name, "Targets": []m{{"Id": "1", "Arn": d["ApiDestinationArn"], "Input": `{"n":1,"note":"target"}`}}})
	s.events("PutEvents", m{"Entries": []m{{"Source": name, "DetailType": "t", "Detail": `{}`}}})
	eventually(t, "the event is accepted with its empty members", func() bool { return o.taken(`{"n":1,"b":"2","note":"","pin":""}`) })
	o.mu.Lock()
	defer o.mu.Unlock()
	if want := "/token aud=a&client_id=i&client_secret=s&grant_type=client_credentials&scope="; o.requests[0] != want {
		t.Errorf("asked for a token with %q, want %q", o.requests[0], want)
	}
}
