package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// A seat is a free port of the loopback interface that refuses connections until listen,
// and that nobody else gets meanwhile.
type seat struct{ socket *os.File }

// takeSeat takes a port; close gives it back.
func takeSeat() (s seat, addr string, err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return seat{}, "", fmt.Errorf("take a port: %w", err)
	}
	s = seat{os.NewFile(uintptr(fd), "seat")}
	err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	var at syscall.Sockaddr
	if err == nil {
		at, err = syscall.Getsockname(fd)
	}
	if err != nil {
		s.close()
		return seat{}, "", fmt.Errorf("take a port: %w", err)
	}
	return s, fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port), nil
}

// listen accepts connections from now on.
func (s seat) listen() (net.Listener, error) {
	raw, err := s.socket.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = syscall.Listen(int(fd), syscall.SOMAXCONN) })
	if err := errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return net.FileListener(s.socket)
}

func (s seat) close() { _ = s.socket.Close() }
