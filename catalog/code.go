package catalog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

// CodeTopic holds the packages of functions, in pieces: they are too large for a
// definition. A definition says at which offsets its pieces are.
const CodeTopic = "__klamm_code"

// codePiece is the size of a piece, in bytes: it fits brokers with their defaults.
const codePiece = 512 << 10

// Code says where a package of code lies.
type Code struct {
	// Digest is the SHA-256 of the package in base64.
	Digest string `json:"digest"`
	// Size is in bytes.
	Size int `json:"size"`
	// Key is what the pieces are stored under, and Offsets where they are.
	Key     string  `json:"key"`
	Offsets []int64 `json:"offsets"`
}

// Codes keeps packages of code in a topic. It is safe for concurrent use.
type Codes struct{ cluster *kafka.Cluster }

// NewCodes returns the packages of a cluster.
func NewCodes(cluster *kafka.Cluster) *Codes { return &Codes{cluster} }

// Put stores a package; digest is its SHA-256 in base64.
func (c *Codes) Put(ctx context.Context, digest string, archive []byte) (Code, error) {
	compact, largest := "compact", "1048588"
	if err := c.cluster.EnsureTopic(ctx, CodeTopic, 1, map[string]*string{"cleanup.policy": &compact, "max.message.bytes": &largest}); err != nil {
		return Code{}, unavailable(err)
	}
	code := Code{Digest: digest, Size: len(archive), Key: rand.Text()}
	var records []*kgo.Record
	for piece := range slices.Chunk(archive, codePiece) {
		records = append(records, &kgo.Record{Topic: CodeTopic, Partition: 0, Key: fmt.Appendf(nil, "%s/%d", code.Key, len(records)), Value: piece})
	}
	for _, result := range c.cluster.Produce(ctx, records...) {
		if result.Err != nil {
			c.Delete(ctx, Code{Key: code.Key, Offsets: make([]int64, len(records))})
			return Code{}, unavailable(result.Err)
		}
		code.Offsets = append(code.Offsets, result.Record.Offset)
	}
	return code, nil
}

// Get returns a package as it was stored. The caller compares its digest.
func (c *Codes) Get(ctx context.Context, code Code) ([]byte, error) {
	topic, err := c.cluster.Topic(ctx, CodeTopic)
	if err != nil {
		return nil, unavailable(err)
	}
	archive := make([]byte, 0, code.Size)
	for i, offset := range code.Offsets {
		key := fmt.Sprintf("%s/%d", code.Key, i)
		records, err := c.cluster.FetchFrom(ctx, topic, 0, offset, kafka.Limits{Records: 1})
		if err != nil {
			return nil, fmt.Errorf("piece %d in topic %s: %w", i, CodeTopic, err)
		}
		if len(records) == 0 || records[0].Offset != offset || string(records[0].Key) != key {
			return nil, fmt.Errorf("piece %d of %d is no longer in topic %s", i, len(code.Offsets), CodeTopic)
		}
		archive = append(archive, records[0].Value...)
	}
	return archive, nil
}

// Delete lets the pieces of a package go with the next compaction. What fails costs
// room in the topic and nothing else.
func (c *Codes) Delete(ctx context.Context, code Code) {
	records := make([]*kgo.Record, len(code.Offsets))
	for i := range code.Offsets {
		records[i] = &kgo.Record{Topic: CodeTopic, Partition: 0, Key: fmt.Appendf(nil, "%s/%d", code.Key, i)}
	}
	for _, result := range c.cluster.Produce(ctx, records...) {
		if result.Err != nil && !errors.Is(result.Err, context.Canceled) {
			return
		}
	}
}
