package main

import "errors"

// An exitError ends the program with a status. A nil err prints nothing.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return "exit"
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// failed ends the program because the thing asked for failed.
func failed(err error) error {
	var exit *exitError
	if errors.Is(err, errPrinted) {
		return nil
	}
	if err == nil || errors.As(err, &exit) {
		return err
	}
	return &exitError{code: 1, err: err}
}
