package broker

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// After a kill, kfake takes transactions that were open for aborted, but writes
// no abort marker. Consumers that read from before skip everything that the same
// producer commits later, since only the marker tells them where the aborted
// part ends, and after another kill kfake takes the commit marker of a later
// transaction for that of the open one. So the broker looks for open
// transactions in the log before kfake reads it, and writes their markers before
// any producer can begin again.

// cleanFile lies in the data directory while no broker runs that has not been
// closed.
const cleanFile = "clean"

// An interruption is a transaction of which a partition has records but no end.
type interruption struct {
	topic     string
	partition int32
	producer  int64
	epoch     int16
}

// interruptions looks for transactions that the last broker on a data directory
// has left open. After a clean stop there is nothing to look for: those that are
// open then go on.
func interruptions(dir string) ([]interruption, error) {
	err := os.Remove(filepath.Join(dir, cleanFile))
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	partitions, err := filepath.Glob(filepath.Join(dir, "broker", "partitions", "*"))
	if err != nil {
		return nil, err
	}
	var found []interruption
	for _, p := range partitions {
		open, err := openTransactions(p)
		if err != nil {
			return nil, fmt.Errorf("look for open transactions: %w", err)
		}
		name := filepath.Base(p)
		cut := strings.LastIndexByte(name, '-')
		partition, err := strconv.ParseInt(name[cut+1:], 10, 32)
		if cut < 0 || err != nil {
			continue
		}
		topic, err := url.PathUnescape(name[:cut])
		if err != nil {
			continue
		}
		for producer, epoch := range open {
			found = append(found, interruption{topic, int32(partition), producer, epoch})
		}
	}
	return found, nil
}

// openTransactions returns the producers, with their epochs, that have written to
// a partition after their last marker in it.
func openTransactions(dir string) (map[int64]int16, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.dat"))
	if err != nil {
		return nil, err
	}
	base := func(file string) int64 {
		n, _ := strconv.ParseInt(strings.TrimSuffix(filepath.Base(file), ".dat"), 10, 64)
		return n
	}
	slices.SortFunc(files, func(a, b string) int { return int(min(1, max(-1, base(a)-base(b)))) })
	open := map[int64]int16{}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		err = readBatches(f, open)
		_ = f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return open, nil
}

const (
	batchHeader   = 61 // bytes of a record batch before its records
	transactional = 0x10
	control       = 0x20
)

// readBatches notes which producers begin and end transactions in a segment. What
// a kill has cut off at its end is left out, as kfake does.
func readBatches(segment io.Reader, open map[int64]int16) error {
	r := bufio.NewReaderSize(segment, 1<<20)
	var h [batchHeader]byte
	for {
		if _, err := io.ReadFull(r, h[:]); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return nil
			}
			return err
		}
		rest := int64(binary.BigEndian.Uint32(h[8:])) + 12 - batchHeader
		if rest < 0 || rest > 1<<30 {
			return nil
		}
		if n, err := io.CopyN(io.Discard, r, rest); err != nil || n < rest {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		attributes, producer := binary.BigEndian.Uint16(h[21:]), int64(binary.BigEndian.Uint64(h[43:]))
		switch {
		case attributes&control != 0:
			delete(open, producer)
		case attributes&transactional != 0:
			open[producer] = int16(binary.BigEndian.Uint16(h[51:]))
		}
	}
}

// abort writes the missing markers. Until it has, no producer gets an id.
func (b *Broker) abort(ctx context.Context, found []interruption) error {
	if len(found) == 0 {
		return nil
	}
	done := make(chan struct{})
	b.cluster.ControlKey(int16(kmsg.InitProducerID), func(req kmsg.Request) (kmsg.Response, error, bool) {
		select {
		case <-done:
			return nil, nil, false
		default:
		}
		b.cluster.KeepControl()
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode = kerr.CoordinatorLoadInProgress.Code
		return resp, nil, true
	})
	defer close(done)
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addrs...))
	if err != nil {
		return err
	}
	defer client.Close()
	for _, i := range found {
		if err := i.abort(ctx, client); err != nil {
			return fmt.Errorf("abort the transaction of producer %d in %s/%d: %w", i.producer, i.topic, i.partition, err)
		}
	}
	return nil
}

func (i interruption) abort(ctx context.Context, client *kgo.Client) error {
	req := kmsg.NewPtrWriteTxnMarkersRequest()
	marker := kmsg.NewWriteTxnMarkersRequestMarker()
	marker.ProducerID, marker.ProducerEpoch = i.producer, i.epoch
	topic := kmsg.NewWriteTxnMarkersRequestMarkerTopic()
	topic.Topic, topic.Partitions = i.topic, []int32{i.partition}
	marker.Topics = append(marker.Topics, topic)
	req.Markers = append(req.Markers, marker)
	for _, shard := range client.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return shard.Err
		}
		for _, m := range shard.Resp.(*kmsg.WriteTxnMarkersResponse).Markers {
			for _, t := range m.Topics {
				for _, p := range t.Partitions {
					// What is left of a topic that was deleted needs no marker.
					if err := kerr.ErrorForCode(p.ErrorCode); err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
						return err
					}
				}
			}
		}
	}
	return nil
}
