package main

import "syscall"

// alone has a process ignore the terminal's Ctrl-C, which its parent acts on, and
// end with its parent.
func alone() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
