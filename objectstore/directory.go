package objectstore

import (
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
	"strings"
	"sync"
	"time"
)

// Errors of a directory.
var (
	// errNoBucket says that there is no sub-directory of that name.
	errNoBucket = errors.New("there is no such bucket")
	// errNoObject says that the bucket has no object of that key.
	errNoObject = errors.New("there is no such object")
	// errKey says that a key is empty, too long or not UTF-8.
	errKey = errors.New("a key has 1 to 1024 bytes of UTF-8")
	// errMetadata says that the file system keeps no extended attributes, and so no
	// metadata of objects.
	errMetadata = errors.New("the file system keeps no metadata of objects")
	// errPrecondition says that the object is not, or not any more, what the writer
	// believes it to be.
	errPrecondition = errors.New("the object is not what the request says")
)

const (
	// maxKey is what S3 allows, in bytes.
	maxKey = 1024
	// abandoned is how old a temporary file is that nobody writes any more, and
	// abandonedUpload that of an upload in parts.
	abandoned       = time.Hour
	abandonedUpload = 7 * 24 * time.Hour
)

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// A Directory keeps objects as files: a bucket is a sub-directory, and the key
// a/b.csv the file b.csv in its directory a. Keys that cannot be paths have names of
// their own (name.go). An object is written to a temporary file, brought to the disk
// and renamed: readers see whole objects only, also after a crash. Metadata lie in an
// extended attribute of the file. Links are not followed, and are no objects. It is
// safe for concurrent use, also by several processes.
type Directory struct {
	path string

	mu    sync.Mutex // guards the places of objects: their directories come and go
	swept map[string]bool
}

// openDirectory returns the store of a directory that is there.
func openDirectory(name string) (*Directory, error) {
	info, err := os.Stat(name)
	if err == nil && !info.IsDir() {
		err = errors.New("it is not a directory")
	}
	if err != nil {
		return nil, fmt.Errorf("object store %s: %w", name, err)
	}
	return &Directory{path: name, swept: map[string]bool{}}, nil
}

// buckets returns the names of all buckets, sorted.
func (d *Directory) buckets() ([]fs.FileInfo, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var all []fs.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.IsDir() && validBucket(e.Name()) {
			all = append(all, info)
		}
	}
	return all, nil
}

func validBucket(name string) bool {
	return bucketName.MatchString(name) && !strings.Contains(name, "..")
}

// bucket opens a bucket; close it when it is no longer needed.
func (d *Directory) bucket(name string) (*bucket, error) {
	if !validBucket(name) {
		return nil, errNoBucket
	}
	whole, err := os.OpenRoot(d.path)
	if err != nil {
		return nil, err
	}
	defer whole.Close()
	if info, err := whole.Lstat(name); err != nil || !info.IsDir() {
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			err = errNoBucket
		}
		return nil, err
	}
	root, err := whole.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return &bucket{Root: root, in: d, name: name}, nil
}

// A bucket is an open sub-directory. Nothing in it leads out of it.
type bucket struct {
	*os.Root
	in   *Directory
	name string
}

// Metadata go with an object.
type metadata struct {
	ETag    string            `json:"etag"`              // without quotes
	Headers map[string]string `json:"headers,omitempty"` // Content-Type and others, x-amz-meta-*
	Sums    map[string]string `json:"sums,omitempty"`    // by algorithm, base64
	// Size and Changed are those of the file that ETag and Sums belong to: somebody
	// may have written into it since.
	Size    int64 `json:"size"`
	Changed int64 `json:"changed"` // Unix nanoseconds
}

// An object is an open file and what goes with it.
type object struct {
	*os.File
	metadata
	modified time.Time
}

// open returns an object; close it when it is no longer needed.
func (b *bucket) open(key string) (*object, error) {
	place, err := b.find(key)
	if err != nil {
		return nil, err
	}
	return b.openPlace(place)
}

// openPlace opens the file of an object.
func (b *bucket) openPlace(place string) (*object, error) {
	info, err := b.Lstat(place)
	if err != nil || !info.Mode().IsRegular() { // opening a named pipe would block
		return nil, missing(err)
	}
	f, err := b.Root.Open(place)
	if err != nil {
		return nil, missing(err)
	}
	o := &object{File: f}
	if info, err = f.Stat(); err != nil {
		_ = f.Close()
		return nil, err
	}
	o.modified = info.ModTime()
	if text, err := attribute(f); err == nil {
		_ = json.Unmarshal(text, &o.metadata) // what is no metadata of ours counts as none
	}
	if o.ETag == "" || o.Size != info.Size() || o.Changed != info.ModTime().UnixNano() {
		// A file that was put here by hand: a tag of another form than an MD5 sum,
		// so that nobody compares it with one.
		o.Size, o.Changed, o.Sums = info.Size(), info.ModTime().UnixNano(), nil
		sum := md5.Sum(fmt.Appendf(nil, "%d %d", o.Size, o.Changed)) //nolint:gosec // as above
		o.ETag = hex.EncodeToString(sum[:]) + "-1"
	}
	return o, nil
}

