package event

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const (
	// maxTopic is how long the name of a topic may be.
	maxTopic = 249
	// hashed is how many characters of a name stay readable in a topic that is
	// named by a hash.
	hashed = 180
)

// TopicOf returns the topic in which something of that name is kept, behind a prefix
// of at most 30 characters that ends in a dot. Two names never have the same topic,
// and a name has the same one everywhere and always:
//
//	orders            PREFIXorders
//	app.orders        PREFIXapp.orders
//	/aws/events/o     PREFIX.aws.events.o
//	a/b, /v1.2/b      PREFIX..a.b-HASH, PREFIX...v1.2.b-HASH
//
// A name that a topic may have stands as it is. In one that begins with a slash
// each slash becomes a dot, as long as the name has no dots itself and no empty
// part; names of topics that begin with a dot are kept free for that. All other
// names are told apart by a hash behind two dots.
func TopicOf(prefix, name string) string {
	switch {
	case len(prefix)+len(name) > maxTopic:
	case !strings.HasPrefix(name, ".") && legal(name):
		return prefix + name
	case strings.HasPrefix(name, "/") && !strings.ContainsAny(name, ".#") && !strings.Contains(name, "//") && !strings.HasSuffix(name, "/") && legal(strings.ReplaceAll(name, "/", "-")):
		return prefix + strings.ReplaceAll(name, "/", ".")
	}
	sum := sha256.Sum256([]byte(name))
	readable := strings.Map(func(r rune) rune {
		if r < 0x80 && legal(string(r)) {
			return r
		}
		return '.'
	}, name)
	return prefix + ".." + readable[:min(len(readable), hashed)] + "-" + hex.EncodeToString(sum[:16])
}

// BusTopic returns the topic that the events of a bus lie in.
func BusTopic(bus string) string { return TopicOf("klamm.bus.", bus) }

// RetryTopic returns the topic in which events of a bus wait for their next attempt at
// one target.
func RetryTopic(bus string) string { return TopicOf("klamm.retry.", bus) }

// legal says whether a topic may have that name, its length apart.
func legal(name string) bool {
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return name != ""
}
