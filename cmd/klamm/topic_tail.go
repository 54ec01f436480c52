package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

const (
	// tailLast is how many records a tail begins with.
	tailLast = 10
	// mostLast bounds how many one can begin with.
	mostLast = 10_000
	// tailPage is how many records are asked for at once.
	tailPage = 1000
	// tailWait is how long the server waits for a record that is to come.
	tailWait = 10 * time.Second
)

// A topicTail is one call of klamm topic tail.
type topicTail struct {
	c            *client
	topic        string
	from, format string
	separator    string // between key and value; empty: no key
	delimiter    string // behind a record
	partition    int32  // -1: all
	count        int    // how many to show; 0: all
	follow, raw  bool

	print format
	left  int             // of count
	ends  map[int32]int64 // up to where there are records when it begins
}

// tailCommand is klamm tail, which follows.
func tailCommand() *cobra.Command {
	cmd := topicTailCommand()
	cmd.Short = "Show the last records of a topic, and those that come; klamm topic tail --follow"
	cmd.Example = strings.ReplaceAll(cmd.Example, "klamm topic tail", "klamm tail")
	follow := cmd.Flags().Lookup("follow")
	follow.DefValue = "true"
	_ = follow.Value.Set("true")
	return cmd
}

func topicTailCommand() *cobra.Command {
	var t topicTail
	cmd := asking(&cobra.Command{
		Use:   "tail TOPIC",
		Short: "Show the records of a topic, and those that come",
		Long: "Prints the values of records, a line each: the last ten or, with --from, all from there on to the present end, and with --follow\n" +
			"also those that come, until Ctrl-C. Values that are JSON stand as they are; -o json prints whole records, an object a line.\n\n" +
			"--from is earliest, latest, an offset, -N for the last N records, an RFC 3339 time, how long ago (15m, 1h, 7d), or the place\n" +
			"where another tail has ended (PARTITION-OFFSET,...). --format has kcat's tokens: " + formatTokens + ".\n" +
			"Without --raw, a value that is a JSON text is printed without its quotes.",
		Example: "  klamm topic tail orders\n" +
			"  klamm topic tail orders --follow -K ': '\n" +
			"  klamm topic tail orders --from 1h -o json\n" +
			"  klamm topic tail orders --from earliest --partition 0 --count 5 --format '%p/%o %T %k=%s %h\\n'\n" +
			"  klamm topic tail orders --from earliest --raw -K '\\t' | klamm topic produce copy -K '\\t'",
		Args: oneTopic,
	}, func(ctx context.Context, c *client, args []string) error {
		t.c, t.topic = c, args[0]
		return t.run(ctx)
	})
	flags := cmd.Flags()
	flags.StringVar(&t.from, "from", "", "where to begin; the default is -10, the last ten records")
	flags.BoolVar(&t.follow, "follow", false, "go on with the records that come, until Ctrl-C")
	flags.Int32VarP(&t.partition, "partition", "p", -1, "only this partition")
	flags.IntVarP(&t.count, "count", "c", 0, "stop after so many records")
	flags.StringVarP(&t.format, "format", "f", "", "how to print a record, in kcat's tokens, such as '%k %s\\n'")
	flags.StringVarP(&t.separator, "key-separator", "K", "", "print the key and this before the value")
	flags.StringVarP(&t.delimiter, "delimiter", "D", `\n`, "what to print behind a record")
	flags.BoolVar(&t.raw, "raw", false, "print keys and values byte by byte as they are")
	_ = cmd.RegisterFlagCompletionFunc("from", cobra.FixedCompletions([]string{"earliest", "latest", "15m", "1h", "1d"}, cobra.ShellCompDirectiveNoFileComp))
	return completed(cmd, topicNames)
}

