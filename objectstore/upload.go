package objectstore

import (
	"bytes"
	"cmp"
	"crypto/md5" //nolint:gosec // the entity tags of S3 are MD5 sums
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	uploadPrefix = temporary + "upload-"
	// maxParts and minPart bound the parts of an upload, as S3 does; the last part may
	// be smaller.
	maxParts = 10_000
	minPart  = 5 << 20
	// maxUploads is how many uploads of a bucket may be unfinished.
	maxUploads = 1000
)

// Errors of uploads in parts.
var (
	errNoUpload    = errors.New("there is no such upload")
	errPart        = errors.New("one of the parts is not there, or has another tag")
	errPartOrder   = errors.New("the parts are not in the order of their numbers")
	errPartSize    = errors.New("a part that is not the last is smaller than 5 MiB")
	errManyUploads = errors.New("too many uploads are unfinished")
)

var uploadID = regexp.MustCompile(`^[A-Z2-7]{26}$`)

// An upload is a directory in the bucket: a file with what it will be, and its parts,
// each NUMBER-TAG.
type upload struct {
	Key      string            `json:"key"`
	Headers  map[string]string `json:"headers"`
	id       string
	modified time.Time
}

func (u *upload) directory() string { return uploadPrefix + u.id }

// A part is one of an upload.
type part struct {
	number   int
	etag     string
	size     int64
	modified time.Time
}

func (p part) name() string { return fmt.Sprintf("%05d-%s", p.number, p.etag) }

// begin makes an upload.
func (b *bucket) begin(key string, headers map[string]string) (*upload, error) {
	b.sweep()
	all, err := b.uploads()
	if err != nil {
		return nil, err
	}
	if len(all) >= maxUploads {
		return nil, errManyUploads
	}
	u := &upload{Key: key, Headers: headers, id: rand.Text()}
	text, err := json.Marshal(u)
	if err != nil {
		return nil, err
	}
	if err := b.Mkdir(u.directory(), 0o750); err != nil {
		return nil, err
	}
	return u, b.WriteFile(path.Join(u.directory(), "upload"), text, 0o640)
}

// upload returns one that has begun.
func (b *bucket) upload(id string) (*upload, error) {
	if !uploadID.MatchString(id) {
		return nil, errNoUpload
	}
	u := &upload{id: id}
	text, err := b.ReadFile(path.Join(u.directory(), "upload"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoUpload
	}
	if err != nil {
		return nil, err
	}
	return u, json.Unmarshal(text, u)
}

// uploads returns those that are unfinished, by key and beginning.
func (b *bucket) uploads() ([]*upload, error) {
	f, err := b.Root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []*upload
	for {
		entries, err := f.ReadDir(1000)
		for _, e := range entries {
			id, ok := strings.CutPrefix(e.Name(), uploadPrefix)
			if !ok {
				continue
			}
			if u, err := b.upload(id); err == nil {
				if info, err := e.Info(); err == nil {
					u.modified = info.ModTime()
				}
				all = append(all, u)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b *upload) int {
		return cmp.Or(strings.Compare(a.Key, b.Key), a.modified.Compare(b.modified), strings.Compare(a.id, b.id))
	})
	return all, nil
}

// add makes a draft a part of an upload, in the place of one with its number. The
// draft is over in any case.
func (w *draft) add(u *upload, p part) error {
	err := errors.Join(w.Sync(), w.Close())
	if err == nil {
		err = w.in.addPart(u, p, w.name)
	}
	if err != nil {
		_ = w.in.Remove(w.name)
	}
	return err
}

func (b *bucket) addPart(u *upload, p part, name string) error {
	b.in.mu.Lock()
	defer b.in.mu.Unlock()
	parts, err := b.parts(u)
	if err != nil {
		return err
	}
	if err := b.Rename(name, path.Join(u.directory(), p.name())); err != nil {
		if errors.Is(err, fs.ErrNotExist) { // the upload was given up meanwhile
			return errNoUpload
		}
		return err
	}
	for _, old := range parts {
		if old.number == p.number && old.etag != p.etag {
			_ = b.Remove(path.Join(u.directory(), old.name()))
		}
	}
	return nil
}

// parts returns the parts of an upload by number.
func (b *bucket) parts(u *upload) ([]part, error) {
	entries, err := fs.ReadDir(b.FS(), u.directory())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoUpload
	}
	if err != nil {
		return nil, err
	}
	var all []part
	for _, e := range entries {
		number, etag, ok := strings.Cut(e.Name(), "-")
		n, err := strconv.Atoi(number)
		if !ok || err != nil {
			continue
		}
		if info, err := e.Info(); err == nil {
			all = append(all, part{number: n, etag: etag, size: info.Size(), modified: info.ModTime()})
		}
	}
	return all, nil // their names are sorted, and so are their numbers
}

// complete makes an object of the parts that are named, and forgets the upload.
func (b *bucket) complete(u *upload, named []part, may func(old *object) error) (etag string, err error) {
	have, err := b.parts(u)
	if err != nil {
		return "", err
	}
	var tags bytes.Buffer
	for i, p := range named {
		if i > 0 && p.number <= named[i-1].number {
			return "", errPartOrder
		}
		n := slices.IndexFunc(have, func(h part) bool { return h.number == p.number && h.etag == p.etag })
		if n < 0 {
			return "", errPart
		}
		if i < len(named)-1 && have[n].size < minPart {
			return "", errPartSize
		}
		sum, err := hex.DecodeString(p.etag)
		if err != nil {
			return "", errPart
		}
		tags.Write(sum)
	}
	w, err := b.draft()
	if err != nil {
		return "", err
	}
	for _, p := range named {
		if err := b.append(w.File, path.Join(u.directory(), p.name())); err != nil {
			w.drop()
			if errors.Is(err, fs.ErrNotExist) {
				return "", errNoUpload
			}
			return "", err
		}
	}
	sum := md5.Sum(tags.Bytes()) //nolint:gosec // as above
	etag = hex.EncodeToString(sum[:]) + "-" + strconv.Itoa(len(named))
	if _, err := w.commit(u.Key, metadata{ETag: etag, Headers: u.Headers}, may); err != nil {
		return "", err
	}
	return etag, b.RemoveAll(u.directory())
}

// append copies a file to the end of another one.
func (b *bucket) append(to *os.File, name string) error {
	f, err := b.Root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(to, f)
	return err
}

// abort gives an upload up.
func (b *bucket) abort(u *upload) error { return b.RemoveAll(u.directory()) }
