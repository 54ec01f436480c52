package function

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// packed returns a zip; a name that ends with "@" is a link.
func packed(t testing.TB, files ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for i := 0; i+1 < len(files); i += 2 {
		name, mode := files[i], fs.FileMode(0o644)
		if link, ok := strings.CutSuffix(name, "@"); ok {
			name, mode = link, 0o777|fs.ModeSymlink
		} else if strings.HasPrefix(filepath.Base(name), "bootstrap") {
			mode = 0o755
		}
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(mode)
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestUnpack(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []string
		want  string // of the error; empty: it is unpacked
	}{
		{"files", []string{"bootstrap", "x", "lib/a.py", "y", "lib/b/c", "z"}, ""},
		{"link within", []string{"lib/a", "x", "bin/a@", "../lib/a"}, ""},
		{"parent", []string{"../out", "x"}, "not a path below"},
		{"parent within", []string{"a/../../out", "x"}, "not a path below"},
		{"absolute", []string{"/tmp/out", "x"}, "not a path below"},
		{"backslash", []string{`..\out`, "x"}, "not a path below"},
		{"link out", []string{"out@", "/tmp"}, "must stay within"},
		{"link up", []string{"a/out@", "../../x"}, "must stay within"},
		{"through a link", []string{"d/x", "1", "l@", "d", "l/../../y", "2"}, "not a path below"},
		{"link up within", []string{"a/b/l@", "./../../c", "c/d", "x", "e@", ".", "a/top@", ".."}, ""},
		{"link through a link", []string{"a/b/top@", "../..", "out@", "a/b/top/../x"}, "at its beginning"},
		{"below a link", []string{"a/l@", "../b", "a/l/out@", "../../x", "b/f", "1"}, "which is not a directory"},
		{"below a link that comes later", []string{"l/f", "1", "l@", "d"}, "which is not a directory"},
		{"below a file", []string{"a", "1", "a.b", "2", "a/b/c", "3"}, "which is not a directory"},
		{"beside a file", []string{"a", "1", "a.b/c", "2", "a-b", "3", "ab/c", "4"}, ""},
		{"twice", []string{"a", "1", "a", "2"}, "twice"},
		{"file and directory", []string{"a", "1", "a/", ""}, "twice"},
		{"directory twice", []string{"a/", "", "a/b", "1", "a/", ""}, ""},
		{"longest name", []string{"d/" + strings.Repeat("n", 255), "1"}, ""},
		{"long name", []string{strings.Repeat("n", 256) + "/f", "1"}, "longer than 255 bytes"},
		{"empty", nil, "empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			top := t.TempDir()
			err := Unpack(packed(t, c.files...), filepath.Join(top, "code"))
			if check := Check(packed(t, c.files...)); (check == nil) != (c.want == "") {
				t.Errorf("check: %v", check)
			}
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v", err)
				}
				if left, _ := os.ReadDir(top); len(left) != 0 {
					t.Errorf("left %v", left)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(filepath.Join(top, "code", "bootstrap")); c.name == "files" && (err != nil || info.Mode() != 0o555) {
				t.Errorf("bootstrap: %v, %v", info, err)
			}
		})
	}
}

func TestBomb(t *testing.T) {
	// A mebibyte of zeros is compressed once, and stands there as often as it takes.
	const times = maxUnpacked>>20 + 1
	zeros, sum := make([]byte, 1<<20), crc32.NewIEEE()
	var once, out bytes.Buffer
	deflate, err := flate.NewWriter(&once, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	_, err = deflate.Write(zeros)
	if err := errors.Join(err, deflate.Flush()); err != nil {
		t.Fatal(err)
	}
	for range times {
		_, _ = sum.Write(zeros)
	}
	data := append(bytes.Repeat(once.Bytes(), times), 3, 0) // with an empty block as the last
	z := zip.NewWriter(&out)
	w, err := z.CreateRaw(&zip.FileHeader{Name: "zeros", Method: zip.Deflate, CRC32: sum.Sum32(), CompressedSize64: uint64(len(data)), UncompressedSize64: times << 20})
	if err == nil {
		_, err = w.Write(data)
	}
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{"check": Check(out.Bytes()), "unpack": Unpack(out.Bytes(), filepath.Join(t.TempDir(), "code"))} {
		if err == nil || !strings.Contains(err.Error(), "unzipped size") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Whatever a package holds, nothing lies beside its directory afterwards.
func FuzzUnpack(f *testing.F) {
	f.Add(packed(f, "bootstrap", "x", "a/b", "y"))
	f.Add(packed(f, "../a", "x"))
	f.Add(packed(f, "a@", "../x"))
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	f.Fuzz(func(t *testing.T, archive []byte) {
		top := t.TempDir()
		err := Unpack(archive, filepath.Join(top, "code"))
		left, _ := os.ReadDir(top)
		if err == nil && len(left) != 1 || err != nil && len(left) != 0 {
			t.Errorf("%v, and there are %v", err, left)
		}
		if checked := Check(archive); err == nil && checked != nil {
			t.Errorf("unpacked what does not pass the check: %v", checked)
		}
	})
}
