package objectstore

import (
	"bytes"
	"encoding/csv"
	"sync"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/transform"
)

// plainColumns are the columns of a CSV that names none.
var plainColumns = []Column{
	{Name: "topic", Path: "$.topic"}, {Name: "partition", Path: "$.partition"}, {Name: "offset", Path: "$.offset"},
	{Name: "timestamp", Path: "$.timestamp"}, {Name: "key", Path: "$.key"}, {Name: "value", Path: "$.body"},
}

// newCSV returns the encoding that writes a line of cells for each event.
func newCSV(c *CSV) (encoding, error) {
	columns := c.Columns
	if len(columns) == 0 {
		columns = plainColumns
	}
	p, err := newPicker(columns)
	if err != nil {
		return nil, err
	}
	var header []string
	if c.Header {
		for _, column := range columns {
			header = append(header, column.Name)
		}
	}
	return func(events []*event.Event) ([]byte, map[int]error, error) {
		var out bytes.Buffer
		w := csv.NewWriter(&out)
		if header != nil {
			if err := w.Write(header); err != nil {
				return nil, nil, err
			}
		}
		cells := make([]string, len(columns))
		failed := map[int]error{}
		for i, e := range events {
			err := p.pick(e, func(values [][]byte) error {
				for n, value := range values {
					cells[n] = string(transform.AppendText(nil, value))
				}
				return nil
			})
			if err != nil {
				failed[i] = err
				continue
			}
			if len(cells) == 1 && cells[0] == "" {
				// The empty line that the package writes is no line to readers.
				w.Flush()
				out.WriteString("\"\"\n")
				continue
			}
			if err := w.Write(cells); err != nil {
				return nil, nil, err
			}
		}
		w.Flush()
		return out.Bytes(), failed, w.Error()
	}, nil
}

// A picker picks columns from events. It is safe for concurrent use.
type picker struct {
	paths  transform.Paths
	fields event.Fields
	// ofValue and ofBody say that columns come from the record's value, and from
	// what the pipe delivers.
	ofValue, ofBody bool
	documents       sync.Pool // of *[]byte
}

func newPicker(columns []Column) (*picker, error) {
	p := &picker{}
	p.documents.New = func() any { return new([]byte) }
	for _, c := range columns {
		if err := addPath(&p.paths, c.Path); err != nil {
			return nil, err
		}
	}
	names, all := p.paths.Fields()
	if all {
		names = []string{"topic", "partition", "offset", "timestamp", "key", "headers", "value", "body"}
	}
	for _, name := range names {
		p.fields.Pick(name)
		p.ofValue = p.ofValue || name == "value"
		p.ofBody = p.ofBody || name == "body"
	}
	return p, nil
}

// pick calls found with the columns of an event: JSON, or nil where there is
// nothing. They are valid until found returns.
func (p *picker) pick(e *event.Event, found func(values [][]byte) error) error {
	buffer := p.documents.Get().(*[]byte)
	defer func() {
		if cap(*buffer) <= 1<<20 {
			p.documents.Put(buffer)
		}
	}()
	doc, _, form := event.AppendDocument((*buffer)[:0], e.Seen(), p.fields)
	*buffer = doc
	if p.ofValue && form > event.JSON {
		return errNotJSON
	}
	if p.ofBody {
		if payload := e.Payload(); payload != nil && !e.IsJSON() {
			return errNotJSON
		}
		doc = doc[:len(doc)-1]
		if doc[len(doc)-1] != '{' {
			doc = append(doc, ',')
		}
		doc = append(e.AppendJSON(append(doc, `"body":`...)), '}')
		*buffer = doc
	}
	return p.paths.Find(doc, found)
}