// missing is the error of an object that is not there.
func missing(err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) || isNotDirectory(err) {
		return errNoObject
	}
	return err
}

// A draft is an object that is being written.
type draft struct {
	*os.File
	in   *bucket
	name string
}

// draft begins an object. Exactly one of commit and drop ends it.
func (b *bucket) draft() (*draft, error) {
	b.sweep()
	name := temporary + rand.Text() + ".tmp"
	f, err := b.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return nil, err
	}
	return &draft{File: f, in: b, name: name}, nil
}

// drop forgets a draft.
func (w *draft) drop() {
	_ = w.Close()
	_ = w.in.Remove(w.name)
}

// seal brings a draft and its metadata to the disk.
func (w *draft) seal(m metadata) (time.Time, error) {
	info, err := w.Stat()
	if err != nil {
		return time.Time{}, err
	}
	m.Size, m.Changed = info.Size(), info.ModTime().UnixNano()
	text, err := json.Marshal(m)
	if err != nil {
		return time.Time{}, err
	}
	if err := setAttribute(w.File, text); err != nil {
		// The tag and the media type can be missed, what the writer has named cannot.
		for name := range m.Headers {
			if strings.HasPrefix(name, userMetadata) {
				return time.Time{}, fmt.Errorf("%w: %w", errMetadata, err)
			}
		}
	}
	return info.ModTime(), w.Sync()
}

// commit gives a draft its key, if may allows it of what is there so far; nil: always.
// The draft is over in any case.
func (w *draft) commit(key string, m metadata, may func(old *object) error) (time.Time, error) {
	modified, err := w.seal(m)
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	var changed []string
	if err == nil {
		changed, err = w.in.place(w.name, key, may)
	}
	if err != nil {
		_ = w.in.Remove(w.name)
		return time.Time{}, err
	}
	for _, name := range changed {
		if err := w.in.sync(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return time.Time{}, err
		}
	}
	return modified, nil
}

// place renames a file to the place of a key, and returns the directories that have
// changed.
func (b *bucket) place(name, key string, may func(old *object) error) ([]string, error) {
	b.in.mu.Lock()
	defer b.in.mu.Unlock()
	if may != nil {
		old, err := b.open(key)
		if err != nil && !errors.Is(err, errNoObject) {
			return nil, err
		}
		err = may(old)
		if old != nil {
			_ = old.Close()
		}
		if err != nil {
			return nil, err
		}
	}
	// Another process may take a name between the look and the rename.
	for try := 0; ; try++ {
		place, changed, err := b.prepare(key)
		if err == nil {
			err = b.Rename(name, place)
		}
		if err == nil || try == 3 {
			return append(changed, path.Dir(place)), err
		}
	}
}

func (b *bucket) sync(name string) error {
	f, err := b.Root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// remove deletes an object and the directories that are empty then. One that is not
// there is no error.
func (b *bucket) remove(key string) error {
	b.in.mu.Lock()
	defer b.in.mu.Unlock()
	place, err := b.find(key)
	if err == nil {
		err = b.Remove(place)
	}
	if err != nil {
		if err = missing(err); errors.Is(err, errNoObject) {
			return nil
		}
		return err
	}
	directory := path.Dir(place)
	for directory != "." && b.Remove(directory) == nil {
		directory = path.Dir(directory)
	}
	return b.sync(directory)
}

// Put writes an object as a whole, in the place of one with the same key.
func (d *Directory) Put(name, key, mediaType string, content io.Reader) error {
	b, err := d.bucket(name)
	if err != nil {
		return err
	}
	defer b.Close()
	if err := checkKey(key); err != nil {
		return err
	}
	w, err := b.draft()
	if err != nil {
		return err
	}
	sum := md5.New() //nolint:gosec // as above
	if _, err := io.Copy(io.MultiWriter(w, sum), content); err != nil {
		w.drop()
		return err
	}
	_, err = w.commit(key, metadata{ETag: hex.EncodeToString(sum.Sum(nil)), Headers: map[string]string{"Content-Type": mediaType}}, nil)
	return err
}

// sweep removes what killed processes have left in a bucket, once.
func (b *bucket) sweep() {
	b.in.mu.Lock()
	known := b.in.swept[b.name]
	b.in.swept[b.name] = true
	b.in.mu.Unlock()
	if known {
		return
	}
	f, err := b.Root.Open(".")
	if err != nil {
		return
	}
	defer f.Close()
	for {
		entries, err := f.ReadDir(1000)
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), temporary) {
				continue
			}
			info, err := e.Info()
			switch {
			case err != nil:
			case strings.HasSuffix(e.Name(), ".tmp") && time.Since(info.ModTime()) > abandoned,
				strings.HasPrefix(e.Name(), uploadPrefix) && time.Since(info.ModTime()) > abandonedUpload:
				_ = b.RemoveAll(e.Name())
			}
		}
		if err != nil {
			return
		}
	}
}
