package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// A table is rows of cells below a title, printed in columns.
type table struct {
	rows [][]string
	// paint returns the terminal's code for a cell, such as "31" for red; "" is
	// as usual. Nil paints nothing.
	paint func(column int, text string) string
	// headless says that there is no title.
	headless bool
}

func newTable(titles ...string) *table { return &table{rows: [][]string{titles}} }

// add adds a row. What a server sent is made fit for a terminal.
func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		if row[i] = printable(fmt.Sprint(c)); row[i] == "" {
			row[i] = "-"
		}
	}
	t.rows = append(t.rows, row)
}

// write prints the table, in colours if the output is a terminal.
func (t *table) write(w io.Writer) error { return t.writeAs(w, coloured(w)) }

func (t *table) writeAs(w io.Writer, colours bool) error {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b bytes.Buffer
	for n, row := range t.rows {
		for i, cell := range row {
			gap := widths[i] - utf8.RuneCountInString(cell) + 2
			if i == len(row)-1 {
				gap = 0
			}
			if colours && t.paint != nil && (n > 0 || t.headless) {
				if code := t.paint(i, cell); code != "" {
					cell = "\x1b[" + code + "m" + cell + "\x1b[0m"
				}
			}
			b.WriteString(cell + strings.Repeat(" ", gap))
		}
		b.WriteByte('\n')
	}
	_, err := w.Write(b.Bytes())
	return err
}

// coloured says whether an output takes colours.
func coloured(w io.Writer) bool {
	return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// stateColour paints the state of a pipe or the outcome of a delivery.
func stateColour(text string) string {
	switch text {
	case "running", "delivered", "yes":
		return "32"
	case "paused", "failed":
		return "33"
	case "halted", "disabled", "undefined", "dead_lettered", "no":
		return "31"
	}
	return ""
}

// paintColumn paints one column by state.
func paintColumn(column int) func(int, string) string {
	return func(i int, text string) string {
		if i != column {
			return ""
		}
		return stateColour(text)
	}
}

// A live is a table on a terminal that is kept up to date in place.
type live struct {
	c     *client
	lines int // that were printed last
}

// liveTable returns nil where lines have to follow each other: not on a terminal, and
// for scripts.
func (c *client) liveTable() *live {
	if c.output == "json" || !isTerminal(c.out) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	return &live{c: c}
}

// show replaces what was shown. The terminal's last lines are kept: what has more
// lines than that is cut, with a line that says so.
func (l *live) show(tables ...*table) error {
	var b bytes.Buffer
	for i, t := range tables {
		if i > 0 {
			b.WriteByte('\n')
		}
		if err := t.writeAs(&b, coloured(l.c.out)); err != nil {
			return err
		}
	}
	text := bytes.SplitAfter(b.Bytes(), []byte("\n"))
	if text = text[:len(text)-1]; len(text) > liveLines {
		more := fmt.Sprintf("... and %d lines more\n", len(text)-liveLines+1)
		text = append(text[:liveLines-1:liveLines-1], []byte(more))
	}
	if l.lines > 0 {
		fmt.Fprintf(l.c.out, "\x1b[%dA\x1b[J", l.lines)
	}
	l.lines = len(text)
	_, err := l.c.out.Write(bytes.Join(text, nil))
	return err
}

// liveLines is how many lines a terminal surely has.
const liveLines = 22

// A listDoc is a document whose member of a name is a list.
type listDoc[T any] struct {
	name string
	all  []T
}

// UnmarshalJSON reads the list.
func (d *listDoc[T]) UnmarshalJSON(text []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return err
	}
	return json.Unmarshal(members[d.name], &d.all)
}

// list asks for the list that is found below a path, as the member of that name.
func list[T any](ctx context.Context, c *client, name string) ([]T, error) {
	d := listDoc[T]{name: name}
	err := c.call(ctx, request{method: http.MethodGet, path: []string{name}, within: readTime}, name, &d)
	return d.all, err
}

// searching makes the command that lists the things of a kind, all or those that have a text in
// what they are looked up by.
func searching[T any](name, what, long, example string, titles func() *table, row func(T) []any) *cobra.Command {
	return asking(&cobra.Command{Use: "list [TEXT]", Short: what, Long: long, Example: example, Args: cobra.MaximumNArgs(1)}, func(ctx context.Context, c *client, args []string) error {
		all, err := found[T](ctx, c, name, args...)
		if err != nil {
			return err
		}
		return rows(c, all, titles(), row)
	})
}

