package aws_test

import (
	"testing"

	"github.com/klamm-gateway/klamm/broker/brokertest"
)

// TestWhatAnotherProcessHasJustMade has two processes that are told of a connection, an
// API destination and a pipe in turn: who got the answer may name what was made at once.
func TestWhatAnotherProcessHasJustMade(t *testing.T) {
	brokers := brokertest.Brokers(t)
	one, two := startOn(t, brokers, nil), startOn(t, brokers, nil)
	for range 20 {
		name := one.topic()
		c := one.events("CreateConnection", m{"Name": name, "AuthorizationType": "API_KEY", "AuthParameters": m{"ApiKeyAuthParameters": m{"ApiKeyName": "X-Key", "ApiKeyValue": "s3cret"}}})
		d := two.events("CreateApiDestination", m{"Name": name, "ConnectionArn": c["ConnectionArn"], "InvocationEndpoint": "http://127.0.0.1:1/", "HttpMethod": "POST"})
		if status, _, answer := one.ask("POST", "/v1/pipes/p"+name, nil, one.create(name, d["ApiDestinationArn"].(string), m{"DesiredState": "STOPPED"})); status != 200 {
			t.Fatalf("%d %v", status, answer)
		}
	}
}