// run shows records.
func (t *topicTail) run(ctx context.Context) error {
	from, err := t.check()
	if err != nil {
		return err
	}
	shown, err := t.c.topic(ctx, t.topic)
	if err != nil {
		return err
	}
	t.ends = map[int32]int64{}
	starts := map[int32]int64{}
	for _, p := range shown.Partitions {
		if t.partition < 0 || p.Partition == t.partition {
			starts[p.Partition], t.ends[p.Partition] = p.Start, p.End
		}
	}
	if len(t.ends) == 0 {
		return fmt.Errorf("topic %s has no partition %d; klamm topic show %s shows those it has", t.topic, t.partition, t.topic)
	}
	t.left = t.count
	query := url.Values{}
	switch {
	case from.last > 0:
		at, err := t.showLast(ctx, from.last, starts)
		if err != nil || !t.follow {
			return err
		}
		query.Set("offset", placeOf(at))
	case from.since != "":
		query.Set("since", from.since)
	default:
		query.Set("offset", from.offset)
	}
	return t.goOn(ctx, query)
}

// A tailFrom says where to begin: one of its fields does.
type tailFrom struct {
	last          int
	since, offset string // of a stateless read
}

// check reads the flags.
func (t *topicTail) check() (tailFrom, error) {
	var from tailFrom
	switch {
	case t.count < 0:
		return from, usage("--count %d: want a number from 1", t.count)
	case t.partition < -1:
		return from, usage("--partition %d: want a number from 0", t.partition)
	case t.c.output == "json" && (t.raw || t.format != "" || t.separator != ""):
		return from, usage("-o json prints whole records; leave out --raw, --format and --key-separator")
	case t.format != "" && t.separator != "":
		return from, usage("give either --format or --key-separator")
	}
	text := t.format
	if text == "" {
		text = "%s" + strings.ReplaceAll(t.delimiter, "%", "%%")
		if t.separator != "" {
			text = "%k" + strings.ReplaceAll(t.separator, "%", "%%") + text
		}
	}
	var err error
	if t.print, err = parseFormat(text); err != nil {
		return from, usage("--format, --key-separator or --delimiter: %v", err)
	}
	t.print.raw = t.raw
	return t.begin()
}

// begin reads --from.
func (t *topicTail) begin() (from tailFrom, err error) {
	switch t.from {
	case "":
		switch {
		case t.count > 0 && t.follow:
			from.offset = "latest"
		case t.count > 0:
			from.last = t.count
		default:
			from.last = tailLast
		}
	case "earliest", "beginning", "start":
		from.offset = "earliest"
	case "latest", "end":
		from.offset = "latest"
	default:
		n, bad := strconv.ParseInt(t.from, 10, 64)
		at, badTime := parseTime("--from", t.from, time.Now())
		switch {
		case bad == nil && n >= 0 || isPlace(t.from):
			from.offset = t.from
		case bad == nil:
			from.last = int(max(-n, 0))
		case badTime == nil:
			from.since = at.UTC().Format(time.RFC3339Nano)
		default:
			return from, usage("--from %q: want earliest, latest, an offset, -N for the last N, a time, how long ago, or PARTITION-OFFSET,...", printable(t.from))
		}
	}
	if from.last > mostLast || from.last < 0 {
		return from, usage("--from: at most the last %d", mostLast)
	}
	return from, nil
}

// isPlace says whether a text is where another tail has ended.
func isPlace(text string) bool {
	for pair := range strings.SplitSeq(text, ",") {
		left, right, ok := strings.Cut(pair, "-")
		_, bad := strconv.ParseUint(left, 10, 31)
		_, bad2 := strconv.ParseUint(right, 10, 63)
		if !ok || bad != nil || bad2 != nil {
			return false
		}
	}
	return true
}

// placeOf is where to go on.
func placeOf(at map[int32]int64) string {
	var all []string
	for _, p := range slices.Sorted(maps.Keys(at)) {
		all = append(all, fmt.Sprintf("%d-%d", p, at[p]))
	}
	return strings.Join(all, ",")
}

// read asks for records and where to go on.
func (t *topicTail) read(ctx context.Context, query url.Values) ([]recordDoc, string, error) {
	r := request{path: []string{"topics", t.topic, "records"}, query: query, within: readTime}
	if t.partition >= 0 {
		r.path = []string{"topics", t.topic, "partitions", fmt.Sprint(t.partition), "records"}
	}
	if t.raw {
		r.header = map[string]string{"Accept": exactType}
	}
	records, next, err := t.c.records(ctx, r)
	for i := range records {
		records[i].Topic = t.topic // which not every shape has
	}
	return records, next, err
}

