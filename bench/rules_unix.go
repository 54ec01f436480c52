//go:build unix

package bench

import (
	"syscall"
	"time"
)

// ownTime is how long this process has been running on some processor, or 0 if
// the system does not tell.
func ownTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
