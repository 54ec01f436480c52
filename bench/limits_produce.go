package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
)

// largeRecords produces one record by each API, and reads one back.
func (c *conductor) largeRecords(ctx context.Context, o LimitOptions) ([]Limit, error) {
	text := largeText(o.RecordBytes)
	quoted := slices.Concat([]byte(`"`), text, []byte(`"`))
	const single, mediaV3 = "/topics/", "application/json"
	produces := []struct {
		name, title, path, media string
		body, value              []byte
	}{
		{"record-plain", "plain", single, mediaPlain, text, text},
		{"record-v2", "v2", single, mediaV2JSON, slices.Concat([]byte(`{"records":[{"value":`), quoted, []byte("}]}")), quoted},
		{"record-v3", "v3", "/v3/clusters/bench/topics/", mediaV3, slices.Concat([]byte(`{"value":{"type":"STRING","data":`), quoted, []byte("}}")), text},
	}
	var limits []Limit
	for _, p := range produces {
		topic := c.run + p.name
		if err := c.createLargeTopic(ctx, topic); err != nil {
			return nil, err
		}
		path := p.path + topic
		if p.media == mediaV3 {
			path += "/records"
		}
		title := fmt.Sprintf("a record of %s bytes by %s", thousands(float64(o.RecordBytes)), p.title)
		l, err := c.limit(ctx, p.name, title, func(ctx context.Context, k tested) (int64, int64, error) {
			answer, err := k.ask(ctx, http.MethodPost, path, p.media, p.body)
			if err == nil && !acknowledged(answer) {
				err = fmt.Errorf("the record was not produced: %.200s", answer)
			}
			return 1, int64(len(p.value)), err
		})
		if err == nil {
			err = c.holds(ctx, topic, p.value)
		}
		if err != nil {
			return nil, err
		}
		limits = append(limits, l)
	}
	title := fmt.Sprintf("a record of %s bytes read by v2", thousands(float64(o.RecordBytes)))
	l, err := c.limit(ctx, "record-read", title, func(ctx context.Context, k tested) (int64, int64, error) {
		return 1, int64(len(quoted)), k.readLarge(ctx, c.run+"record-v2", c.Partitions, quoted)
	})
	return append(limits, l), err
}

// acknowledged says whether the answer to one produced record, by whichever API,
// has its offset and no error.
func acknowledged(answer []byte) bool {
	var a struct {
		ErrorCode int    `json:"error_code"`
		Offset    *int64 `json:"offset"`
		Offsets   []struct {
			Offset    *int64 `json:"offset"`
			ErrorCode *int   `json:"error_code"`
		} `json:"offsets"`
	}
	if json.Unmarshal(answer, &a) != nil {
		return false
	}
	if a.Offset != nil {
		return a.ErrorCode == http.StatusOK && *a.Offset >= 0
	}
	return len(a.Offsets) == 1 && a.Offsets[0].ErrorCode == nil && a.Offsets[0].Offset != nil && *a.Offsets[0].Offset >= 0
}

// largeText is text that does not compress.
func largeText(n int) []byte {
	text := make([]byte, 0, n)
	for len(text) < n {
		text = append(text, fillerText()[:min(n-len(text), fillerBytes)]...)
	}
	return text
}

// createLargeTopic makes a topic that takes any record that fits into a body.
func (c *conductor) createLargeTopic(ctx context.Context, topic string) error {
	most := strconv.Itoa(80 << 20)
	return c.createTopicWith(ctx, topic, map[string]*string{"max.message.bytes": &most})
}

// holds verifies that a topic has one record, with this value.
func (c *conductor) holds(ctx context.Context, topic string, value []byte) error {
	ctx, cancel := context.WithTimeout(ctx, limitTimeout)
	defer cancel()
	client, err := newReader(c.brokers, topic)
	if err != nil {
		return fmt.Errorf("read topic %q: %w", topic, err)
	}
	defer client.Close()
	fetches := client.PollFetches(ctx)
	if err := fetches.Err(); err != nil {
		return fmt.Errorf("read topic %q: %w", topic, err)
	}
	records := fetches.Records()
	if len(records) != 1 || !bytes.Equal(records[0].Value, value) {
		return fmt.Errorf("topic %q does not hold the one record that was produced: %w", topic, errDocument)
	}
	return nil
}

// longStream sends very many records on one connection.
func (c *conductor) longStream(ctx context.Context, o LimitOptions) ([]Limit, error) {
	topic := c.run + "stream"
	if err := c.createTopic(ctx, topic); err != nil {
		return nil, err
	}
	title := fmt.Sprintf("a v3 stream of %s records of %d bytes", thousands(float64(o.StreamRecords)), o.ValueBytes)
	l, err := c.limit(ctx, "stream", title, func(ctx context.Context, k tested) (int64, int64, error) {
		r, err := c.perform(ctx, "load-stream", streamRole{Addr: k.addr, Topic: topic, Size: o.ValueBytes, Count: int64(o.StreamRecords), PID: k.pid()}, limitTimeout)
		if err == nil && r.Acknowledged != int64(o.StreamRecords) {
			err = fmt.Errorf("%d of %d records were acknowledged", r.Acknowledged, o.StreamRecords)
		}
		return r.Acknowledged, r.Acknowledged * int64(o.ValueBytes), err
	})
	if err == nil {
		err = c.produced(ctx, topic, l.Answered)
	}
	c.deleteTopic(ctx, topic)
	return []Limit{l}, err
}

// ask makes a request and returns the answer of a status that says it worked.
func (k tested) ask(ctx context.Context, method, path, media string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+k.addr+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", media)
	} else {
		req.Header.Set("Accept", media)
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, largestAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	case resp.StatusCode/100 != 2:
		return nil, fmt.Errorf("%s %s: status %d: %.200s", method, path, resp.StatusCode, answer)
	case len(answer) > largestAnswer:
		return nil, fmt.Errorf("%s %s: %w", method, path, errLarge)
	}
	return answer, nil
}

// largestAnswer bounds an answer that is verified.
const largestAnswer = 128 << 20

var errLarge = errors.New("the answer is too long")
