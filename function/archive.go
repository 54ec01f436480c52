package function

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Limits of a package of code, as in the Lambda service.
const (
	// MaxArchive is the largest zip, in bytes.
	MaxArchive = 50 << 20
	// MaxUnpacked is the most that it may hold, in bytes.
	MaxUnpacked = 250 << 20
	maxFiles    = 50_000
)

// Digest returns the SHA-256 of a package in base64, as the Lambda API shows it.
func Digest(archive []byte) string {
	sum := sha256.Sum256(archive)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Check reads a package from end to end without writing anything: an error says
// what is wrong with it, in words for whoever sent it.
func Check(archive []byte) error {
	return each(archive, func(f *zip.File, content io.Reader) error {
		if f.Mode()&fs.ModeSymlink != 0 {
			_, err := linkOf(f, content)
			return err
		}
		if !f.Mode().IsDir() && !f.Mode().IsRegular() {
			return errKind
		}
		_, err := io.Copy(io.Discard, content)
		return err
	})
}

// Unpack writes a package into a directory that is not there yet: all of it or
// nothing. Names cannot lead out of it, links must stay within. Files are read-only
// and keep their executable bit.
func Unpack(archive []byte, directory string) error {
	if err := os.MkdirAll(filepath.Dir(directory), 0o755); err != nil {
		return err
	}
	part, err := os.MkdirTemp(filepath.Dir(directory), "unpacking-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(part) // nothing, once it has its name
	root, err := os.OpenRoot(part)
	if err != nil {
		return err
	}
	defer root.Close()
	err = each(archive, func(f *zip.File, content io.Reader) error { return unpackFile(root, f, content) })
	if err != nil {
		return err
	}
	if err := os.Chmod(part, 0o755); err != nil { //nolint:gosec // programs under another user read it
		return err
	}
	if err := os.Rename(part, directory); err != nil && !exists(directory) { // another was faster
		return err
	}
	return nil
}

// each reads the entries of a package, within the limits.
func each(archive []byte, do func(f *zip.File, content io.Reader) error) error {
	if len(archive) > MaxArchive {
		return fmt.Errorf("the zip is larger than %d MiB", MaxArchive>>20)
	}
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return fmt.Errorf("could not unzip the uploaded file: %w", err)
	}
	if len(z.File) == 0 {
		return errors.New("the zip is empty")
	}
	if len(z.File) > maxFiles {
		return fmt.Errorf("the zip holds more than %d files", maxFiles)
	}
	left := int64(MaxUnpacked)
	seen := make(map[string]bool, len(z.File))
	for _, f := range z.File {
		if err := name(f.Name); err != nil {
			return err
		}
		at := path.Clean(f.Name)
		if seen[at] && !f.Mode().IsDir() {
			return fmt.Errorf("the zip holds %q twice", f.Name)
		}
		seen[at] = true
		content, err := f.Open()
		if err != nil {
			return fmt.Errorf("%q in the zip: %w", f.Name, err)
		}
		counted := &counting{r: content, left: &left}
		err = do(f, counted)
		_ = content.Close()
		if err != nil {
			return fmt.Errorf("%q in the zip: %w", f.Name, err)
		}
	}
	return nil
}

// name refuses what is not a plain path below the directory.
func name(n string) error {
	plain := strings.TrimSuffix(n, "/")
	if plain == "" || strings.ContainsAny(plain, "\\\x00") || !fs.ValidPath(path.Clean(plain)) || path.Clean(plain) != strings.TrimPrefix(plain, "./") {
		return fmt.Errorf("the zip holds %q, which is not a path below its top", n)
	}
	return nil
}

// counting ends with an error when all entries together are too large.
type counting struct {
	r    io.Reader
	left *int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if *c.left -= int64(n); *c.left < 0 {
		return 0, fmt.Errorf("unzipped size must be smaller than %d bytes", MaxUnpacked)
	}
	return n, err
}

// unpackFile writes one entry.
func unpackFile(root *os.Root, f *zip.File, content io.Reader) error {
	at := path.Clean(f.Name)
	mode := f.Mode()
	if mode.IsDir() {
		return root.MkdirAll(at, 0o755)
	}
	if dir := path.Dir(at); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	switch {
	case mode&fs.ModeSymlink != 0:
		target, err := linkOf(f, content)
		if err != nil {
			return err
		}
		return root.Symlink(target, at)
	case !mode.IsRegular():
		return errKind
	}
	permission := fs.FileMode(0o444)
	if mode&0o111 != 0 {
		permission = 0o555
	}
	w, err := root.OpenFile(at, os.O_CREATE|os.O_WRONLY|os.O_EXCL, permission)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, content)
	return errors.Join(err, w.Close())
}

var errKind = errors.New("only files, directories and links are allowed")

// linkOf returns where a link leads.
func linkOf(f *zip.File, content io.Reader) (string, error) {
	target, err := io.ReadAll(io.LimitReader(content, 4096))
	if err != nil {
		return "", err
	}
	if path.IsAbs(string(target)) || !filepath.IsLocal(path.Join(path.Dir(path.Clean(f.Name)), string(target))) {
		return "", errors.New("a link must stay within the package")
	}
	return string(target), nil
}