// records asks for records of a topic by a stateless read, and where to go on.
func (c *client) records(ctx context.Context, r request) ([]recordDoc, string, error) {
	r.method, r.other = http.MethodGet, true
	a, err := c.ask(ctx, r)
	if err != nil {
		return nil, "", err
	}
	var records []recordDoc
	next := a.Header.Get("Klamm-Next")
	if json.Unmarshal(a.text, &records) != nil || !isPlace(next) {
		return nil, "", c.wrongServer(a.Response)
	}
	return records, next, nil
}

// showLast shows the last records of all partitions together, and returns where they
// end. Where offsets hold no records, as those of transactions do, it looks further
// back.
func (t *topicTail) showLast(ctx context.Context, n int, starts map[int32]int64) (at map[int32]int64, err error) {
	for width := int64(n); ; width *= 4 {
		at = map[int32]int64{}
		whole := true
		for p, end := range t.ends {
			at[p] = max(starts[p], end-width)
			whole = whole && at[p] == starts[p]
		}
		last, err := t.upTo(ctx, at, n)
		if err != nil {
			return nil, err
		}
		if len(last) < n && !whole {
			continue
		}
		return t.ends, t.show(last)
	}
}

// upTo reads from places to the present ends, and returns the last n by time.
func (t *topicTail) upTo(ctx context.Context, at map[int32]int64, n int) ([]recordDoc, error) {
	var last []recordDoc
	query := url.Values{"offset": {placeOf(at)}, "count": {strconv.Itoa(tailPage)}}
	for {
		records, next, err := t.read(ctx, query)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			if r.Offset < t.ends[r.Partition] {
				last = append(last, r)
			}
		}
		slices.SortStableFunc(last, func(x, y recordDoc) int {
			if x.Partition == y.Partition {
				return cmp.Compare(x.Offset, y.Offset)
			}
			return cmp.Compare(x.Timestamp, y.Timestamp)
		})
		last = last[max(0, len(last)-n):]
		if len(records) == 0 || t.reached(next) {
			return last, nil
		}
		query.Set("offset", next)
	}
}

// reached says whether a place is behind all that there was when the tail began.
func (t *topicTail) reached(place string) bool {
	for pair := range strings.SplitSeq(place, ",") {
		left, right, _ := strings.Cut(pair, "-")
		p, _ := strconv.ParseInt(left, 10, 32)
		at, _ := strconv.ParseInt(right, 10, 64)
		if at < t.ends[int32(p)] {
			return false
		}
	}
	return true
}

// goOn shows records from somewhere on.
func (t *topicTail) goOn(ctx context.Context, query url.Values) error {
	query.Set("count", strconv.Itoa(tailPage))
	place := ""
	for {
		if t.count > 0 {
			query.Set("count", strconv.Itoa(min(tailPage, t.left)))
		}
		records, next, err := t.read(ctx, query)
		switch {
		case errors.Is(err, errInterrupted) && t.follow:
			return nil
		case err != nil && place != "":
			return fmt.Errorf("%w; --from %s goes on there", err, place)
		case err != nil:
			return err
		}
		place = next
		if !t.follow {
			records = slices.DeleteFunc(records, func(r recordDoc) bool { return r.Offset >= t.ends[r.Partition] })
		}
		if err := t.show(records); err != nil {
			return err
		}
		if t.count > 0 {
			if t.left -= len(records); t.left <= 0 {
				return nil
			}
		}
		if !t.follow && (len(records) == 0 || t.reached(next)) {
			return nil
		}
		query.Del("since")
		query.Set("offset", next)
		if t.follow {
			wait := tailWait
			if t.c.timeout > 0 {
				wait = min(wait, t.c.timeout/2)
			}
			query.Set("wait", wait.String())
		}
	}
}

// show prints records.
func (t *topicTail) show(records []recordDoc) error {
	var b []byte
	for _, r := range records {
		if t.c.output == "json" {
			if err := t.c.json(r); err != nil {
				return err
			}
			continue
		}
		b = t.print.append(b, r)
	}
	if isTerminal(t.c.out) {
		b = harmless(b)
	}
	_, err := t.c.out.Write(b)
	return err
}

// harmless replaces what could command a terminal; ends of lines and tabs stay.
func harmless(b []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || printable(string(r)) == string(r) {
			return r
		}
		return utf8.RuneError
	}, b)
}
