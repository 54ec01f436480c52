// Package nowhere is the target of what does not exist: it fails every event, and says
// why. A rule's target that names a missing API destination, or a service that klamm
// does not have, becomes one, so that the rule's other targets go on and dead letters
// say what is wrong (event-bus.md 4, 8).
package nowhere

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
)

// Config is the configuration of such a target.
type Config struct {
	// Reason says why events cannot be delivered.
	Reason string `yaml:"-" json:"reason"`
	// Code is the ERROR_CODE of dead letters (event-bus.md 8).
	Code string `yaml:"-" json:"code"`
	// Passing says that it will not stay so: events are worth further attempts.
	Passing bool `yaml:"-" json:"passing,omitempty"`
}

// Kind returns the kind.
func Kind() target.Kind {
	return target.Kind{Name: "nowhere", Config: func() target.Config { return &Config{} }, Open: open}
}

// Validate reports each problem with the field it lies in. A configuration file has no
// fields for it.
func (c *Config) Validate(report func(path, problem string)) {
	if c.Reason == "" || c.Code == "" {
		report("", "nothing can be delivered to nowhere; choose another target")
	}
}

type nowhere struct{ failure target.Failure }

func open(config json.RawMessage, _ target.Env) (target.Target, error) {
	var c Config
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("nowhere: %w", err)
	}
	return &nowhere{target.Failure{Final: !c.Passing, Code: c.Code, Err: errors.New(c.Reason)}}, nil
}

// Deliver fails.
func (n *nowhere) Deliver(context.Context, []*event.Event) error {
	f := n.failure
	return &f
}

// Close does nothing.
func (n *nowhere) Close() error { return nil }
