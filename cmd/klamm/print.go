package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

// A table is rows of cells below a title, printed in columns.
type table struct {
	rows [][]string
	// paint returns the terminal's code for a cell, such as "31" for red; "" is
	// as usual. Nil paints nothing.
	paint func(column int, text string) string
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
func (t *table) write(w io.Writer) error {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	colours := t.paint != nil && isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	var b bytes.Buffer
	for n, row := range t.rows {
		for i, cell := range row {
			gap := widths[i] - utf8.RuneCountInString(cell) + 2
			if i == len(row)-1 {
				gap = 0
			}
			if code := ""; colours && n > 0 {
				if code = t.paint(i, cell); code != "" {
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
	case "halted", "dead_lettered", "no":
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

// json prints one document on one line.
func (c *client) json(v any) error {
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// show prints a document as JSON, or a sentence for people.
func (c *client) show(v any, format string, args ...any) error {
	if c.output == "json" {
		return c.json(v)
	}
	_, err := fmt.Fprintf(c.out, format+"\n", args...)
	return err
}

// rows prints a list: as JSON an object a line, else a table.
func rows[T any](c *client, list []T, t *table, row func(T) []any) error {
	for _, v := range list {
		if c.output == "json" {
			if err := c.json(v); err != nil {
				return err
			}
			continue
		}
		t.add(row(v)...)
	}
	if c.output == "json" {
		return nil
	}
	return t.write(c.out)
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
	if b.w == nil || time.Since(b.shown) < 200*time.Millisecond {
		return
	}
	b.shown = time.Now()
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
