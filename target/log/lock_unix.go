//go:build unix

package log

import (
	"os"
	"syscall"
)

// lock waits until nobody else has the file locked. The lock ends with unlock,
// or when the file is closed.
func lock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX) }

func unlock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }
