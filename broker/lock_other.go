//go:build !unix

package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// lockDir takes the data directory for this process. Without advisory locks the
// file itself is the lock: it is created exclusively and removed at the end, so
// after a crash it has to be removed by hand.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%w: %s (if none runs, remove the file %s)", ErrLocked, dir, filepath.Join(dir, "lock"))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrData, err)
	}
	return f, nil
}

func unlockDir(f *os.File) {
	_ = f.Close()
	_ = os.Remove(f.Name())
}
