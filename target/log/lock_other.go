//go:build !unix

package log

import "os"

// lock does nothing: without advisory locks a file that is rotated has one
// writer.
func lock(*os.File) error { return nil }

func unlock(*os.File) error { return nil }
