package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// A consumption is one call of klamm consume.
type consumption struct {
	c         *client
	topic     string
	names     []string // -t
	group     string
	partition int32
	offsets   []string // -o
	count     int
	exit      bool // at the end
	format    string
	separator string
	delimiter string
	null      bool // is shown as NULL
	envelope  bool
	packings  []string
	settings  []string // -X
	query     bool
	metadata  bool
	lenient   bool

	print    kcatFormat
	from     string // beginning, end, stored, a number, or s@ms
	stopAt   int64  // e@ms
	stops    bool   // whether there is one
	earliest bool   // where there is no offset
	stored   string // the group of -o stored
	left     int
	ends     map[int32]int64 // where to stop, by partition
}

func consumeCommand() *cobra.Command {
	var x consumption
	var ignored struct{ consume, quiet, unbuffered, verbose bool }
	cmd := askingPlain(&cobra.Command{
		Use:   "consume [-t] TOPIC",
		Short: "Print the records of a topic as kcat does",
		Long: "Prints records, with kcat's flags and byte by byte what kcat -C prints: from the beginning on or where -o says, and then those that\n" +
			"come, until Ctrl-C or, with -e, up to the present end. klamm topic tail is for people; this is for fingers and scripts that know kcat.\n\n" +
			"-o is beginning, end, an offset, -N for the last N of each partition, s@MS and e@MS for where to begin and to stop by time, or stored,\n" +
			"with -X group.id=GROUP. -f has kcat's tokens: " + kcatTokens + "; \\n, \\t, \\r and\n" +
			"\\xNN beside them. -G GROUP reads as a member of a consumer group, topics being arguments, and commits what was printed. -L lists\n" +
			"brokers, topics and partitions, -Q -t TOPIC:PARTITION:MS says at which offset a time is.",
		Example: "  klamm consume orders -e\n" +
			"  klamm consume -t orders -o beginning -e -f '%t %p %o %k %s\\n'\n" +
			"  klamm consume -C -t orders -p 0 -o -10 -e -K :\n" +
			"  klamm consume -t orders -o s@1767225600000 -o e@1767312000000 -J\n" +
			"  klamm consume -G billing orders invoices -f '%k %s\\n'\n" +
			"  klamm consume -Q -t orders:0:1767225600000",
	}, func(ctx context.Context, c *client, args []string) error {
		x.c = c
		return x.run(ctx, args)
	})
	flags := cmd.Flags()
	flags.StringArrayVarP(&x.names, "topic", "t", nil, "the topic; with -Q TOPIC:PARTITION:MS, which may be given again")
	flags.Int32VarP(&x.partition, "partition", "p", -1, "only this partition")
	flags.StringArrayVarP(&x.offsets, "offset", "o", nil, "where to begin, and with e@MS where to stop")
	flags.IntVarP(&x.count, "count", "c", 0, "stop after so many records")
	flags.BoolVarP(&x.exit, "exit", "e", false, "stop at the present end")
	flags.StringVarP(&x.format, "format", "f", "", "how to print a record, such as '%k %s\\n'")
	flags.StringVarP(&x.delimiter, "delimiter", "D", `\n`, "what to print behind a record")
	flags.StringVarP(&x.separator, "key-delimiter", "K", "", "print the key and this before the value")
	flags.BoolVarP(&x.null, "null", "Z", false, "print NULL for keys and values that are null or empty")
	flags.BoolVarP(&x.envelope, "json", "J", false, "print records as JSON, an object a line")
	flags.StringArrayVarP(&x.packings, "unpack", "s", nil, "[key=|value=] and how keys and values are packed: < > b B h H i I q Q c s $")
	flags.StringVarP(&x.group, "group", "G", "", "read as a member of this consumer group")
	flags.StringArrayVarP(&x.settings, "property", "X", nil, "group.id=GROUP (for -o stored), or auto.offset.reset=earliest|latest")
	flags.BoolVarP(&x.query, "query-offset", "Q", false, "say at which offset a time is")
	flags.BoolVarP(&x.metadata, "list", "L", false, "list brokers, topics and partitions")
	flags.BoolVarP(&x.lenient, "no-exit-on-error", "E", false, "go on behind a record that cannot be unpacked")
	flags.BoolVarP(&ignored.consume, "consume", "C", false, "as without it: for those whose fingers know kcat")
	flags.BoolVarP(&ignored.quiet, "quiet", "q", false, "as without it")
	flags.BoolVarP(&ignored.unbuffered, "unbuffered", "u", false, "as without it")
	flags.BoolVarP(&ignored.verbose, "verbose", "v", false, "as without it")
	_ = cmd.RegisterFlagCompletionFunc("offset", cobra.FixedCompletions([]string{"beginning", "end", "stored"}, cobra.ShellCompDirectiveNoFileComp))
	completedFlag(cmd, "topic", topicNames)
	completedFlag(cmd, "group", groupNames)
	return completed(cmd, topicNames)
}

