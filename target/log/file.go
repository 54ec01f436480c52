package log

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// A file is the sink that appends to a file, and rotates it.
//
// The file is known by its path: when somebody else has moved it away, as
// rotating programs do, a new one is begun. Several writers, also of several
// processes, may have the same path. The lock of the file at the path says who
// may append to it or rename it; fsync is called without it.
type file struct {
	path string
	size int64 // rotate before the file would be larger
	keep int
	open *os.File // nil: not open
}

// write appends the text and waits until it is on the disk.
func (f *file) write(text []byte) error {
	if err := f.append(text); err != nil {
		return err
	}
	if err := f.open.Sync(); err != nil {
		// What the system still holds after a failed fsync is unknown: the next
		// write begins with a file opened anew.
		_ = f.close()
		return err
	}
	return nil
}

// append writes the text to the file at the path while it has room.
func (f *file) append(text []byte) error {
	for range 100 { // others may rotate at the same time, but not for ever
		if f.open == nil {
			if err := f.begin(); err != nil {
				return err
			}
		}
		if err := lock(f.open); err != nil {
			_ = f.close()
			return err
		}
		size, torn, err := f.look()
		switch {
		case err != nil:
			_ = f.close()
			return err
		case f.open == nil:
			continue
		case size > 0 && size+int64(len(text)) > f.size:
			err = f.rename()
			_ = f.close() // what is in it is on the disk
			if err != nil {
				return fmt.Errorf("rotate: %w", err)
			}
			continue
		case torn:
			text = append([]byte{'\n'}, text...)
		}
		_, err = f.open.Write(text)
		if unlockErr := unlock(f.open); err == nil {
			err = unlockErr
		}
		return err
	}
	return errors.New("others rotate it all the time")
}

// look returns the size of the open file and whether its last line is cut off,
// by a full disk or a kill. It closes a file that is not at the path any more.
func (f *file) look() (size int64, torn bool, err error) {
	ours, err := f.open.Stat()
	if err != nil {
		return 0, false, err
	}
	if here, err := os.Stat(f.path); err != nil || !os.SameFile(here, ours) {
		return 0, false, f.close()
	}
	if ours.Size() == 0 {
		return 0, false, nil
	}
	var last [1]byte
	_, err = f.open.ReadAt(last[:], ours.Size()-1)
	return ours.Size(), last[0] != '\n', err
}

// begin opens the file, and makes it if there is none.
func (f *file) begin() error {
	was, err := os.Stat(f.path)
	if err == nil && !was.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	made := errors.Is(err, fs.ErrNotExist)
	if err != nil && !made {
		return err
	}
	// Read as well: whether the last line is whole shows at its end.
	o, err := os.OpenFile(f.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	if made {
		if err := syncDirectory(filepath.Dir(f.path)); err != nil {
			_ = o.Close()
			return err
		}
	}
	f.open = o
	return nil
}

// rename makes the file FILE.1, FILE.1 FILE.2 and so on. The file is renamed
// last, so that an interrupted rotation is simply begun again: it finds a name
// that is free and moves no more than the files before it.
func (f *file) rename() error {
	name := func(n int) string { return f.path + "." + strconv.Itoa(n) }
	free := 1
	for ; free < f.keep; free++ { // the last one is replaced
		if _, err := os.Lstat(name(free)); errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	for n := free; n > 1; n-- {
		if err := os.Rename(name(n-1), name(n)); err != nil {
			return err
		}
	}
	if err := os.Rename(f.path, name(1)); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(f.path))
}

func (f *file) close() error {
	if f.open == nil {
		return nil
	}
	o := f.open
	f.open = nil
	return o.Close()
}

// syncDirectory makes the names in a directory outlast a crash.
func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