// found asks for the list of a name, or for those of it that have a text.
func found[T any](ctx context.Context, c *client, name string, text ...string) (all []T, err error) {
	if len(text) == 0 {
		return list[T](ctx, c, name)
	}
	err = pages(ctx, c, name, url.Values{"search": text, "limit": {"1000"}}, func(one T) { all = append(all, one) })
	return all, err
}

// listing makes the command that lists all things of a kind.
func listing[T any](what, example string, find func(*client, context.Context) ([]T, error), titles func() *table, row func(T) []any) *cobra.Command {
	return asking(&cobra.Command{Use: "list", Short: what, Example: example, Args: cobra.NoArgs}, func(ctx context.Context, c *client, _ []string) error {
		all, err := find(c, ctx)
		if err != nil {
			return err
		}
		return rows(c, all, titles(), row)
	})
}

// clock formats a time for a table; the zero time is nothing.
func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// statusOf formats the status of an answer; 0 means that there was none.
func statusOf(status int) string {
	if status == 0 {
		return ""
	}
	return fmt.Sprint(status)
}

// short cuts a text.
func short(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return text
}

// A progressDoc says how far a long operation is; the last one of a stream has
// Finished or Error.
type progressDoc struct {
	Read         int64  `json:"read"`
	Records      int64  `json:"records"`
	Delivered    int64  `json:"delivered"`
	DeadLettered int64  `json:"dead_lettered"`
	Total        int64  `json:"total,omitempty"`
	Finished     bool   `json:"finished"`
	Error        string `json:"error,omitempty"`
}

// A bar shows on a terminal how far a long operation is, and nothing elsewhere.
type bar struct {
	w     io.Writer // nil: none
	noun  string    // what is delivered
	shown time.Time
}

func (c *client) bar(noun string) *bar {
	b := &bar{noun: noun}
	if isTerminal(c.errs) {
		b.w = c.errs
	}
	return b
}

func (b *bar) at(p progressDoc) {
	if b.w == nil {
		return
	}
	text := fmt.Sprintf("%d of %d %s delivered", p.Delivered, p.Records, b.noun)
	if p.DeadLettered > 0 {
		text += fmt.Sprintf(", %d given up", p.DeadLettered)
	}
	if p.Total > 0 {
		const width = 30
		// Of what was looked at, so much is settled; it says as much of the rest.
		done := float64(p.Read) / float64(p.Total) * float64(p.Delivered+p.DeadLettered+1) / float64(p.Records+1)
		filled := max(0, min(int(done*width), width))
		text = fmt.Sprintf("[%s%s] %3.0f %%  %s", strings.Repeat("=", filled), strings.Repeat(" ", width-filled), 100*min(done, 1), text)
	}
	b.text(text)
}

// text shows how far it is, unless that was just shown.
func (b *bar) text(text string) {
	if b.w == nil || time.Since(b.shown) < 200*time.Millisecond {
		return
	}
	b.shown = time.Now()
	fmt.Fprintf(b.w, "\r\x1b[K%s", text)
}

// clear removes the line.
func (b *bar) clear() {
	if b.w != nil {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}

// follow carries out a long operation and shows how far it is. The progress is
// the last one that the server told, also with an error.
func (c *client) follow(ctx context.Context, r request, noun string) (progressDoc, error) {
	show := c.bar(noun)
	defer show.clear()
	var last progressDoc
	err := c.stream(ctx, r, func(line []byte) error {
		var p progressDoc
		if err := json.Unmarshal(line, &p); err != nil {
			return c.broken(err)
		}
		if p.Error != "" {
			return fmt.Errorf("%s: %s", c.base.Redacted(), printable(p.Error))
		}
		last = p
		show.at(p)
		return nil
	})
	if err == nil && !last.Finished {
		err = c.broken(io.ErrUnexpectedEOF)
	}
	return last, err
}

// stopped is the error of a long operation that did not come to its end: it says
// how far it came, and what to do about the rest.
func (c *client) stopped(p progressDoc, err error, noun, rest string) error {
	if p == (progressDoc{}) && !errors.Is(err, errInterrupted) {
		return err // it has not begun
	}
	if c.output == "json" {
		if err := c.json(p); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w; %d of %d %s were delivered and %d given up when last heard of, and what was under way is still finished; %s", err, p.Delivered, p.Records, noun, p.DeadLettered, rest)
}