func (x *consumption) run(ctx context.Context, args []string) error {
	if err := x.check(); err != nil {
		return err
	}
	switch {
	case x.metadata && x.query:
		return usage("give either -L or -Q")
	case x.metadata:
		topic, err := x.only(args, false)
		if err != nil {
			return err
		}
		return x.list(ctx, topic)
	case x.query:
		return x.times(ctx, args)
	case x.group != "":
		return x.member(ctx, append(x.names, args...))
	}
	topic, err := x.only(args, true)
	if err != nil {
		return err
	}
	x.topic = topic
	return x.consume(ctx)
}

// only returns the topic of -t or of the argument.
func (x *consumption) only(args []string, needed bool) (string, error) {
	all := append(x.names[:len(x.names):len(x.names)], args...)
	switch {
	case len(all) == 0 && !needed:
		return "", nil
	case len(all) == 0:
		return "", usage("give the topic with -t; klamm topic list shows the topics there are")
	case len(all) > 1:
		return "", usage("give one topic; several are for -G GROUP")
	}
	return all[0], checkTopic(all[0])
}

// check reads the flags that all ways have.
func (x *consumption) check() (err error) {
	switch {
	case x.count < 0:
		return usage("-c %d: want a number from 1", x.count)
	case x.partition < -1:
		return usage("-p %d: want a number from 0", x.partition)
	case x.envelope && x.format != "":
		return usage("give either -J or -f")
	}
	x.left = x.count
	x.print.envelope = x.envelope
	if x.null {
		x.print.null = "NULL"
	}
	if x.print.key, x.print.value, err = packings(x.packings); err != nil {
		return usage("-s: %v", err)
	}
	text := x.format
	if !x.c.cmd.Flags().Changed("format") {
		text = "%s" + strings.ReplaceAll(x.delimiter, "%", "%%")
		if x.c.cmd.Flags().Changed("key-delimiter") {
			text = "%k" + strings.ReplaceAll(x.separator, "%", "%%") + text
		}
	}
	if x.print.parts, err = parseKcat(text); err != nil {
		return usage("-f: %v", err)
	}
	if err := x.set(); err != nil {
		return err
	}
	return x.begin()
}

// set reads -X.
func (x *consumption) set() error {
	for _, text := range x.settings {
		name, value, _ := strings.Cut(text, "=")
		switch strings.TrimPrefix(name, "topic.") {
		case "group.id":
			x.stored = value
		case "auto.offset.reset":
			switch value {
			case "earliest", "smallest", "beginning":
				x.earliest = true
			case "latest", "largest", "end":
				x.earliest = false
			default:
				return usage("-X %s: want earliest or latest", printable(text))
			}
		default:
			return usage("-X %s: klamm is asked by HTTP and knows group.id and auto.offset.reset only", printable(text))
		}
	}
	return nil
}

// begin reads -o.
func (x *consumption) begin() error {
	x.from = "beginning"
	for _, text := range x.offsets {
		kind, at, timed := strings.Cut(text, "@")
		n, err := strconv.ParseInt(text, 10, 64)
		switch {
		case timed && (kind == "s" || kind == "e"):
			if n, err = strconv.ParseInt(at, 10, 64); err != nil || n < 0 || n > 253402300799999 {
				return usage("-o %s: want milliseconds since 1970", printable(text))
			}
			if kind == "e" {
				x.stopAt, x.stops = n, true
				continue
			}
			x.from = text
		case text == "beginning" || text == "earliest" || text == "start":
			x.from = "beginning"
		case text == "end" || text == "latest":
			x.from = "end"
		case text == "stored" && x.stored == "" && x.group == "":
			return usage("-o stored: name the group with -X group.id=GROUP")
		case text == "stored" || err == nil && n > -1<<53:
			x.from = text
		default:
			return usage("-o %q: want beginning, end, stored, an offset, -N for the last N, s@MS or e@MS", printable(text))
		}
	}
	if x.from == "beginning" && len(x.offsets) > 0 && x.offsets[0] == "beginning" {
		x.earliest = true
	}
	return nil
}

