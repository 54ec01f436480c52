package klamm_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
)

// A receiver is a target that answers as a test says.
type receiver struct {
	mu     sync.Mutex
	values []string     // accepted
	calls  atomic.Int64 // attempts
	answer func(value string) error
}

func (r *receiver) Deliver(_ context.Context, events []*event.Event) error {
	r.calls.Add(1)
	value := string(events[0].Record.Value)
	if r.answer != nil {
		if err := r.answer(value); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values = append(r.values, value)
	return nil
}

func (r *receiver) Close() error { return nil }

func (r *receiver) accepted() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.values)
}

// refuse is an answer that is final.
func refuse(status int) error {
	return &target.Failure{Status: status, Response: []byte("no"), Final: true, Err: fmt.Errorf("HTTP status %d", status)}
}

type receiverConfig struct{}

func (*receiverConfig) Validate(func(path, problem string)) {}
