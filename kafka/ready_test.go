package kafka_test

import (
	"context"
	"testing"

	"github.com/klamm-gateway/klamm/broker/brokertest"
)

func TestReadyAfterACallerHasGoneAway(t *testing.T) {
	c := open(t, brokertest.Brokers(t)...)
	gone, leave := context.WithCancel(t.Context())
	leave()
	if err := c.Ready(gone); err == nil {
		t.Error("a caller who has gone away is told that the brokers answer")
	}
	if err := c.Ready(t.Context()); err != nil {
		t.Errorf("the next caller gets %v", err)
	}
}
