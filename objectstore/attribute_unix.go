//go:build linux || darwin || freebsd || netbsd

package objectstore

import (
	"os"

	"golang.org/x/sys/unix"
)

// attributeName is the extended attribute that holds the metadata of an object.
const attributeName = "user.klamm"

// maxAttribute is how much of it is read, in bytes.
const maxAttribute = 8 << 10

// attribute returns the metadata of a file.
func attribute(f *os.File) ([]byte, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	text, n := make([]byte, maxAttribute), 0
	controlErr := raw.Control(func(fd uintptr) { n, err = unix.Fgetxattr(int(fd), attributeName, text) })
	if controlErr != nil {
		return nil, controlErr
	}
	if err != nil {
		return nil, err
	}
	return text[:n], nil
}

// setAttribute keeps the metadata of a file.
func setAttribute(f *os.File, text []byte) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if controlErr := raw.Control(func(fd uintptr) { err = unix.Fsetxattr(int(fd), attributeName, text, 0) }); controlErr != nil {
		return controlErr
	}
	return err
}
