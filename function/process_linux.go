package function

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes put a program into a process group of its own and let it die with
// klamm.
func attributes(cfg Config) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if cfg.User != 0 {
		a.Credential = &syscall.Credential{Uid: uint32(cfg.User), Gid: uint32(cfg.Group)} //nolint:gosec // Settings.Validate bounds them
	}
	return a
}

// restrict sets the limits that a program inherits from nobody.
func restrict(pid int) {
	none := unix.Rlimit{}
	_ = unix.Prlimit(pid, unix.RLIMIT_CORE, &none, nil)
	files := unix.Rlimit{Cur: 1024, Max: 4096}
	_ = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &files, nil)
}

// awaitExit returns when a child has ended, and leaves it to be waited for: until
// then its number, and that of its group, belong to nobody else.
func awaitExit(pid int) {
	for {
		var info unix.Siginfo
		if err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// descendants returns the processes that a process has started, and those that they
// have started, as far as they have not been left by their parents.
func descendants(pid int) []int {
	var all []int
	for next := []int{pid}; len(next) > 0 && len(all) < 10_000; {
		parent := next[0]
		next = next[1:]
		tasks, _ := os.ReadDir("/proc/" + strconv.Itoa(parent) + "/task")
		for _, task := range tasks {
			text, _ := os.ReadFile("/proc/" + strconv.Itoa(parent) + "/task/" + task.Name() + "/children")
			for _, field := range strings.Fields(string(text)) {
				if child, err := strconv.Atoi(field); err == nil {
					all, next = append(all, child), append(next, child)
				}
			}
		}
	}
	return all
}

// resident returns the resident memory of a process that is not shared with others,
// in bytes; 0 if it cannot be had.
func resident(pid int) int64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text)
	if len(fields) < 3 {
		return 0
	}
	all, _ := strconv.ParseInt(string(fields[1]), 10, 64)
	shared, _ := strconv.ParseInt(string(fields[2]), 10, 64)
	return (all - shared) * int64(os.Getpagesize())
}

// unread returns how many bytes wait in a pipe.
func unread(r *os.File) int {
	n := 0
	raw, err := r.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n
}
