package objectstore

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/target"
)

// victim is the variable that makes this test's program write objects until it
// is killed.
const victim = "KLAMM_TEST_OBJECTS_IN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victim); dir != "" {
		writeForEver(dir)
	}
	os.Exit(m.Run())
}

func writeForEver(dir string) {
	d := newDirectory(dir)
	for n := 0; ; n++ {
		size := 1 + n%50*4096
		body := strings.Repeat(strconv.Itoa(n%10), size)
		if err := d.put(context.Background(), &object{key: fmt.Sprintf("a/%d/%d-%d", n%7, n%50, size), body: []byte(body)}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func TestKilledWriterLeavesWholeObjects(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), victim+"="+dir)
		cmd.Stderr = os.Stderr
		before := len(objects(t, dir))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(time.Minute); len(objects(t, dir)) < min(before+20, 50) && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
	all := objects(t, dir)
	if len(all) < 20 {
		t.Fatalf("only %d objects", len(all))
	}
	for key, body := range all {
		_, size, _ := strings.Cut(key, "-")
		if want, _ := strconv.Atoi(size); len(body) != want || strings.Trim(body, body[:1]) != "" {
			t.Errorf("%s has %d bytes", key, len(body))
		}
	}
}

func TestWhatKilledProcessesLeftIsSweptAway(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "source/2023/11/14")
	if err := os.MkdirAll(in, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{temporary + "OLD.tmp": 2 * time.Hour, temporary + "NEW.tmp": 0, "other": 2 * time.Hour} {
		path := filepath.Join(in, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if err := opened(t, Config{Directory: dir}, "").Deliver(t.Context(), events(1, "1")); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(in)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != ".klamm-NEW.tmp 3-1-1-cd2662154e6d76b2.ndjson other" {
		t.Errorf("left: %q", got)
	}
}

func TestLinksDoNotLeadOutOfTheDirectory(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "source")); err != nil {
		t.Skip(err)
	}
	if err := opened(t, Config{Directory: dir}, "").Deliver(t.Context(), events(1, "1")); err == nil || len(objects(t, outside)) > 0 {
		t.Errorf("got %v", err)
	}
}

func TestMissingDirectoryIsNotMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "unmounted")
	err := opened(t, Config{Directory: dir}, "").Deliver(t.Context(), events(1, "1"))
	if err == nil || target.FailureOf(err).Final {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory was made")
	}
}

func TestDirectoryInAnObjectsPlace(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "source/2023/11/14/3-1-1-cd2662154e6d76b2.ndjson/x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := opened(t, Config{Directory: dir}, "").Deliver(t.Context(), events(1, "1")); !target.FailureOf(err).Final {
		t.Errorf("got %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "source/2023/11/14", temporary+"*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func TestClosedDirectoryTakesNothing(t *testing.T) {
	dir := t.TempDir()
	tg := opened(t, Config{Directory: dir}, "")
	if err := tg.Close(); err != nil {
		t.Fatal(err)
	}
	if err := tg.Deliver(t.Context(), events(1, "1")); err == nil {
		t.Error("no error")
	}
}
