//go:build !linux

package main

import "syscall"

// alone is the default; elsewhere than on Linux a process does not end with its
// parent if that is killed.
func alone() *syscall.SysProcAttr { return nil }
