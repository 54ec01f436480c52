package objectstore

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/klamm-gateway/klamm/event"
)

const (
	// With the digest, an object of a part of a batch (of a replay, say) never takes
	// the place of the whole.
	defaultKey = "{topic}/{year}/{month}/{day}/{partition}-{first_offset}-{last_offset}-{digest}.{ext}"
	// maxKey is what S3 allows, in bytes.
	maxKey = 1024
	// maxSegment is what file systems allow between two slashes, less the room
	// for the name of a temporary file.
	maxSegment = 220
)

// A template makes keys of batches.
type template struct {
	parts     []part
	pipe, ext string
}

// A part is a literal, or a placeholder by its name.
type part struct {
	text        string
	placeholder bool
}

// placeholders are what a template may have.
var placeholders = []string{"pipe", "topic", "partition", "first_offset", "last_offset", "year", "month", "day", "hour", "digest", "ext"}

// required are the placeholders without which two batches would have one key,
// and one object take the place of the other.
var required = []string{"topic", "partition", "first_offset", "last_offset"}

// compile prepares a template; empty is the default.
func compile(text, pipe, ext string) (*template, error) {
	if text == "" {
		text = defaultKey
	}
	t := &template{pipe: pipe, ext: ext}
	has := map[string]bool{}
	for rest := text; rest != ""; {
		literal, behind, open := strings.Cut(rest, "{")
		if literal != "" {
			t.parts = append(t.parts, part{text: literal})
		}
		if !open {
			break
		}
		name, after, closed := strings.Cut(behind, "}")
		if !closed || !known(name) {
			return nil, fmt.Errorf("{%s is none of the placeholders {%s}", strings.TrimSuffix(behind, after), strings.Join(placeholders, "}, {"))
		}
		has[name] = true
		t.parts = append(t.parts, part{name, true})
		rest = after
	}
	for _, name := range required {
		if !has[name] {
			return nil, fmt.Errorf("has no {%s}: batches would overwrite each other's objects", name)
		}
	}
	// The values of a record cannot make a key bad, except by their length.
	sample := values{topic: "t", partition: "0", first: "0", last: "0", year: "2000", month: "01", day: "01", hour: "00", digest: "0"}
	if err := check(t.fill(&sample)); err != nil {
		return nil, err
	}
	return t, nil
}

func known(name string) bool {
	for _, p := range placeholders {
		if p == name {
			return true
		}
	}
	return false
}

// values are what placeholders stand for.
type values struct{ topic, partition, first, last, year, month, day, hour, digest string }

// render returns the key of a batch. It depends on the coordinates of its
// records, the time of the first one, and nothing else.
func (t *template) render(events []*event.Event) (string, error) {
	first, last := events[0].Record, events[len(events)-1].Record
	at := first.Timestamp.UTC()
	v := values{
		topic: first.Topic, partition: strconv.Itoa(int(first.Partition)), first: strconv.FormatInt(first.Offset, 10), last: strconv.FormatInt(last.Offset, 10),
		year: fmt.Sprintf("%04d", at.Year()), month: fmt.Sprintf("%02d", int(at.Month())), day: fmt.Sprintf("%02d", at.Day()), hour: fmt.Sprintf("%02d", at.Hour()),
	}
	for _, p := range t.parts {
		if p.placeholder && p.text == "digest" {
			v.digest = digest(events)
		}
	}
	key := t.fill(&v)
	return key, check(key)
}

// digest names a choice of offsets.
func digest(events []*event.Event) string {
	offsets := make([]byte, 0, 8*len(events))
	for _, e := range events {
		offsets = binary.BigEndian.AppendUint64(offsets, uint64(e.Record.Offset))
	}
	sum := sha256.Sum256(offsets)
	return hex.EncodeToString(sum[:8])
}

func (t *template) fill(v *values) string {
	var b strings.Builder
	for _, p := range t.parts {
		if !p.placeholder {
			b.WriteString(p.text)
			continue
		}
		b.WriteString(map[string]string{
			"pipe": t.pipe, "topic": v.topic, "partition": v.partition, "first_offset": v.first, "last_offset": v.last,
			"year": v.year, "month": v.month, "day": v.day, "hour": v.hour, "digest": v.digest, "ext": t.ext,
		}[p.text])
	}
	return b.String()
}

// check refuses keys that could mean another place than one below the store's
// root, or that a store cannot have.
func check(key string) error {
	switch {
	case key == "" || len(key) > maxKey:
		return fmt.Errorf("a key has 1 to %d bytes", maxKey)
	case !utf8.ValidString(key) || hasControl(key) || strings.ContainsAny(key, `\:`):
		return errors.New("a key has no control characters, neither backslash nor colon")
	case path.IsAbs(key) || path.Clean(key) != key || key == "." || key == ".." || strings.HasPrefix(key, "../"):
		return errors.New("a key does not begin or end with a slash and has no part that is empty or made of dots alone")
	}
	for segment := range strings.SplitSeq(key, "/") {
		if len(segment) > maxSegment {
			return fmt.Errorf("a part of a key, between two slashes, has at most %d bytes", maxSegment)
		}
		if strings.HasPrefix(segment, temporary) {
			return fmt.Errorf("a part of a key does not begin with %s", temporary)
		}
	}
	return nil
}
