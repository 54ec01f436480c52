//go:build !unix

package bench

import "time"

func ownTime() time.Duration { return 0 }
