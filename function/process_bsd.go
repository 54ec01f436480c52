//go:build unix && !linux

package function

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// attributes put a program into a process group of its own. Only the guard ends it
// when klamm is killed.
func attributes(cfg Config) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true}
	if cfg.User != 0 {
		a.Credential = &syscall.Credential{Uid: uint32(cfg.User), Gid: uint32(cfg.Group)} //nolint:gosec // Settings.Validate bounds them
	}
	return a
}

func restrict(int) {}

// awaitExit returns when a child has ended.
func awaitExit(pid int) {
	for exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Run() == nil {
		out, _ := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
		if strings.HasPrefix(strings.TrimSpace(string(out)), "Z") {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// descendants are known only to Linux; elsewhere the process group must do.
func descendants(int) []int { return nil }

func resident(int) int64 { return 0 }

func unread(*os.File) int { return 0 }
