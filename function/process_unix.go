//go:build unix

package function

import (
	"os/exec"
	"syscall"
	"time"
)

// memoryInterval is how often the memory of a busy process is looked at.
const memoryInterval = 50 * time.Millisecond

// A process is a started program with its process group.
type process struct {
	cmd     *exec.Cmd
	starter *starter
	done    chan struct{} // closed when it has been waited for
}

// startProcess starts a program in a process group of its own, without klamm's
// environment and files.
func startProcess(c command, cfg Config, s *starter, o *output) (*process, error) {
	cmd := exec.Command(c.path, c.args...)
	cmd.Dir, cmd.Env = c.directory, c.environment
	cmd.SysProcAttr = attributes(cfg)
	w, err := o.pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	cmd.Stdout, cmd.Stderr = w, w // one pipe, so that lines stay in order
	if err := s.start(cmd); err != nil {
		return nil, err
	}
	restrict(cmd.Process.Pid)
	return &process{cmd: cmd, starter: s, done: make(chan struct{})}, nil
}

// wait returns when the program has ended; what it has left behind in its process
// group is killed then.
func (p *process) wait() {
	pid := p.cmd.Process.Pid
	awaitExit(pid)
	left := descendants(pid)
	p.killAll(left)
	p.starter.gone(pid)
	_ = p.cmd.Wait()
	close(p.done)
}

// kill ends the program and all it has started at once.
func (p *process) kill() {
	select {
	case <-p.done:
	default:
		p.killAll(descendants(p.cmd.Process.Pid))
	}
}

func (p *process) killAll(others []int) {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	for _, pid := range others {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// terminate asks the program and its group to end.
func (p *process) terminate() {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	}
}

// ended says how the program ended, in the words of the Lambda service. It is
// called after wait.
func (p *process) ended() string {
	<-p.done
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if p.cmd.ProcessState.Success() {
		return "Runtime exited without providing a reason"
	}
	if status.Signaled() {
		return "Runtime exited with error: signal: " + status.Signal().String()
	}
	return "Runtime exited with error: " + p.cmd.ProcessState.String()
}

// memory returns the resident memory of the program and its children in MiB; 0 where
// it cannot be had.
func (p *process) memory() int {
	pid := p.cmd.Process.Pid
	n := resident(pid)
	for _, child := range descendants(pid) {
		n += resident(child)
	}
	return int(n >> 20)
}

// listens says whether the other side of a connection has not ended it.
func listens(fd int) bool {
	var b [1]byte
	n, _, err := syscall.Recvfrom(fd, b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return n > 0 || err == syscall.EAGAIN || err == syscall.EINTR
}
