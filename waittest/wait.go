// Package waittest lets tests wait for what comes about by itself, however slow the
// machine is: nobody sleeps for a time that ought to be enough.
package waittest

import (
	"testing"
	"time"
)

const (
	// patience is longer than anything takes on the slowest machine that tests run on.
	patience = 3 * time.Minute
	// pause is how long a test waits between two looks.
	pause = 10 * time.Millisecond
)

// Until looks again and again, from the test's goroutine, whether something is so, and
// ends the test when it is not within three minutes. What says, for people, what should
// have become so.
func Until(t testing.TB, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(pause) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
