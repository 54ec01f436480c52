//go:build !linux && !darwin && !freebsd && !netbsd

package objectstore

import (
	"errors"
	"os"
)

func attribute(*os.File) ([]byte, error) { return nil, errors.ErrUnsupported }

func setAttribute(*os.File, []byte) error { return errors.ErrUnsupported }
