package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

// A backtestResult is what a backtest found; its JSON is the document that
// scripts read.
type backtestResult struct {
	Topic       string           `json:"topic"`
	Since       string           `json:"since"`
	Until       string           `json:"until"`
	Complete    bool             `json:"complete"`
	Records     int64            `json:"records"`
	Matched     int64            `json:"matched"`
	Ignored     int64            `json:"ignored"`
	Undecodable int64            `json:"undecodable"`
	Micros      float64          `json:"microseconds_per_event"`
	Partitions  []backtestRange  `json:"partitions"`
	Samples     []backtestSample `json:"samples"`
}

// A backtestRange is what was to be read of a partition: the offsets from From to
// before To.
type backtestRange struct {
	Partition int32 `json:"partition"`
	From      int64 `json:"from"`
	To        int64 `json:"to"`
}

// A backtestSample is a record that matched.
type backtestSample struct {
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Timestamp int64  `json:"timestamp"` // milliseconds
	Key       string `json:"key"`       // the beginning of their JSON
	Value     string `json:"value"`
}

// report puts the counts into the result.
func (m *recordMatcher) report(r *backtestResult) {
	r.Records, r.Matched, r.Ignored, r.Undecodable = m.records, m.matched, m.ignored, m.undecodable
	if m.records > 0 {
		r.Micros = math.Round(float64(m.took.Nanoseconds())/float64(m.records)) / 1000
	}
}

func (r *backtestResult) print(c *client) error {
	if c.output == "json" {
		return c.json(r)
	}
	var b bytes.Buffer
	partial := ""
	if !r.Complete {
		partial = ", not read to its end"
	}
	fmt.Fprintf(&b, "topic %s, partitions: %d, from %s to %s%s\n\n", r.Topic, len(r.Partitions), r.Since, r.Until, partial)
	t := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "records\t%d\t\n", r.Records)
	fmt.Fprintf(t, "matched\t%d\t%s\n", r.Matched, share(r.Matched, r.Records))
	fmt.Fprintf(t, "ignored\t%d\tmatched, but the pattern did not look at their key or value because of its form\n", r.Ignored)
	fmt.Fprintf(t, "undecodable\t%d\t\n", r.Undecodable)
	fmt.Fprintf(t, "match time\t%.3f\tµs per event\n", r.Micros)
	_ = t.Flush()
	if len(r.Samples) > 0 {
		b.WriteByte('\n')
		fmt.Fprintln(t, "PARTITION\tOFFSET\tTIME\tKEY\tVALUE")
		for _, s := range r.Samples {
			fmt.Fprintf(t, "%d\t%d\t%s\t%s\t%s\n", s.Partition, s.Offset, time.UnixMilli(s.Timestamp).UTC().Format("2006-01-02T15:04:05.000Z"), s.Key, s.Value)
		}
		_ = t.Flush()
	}
	_, err := c.out.Write(trimLines(b.Bytes()))
	return err
}

// trimLines removes the spaces that a table leaves at the ends of its lines.
func trimLines(text []byte) []byte {
	lines := bytes.Split(text, []byte("\n"))
	for i := range lines {
		lines[i] = bytes.TrimRight(lines[i], " ")
	}
	return bytes.Join(lines, []byte("\n"))
}

func share(part, whole int64) string {
	if whole == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f %%", 100*float64(part)/float64(whole))
}

// excerptChars is how much a sample shows of a key or value.
const excerptChars = 100

// excerptOf shows the beginning of a JSON value on one line.
func excerptOf(raw []byte) string {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return ""
	}
	text := b.Bytes()
	cut := ""
	if len(text) > 4*excerptChars {
		text, cut = text[:4*excerptChars], "..."
	}
	runes := []rune(strings.ToValidUTF8(string(text), ""))
	if len(runes) > excerptChars {
		runes, cut = runes[:excerptChars], "..."
	}
	return printable(string(runes)) + cut
}

// A progress shows on a terminal how far a backtest is. It writes nothing
// elsewhere.
type progress struct {
	w      io.Writer // nil: none
	before map[int32]int64
	total  int64
	shown  time.Time
	calls  int
}

// progressPause is the time between two lines of a progress.
const progressPause = 200 * time.Millisecond

func newProgress(w io.Writer, ranges []backtestRange) *progress {
	p := &progress{before: map[int32]int64{}, shown: time.Now()}
	for _, r := range ranges {
		p.before[r.Partition] = p.total - r.From
		p.total += r.To - r.From
	}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			p.w = w
		}
	}
	return p
}

// at says where the backtest is.
func (p *progress) at(partition int32, offset, records, matched int64) {
	if p.calls++; p.w == nil || p.calls%64 != 0 || time.Since(p.shown) < progressPause {
		return
	}
	p.shown = time.Now()
	const width = 30
	done := float64(p.before[partition]+offset+1) / float64(max(p.total, 1))
	bar := min(int(done*width), width)
	fmt.Fprintf(p.w, "\r\x1b[K[%s%s] %3.0f %%  %d records, %d matched", strings.Repeat("=", bar), strings.Repeat(" ", width-bar), 100*done, records, matched)
}

// clear removes the line.
func (p *progress) clear() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
