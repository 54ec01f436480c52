package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"
)

// LimitOptions say how much klamm is asked to hold at once. Start from
// DefaultLimits.
type LimitOptions struct {
	// Brokers are bootstrap servers; none starts the embedded broker.
	Brokers []string
	// RecordBytes is the length of the one large record, 1,000 to 60,000,000; it
	// has to fit into a request body, for which klamm's default is 64 MiB.
	RecordBytes int
	// StreamRecords is the length of the stream, 1 to 1,000,000,000.
	StreamRecords int
	// Consumers is how many consumer instances there are at once, 1 to 1,000.
	Consumers int
	// Topics is how many topics are listed, 1 to 100,000.
	Topics int
	// ValueBytes is the length of a record's value in the stream and in what
	// the consumer instances read.
	ValueBytes int
	// Executable is the klamm that is measured and that plays all roles; empty
	// is the running program.
	Executable string
	// Progress is told what is being done, a line at a time; nil is silent.
	Progress io.Writer
}

// DefaultLimits returns the options of klamm bench limits without flags.
func DefaultLimits() LimitOptions {
	return LimitOptions{RecordBytes: 40_000_000, StreamRecords: 1_000_000, Consumers: 500, Topics: 1_000, ValueBytes: 256}
}

// Validate returns ErrOptions, with the name of the flag, for the first option
// that is out of its range.
func (o LimitOptions) Validate() error {
	for _, v := range []struct {
		flag        string
		value       int
		least, most int
	}{
		{"record-bytes", o.RecordBytes, 1_000, 60_000_000},
		{"stream-records", o.StreamRecords, 1, 1_000_000_000},
		{"consumers", o.Consumers, 1, 1_000},
		{"topics", o.Topics, 1, 100_000},
		{"value-bytes", o.ValueBytes, minDocument, maxDocument},
	} {
		if v.value < v.least || v.value > v.most {
			return fmt.Errorf("%w: --%s %d: want %d to %d", ErrOptions, v.flag, v.value, v.least, v.most)
		}
	}
	return nil
}

// A LimitReport is how much memory klamm needs for what it is asked to hold. Its
// JSON form is stable for scripts.
type LimitReport struct {
	Machine Machine `json:"machine"`
	// Broker is "embedded", or the bootstrap servers that were given.
	Broker string  `json:"broker"`
	Limits []Limit `json:"limits"`
}

// A Limit is one thing that klamm was asked to hold, in a process of its own.
type Limit struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	// Answered counts what was asked for and verified: requests, or the records
	// of the stream.
	Answered int64   `json:"answered"`
	Bytes    int64   `json:"bytes"` // of values, or of the lists
	Seconds  float64 `json:"seconds"`
	// IdleBytes and PeakBytes are the largest resident set of klamm before the
	// first request and after the last answer.
	IdleBytes int64 `json:"idle_rss_bytes"`
	PeakBytes int64 `json:"peak_rss_bytes"`
}

// limitTimeout bounds the work of each limit.
const limitTimeout = 2 * time.Minute

// Limits asks klamm for one large thing after the other, each time a klamm of
// its own, and reports how much memory that took. What is not answered, or wrongly,
// is an error. It ends all processes that it started and removes all topics,
// groups and files that it made. It works on Linux only.
func Limits(ctx context.Context, o LimitOptions) (*LimitReport, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	c, err := Options{Brokers: o.Brokers, Partitions: 4, ValueBytes: o.ValueBytes, Executable: o.Executable, Progress: o.Progress}.assemble(ctx)
	if err != nil {
		return nil, err
	}
	defer c.end()
	r := &LimitReport{Machine: thisMachine(), Broker: c.brokerName(), Limits: []Limit{}}
	for _, part := range []func(context.Context, LimitOptions) ([]Limit, error){c.largeRecords, c.longStream, c.manyConsumers, c.manyTopics} {
		limits, err := part(ctx, o)
		if err != nil {
			return nil, err
		}
		r.Limits = append(r.Limits, limits...)
	}
	return r, nil
}

// A tested is a klamm that is being asked for something large.
type tested struct {
	*child
	addr   string
	client *http.Client
}

// limit starts a klamm and lets work ask it; work returns how much was answered,
// and of how many bytes.
func (c *conductor) limit(ctx context.Context, name, title string, work func(context.Context, tested) (answered, bytes int64, err error)) (Limit, error) {
	l := Limit{Name: name, Title: title}
	wrap := func(err error) (Limit, error) { return l, fmt.Errorf("%s: %w", title, err) }
	klamm, addr, err := c.startKlamm(ctx, "")
	if err != nil {
		return wrap(err)
	}
	defer klamm.kill()
	transport := &http.Transport{MaxIdleConnsPerHost: 1000}
	defer transport.CloseIdleConnections()
	if l.IdleBytes, err = peakMemory(klamm.pid()); err != nil {
		return wrap(err)
	}
	ctx, cancel := context.WithTimeout(ctx, limitTimeout)
	defer cancel()
	start := time.Now()
	l.Answered, l.Bytes, err = work(ctx, tested{klamm, addr, &http.Client{Transport: transport}})
	if err != nil {
		return wrap(err)
	}
	l.Seconds = time.Since(start).Seconds()
	if l.PeakBytes, err = peakMemory(klamm.pid()); err != nil {
		return wrap(err)
	}
	c.progress("limits: %s: %s in %.1f s", title, mebibytes(l.PeakBytes), l.Seconds)
	return l, nil
}

// WriteTable writes the report for people.
func (r *LimitReport) WriteTable(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%d CPUs, %s/%s, %s; broker: %s\n\n", r.Machine.CPUs, r.Machine.OS, r.Machine.Arch, r.Machine.Go, r.Broker); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tanswered\tdata\ttime\tidle RSS\tpeak RSS\t")
	for _, l := range r.Limits {
		fmt.Fprintf(t, "%s\t%s\t%s\t%.1f s\t%s\t%s\t\n", l.Title, thousands(float64(l.Answered)), mebibytes(l.Bytes), l.Seconds, mebibytes(l.IdleBytes), mebibytes(l.PeakBytes))
	}
	return t.Flush()
}
