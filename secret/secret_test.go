package secret_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klamm-gateway/klamm/secret"
)

func TestLocal(t *testing.T) {
	t.Setenv("KLAMM_TEST_SECRET", "from the environment")
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		name string
		ref  secret.Ref
		want string
		bad  bool
	}{
		{"environment", secret.Ref{Env: "KLAMM_TEST_SECRET"}, "from the environment", false},
		{"file", secret.Ref{File: write("a", "from a file\n")}, "from a file", false},
		{"only one newline is dropped", secret.Ref{File: write("b", "x\n\n")}, "x\n", false},
		{"inline", secret.Ref{Value: "text"}, "text", false},
		{"no such variable", secret.Ref{Env: "KLAMM_TEST_NO_SUCH"}, "", true},
		{"no such file", secret.Ref{File: filepath.Join(dir, "none")}, "", true},
		{"an empty file", secret.Ref{File: write("c", "\n")}, "", true},
		{"a huge file", secret.Ref{File: write("d", strings.Repeat("x", secret.MaxFile+1))}, "", true},
		{"nothing", secret.Ref{}, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := secret.Local(t.Context(), c.ref)
			if (err != nil) != c.bad || got != c.want {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	if _, err := secret.Local(t.Context(), secret.Ref{Env: "KLAMM_TEST_NO_SUCH"}); !errors.Is(err, secret.ErrEmpty) {
		t.Error(err)
	}
}

func TestNothingShowsASecret(t *testing.T) {
	ref := secret.Ref{Value: "hunter2"}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "ref", ref)
	for _, shown := range []string{ref.String(), fmt.Sprint(ref), fmt.Sprintf("%v %+v %#v %s", ref, ref, ref, ref), log.String()} {
		if strings.Contains(shown, "hunter2") {
			t.Error(shown)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		ref  secret.Ref
		want int
	}{
		{secret.Ref{Env: "A"}, 0}, {secret.Ref{File: "a"}, 0}, {secret.Ref{Value: "a"}, 0},
		{secret.Ref{}, 1}, {secret.Ref{Env: "A", Value: "a"}, 1}, {secret.Ref{Env: "A=B"}, 1},
	} {
		n := 0
		c.ref.Validate(func(string, string) { n++ })
		if n != c.want {
			t.Errorf("%v: %d problems", c.ref, n)
		}
	}
}
