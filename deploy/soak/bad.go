package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

// bad is the proof that a read names what it cannot return, and gets past it.
type bad struct {
	*house
	size int // of the large record
}

func badFlags(flags *flag.FlagSet, h *house) func(context.Context, *table) error {
	b := &bad{house: h}
	flags.IntVar(&b.size, "size", 40_000_000, "bytes of the large record")
	return func(ctx context.Context, t *table) error {
		if b.size < 10_000 || b.size > 60_000_000 {
			return fmt.Errorf("the size must be from 10000 to 60000000")
		}
		return b.run(ctx, t)
	}
}

// The records of the topic, and what a read with maxBytes does with them.
const (
	largeOffset  = 1
	brokenOffset = 3
	lastOffset   = 4
	maxBytes     = 5000
)

func (b *bad) run(ctx context.Context, t *table) error {
	limit := fmt.Sprint(b.size + 1<<20)
	topic, err := b.topic(ctx, 1, kafka.Setting{Name: "max.message.bytes", Value: &limit})
	if err != nil {
		return err
	}
	for _, value := range []string{"0", `"` + strings.Repeat("x", b.size-2) + `"`, "2", "broken", "4"} {
		if err := b.write(ctx, []*kgo.Record{{Topic: topic, Value: []byte(value)}}); err != nil {
			return err
		}
	}
	for _, mode := range []string{"skip", "halt"} {
		b.config = "rest: {v2: {bad_records: " + mode + "}}\n"
		if err := b.fill(ctx); err != nil {
			return err
		}
		b.say("%d processes with bad_records: %s", b.count, mode)
		path, err := b.instance(ctx, topic+"-"+mode, topic)
		if err != nil {
			return err
		}
		if mode == "skip" {
			b.skip(ctx, t, path)
			b.whole(ctx, t, topic)
		} else {
			b.halt(ctx, t, path, topic)
		}
		for range b.count {
			b.end(false)
		}
	}
	return nil
}

// instance makes an instance that reads the topic as JSON.
func (b *bad) instance(ctx context.Context, group, topic string) (path string, err error) {
	path = "/consumers/" + group + "/instances/one"
	for _, c := range []struct{ path, body string }{
		{"/consumers/" + group, `{"name":"one","format":"json","auto.offset.reset":"earliest","auto.commit.enable":"false","consumer.request.timeout.ms":5000}`},
		{path + "/subscription", fmt.Sprintf(`{"topics":[%q]}`, topic)},
	} {
		if a := b.call(ctx, "POST", c.path, mediaV2, c.body, ""); a.status/100 != 2 {
			return "", fmt.Errorf("make an instance: %d %s", a.status, a.body)
		}
	}
	return path, nil
}

// An entry is one of the array that a read answers with.
type entry struct {
	Offset    int64
	Value     json.RawMessage
	ErrorCode int    `json:"error_code"`
	Error     string `json:"error"`
}

func entries(a answer) (all []entry, ok bool) {
	return all, a.status == http.StatusOK && json.Unmarshal([]byte(a.body), &all) == nil
}

// skip reads to the end: each record comes once, or is named with the reason.
func (b *bad) skip(ctx context.Context, t *table, path string) {
	got, calls, empty, refused := []entry{}, 0, 0, 0
	for len(got) <= lastOffset && calls < 20 {
		calls++
		more, ok := entries(b.call(ctx, "GET", path+fmt.Sprintf("/records?max_bytes=%d", maxBytes), mediaJSON, "", ""))
		if !ok {
			refused++
		}
		if len(more) == 0 {
			empty++
		}
		got = append(got, more...)
	}
	named, passed := 0, 0
	for i, e := range got {
		switch {
		case e.Offset != int64(i):
		case e.ErrorCode == 413 && i == largeOffset, e.ErrorCode == 40801 && i == brokenOffset:
			named++
		case e.ErrorCode == 0:
			passed++
		}
	}
	t.want("skip: records returned", passed, "3", passed == 3)
	t.want("skip: records named as too large and as broken", named, "2", named == 2)
	t.want("skip: reads", calls, "at most 10", calls <= 10)
	t.want("skip: reads without a record", empty, "at most 2, before the assignment", empty <= 2)
	t.none("skip: reads that were refused", refused)
}

// whole reads the large record, through each process.
func (b *bad) whole(ctx context.Context, t *table, topic string) {
	whole := 0
	for n := range b.count {
		path, err := b.instance(ctx, fmt.Sprintf("%s-whole-%d", topic, n), topic)
		if err != nil {
			t.want("the large record as a whole", err, "", false)
			return
		}
		for range n { // so that it is the holder's turn once
			b.next()
		}
		for calls, next := 0, int64(0); next <= largeOffset && calls < 10; calls++ {
			more, ok := entries(b.call(ctx, "GET", path+"/records", mediaJSON, "", ""))
			if !ok {
				break
			}
			for _, e := range more {
				if e.Offset == largeOffset && len(e.Value) == b.size {
					whole++
				}
				next = e.Offset + 1
			}
		}
	}
	t.want("the large record as a whole, without max_bytes", whole, fmt.Sprint(b.count), whole == b.count)
}

// halt reads up to each bad record, is told of it as often as it reads, and goes on
// behind it.
func (b *bad) halt(ctx context.Context, t *table, path, topic string) {
	read := func() answer {
		return b.call(ctx, "GET", path+fmt.Sprintf("/records?max_bytes=%d", maxBytes), mediaJSON, "", "")
	}
	returned, named, wrong := 0, 0, 0
	good := func(offset int64) {
		for range 3 { // the first may come before the assignment
			more, ok := entries(read())
			if ok && len(more) == 0 {
				continue
			}
			if ok && len(more) == 1 && more[0].Offset == offset {
				returned++
				return
			}
			break
		}
		wrong++
	}
	refused := func(status int, offset int64) {
		for range 2 * b.count {
			a := read()
			if a.status == status && strings.Contains(a.body, topic) && strings.Contains(a.body, fmt.Sprintf("offset %d", offset)) {
				named++
			} else {
				wrong++
			}
		}
	}
	seek := func(offset int64) {
		if a := b.call(ctx, "POST", path+"/positions", mediaV2, fmt.Sprintf(`{"offsets":[{"topic":%q,"partition":0,"offset":%d}]}`, topic, offset), ""); a.status != http.StatusNoContent {
			wrong++
		}
	}
	good(0)
	refused(http.StatusRequestEntityTooLarge, largeOffset)
	seek(largeOffset + 1)
	good(largeOffset + 1)
	refused(http.StatusRequestTimeout, brokenOffset)
	seek(brokenOffset + 1)
	good(lastOffset)
	t.want("halt: records returned", returned, "3", returned == 3)
	t.want("halt: reads that name the record in the way", named, fmt.Sprint(4*b.count), named == 4*b.count)
	t.none("halt: other answers", wrong)
}
