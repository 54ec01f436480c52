package bus

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/transform"
)

// Put says how the events of a pipe become those of a bus: what the pipe delivers, a
// JSON object, is the detail. Texts that are JSON paths as a whole, such as $.value.id,
// stand for what is found there in the event before it was transformed, for nothing if
// that is nothing.
type Put struct {
	Account string `json:"account"`
	Region  string `json:"region"`
	// Source and DetailType are required.
	Source     string   `json:"source"`
	DetailType string   `json:"detail_type"`
	Resources  []string `json:"resources,omitempty"`
	// Time is a path to a time: a text in RFC 3339, or a number of seconds or
	// milliseconds since 1970. Empty: when the event is put.
	Time string `json:"time,omitempty"`
}

// A maker makes envelopes.
type maker struct {
	put   Put
	paths transform.Paths
	// These are the texts in the order source, detail type, time, resources.
	texts []dynamic
}

// A dynamic is a text, or the number of a path where that is not -1.
type dynamic struct {
	text string
	path int
}

func (p *Put) compile() (*maker, error) {
	m := &maker{put: *p}
	if p.Source == "" || p.DetailType == "" {
		return nil, errors.New("an event needs a source and a detail type")
	}
	for _, text := range append([]string{p.Source, p.DetailType, p.Time}, p.Resources...) {
		d := dynamic{text: text, path: -1}
		if path, rest, err := transform.CutPath(text); err == nil && rest == "" {
			if d.path, err = m.paths.Add(path); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		}
		m.texts = append(m.texts, d)
	}
	if p.Time != "" && m.texts[2].path < 0 {
		return nil, errors.New("the time is no JSON path")
	}
	return m, nil
}

// refused is an event that cannot be put: another attempt would not change that.
func refused(format string, args ...any) error {
	return &target.Failure{Final: true, Code: target.CodeParameter, Err: fmt.Errorf(format, args...)}
}

// envelope makes the nth event of a record. It has the same id in every attempt.
func (m *maker) envelope(pipe string, e *event.Event, nth int) ([]byte, error) {
	detail, err := event.CompactDetail(slices.Clone(e.Payload()))
	if err != nil {
		return nil, refused("the detail of an event has to be a JSON object: %w", err)
	}
	doc := []byte(e.Document)
	if doc == nil && m.paths.Len() > 0 {
		doc, _, _ = event.AppendDocument(nil, e.Record, event.AllFields)
	}
	out := event.Envelope{ID: m.id(pipe, e, nth), Account: m.put.Account, Region: m.put.Region, Time: time.Now(), Detail: detail}
	err = m.paths.Find(doc, func(values [][]byte) error {
		found := make([][]byte, len(m.texts))
		for i, d := range m.texts {
			if d.path >= 0 {
				found[i] = values[d.path]
			}
		}
		text := func(i int) string {
			if m.texts[i].path < 0 {
				return m.texts[i].text
			}
			return string(transform.AppendText(nil, found[i]))
		}
		out.Source, out.DetailType = text(0), text(1)
		for i := 3; i < len(m.texts); i++ {
			out.Resources = append(out.Resources, text(i))
		}
		if len(found[2]) > 0 && string(found[2]) != "null" {
			var err error
			out.Time, err = timeOf(found[2])
			return err
		}
		return nil
	})
	switch {
	case errors.Is(err, transform.ErrDocument), errors.Is(err, transform.ErrTooLarge):
		return nil, refused("the event: %w", err)
	case err != nil:
		return nil, err
	case out.Source == "" || out.DetailType == "":
		return nil, refused("the event has no source or no detail type")
	case strings.HasPrefix(out.Source, "aws."):
		return nil, refused("a source cannot begin with aws.")
	}
	return out.Append(nil), nil
}

// id returns a UUID that is the same for every attempt.
func (m *maker) id(pipe string, e *event.Event, nth int) string {
	sum := sha256.Sum256([]byte(event.DeliveryID(pipe, e.Record) + ":" + strconv.Itoa(nth)))
	id, _ := uuid.FromBytes(sum[:16]) // there are 16
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id.String()
}

// latest is the last second that an event can have.
const latest = 253402300799

// timeOf reads a time.
func timeOf(value []byte) (time.Time, error) {
	var text string
	if json.Unmarshal(value, &text) == nil {
		t, err := time.Parse(time.RFC3339, text)
		if err != nil || t.UTC().Year() < 0 || t.UTC().Year() > 9999 {
			return t, refused("the time of the event is not one in RFC 3339")
		}
		return t, nil
	}
	n, err := strconv.ParseFloat(string(value), 64)
	if err == nil && n > latest {
		n /= 1000
	}
	if err != nil || n < 0 || n > latest {
		return time.Time{}, refused("the time of the event is neither seconds nor milliseconds since 1970")
	}
	whole, part := math.Modf(n)
	return time.Unix(int64(whole), int64(part*1e9)), nil
}
