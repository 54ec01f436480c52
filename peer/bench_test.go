package peer_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

// BenchmarkRead reads 100 records of 1 KB at a time, from the process that holds the
// instance and through another one in turn, and compares the medians of the time and
// what both klamm processes together have spent on the CPU. One reader at a time shows
// the time; eight show the CPU that a busy machine needs.
func BenchmarkRead(b *testing.B) {
	for _, readers := range []int{1, 8} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) { benchmarkRead(b, readers) })
	}
}

const (
	benchAnswers = 150 // that a topic holds
	benchTurn    = 140 // reads that are direct or forwarded before it is the others' turn
)

func benchmarkRead(b *testing.B, readers int) {
	h := newHouseWith(b, 2, 0, "", &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: readers}})
	value := []byte(`"` + strings.Repeat("x", 1022) + `"`)
	all := make([]*benchReader, readers)
	for i := range all {
		all[i] = h.benchReader(b, fmt.Sprintf("%s-%d-%d", strings.NewReplacer("/", "-", "=", "-").Replace(b.Name()), b.N, i), value)
	}
	var took [2][]time.Duration
	var spent [2]time.Duration
	var mu sync.Mutex
	for turn := 0; b.Loop(); turn++ { // in turn, so that both see the same machine
		how := turn % 2
		before := h.cpu() // what it costs to fetch the records belongs to both
		for _, r := range all {
			r.rewind()
		}
		var wg sync.WaitGroup
		for _, r := range all {
			wg.Go(func() {
				for range benchTurn {
					start := time.Now()
					r.read(h.all[how])
					one := time.Since(start)
					mu.Lock()
					took[how] = append(took[how], one)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		spent[how] += h.cpu() - before
	}
	if len(took[1]) > 0 {
		slices.Sort(took[0])
		slices.Sort(took[1])
		direct, forwarded := took[0][len(took[0])/2], took[1][len(took[1])/2]
		b.ReportMetric(float64(direct.Microseconds()), "direct-µs")
		b.ReportMetric(float64(forwarded.Microseconds()), "forwarded-µs")
		b.ReportMetric(float64(forwarded)/float64(direct), "times")
		cpuDirect := float64(spent[0].Microseconds()) / float64(len(took[0]))
		cpuForwarded := float64(spent[1].Microseconds()) / float64(len(took[1]))
		b.ReportMetric(cpuDirect, "direct-cpu-µs")
		b.ReportMetric(cpuForwarded, "forwarded-cpu-µs")
	}
}

// cpu returns what the klamm processes have spent on the CPU; 0 where nobody says.
func (h *house) cpu() (sum time.Duration) {
	for _, p := range h.all {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
		for _, name := range threads {
			text, _ := os.ReadFile(name)
			var ran time.Duration
			if _, err := fmt.Sscan(string(text), &ran); err == nil {
				sum += ran
			}
		}
	}
	return sum
}

// A benchReader is an instance that is read again and again.
type benchReader struct {
	b     *testing.B
	c     *instance
	topic string
	query string
	want  int
}

func (h *house) benchReader(b *testing.B, topic string, value []byte) *benchReader {
	if err := h.cluster.CreateTopic(b.Context(), kafka.NewTopic{Name: topic, Partitions: 1, Replication: 1}); err != nil {
		b.Fatal(err)
	}
	for range benchAnswers {
		records := make([]*kgo.Record, 100)
		for i := range records {
			records[i] = &kgo.Record{Topic: topic, Value: value}
		}
		if err := h.cluster.Produce(b.Context(), records...).FirstErr(); err != nil {
			b.Fatal(err)
		}
	}
	r := &benchReader{
		b: b, c: h.create(h.all[0], topic, "one", earliest), topic: topic, want: 100 * len(value),
		query: fmt.Sprintf("/records?max_bytes=%d", 100*len(value)+1),
	}
	r.c.must(204, "POST", "/assignments", fmt.Sprintf(`{"partitions":[{"topic":%q,"partition":0}]}`, topic))
	return r
}

// rewind goes back to the first record, and waits until records are there.
func (r *benchReader) rewind() {
	r.c.must(204, "POST", "/positions/beginning", fmt.Sprintf(`{"partitions":[{"topic":%q,"partition":0}]}`, r.topic))
	r.read(r.c.h.all[0])
}

// read reads once.
func (r *benchReader) read(p *process) {
	status, said := r.c.h.call(p, "GET", r.c.path+r.query, "", "")
	if status != http.StatusOK || len(said) < r.want {
		r.b.Errorf("%d, %d bytes", status, len(said))
	}
}
