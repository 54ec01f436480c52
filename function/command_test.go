package function

import (
	"os"
	"path/filepath"
	"testing"
)

// A program is started in the directory of its code: a relative path would be looked for
// below that.
func TestARelativeCodeDirectoryIsThatOfTheProcess(t *testing.T) {
	root := t.TempDir()
	t.Chdir(root)
	if err := os.Mkdir("score", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("score/bootstrap", []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := commandOf(Definition{Directory: "score", Runtime: "provided.al2023"}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	want, _ := filepath.EvalSymlinks(filepath.Join(root, "score", "bootstrap"))
	if got, _ := filepath.EvalSymlinks(c.path); got != want || !filepath.IsAbs(c.path) || !filepath.IsAbs(c.directory) {
		t.Errorf("the program is %s in %s, want %s", c.path, c.directory, want)
	}
}
