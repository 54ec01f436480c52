package azure1

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/scan"
)

// A reader walks once through a request body, in place: keys and values of
// records become slices of it.
type reader struct {
	b []byte
	i int
}

// parseRecords reads {"records": [{"key", "value", "partition"}, ...]}. Strings
// become their text, everything else its JSON without the whitespace between
// tokens, byte for byte otherwise. The body is overwritten. Fields that this API
// does not have are refused: a header that is silently lost is a loss.
func parseRecords(b []byte) ([]kgo.Record, error) {
	if !utf8.Valid(b) {
		return nil, invalid("The body is not UTF-8.")
	}
	r := &reader{b: b}
	var records []kgo.Record
	err := r.document(func(name string) error {
		if name != "records" {
			return unknown(name)
		}
		records = records[:0]
		return r.list(func() error {
			records = append(records, kgo.Record{Partition: -1})
			return r.record(&records[len(records)-1], len(records)-1)
		})
	})
	if err == nil && len(records) == 0 {
		err = invalid("records must be an array that is not empty.")
	}
	return records, err
}

// record reads one record of a produce request.
func (r *reader) record(record *kgo.Record, index int) error {
	valued := false
	err := r.object(func(name string) (err error) {
		switch name {
		case "key":
			record.Key, err = r.data()
		case "value":
			valued = true
			record.Value, err = r.data()
		case "partition":
			n, given, err := r.number("partition", 0, math.MaxInt32)
			if given {
				record.Partition = int32(n)
			}
			return err
		default:
			return unknown(name)
		}
		return err
	})
	if err == nil && !valued {
		err = invalid("records[%d] has no value.", index)
	}
	return err
}

// parseTopic reads the optional body of a topic's creation. Settings are kept as
// the text they were written in, so that 604800000 does not become 6.048e+08.
func parseTopic(b []byte) (t kafka.NewTopic, err error) {
	r := &reader{b: b}
	r.space()
	if rest := bytes.TrimSpace(b[r.i:]); len(rest) == 0 || string(rest) == "null" {
		return t, nil
	}
	err = r.document(func(name string) error {
		switch name {
		case "partition_count":
			n, _, err := r.number(name, 1, math.MaxInt32)
			t.Partitions = int32(n)
			return err
		case "replication_factor":
			n, _, err := r.number(name, 1, math.MaxInt16)
			t.Replication = int16(n)
			return err
		case "topic_properties":
			if r.word("null") {
				return nil
			}
			return r.object(func(name string) error {
				value, err := r.scalar(name)
				t.Settings = append(t.Settings, kafka.Setting{Name: name, Value: &value})
				return err
			})
		}
		return unknown(name)
	})
	return t, err
}

// data reads a key or value.
func (r *reader) data() ([]byte, error) {
	if r.word("null") {
		return nil, nil
	}
	raw, err := r.value()
	if err != nil {
		return nil, err
	}
	if raw[0] != '"' {
		return scan.Compact(raw), nil
	}
	return text(raw), nil
}

// text is the text of a JSON string; never nil, since an empty text is not null.
func text(raw []byte) []byte {
	if _, escaped, _ := scan.String(raw, 0); escaped {
		var s string
		_ = json.Unmarshal(raw, &s) // it has been scanned already
		return append([]byte{}, s...)
	}
	return raw[1 : len(raw)-1 : len(raw)-1]
}

// scalar reads a string, number or boolean as the text it stands for.
func (r *reader) scalar(name string) (string, error) {
	raw, err := r.value()
	if err != nil {
		return "", err
	}
	switch raw[0] {
	case '{', '[', 'n':
		return "", invalid("The property %s must be a string, a number or a boolean.", quoted(name))
	case '"':
		return string(text(raw)), nil
	}
	return string(raw), nil
}

// number reads an integer, also one that stands in a string. A null is as good
// as absent.
func (r *reader) number(name string, low, high int64) (n int64, given bool, err error) {
	if r.word("null") {
		return 0, false, nil
	}
	raw, err := r.value()
	if err != nil {
		return 0, false, err
	}
	if raw[0] == '"' {
		raw = text(raw)
	}
	n, parseErr := strconv.ParseInt(string(raw), 10, 64)
	if parseErr != nil || n < low || n > high {
		return 0, false, invalid("%s must be a whole number from %d to %d.", name, low, high)
	}
	return n, true, nil
}

// document reads an object with nothing behind it.
func (r *reader) document(member func(name string) error) error {
	r.space()
	if err := r.object(member); err != nil {
		return err
	}
	if r.space(); r.i != len(r.b) {
		return r.malformed()
	}
	return nil
}

// object reads an object and calls member at the value of each member.
func (r *reader) object(member func(name string) error) error {
	if !r.at('{') {
		return r.unexpected("an object")
	}
	r.i++
	for first := true; ; first = false {
		r.space()
		if first && r.at('}') {
			r.i++
			return nil
		}
		if !r.at('"') {
			return r.malformed()
		}
		name, err := r.value()
		if err != nil {
			return err
		}
		if r.space(); !r.at(':') {
			return r.malformed()
		}
		r.i++
		r.space()
		if err := member(string(text(name))); err != nil {
			return err
		}
		if more, err := r.more('}'); !more {
			return err
		}
	}
}

// list reads an array and calls element at each of its values.
func (r *reader) list(element func() error) error {
	if !r.at('[') {
		return r.unexpected("an array")
	}
	r.i++
	for first := true; ; first = false {
		r.space()
		if first && r.at(']') {
			r.i++
			return nil
		}
		if err := element(); err != nil {
			return err
		}
		if more, err := r.more(']'); !more {
			return err
		}
	}
}

// more reads what stands behind a member or element.
func (r *reader) more(end byte) (bool, error) {
	r.space()
	switch {
	case r.at(','):
		r.i++
		return true, nil
	case r.at(end):
		r.i++
		return false, nil
	}
	return false, r.malformed()
}

// value reads any value.
func (r *reader) value() ([]byte, error) {
	start := r.i
	end, ok := scan.Value(r.b, start)
	r.i = end
	if !ok {
		return nil, r.malformed()
	}
	return r.b[start:end:end], nil
}

func (r *reader) space() { r.i = scan.Space(r.b, r.i) }

func (r *reader) at(c byte) bool { return r.i < len(r.b) && r.b[r.i] == c }

// word skips a literal, if it stands here.
func (r *reader) word(w string) bool {
	if len(r.b)-r.i < len(w) || string(r.b[r.i:r.i+len(w)]) != w {
		return false
	}
	r.i += len(w)
	return true
}

// unexpected refuses a value of another kind, unless it is not JSON at all.
func (r *reader) unexpected(want string) error {
	at := r.i
	if _, err := r.value(); err != nil {
		return err
	}
	return invalid("At byte %d there must be %s.", at+1, want)
}

func (r *reader) malformed() error {
	if r.i >= len(r.b) {
		return invalid("The body is not JSON: it ends after %d bytes.", len(r.b))
	}
	return invalid("The body is not JSON: there is a wrong character at byte %d.", r.i+1)
}

func unknown(name string) error { return invalid("There is no field %s here.", quoted(name)) }

// quoted is a name of the client's, fit for a message.
func quoted(name string) string {
	if len(name) > 60 {
		name = name[:60] + "..."
	}
	return strconv.Quote(name)
}
