package target

import (
	"errors"
	"net"
)

// Unreachable marks an error that says no connection could be made: the name has
// no address, or nobody takes connections there. Any other error is returned as it
// is. It belongs around errors of the endpoint that the target delivers to, and of
// no other.
func Unreachable(err error) error {
	var dns *net.DNSError
	var op *net.OpError
	if errors.As(err, &dns) || errors.As(err, &op) && op.Op == "dial" {
		return &Failure{Unreachable: true, Err: err}
	}
	return err
}
