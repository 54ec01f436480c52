package log

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const (
	prefix = "klamm.log."
	// maxName is how long a log's name may be.
	maxName = 512
	// maxTopic is how long the name of a topic may be.
	maxTopic = 249
	// hashed is how many characters of a name stay readable in a topic that is
	// named by a hash.
	hashed = 180
)

// Topic returns the topic in which the log of that name is kept. Two names never
// have the same topic, and a name has the same one everywhere and always:
//
//	orders            klamm.log.orders
//	app.orders        klamm.log.app.orders
//	/aws/events/o     klamm.log..aws.events.o
//	a/b, /v1.2/b      klamm.log...a.b-HASH, klamm.log....v1.2.b-HASH
//
// A name that a topic may have stands as it is. In one that begins with a slash
// each slash becomes a dot, as long as the name has no dots itself and no empty
// part; names of topics that begin with a dot are kept free for that. All other
// names are told apart by a hash behind two dots.
func Topic(name string) string {
	switch {
	case len(prefix)+len(name) > maxTopic:
	case !strings.HasPrefix(name, ".") && legal(name):
		return prefix + name
	case strings.HasPrefix(name, "/") && !strings.ContainsAny(name, ".#") && !strings.Contains(name, "//") && !strings.HasSuffix(name, "/") && valid(name):
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

// valid says whether a log may have that name.
func valid(name string) bool {
	return name != "" && len(name) <= maxName && legal(strings.NewReplacer("/", "-", "#", "-").Replace(name))
}

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
