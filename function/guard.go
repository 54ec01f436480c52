package function

import (
	"bufio"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"
)

// A starter starts processes from one thread that stays: on Linux the parent-death
// signal belongs to the thread that started a process, not to klamm as a whole. It
// tells the guard of each.
type starter struct {
	guard []string
	log   *slog.Logger

	mu    sync.Mutex
	jobs  chan func() // nil: the thread is not there yet
	watch *exec.Cmd
	tell  io.WriteCloser
}

// start starts a command.
func (s *starter) start(cmd *exec.Cmd) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs == nil {
		jobs := make(chan func())
		s.jobs = jobs
		go func() {
			runtime.LockOSThread()
			for job := range jobs {
				job()
			}
		}()
		s.startGuard()
	}
	started := make(chan error)
	s.jobs <- func() { started <- cmd.Start() }
	err := <-started
	if err == nil && s.tell != nil {
		_, _ = io.WriteString(s.tell, "+"+strconv.Itoa(cmd.Process.Pid)+"\n")
	}
	return err
}

// startGuard starts the process that outlives klamm for a moment. s.mu is held.
func (s *starter) startGuard() {
	if len(s.guard) == 0 {
		return
	}
	cmd := exec.Command(s.guard[0], s.guard[1:]...)
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.log.Warn("no guard for functions: children of their programs may outlive a klamm that is killed", "err", err)
		return
	}
	s.watch, s.tell = cmd, in
}

// gone tells the guard that a process group is no more.
func (s *starter) gone(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tell != nil {
		_, _ = io.WriteString(s.tell, "-"+strconv.Itoa(pid)+"\n")
	}
}

// close ends the thread and the guard, after all processes have ended.
func (s *starter) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs != nil {
		close(s.jobs)
		s.jobs = nil
	}
	if s.watch != nil {
		_ = s.tell.Close()
		_ = s.watch.Wait()
		s.watch, s.tell = nil, nil
	}
}

// Guard is the whole life of the process that Config.Guard names: it reads from in
// which process groups there are, and when in ends, because klamm did, it kills those
// that are left.
func Guard(in io.Reader) {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, os.Interrupt)
	groups := map[int]bool{}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		line := lines.Text()
		if len(line) < 2 {
			continue
		}
		pid, err := strconv.Atoi(line[1:])
		if err != nil || pid < 2 {
			continue
		}
		if line[0] == '+' {
			groups[pid] = true
		} else {
			delete(groups, pid)
		}
	}
	for pid := range groups {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
}
