package schema

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/google/uuid"
)

const (
	confluentMagic = 0
	glueVersion    = 3
	glueHeader     = 18
	glueZlib       = 5
	// maxInflated bounds what a compressed value may become, in bytes.
	maxInflated = 64 << 20
)

// A Frame is what stands in front of a value that names its schema
// (event-source-mapping.md 12.1).
type Frame struct {
	// ID is the schema's id in a Confluent registry. It counts where Glue is the
	// zero value.
	ID int
	// Glue is the schema version's id in an AWS Glue registry.
	Glue uuid.UUID
	// Payload is what follows, inflated; of Protobuf it begins with the message
	// indexes.
	Payload []byte
}

// String is the id as people write it.
func (f *Frame) String() string {
	if f.Glue != uuid.Nil {
		return f.Glue.String()
	}
	return fmt.Sprint(f.ID)
}

// Framed says whether bytes begin as those of a Confluent registry do.
func Framed(data []byte) bool { return len(data) >= 5 && data[0] == confluentMagic }

// gluedFrame says whether bytes begin as those of AWS Glue do.
func gluedFrame(data []byte) bool {
	return len(data) >= glueHeader && data[0] == glueVersion && (data[1] == 0 || data[1] == glueZlib)
}

// ParseFrame takes apart the bytes of a record. An error says that they have no
// frame, or a broken one.
func ParseFrame(data []byte) (Frame, error) {
	switch {
	case Framed(data):
		return Frame{ID: int(binary.BigEndian.Uint32(data[1:])), Payload: data[5:]}, nil
	case gluedFrame(data):
		f := Frame{Glue: uuid.UUID(data[2:glueHeader]), Payload: data[glueHeader:]}
		if data[1] == 0 {
			return f, nil
		}
		var err error
		f.Payload, err = inflate(f.Payload)
		return f, err
	}
	return Frame{}, unfit("does not begin with the id of a schema")
}

func inflate(data []byte) ([]byte, error) {
	z, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, unfit("is not compressed as it says")
	}
	out, err := io.ReadAll(io.LimitReader(z, maxInflated+1))
	if err != nil {
		return nil, unfit("is not compressed as it says")
	}
	if len(out) > maxInflated {
		return nil, unfit("is larger than %d bytes", maxInflated)
	}
	return out, nil
}

// appendFrame appends the frame of a Confluent registry.
func appendFrame(dst []byte, id int) []byte {
	return binary.BigEndian.AppendUint32(append(dst, confluentMagic), uint32(id))
}

// maxIndexes bounds how deep a message may stand in others.
const maxIndexes = 32

// parseIndexes reads the path to a message: the index of a message of the file,
// then of one within it, and so on. A lone 0 stands for the first message.
func parseIndexes(data []byte) (path []int, rest []byte, err error) {
	count, n := binary.Varint(data)
	if n <= 0 || count < 0 || count > maxIndexes {
		return nil, nil, unfit("does not begin with the indexes of a message")
	}
	data = data[n:]
	if count == 0 {
		return []int{0}, data, nil
	}
	path = make([]int, count)
	for i := range path {
		v, n := binary.Varint(data)
		if n <= 0 || v < 0 || v > 1<<20 {
			return nil, nil, unfit("does not begin with the indexes of a message")
		}
		path[i], data = int(v), data[n:]
	}
	return path, data, nil
}
