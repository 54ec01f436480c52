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
	"slices"
	"strings"
)

// Limits of a package of code, as in the Lambda service.
const (
	// maxArchive is the largest zip, in bytes.
	maxArchive = 50 << 20
	// maxUnpacked is the most that it may hold, in bytes.
	maxUnpacked = 250 << 20
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
	if len(archive) > maxArchive {
		return fmt.Errorf("the zip is larger than %d MiB", maxArchive>>20)
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
	if err := places(z.File); err != nil {
		return err
	}
	left := int64(maxUnpacked)
	for _, f := range z.File {
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

// places refuses entries that are not plain paths, and two of which only one can be
// there: of the same name, or one below a file, or below a link, which would lead it
// elsewhere.
func places(files []*zip.File) error {
	type place struct {
		key  string // the path; what separates its parts sorts before all else
		leaf bool   // it is no directory
		name string
	}
	all := make([]place, len(files))
	for i, f := range files {
		if err := name(f.Name); err != nil {
			return err
		}
		all[i] = place{strings.ReplaceAll(path.Clean(f.Name), "/", "\x00"), !f.Mode().IsDir(), f.Name}
	}
	slices.SortStableFunc(all, func(a, b place) int { return strings.Compare(a.key, b.key) })
	for i, p := range all[1:] {
		before := all[i]
		rest, within := strings.CutPrefix(p.key, before.key)
		switch {
		case within && rest == "" && (p.leaf || before.leaf):
			return fmt.Errorf("the zip holds %q twice", p.name)
		case within && strings.HasPrefix(rest, "\x00") && before.leaf:
			return fmt.Errorf("the zip holds %q below %q, which is not a directory", p.name, before.name)
		}
	}
	return nil
}

// longestName is how long a part of a path may be on common file systems, in bytes.
const longestName = 255

// name refuses what is not a plain path below the directory.
func name(n string) error {
	plain := strings.TrimSuffix(n, "/")
	if plain == "" || strings.ContainsAny(plain, "\\\x00") || !fs.ValidPath(path.Clean(plain)) || path.Clean(plain) != strings.TrimPrefix(plain, "./") {
		return fmt.Errorf("the zip holds %q, which is not a path below its top", n)
	}
	for part := range strings.SplitSeq(plain, "/") {
		if len(part) > longestName {
			return fmt.Errorf("the zip holds a name that begins with %q and is longer than %d bytes", part[:40], longestName)
		}
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
		return 0, fmt.Errorf("unzipped size must be smaller than %d bytes", maxUnpacked)
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

// linkOf returns where a link leads. It goes up at its beginning only: behind the name
// of another link, ".." would be above where that leads to.
func linkOf(f *zip.File, content io.Reader) (string, error) {
	target, err := io.ReadAll(io.LimitReader(content, 4096))
	if err != nil {
		return "", err
	}
	parts := strings.Split(string(target), "/")
	down := slices.IndexFunc(parts, func(part string) bool { return part != ".." && part != "." })
	switch {
	case path.IsAbs(string(target)), !filepath.IsLocal(path.Join(path.Dir(path.Clean(f.Name)), string(target))):
		return "", errors.New("a link must stay within the package")
	case down >= 0 && slices.Contains(parts[down:], ".."):
		return "", errors.New("a link may have .. at its beginning only, to stay within the package")
	}
	return string(target), nil
}
