package log

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
	"github.com/klamm-gateway/klamm/target/topic"
)

func open(t *testing.T, config string) target.Target {
	t.Helper()
	tg, err := Kind(topic.Kind()).Open([]byte(config), targettest.Env(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tg.Close() })
	return tg
}

func deliver(t *testing.T, tg target.Target, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := tg.Deliver(t.Context(), []*event.Event{targettest.Event(int64(i), "k", fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRotationKeepsEveryLineUntilThereAreTooManyFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "o.log")
	deliver(t, open(t, fmt.Sprintf(`{"file":%q,"rotate_size":4096,"rotate_keep":3}`, path)), 0, 300)
	var got []int64
	for _, name := range []string{path + ".3", path + ".2", path + ".1", path} {
		lines := read(t, name)
		if info, err := os.Stat(name); err != nil || info.Size() > 4096 || info.Size() < 100 {
			t.Errorf("%s: %v %v", name, info, err)
		}
		for _, l := range lines {
			got = append(got, l.Offset)
		}
	}
	// The newest lines are there without a gap, and the oldest are not.
	for i, offset := range got {
		if want := int64(300 - len(got) + i); offset != want {
			t.Fatalf("line %d is of offset %d, want %d", i, offset, want)
		}
	}
	if _, err := os.Stat(path + ".4"); err == nil || len(got) >= 300 || len(got) < 60 {
		t.Errorf("%d lines are left, and FILE.4: %v", len(got), err)
	}
}

func TestManyWritersOfOneFileLoseNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "o.log")
	config := fmt.Sprintf(`{"file":%q,"rotate_size":8192,"rotate_keep":1000}`, path)
	var all sync.WaitGroup
	for w := range 4 {
		tg := open(t, config)
		all.Go(func() { deliver(t, tg, w*200, w*200+200) })
	}
	all.Wait()
	seen := map[int64]bool{}
	names, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		for _, l := range read(t, name) {
			seen[l.Offset] = true
		}
	}
	if len(seen) != 800 {
		t.Errorf("%d of 800 lines arrived in %d files", len(seen), len(names))
	}
}

func TestFileMovedAwayIsBegunAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "o.log")
	tg := open(t, fmt.Sprintf(`{"file":%q}`, path))
	deliver(t, tg, 0, 2)
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	deliver(t, tg, 2, 4)
	if diff := cmp.Diff([]string{"0", "1"}, values(read(t, path+".old"))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"2", "3"}, values(read(t, path))); diff != "" {
		t.Error(diff)
	}
}

func TestLineCutOffByAKillSpoilsNoOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "o.log")
	if err := os.WriteFile(path, []byte("{\"whole\":1}\n{\"pipe\":\"te"), 0o600); err != nil {
		t.Fatal(err)
	}
	deliver(t, open(t, fmt.Sprintf(`{"file":%q}`, path)), 7, 8)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Split(string(text), "\n")
	if len(all) != 4 || all[1] != `{"pipe":"te` || !strings.HasSuffix(all[2], `"value":7}`) || all[3] != "" {
		t.Errorf("got %q", text)
	}
}

func TestWhatIsNoFileIsRefused(t *testing.T) {
	for _, path := range []string{"/dev/null", t.TempDir(), filepath.Join(t.TempDir(), "missing", "o.log")} {
		err := open(t, fmt.Sprintf(`{"file":%q}`, path)).Deliver(t.Context(), []*event.Event{targettest.Event(1, "k", "1")})
		if err == nil || target.FailureOf(err).Final || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	tg, err := Kind(topic.Kind()).Open(fmt.Appendf(nil, `{"file":%q}`, filepath.Join(b.TempDir(), "o.log")), targettest.Env(b, ""))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = tg.Close() }()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		events := []*event.Event{targettest.Event(1, "k", `{"n":1}`)}
		for pb.Next() {
			if err := tg.Deliver(context.Background(), events); err != nil {
				b.Error(err)
			}
		}
	})
}
