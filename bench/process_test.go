package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shell makes a crew whose executable is a script.
func shell(t *testing.T, script string) *crew {
	t.Helper()
	needLinux(t)
	file := filepath.Join(t.TempDir(), "klamm")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := newCrew(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func alive(pid int) bool {
	_, err := cpuTime(pid)
	return err == nil
}

func TestDismissEndsWhoeverIsLeft(t *testing.T) {
	c := shell(t, "trap '' TERM INT\necho ready here\nexec sleep 60\n")
	p, addr, err := c.serving(t.Context(), "role", nil)
	if err != nil || addr != "here" {
		t.Fatalf("ready %q: %v", addr, err)
	}
	if !alive(p.pid()) {
		t.Fatal("not there after it was ready")
	}
	c.dismiss()
	if alive(p.pid()) {
		t.Error("still there")
	}
	if _, err := os.Stat(c.dir); !os.IsNotExist(err) {
		t.Errorf("directory %s is still there: %v", c.dir, err)
	}
}

func TestEndOfAChildIsToldInItsOwnWords(t *testing.T) {
	c := shell(t, "echo 'no brokers today' >&2\nexit 3\n")
	defer c.dismiss()
	if _, _, err := c.serving(t.Context(), "sink", nil); err == nil || !strings.Contains(err.Error(), "sink ended early (exit status 3): no brokers today") {
		t.Errorf("got %v", err)
	}
}

func TestSilentChildRunsOutOfTime(t *testing.T) {
	c := shell(t, "exec sleep 60\n")
	defer c.dismiss()
	p, err := c.role("load", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.line(t.Context(), 50*time.Millisecond, readyPrefix); err == nil || !strings.Contains(err.Error(), "said nothing") {
		t.Errorf("got %v", err)
	}
}

func TestLeaveLetsAChildEndInGoodOrder(t *testing.T) {
	c := shell(t, "trap 'echo gone > left; exit 0' TERM\necho ready x\nwhile :; do sleep 0.02; done\n")
	defer c.dismiss()
	p, _, err := c.serving(t.Context(), "role", nil)
	if err != nil {
		t.Fatal(err)
	}
	p.leave()
	if _, err := os.Stat(filepath.Join(c.dir, "left")); err != nil {
		t.Errorf("it did not end in good order: %v", err)
	}
}

func TestChildrenDoNotInheritKlammsSettings(t *testing.T) {
	t.Setenv("KLAMM_BROKERS", "127.0.0.1:1")
	c := shell(t, "echo \"ready $KLAMM_BROKERS.\"\n")
	defer c.dismiss()
	_, got, err := c.serving(t.Context(), "role", nil)
	if err != nil || got != "." {
		t.Errorf("KLAMM_BROKERS is %q: %v", got, err)
	}
}

func TestLastWordsAreBounded(t *testing.T) {
	var l lastWords
	for range 100 {
		_, _ = l.Write([]byte(strings.Repeat("x", 1000)))
	}
	_, _ = l.Write([]byte("the end\n"))
	if got := l.String(); len(got) > stderrBytes || !strings.HasSuffix(got, "the end") {
		t.Errorf("%d bytes, ending in %q", len(got), got[len(got)-10:])
	}
}
