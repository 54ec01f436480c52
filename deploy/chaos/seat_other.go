//go:build !linux

package main

import (
	"fmt"
	"net"
)

// A seat is the default of the one on Linux: somebody else may get its port.
type seat struct{ addr string }

func takeSeat() (s seat, addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return seat{}, "", fmt.Errorf("take a port: %w", err)
	}
	addr = l.Addr().String()
	return seat{addr}, addr, l.Close()
}

func (s seat) listen() (net.Listener, error) { return net.Listen("tcp", s.addr) }

func (seat) close() {}
