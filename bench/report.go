package bench

import (
	"fmt"
	"io"
	"runtime"
	"strconv"
	"text/tabwriter"
	"time"
)

// A Report is what a run of the benchmark found. Its JSON form is stable for
// scripts.
type Report struct {
	Machine Machine `json:"machine"`
	// Broker is "embedded", or the bootstrap servers that were given.
	Broker     string `json:"broker"`
	ValueBytes int    `json:"value_bytes"`
	Seconds    int    `json:"seconds"`
	Rounds     int    `json:"rounds"`
	Cases      []Case `json:"cases"`
}

// Machine is where the benchmark ran.
type Machine struct {
	CPUs int    `json:"cpus"`
	OS   string `json:"os"`
	Arch string `json:"arch"`
	Go   string `json:"go"`
}

// thisMachine describes where the program runs.
func thisMachine() Machine {
	return Machine{CPUs: runtime.NumCPU(), OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version()}
}

// A Case is one kind of work, done by several sides in turn.
type Case struct {
	Door  string `json:"door"` // "front" or "pipe"
	Name  string `json:"name"`
	Title string `json:"title"`
	Sides []Side `json:"sides"`
	// Shares compare klamm's sides with the yardsticks' in records per second.
	Shares []Share `json:"shares"`
}

// A Side is who did the work.
type Side struct {
	Name   string    `json:"name"`
	Median Figures   `json:"median"` // figure by figure
	Runs   []Figures `json:"runs"`   // in the order of the rounds
}

// A Share is what klamm reaches of a yardstick.
type Share struct {
	Of     string    `json:"of"`     // the yardstick's name
	Side   string    `json:"side"`   // klamm's
	Median float64   `json:"median"` // 1 is as fast
	Runs   []float64 `json:"runs"`   // one for each round
	// CPU is the median of klamm's CPU time for a record divided by the
	// yardstick's. What else the machine does hardly changes it.
	CPU float64 `json:"cpu"`
}

// Figures are measured over one stretch of work. A zero means that the figure
// was not measured.
type Figures struct {
	Records          int64   `json:"records"`
	Requests         int64   `json:"requests"`
	Bytes            int64   `json:"bytes"` // of values
	Seconds          float64 `json:"seconds"`
	RecordsPerSecond float64 `json:"records_per_second"`
	P50Micros        float64 `json:"p50_us"`
	P99Micros        float64 `json:"p99_us"`
	CPUMicros        float64 `json:"cpu_us_per_record"` // of the server, user and system
	PeakBytes        int64   `json:"peak_rss_bytes"`    // of the server since its start
	Repeated         int64   `json:"repeated"`          // records delivered more than once
	// IdleBytes is by how much the server's resident set grew for each client of
	// an event stream on which nothing happens.
	IdleBytes int64 `json:"idle_bytes_per_client,omitempty"`
}

// settle computes what follows from the rest.
func (f *Figures) settle(cpu time.Duration) {
	if f.Seconds > 0 {
		f.RecordsPerSecond = float64(f.Records) / f.Seconds
	}
	if f.Records > 0 {
		f.CPUMicros = float64(cpu) / float64(time.Microsecond) / float64(f.Records)
	}
}

// medians is the median of each figure for itself.
func medians(runs []Figures) Figures {
	of := func(figure func(Figures) float64) float64 { return medianOf(runs, figure) }
	return Figures{
		Records:          int64(of(func(f Figures) float64 { return float64(f.Records) })),
		Requests:         int64(of(func(f Figures) float64 { return float64(f.Requests) })),
		Bytes:            int64(of(func(f Figures) float64 { return float64(f.Bytes) })),
		Seconds:          of(func(f Figures) float64 { return f.Seconds }),
		RecordsPerSecond: of(func(f Figures) float64 { return f.RecordsPerSecond }),
		P50Micros:        of(func(f Figures) float64 { return f.P50Micros }),
		P99Micros:        of(func(f Figures) float64 { return f.P99Micros }),
		CPUMicros:        of(func(f Figures) float64 { return f.CPUMicros }),
		PeakBytes:        int64(of(func(f Figures) float64 { return float64(f.PeakBytes) })),
		Repeated:         int64(of(func(f Figures) float64 { return float64(f.Repeated) })),
		IdleBytes:        int64(of(func(f Figures) float64 { return float64(f.IdleBytes) })),
	}
}

// shareOf compares round by round; both must have run in every round.
func shareOf(side, yardstick Side) Share {
	s := Share{Of: yardstick.Name, Side: side.Name}
	var cpu []float64
	for i := range min(len(side.Runs), len(yardstick.Runs)) {
		s.Runs = append(s.Runs, ratio(side.Runs[i].RecordsPerSecond, yardstick.Runs[i].RecordsPerSecond))
		cpu = append(cpu, ratio(side.Runs[i].CPUMicros, yardstick.Runs[i].CPUMicros))
	}
	s.Median, s.CPU = median(s.Runs), median(cpu)
	return s
}

// ratio is a divided by b, 0 if b is.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%d CPUs, %s/%s, %s; broker: %s; values of %d bytes; medians of %d rounds\n",
		r.Machine.CPUs, r.Machine.OS, r.Machine.Arch, r.Machine.Go, r.Broker, r.ValueBytes, r.Rounds)
	for _, c := range r.Cases {
		if err == nil {
			err = c.writeTable(w)
		}
	}
	return err
}

func (c Case) writeTable(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "\n%s: %s\n", c.Door, c.Title); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\trecords/s\trequests/s\tp50\tp99\tCPU/record\tpeak RSS\t")
	for _, s := range c.Sides {
		f := s.Median
		requests := 0.0
		if f.Seconds > 0 {
			requests = float64(f.Requests) / f.Seconds
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", s.Name, thousands(f.RecordsPerSecond), thousands(requests),
			micros(f.P50Micros), micros(f.P99Micros), micros(f.CPUMicros), mebibytes(f.PeakBytes))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, s := range c.Shares {
		if _, err := fmt.Fprintln(w, "   "+s.text()); err != nil {
			return err
		}
	}
	return nil
}

// text tells a share in a line.
func (s Share) text() string {
	text := fmt.Sprintf("%s: %.0f %% of %s's records/s", s.Side, 100*s.Median, s.Of)
	if s.CPU > 0 {
		text += fmt.Sprintf(", %.0f %% of its CPU/record", 100*s.CPU)
	}
	return text
}

// thousands writes a whole number with commas, "-" for nothing.
func thousands(v float64) string {
	if v <= 0 {
		return "-"
	}
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// micros writes microseconds in the unit that reads best.
func micros(v float64) string {
	switch {
	case v <= 0:
		return "-"
	case v < 100:
		return fmt.Sprintf("%.1f µs", v)
	case v < 1000:
		return fmt.Sprintf("%.0f µs", v)
	case v < 100_000:
		return fmt.Sprintf("%.1f ms", v/1000)
	default:
		return fmt.Sprintf("%.0f ms", v/1000)
	}
}

func mebibytes(n int64) string {
	if n <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
}
