package bench

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestReadersReadTheWholeTopic(t *testing.T) {
	needLinux(t)
	c := startConductor(t)
	const count, size = 20_000, 1024
	topic := "read"
	if err := c.createTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	play(t, "fill", fillRole{Brokers: c.brokers, Topic: topic, Count: count, Size: size})(resultPrefix)
	addr := play(t, "yardstick-read", readYardstick{Brokers: c.brokers, Topic: topic})(readyPrefix)
	for _, side := range []struct {
		role   string
		config any
		asks   bool // makes requests
	}{
		{"load-read", readRole{
			Measure: time.Millisecond, Addr: addr, Bare: true, Topic: topic, Partitions: c.Partitions, Count: count, Size: size, MaxBytes: 1 << 20, PID: os.Getpid(),
		}, true},
		{"yardstick-native-read", nativeReadYardstick{Measure: time.Millisecond, Brokers: c.brokers, Topic: topic, Count: count, Size: size}, false},
	} {
		t.Run(side.role, func(t *testing.T) {
			var r loadResult
			figures(t, play(t, side.role, side.config)(resultPrefix), &r)
			f := r.Figures
			if r.Acknowledged != count || f.Records < count/2 || f.Records >= count || f.Bytes != f.Records*size || f.RecordsPerSecond <= 0 {
				t.Errorf("figures: %+v, %d read", f, r.Acknowledged)
			}
			if (f.Requests > 0) != side.asks || (f.P50Micros > 0) != side.asks {
				t.Errorf("requests: %+v", f)
			}
		})
	}
}

func TestReadRecordsVerifiesEveryByte(t *testing.T) {
	const size = 300
	answer := func(seqs ...int64) string {
		b := []byte("[")
		for i, seq := range seqs {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendRead(b, &kgo.Record{Topic: "t", Value: appendDocument(nil, seq, time.Now(), size), Partition: 3, Offset: 1000 + seq})
		}
		return string(append(b, ']'))
	}
	for _, c := range []struct {
		name, in string
		want     int // records; -1: an error
	}{
		{"none", "[]", 0},
		{"one", answer(7), 1},
		{"three", answer(7, 8, 9), 3},
		{"no array", strings.Trim(answer(7), "[]"), -1},
		{"empty", "", -1},
		{"no end", strings.TrimSuffix(answer(7), "]"), -1},
		{"more after the end", answer(7) + "]", -1},
		{"two without a comma", answer(7)[:len(answer(7))-1] + answer(8)[1:], -1},
		{"another topic", strings.Replace(answer(7), `"t"`, `"u"`, 1), -1},
		{"a key", strings.Replace(answer(7), "null", "1", 1), -1},
		{"another value", strings.Replace(answer(7), "order", "Order", 1), -1},
		{"no partition", strings.Replace(answer(7), `"partition":3`, `"partition":`, 1), -1},
		{"no offset", strings.Replace(answer(7), `,"offset":1007`, "", 1), -1},
		{"an error", strings.Replace(answer(7), "}]", `,"error":"no"}]`, 1), -1},
		{"cut short", answer(7)[:100], -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var seqs []int64
			got, err := readRecords([]byte(c.in), "t", size, func(seq int64) { seqs = append(seqs, seq) })
			if (err != nil) != (c.want < 0) || err == nil && (got != c.want || len(seqs) != c.want) {
				t.Errorf("%d records %v, %v; want %d", got, seqs, err, c.want)
			}
		})
	}
}

func FuzzReadRecords(f *testing.F) {
	f.Add([]byte(`[{"topic":"t","key":null,"value":` + string(appendDocument(nil, 1, time.Now(), 300)) + `,"partition":0,"offset":12}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		found := 0
		got, err := readRecords(b, "t", 300, func(int64) { found++ })
		if got != found || err == nil && len(b) < 2+300*got {
			t.Errorf("%d records, %d found in %d bytes, %v", got, found, len(b), err)
		}
	})
}

func TestPassRefusesWhatWasThereBefore(t *testing.T) {
	needLinux(t)
	p := passes{pid: os.Getpid(), count: 100, size: 300}
	p.begin()
	read := func(seqs ...int64) func(func(int64)) (int, error) {
		return func(found func(int64)) (int, error) {
			for _, s := range seqs {
				found(s)
			}
			return len(seqs), nil
		}
	}
	for _, step := range []struct {
		name string
		seqs []int64
		ok   bool
	}{
		{"nothing", nil, true},
		{"some", []int64{1, 2, 3}, true},
		{"again", []int64{4, 3}, false},
		{"beyond the topic", []int64{100}, false},
	} {
		if err := p.take(time.Now(), read(step.seqs...)); (err == nil) != step.ok {
			t.Errorf("%s: %v", step.name, err)
		}
	}
	if p.seen != 4 || p.complete() {
		t.Errorf("%d seen", p.seen)
	}
	if err := p.end(); err == nil {
		t.Error("a pass of which nothing was measured ends well")
	}
}
