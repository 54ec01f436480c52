package event

import (
	"time"

	"github.com/klamm-gateway/klamm/scan"
)

// ArchiveTopic returns the topic that the events of an archive lie in.
func ArchiveTopic(archive string) string { return TopicOf("klamm.archive.", archive) }

// TimeOf returns the time of an event, as its envelope has it; false: it is no envelope.
func TimeOf(envelope []byte) (at time.Time, ok bool) {
	whole := members(envelope, func(name string, from, to int) bool {
		if name != "time" {
			return true
		}
		if to-from < 2 || envelope[from] != '"' {
			return false
		}
		var err error
		at, err = time.Parse(time.RFC3339, string(envelope[from+1:to-1]))
		ok = err == nil
		return false
	})
	return at, ok && !whole
}

// AppendReplayed appends an envelope that has the name of a replay between its region
// and its resources (event-bus.md 2), and is the same otherwise. False: it is no
// envelope, or has come from a replay itself; dst is as it was then.
func AppendReplayed(dst, envelope []byte, replay string) ([]byte, bool) {
	behind := 0
	whole := members(envelope, func(name string, _, to int) bool {
		if name == "region" {
			behind = to
		}
		return name != "replay-name"
	})
	if !whole || behind == 0 {
		return dst, false
	}
	dst = append(dst, envelope[:behind]...)
	dst = append(dst, `,"replay-name":`...)
	dst = scan.AppendString(dst, replay)
	return append(dst, envelope[behind:]...), true
}

// members calls see with the members of a JSON object: the name as it is written, and
// from where to where its value goes. It returns whether all of the text is one object
// and see has never returned false.
func members(b []byte, see func(name string, from, to int) bool) bool {
	i := scan.Space(b, 0)
	if i >= len(b) || b[i] != '{' {
		return false
	}
	i = scan.Space(b, i+1)
	if i < len(b) && b[i] == '}' {
		return scan.Space(b, i+1) == len(b)
	}
	for {
		if i >= len(b) || b[i] != '"' {
			return false
		}
		end, _, ok := scan.String(b, i)
		if !ok {
			return false
		}
		from := scan.Space(b, end)
		if from >= len(b) || b[from] != ':' {
			return false
		}
		from = scan.Space(b, from+1)
		to, ok := scan.Value(b, from)
		if !ok || !see(string(b[i+1:end-1]), from, to) {
			return false
		}
		i = scan.Space(b, to)
		if i >= len(b) {
			return false
		}
		if b[i] == '}' {
			return scan.Space(b, i+1) == len(b)
		}
		if b[i] != ',' {
			return false
		}
		i = scan.Space(b, i+1)
	}
}
