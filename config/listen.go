package config

import (
	"fmt"
	"net"

	"github.com/klamm-gateway/klamm/certificate"
)

// A Listener is one more address that klamm serves.
type Listener struct {
	// Listen is its HTTP address, HOST:PORT; port 0 takes a free one.
	Listen string `yaml:"listen"`
	// TLS makes it serve HTTPS.
	TLS *certificate.Config `yaml:"tls"`
}

// Validate reports what is wrong with the listener.
func (l Listener) Validate(report func(path, problem string)) {
	if _, port, err := net.SplitHostPort(l.Listen); err != nil || !isPort(port) {
		report("listen", "want HOST:PORT, such as 127.0.0.1:8085")
	}
}

// validateListeners reports addresses that stand there twice.
func (c *Config) validateListeners(report func(path, problem string)) {
	seen := map[string]bool{c.Listen: true}
	for i, l := range c.Listeners {
		if _, port, err := net.SplitHostPort(l.Listen); err == nil && port != "0" && seen[l.Listen] {
			report(fmt.Sprintf("listeners[%d].listen", i), "this address is listened on already")
		}
		seen[l.Listen] = true
	}
}

// Trace says what becomes of traces.
type Trace struct {
	// Propagate puts the trace of a request into the headers traceparent and
	// tracestate of the records that it writes. The default is true where spans are
	// sent, and otherwise false.
	Propagate *bool `yaml:"propagate"`
}
