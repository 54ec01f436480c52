package objectstore

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/target"
)

const (
	// temporary is what the names of files begin with that are no objects yet.
	temporary = ".klamm-"
	// abandoned is how old a temporary file is that nobody writes any more.
	abandoned = time.Hour
	// writers is how many files are written at once; who comes then waits, as
	// long as its delivery has time.
	writers = 16
	// closing is how long close waits for a disk that hangs.
	closing = 5 * time.Second
	// remembered bounds how many directories are known to be swept.
	remembered = 10_000
)

// A directory is the store whose objects are files. An object is written to a
// temporary file beside its place, brought to the disk, and renamed: who reads
// the directory sees whole objects only, also after a crash.
type directory struct {
	path string
	turn chan struct{} // has a token for each file that is being written
	busy sync.WaitGroup

	mu    sync.Mutex // guards what follows
	shut  bool
	swept map[string]bool
}

func newDirectory(path string) *directory {
	return &directory{path: path, turn: make(chan struct{}, writers), swept: map[string]bool{}}
}

// put writes the object in a goroutine of its own, since a disk may hang longer
// than ctx lasts. close waits for it.
func (d *directory) put(ctx context.Context, o *object) error {
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	d.mu.Lock()
	if d.shut {
		d.mu.Unlock()
		<-d.turn
		return errors.New("the target is closed")
	}
	d.busy.Add(1)
	d.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		defer d.busy.Done()
		defer func() { <-d.turn }()
		done <- d.write(o)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write brings an object to the disk. The root keeps it below the directory,
// whatever links there are.
func (d *directory) write(o *object) error {
	root, err := os.OpenRoot(d.path)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	in := path.Dir(o.key)
	if err := makeDirectories(root, in); err != nil {
		return err
	}
	d.sweep(root, in)
	name := path.Join(in, temporary+rand.Text()+".tmp")
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(o.body)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = root.Rename(name, o.key)
	}
	if err != nil {
		_ = root.Remove(name)
		if info, statErr := root.Stat(o.key); statErr == nil && info.IsDir() {
			return target.Permanent(errors.New("there is a directory of that name"))
		}
		return err
	}
	return syncDirectory(root, in)
}

// makeDirectories makes what is missing of a path, and brings the names to the
// disk.
func makeDirectories(root *os.Root, name string) error {
	if name == "." {
		return nil
	}
	if info, err := root.Stat(name); err == nil && info.IsDir() {
		return nil
	}
	if err := makeDirectories(root, path.Dir(name)); err != nil {
		return err
	}
	if err := root.Mkdir(name, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDirectory(root, path.Dir(name))
}

func syncDirectory(root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// sweep removes what killed processes have left in a directory, once. A file
// that cannot be removed hurts nobody.
func (d *directory) sweep(root *os.Root, name string) {
	d.mu.Lock()
	known := d.swept[name]
	if len(d.swept) >= remembered {
		clear(d.swept)
	}
	d.swept[name] = true
	d.mu.Unlock()
	if known {
		return
	}
	f, err := root.Open(name)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	for {
		entries, err := f.ReadDir(1000)
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), temporary) {
				continue
			}
			if info, err := e.Info(); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > abandoned {
				_ = root.Remove(path.Join(name, e.Name()))
			}
		}
		if err != nil {
			return
		}
	}
}

// close waits for files that are being written. What hangs ends with the
// process.
func (d *directory) close() error {
	d.mu.Lock()
	d.shut = true
	d.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		d.busy.Wait()
		close(ended)
	}()
	patience := time.NewTimer(closing)
	defer patience.Stop()
	select {
	case <-ended:
		return nil
	case <-patience.C:
		return errors.New("the directory still hangs in a write")
	}
}