// exact asks for records as they are, and where to go on. The partition may be -1.
func (c *client) exact(ctx context.Context, topic string, partition int32, query url.Values) ([]exactRecord, string, error) {
	r := request{method: http.MethodGet, other: true, path: []string{"topics", topic, "records"}, query: query, header: map[string]string{"Accept": exactType}, within: readTime}
	if partition >= 0 {
		r.path = []string{"topics", topic, "partitions", fmt.Sprint(partition), "records"}
	}
	a, err := c.ask(ctx, r)
	if err != nil {
		return nil, "", err
	}
	var records []exactRecord
	next := a.Header.Get("Klamm-Next")
	if json.Unmarshal(a.text, &records) != nil || !isPlace(next) {
		return nil, "", c.wrongServer(a.Response)
	}
	return records, next, nil
}

// consume prints the records of one topic.
func (x *consumption) consume(ctx context.Context) error {
	if x.c.curl { // what it comes to
		_, _, err := x.c.exact(ctx, x.topic, x.partition, x.first())
		return err
	}
	shown, err := x.c.topic(ctx, x.topic)
	if err != nil {
		return err
	}
	x.ends, x.print.leaders = map[int32]int64{}, map[int32]int32{}
	starts := map[int32]int64{}
	for _, p := range shown.Partitions {
		x.print.leaders[p.Partition] = p.Leader
		if x.partition < 0 || p.Partition == x.partition {
			starts[p.Partition], x.ends[p.Partition] = p.Start, p.End
		}
	}
	if len(x.ends) == 0 {
		return fmt.Errorf("topic %s (with partitions 0..%d): partition %d does not exist", x.topic, len(shown.Partitions)-1, x.partition)
	}
	at, err := x.places(ctx, starts)
	if err != nil {
		return err
	}
	if x.stops {
		for p, end := range x.ends {
			stop, err := x.c.offsetAt(ctx, x.topic, p, x.stopAt)
			if err != nil {
				return err
			}
			if stop < 0 && !x.exit {
				stop = 1<<63 - 1 // such a time has not come yet
			} else if stop < 0 {
				stop = end
			}
			x.ends[p] = stop
		}
	}
	return x.read(ctx, placeOf(at))
}

// first is what asks for the first records; what begins before the end or where a group is
// needs other answers, and is asked for from the beginning on.
func (x *consumption) first() url.Values {
	query := url.Values{"offset": {"earliest"}, "count": {strconv.Itoa(tailPage)}}
	if x.count > 0 {
		query.Set("count", strconv.Itoa(min(tailPage, x.count)))
	}
	n, err := strconv.ParseInt(x.from, 10, 64)
	time, timed := strings.CutPrefix(x.from, "s@")
	switch {
	case x.from == "end":
		query.Set("offset", "latest")
	case timed:
		query.Del("offset")
		query.Set("since", sinceOf(time))
	case err == nil && n >= 0:
		query.Set("offset", strconv.FormatInt(n, 10))
	}
	return query
}

// sinceOf is a time that is given in milliseconds, and was checked.
func sinceOf(text string) string {
	ms, _ := strconv.ParseInt(text, 10, 64)
	return time.UnixMilli(ms).UTC().Format(time.RFC3339Nano)
}

// places says where to begin.
func (x *consumption) places(ctx context.Context, starts map[int32]int64) (map[int32]int64, error) {
	at := map[int32]int64{}
	stored := map[int32]int64{}
	if x.from == "stored" {
		group, err := x.c.group(ctx, x.stored)
		if err != nil && !isMissing(err) {
			return nil, err
		}
		for _, p := range group.Partitions {
			if p.Topic == x.topic && p.Committed != nil {
				stored[p.Partition] = *p.Committed
			}
		}
	}
	for p, end := range x.ends {
		n, notNumber := strconv.ParseInt(x.from, 10, 64)
		committed, known := stored[p]
		time, timed := strings.CutPrefix(x.from, "s@")
		switch {
		case x.from == "beginning" || x.from == "stored" && !known && x.earliest:
			at[p] = starts[p]
		case known:
			at[p] = committed
		case timed:
			ms, _ := strconv.ParseInt(time, 10, 64)
			first, err := x.c.offsetAt(ctx, x.topic, p, ms)
			if err != nil {
				return nil, err
			}
			if at[p] = first; first < 0 {
				at[p] = end
			}
		case notNumber != nil:
			at[p] = end
		case n < 0:
			at[p] = max(starts[p], end+n)
		default:
			at[p] = n
		}
	}
	return at, nil
}

