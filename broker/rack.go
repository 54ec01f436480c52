package broker

import (
	"sync"
	_ "unsafe" // for go:linkname
)

// rack is the rack that kfake says its brokers stand in, "krack", and has no option
// for. Here there is none. It has to be the same in every answer: a client takes a
// broker whose rack has changed for another one, and cuts its connections to the
// first.
//
//go:linkname rack github.com/twmb/franz-go/pkg/kfake.brokerRack
var rack string

// noRack is called before the first broker starts.
var noRack = sync.OnceFunc(func() { rack = "" })
