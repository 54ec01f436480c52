package objectstore

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/scan"
	"github.com/klamm-gateway/klamm/target"
)

// encoding returns what makes the objects' bytes.
func (c *Config) encoding() (encoding, error) {
	compress := compressions[c.Compression]
	switch c.Format {
	case formatJSON:
		return compressed(array, compress), nil
	case formatCSV:
		section := c.CSV
		if section == nil {
			section = &CSV{}
		}
		encode, err := newCSV(section)
		if err != nil {
			return nil, err
		}
		return compressed(encode, compress), nil
	case formatParquet:
		section := c.Parquet
		if section == nil {
			section = &Parquet{}
		}
		return newParquet(section, c.Compression)
	default:
		return compressed(linesOf, compress), nil
	}
}

// array joins the payloads to a JSON array.
func array(events []*event.Event) ([]byte, map[int]error, error) {
	b := append(make([]byte, 0, sizeOf(events)), '[')
	for i, e := range events {
		if i > 0 {
			b = append(b, ',')
		}
		b = e.AppendJSON(b)
	}
	return append(b, ']'), nil, nil
}

// linesOf writes each payload as a line of JSON.
func linesOf(events []*event.Event) ([]byte, map[int]error, error) {
	b := make([]byte, 0, sizeOf(events))
	for _, e := range events {
		start := len(b)
		b = e.AppendJSON(b)
		if line := b[start:]; bytes.IndexByte(line, '\n') >= 0 || bytes.IndexByte(line, '\r') >= 0 {
			b = b[:start+len(scan.Compact(line))]
		}
		b = append(b, '\n')
	}
	return b, nil, nil
}

func sizeOf(events []*event.Event) int {
	size := 2
	for _, e := range events {
		size += len(e.Payload()) + 8
	}
	return size
}

// A compression appends the compressed form of a text.
type compression func(dst, text []byte) ([]byte, error)

// compressions are there by their names in the configuration. The same text
// always becomes the same bytes.
var compressions = map[string]compression{
	"":           asItIs,
	compressNone: asItIs,
	compressGzip: gzipped,
	compressZstd: zstandard,
}

func asItIs(dst, text []byte) ([]byte, error) { return append(dst, text...), nil }

func gzipped(dst, text []byte) ([]byte, error) {
	b := bytes.NewBuffer(dst)
	w := gzip.NewWriter(b)
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// encoder makes zstd frames from any number of goroutines. It holds memory, so
// it is made when it is first needed.
var encoder = sync.OnceValues(func() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(2))
})

func zstandard(dst, text []byte) ([]byte, error) {
	e, err := encoder()
	if err != nil {
		return nil, err
	}
	return e.EncodeAll(text, dst), nil
}

// compressed puts a compression behind an encoding.
func compressed(encode encoding, compress compression) encoding {
	return func(events []*event.Event) ([]byte, map[int]error, error) {
		body, failed, err := encode(events)
		if err != nil || len(failed) == len(events) {
			return nil, failed, err
		}
		if body, err = compress(nil, body); err != nil {
			return nil, nil, fmt.Errorf("compress: %w", err)
		}
		return body, failed, nil
	}
}

// errNotJSON says that a value cannot stand in a table.
var errNotJSON = target.Permanent(errors.New("the value is not JSON"))
