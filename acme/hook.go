package acme

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	protocol "github.com/mholt/acmez/v3/acme"
)

const (
	// hookFor bounds one run of the program, and hookEnds how long what it has started
	// may keep its output open.
	hookFor  = 5 * time.Minute
	hookEnds = 5 * time.Second
	// keptOutput is how much of the end of its output is kept, in bytes.
	keptOutput = 4 << 10
	// hookPath is where the program finds others; it is given nothing else of klamm's
	// environment, in which there may be secrets.
	hookPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// A hook meets dns-01 with a program of the user's, which makes and removes TXT records.
// It belongs to one goroutine.
type hook struct {
	program []string
	wait    time.Duration
	log     *slog.Logger
	last    time.Time // when the last record was made
}

// Present has a record made.
func (h *hook) Present(ctx context.Context, c protocol.Challenge) error {
	err := h.run(ctx, "present", c)
	h.last = time.Now()
	return err
}

// Wait gives the name servers time to get the record. All records wait at once.
func (h *hook) Wait(ctx context.Context, _ protocol.Challenge) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(h.last.Add(h.wait))):
		return nil
	}
}

// CleanUp has a record removed, even when klamm is stopping.
func (h *hook) CleanUp(ctx context.Context, c protocol.Challenge) error {
	err := h.run(context.WithoutCancel(ctx), "cleanup", c)
	if err != nil {
		h.log.Warn("the TXT record of a challenge may still be there", "name", record(c), "err", bounded(err.Error()))
	}
	return err
}

// record is the name of the TXT record, with the dot of the root.
func record(c protocol.Challenge) string { return c.DNS01TXTRecordName() + "." }

func (h *hook) run(ctx context.Context, verb string, c protocol.Challenge) error {
	if name := strings.ToLower(c.Identifier.Value); !isName(name) || !isToken(c.Token) {
		return fmt.Errorf("dns_hook: the authority asks about something that is no name")
	}
	ctx, cancel := context.WithTimeout(ctx, hookFor)
	defer cancel()
	args := append(slices.Clone(h.program[1:]), verb, record(c), c.DNS01KeyAuthorization())
	cmd := exec.CommandContext(ctx, h.program[0], args...)
	cmd.Env = []string{hookPath}
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a group, which is killed with its children
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = hookEnds
	err := cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("dns_hook %s %s %s: %w: %s", h.program[0], verb, record(c), err, out.lastLine())
	}
	h.log.Debug("the program for dns-01 has ended", "verb", verb, "name", record(c), "output", bounded(string(out.text)))
	return nil
}

// tail keeps the end of what is written.
type tail struct{ text []byte }

// Write takes everything.
func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p[max(0, len(p)-keptOutput):]...)
	t.text = t.text[max(0, len(t.text)-keptOutput):]
	return len(p), nil
}

func (t *tail) lastLine() string {
	text := bytes.TrimSpace(t.text)
	return strings.ToValidUTF8(string(text[bytes.LastIndexByte(text, '\n')+1:]), "?")
}
