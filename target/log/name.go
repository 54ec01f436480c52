package log

import (
	"strings"

	"github.com/klamm-gateway/klamm/event"
)

const (
	prefix = "klamm.log."
	// maxName is how long a log's name may be.
	maxName = 512
)

// Topic returns the topic in which the log of that name is kept; see event.TopicOf.
func Topic(name string) string { return event.TopicOf(prefix, name) }

// valid says whether a log may have that name.
func valid(name string) bool {
	return name != "" && len(name) <= maxName && legal(strings.NewReplacer("/", "-", "#", "-").Replace(name))
}

// legal says whether a topic may have that name, its length apart.
func legal(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}
