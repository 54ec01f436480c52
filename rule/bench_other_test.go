//go:build !unix

package rule

import "time"

func processorTime() time.Duration { return 0 }
