//go:build !linux

package bench

import (
	"errors"
	"syscall"
	"time"
)

// supported says whether usage works here.
const supported = false

var errUnsupported = errors.New("CPU time and memory of a process are read from /proc, which only Linux has")

func cpuTime(int) (time.Duration, error) { return 0, errUnsupported }

func peakMemory(int) (int64, error) { return 0, errUnsupported }

func programs(int) []int { return nil }

func childAttributes() *syscall.SysProcAttr { return nil }