// offsetAt is the offset of the first record from a time on, in milliseconds; -1: there
// is none.
func (c *client) offsetAt(ctx context.Context, topic string, partition int32, ms int64) (int64, error) {
	records, _, err := c.exact(ctx, topic, partition, url.Values{"since": {time.UnixMilli(ms).UTC().Format(time.RFC3339Nano)}, "count": {"1"}})
	if err != nil || len(records) == 0 {
		return -1, err
	}
	return records[0].Offset, nil
}

// read prints records from a place on.
func (x *consumption) read(ctx context.Context, place string) error {
	over := topicTail{ends: x.ends}
	query := url.Values{"offset": {place}}
	for !(x.exit || x.stops) || !over.reached(place) {
		query.Set("count", strconv.Itoa(tailPage))
		if x.count > 0 {
			query.Set("count", strconv.Itoa(min(tailPage, x.left)))
		}
		records, next, err := x.c.exact(ctx, x.topic, x.partition, query)
		switch {
		case errors.Is(err, errInterrupted):
			return nil
		case err != nil:
			return err
		}
		if x.exit || x.stops {
			kept := records[:0]
			for _, r := range records {
				if r.Offset < x.ends[r.Partition] {
					kept = append(kept, r)
				}
			}
			// What stands behind the ends of the last partitions may be no record.
			if len(records) == 0 && x.exit {
				return nil
			}
			records = kept
		}
		if err := x.show(records); err != nil {
			return err
		}
		if x.count > 0 && x.left <= 0 {
			return nil
		}
		place = next
		query.Set("offset", place)
		if !x.exit {
			wait := tailWait
			if x.c.timeout > 0 {
				wait = min(wait, x.c.timeout/2)
			}
			query.Set("wait", wait.String())
		}
	}
	return nil
}

// show prints records, and not more than are wanted.
func (x *consumption) show(records []exactRecord) error {
	var b []byte
	for i := range records {
		if x.count > 0 {
			if x.left <= 0 {
				break
			}
			x.left--
		}
		var err error
		if b, err = x.print.append(b, &records[i]); err != nil {
			if !x.lenient {
				_, _ = x.c.out.Write(b)
				return err
			}
			fmt.Fprintln(x.c.errs, "klamm:", printable(err.Error()))
		}
	}
	if isTerminal(x.c.out) {
		b = harmless(b)
	}
	_, err := x.c.out.Write(b)
	return err
}

// times prints at which offsets times are, as kcat -Q does.
func (x *consumption) times(ctx context.Context, args []string) error {
	if len(x.names) == 0 || len(args) > 0 {
		return usage("-Q: give -t TOPIC:PARTITION:MS")
	}
	for _, text := range x.names {
		words := strings.Split(text, ":")
		if len(words) != 3 {
			return usage("-t %q: want TOPIC:PARTITION:MS", printable(text))
		}
		partition, err := strconv.ParseInt(words[1], 10, 32)
		ms, err2 := strconv.ParseInt(words[2], 10, 64)
		if err != nil || err2 != nil || partition < 0 || ms < 0 || ms > 253402300799999 {
			return usage("-t %q: want TOPIC:PARTITION:MS", printable(text))
		}
		if err := checkTopic(words[0]); err != nil {
			return err
		}
		at, err := x.c.offsetAt(ctx, words[0], int32(partition), ms)
		if isMissing(err) {
			return fmt.Errorf("%s [%d]: %s; klamm topic list shows the topics there are", words[0], partition, strings.TrimSuffix(err.Error(), "."))
		}
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(x.c.out, "%s [%d] offset %d\n", words[0], partition, at); err != nil {
			return err
		}
	}
	return nil
}
