package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/rule"
)

func ruleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rule",
		Short: "List the rules of a bus, and try event patterns on events and on topics",
		Args:  cobra.NoArgs,
		RunE:  needSubcommand,
	}
	cmd.AddCommand(
		ruleListCommand(),
		ruleSubcommand("test", "Say whether a pattern matches an event", "Prints match or no match.", (*ruleCall).printVerdict),
		ruleSubcommand("explain", "Say why a pattern matches an event or does not", "Prints match or no match, and for each clause of the pattern whether it is satisfied and by which values.",
			(*ruleCall).printExplanation),
		ruleBacktestCommand(),
	)
	return cmd
}

func ruleListCommand() *cobra.Command {
	return completed(asking(&cobra.Command{
		Use:     "list [BUS]",
		Short:   "List the rules of an event bus; klamm bus show has their targets",
		Example: "  klamm rule list\n  klamm rule list orders -o json",
		Args:    cobra.MaximumNArgs(1),
	}, func(ctx context.Context, c *client, args []string) error {
		rules, err := c.busRules(ctx, busOf(args))
		if err != nil {
			return err
		}
		return rows(c, rules, newTable("RULE", "STATE", "PATTERN OR SCHEDULE"), func(r busRule) []any { return []any{r.Name, r.State, r.when()} })
	}), busNames)
}

// A ruleCall is one call of klamm rule test or explain.
type ruleCall struct {
	pattern       string
	event, events string
	kafka         bool
	flags         clientFlags

	plain  *rule.Pattern       // without kafka
	record *rule.RecordPattern // with kafka
	say    func(c *ruleCall, out *client, e ruleEvent) (matched bool, err error)
}

func ruleSubcommand(name, short, long string, say func(*ruleCall, *client, ruleEvent) (bool, error)) *cobra.Command {
	call := ruleCall{say: say}
	cmd := local(&cobra.Command{
		Use:   name,
		Short: short,
		Long: long + " A document (DOC) is given inline, as @FILE, or as - for standard input. The exit status\n" +
			"is 0 for a match, 1 for none, and 2 if the pattern or the event is not valid; with --events it is 0 if all events could be read.",
		Example: `  klamm rule ` + name + ` --pattern '{"total":[{"numeric":[">",100]}]}' --event '{"total":120}'` + "\n" +
			`  klamm rule ` + name + ` --pattern @pattern.json --events events.ndjson` + "\n" +
			`  klamm rule ` + name + ` --kafka --pattern '{"topic":["orders"],"value":{"total":[120]}}' --event @record.json`,
		Args: cobra.NoArgs,
	}, &call.flags, func(c *client, _ []string) error { return call.run(c) })
	flags := cmd.Flags()
	flags.StringVar(&call.pattern, "pattern", "", "DOC: the event pattern")
	flags.StringVar(&call.event, "event", "", "DOC: the event")
	flags.StringVar(&call.events, "events", "", "FILE with one event a line; - is standard input")
	flags.BoolVar(&call.kafka, "kafka", false, "events are Kafka records as EventBridge Pipes shows them, key and value in base64")
	return cmd
}

func (c *ruleCall) run(out *client) error {
	cmd := out.cmd
	if err := c.compile(cmd); err != nil {
		return &exitError{2, err}
	}
	if c.events != "" {
		return c.runLines(out)
	}
	text, err := documentFlag(cmd, "--event", c.event)
	if err != nil {
		return &exitError{2, err}
	}
	matched, err := c.one(out, text)
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		return err
	case err != nil:
		return &exitError{2, fmt.Errorf("--event: %w", err)}
	case !matched:
		return &exitError{code: 1}
	}
	return nil
}

// compile checks the flags and compiles the pattern.
func (c *ruleCall) compile(cmd *cobra.Command) error {
	flags := cmd.Flags()
	if !flags.Changed("pattern") {
		return errors.New("give the pattern with --pattern")
	}
	if flags.Changed("event") == flags.Changed("events") || flags.Changed("events") && c.events == "" {
		return errors.New("give either --event or --events")
	}
	if c.pattern == "-" && (c.event == "-" || c.events == "-") {
		return errors.New("only one of the flags can read standard input (-)")
	}
	pattern, err := documentFlag(cmd, "--pattern", c.pattern)
	if err != nil {
		return err
	}
	if c.kafka {
		c.record, err = rule.CompileRecord(pattern)
	} else {
		c.plain, err = rule.Compile(pattern)
	}
	if err != nil {
		return errors.New(printable(err.Error()))
	}
	return nil
}

// runLines answers for each line of a file, and names those that it could not
// read.
func (c *ruleCall) runLines(to *client) error {
	lines, err := openLines(to.cmd, c.events)
	if err != nil {
		return &exitError{2, err}
	}
	defer lines.Close()
	out := bufio.NewWriter(to.out)
	buffered := *to
	buffered.out = out
	scanner := bufio.NewScanner(lines)
	scanner.Buffer(nil, largestDocument)
	unread, n := false, 1
	for ; scanner.Scan(); n++ {
		if len(bytes.TrimSpace(scanner.Bytes())) == 0 {
			continue
		}
		var exit *exitError
		if _, err := c.one(&buffered, scanner.Bytes()); errors.As(err, &exit) {
			return err
		} else if err != nil {
			unread = true
			fmt.Fprintf(to.errs, "klamm: --events line %d: %v\n", n, err)
		}
	}
	if err := out.Flush(); err != nil {
		return failed(err)
	}
	if err := scanner.Err(); err != nil {
		return &exitError{2, fmt.Errorf("--events line %d: %w", n, err)}
	}
	if unread {
		return &exitError{code: 2}
	}
	return nil
}

// one answers for one event.
func (c *ruleCall) one(out *client, text []byte) (matched bool, err error) {
	if !json.Valid(text) {
		return false, errors.New("the event is not JSON")
	}
	e := ruleEvent{document: text}
	if c.kafka {
		if e, err = decodeRecord(text); err != nil {
			return false, err
		}
	}
	return c.say(c, out, e)
}

// A ruleEvent is an event, or the document of a Kafka record with the forms of its
// key and value.
type ruleEvent struct {
	document   []byte
	key, value rule.Form
}

// notOfRecords are the fields that tell where a record comes from. Filters do not see them
// (event-patterns.md 11).
var notOfRecords = []string{"awsRegion", "bootstrapServers", "eventID", "eventName", "eventSource", "eventSourceARN", "eventSourceArn", "eventSourceKey", "eventVersion", "invokeIdentityArn"}

// decodeRecord decodes the key and value of a record for a filter
// (event-patterns.md 11): objects and arrays are JSON, and whatever else is UTF-8
// is a string.
func decodeRecord(text []byte) (e ruleEvent, err error) {
	var record map[string]json.RawMessage
	if err := json.Unmarshal(text, &record); err != nil || record == nil {
		return e, rule.ErrEvent
	}
	for _, name := range notOfRecords {
		delete(record, name)
	}
	if e.key, err = decodeField(record, "key"); err == nil {
		e.value, err = decodeField(record, "value")
	}
	if err == nil {
		e.document, err = json.Marshal(record)
	}
	return e, err
}

func decodeField(record map[string]json.RawMessage, name string) (rule.Form, error) {
	raw, ok := record[name]
	if !ok || string(raw) == "null" {
		delete(record, name)
		return rule.Missing, nil
	}
	var data []byte
	if err := json.Unmarshal(raw, &data); err != nil || raw[0] != '"' {
		return rule.Missing, fmt.Errorf("the record's %s is not a string of base64", name)
	}
	switch trimmed := bytes.TrimSpace(data); {
	case !utf8.Valid(data):
		record[name] = json.RawMessage(`"` + base64.StdEncoding.EncodeToString(data) + `"`)
		return rule.Binary, nil
	case len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') && json.Valid(trimmed):
		record[name] = trimmed
		return rule.JSON, nil
	}
	var err error
	record[name], err = json.Marshal(string(data))
	return rule.Text, err
}

// A ruleVerdict says whether a pattern matches an event, and why.
type ruleVerdict struct {
	Matched bool              `json:"matched"`
	Why     *rule.Explanation `json:"why,omitempty"`
}

func (c *ruleCall) printVerdict(out *client, e ruleEvent) (matched bool, err error) {
	if c.kafka {
		matched, err = c.record.Match(e.document, e.key, e.value)
	} else {
		matched, err = c.plain.Match(e.document)
	}
	if err != nil {
		return false, err
	}
	return matched, out.show(ruleVerdict{Matched: matched}, "%s", verdict(matched))
}

func verdict(matched bool) string {
	if matched {
		return "match"
	}
	return "no match"
}

func (c *ruleCall) printExplanation(out *client, e ruleEvent) (matched bool, err error) {
	var why *rule.Explanation
	if c.kafka {
		why, err = c.record.Explain(e.document, e.key, e.value)
	} else {
		why, err = c.plain.Explain(e.document)
	}
	if err != nil {
		return false, err
	}
	if out.output == "json" {
		return why.Matched, out.json(ruleVerdict{why.Matched, why})
	}
	return why.Matched, writeExplanation(out.out, why)
}

// writeExplanation says whether a pattern matches, and what became of each clause.
func writeExplanation(w io.Writer, why *rule.Explanation) error {
	var b strings.Builder
	b.WriteString(verdict(why.Matched))
	if why.Apart {
		b.WriteString(": each clause is satisfied, but by values in different elements of an array")
	}
	b.WriteByte('\n')
	for _, f := range why.Findings {
		b.WriteString(printable(findingLine(f)))
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// findingLine is one clause of a pattern on one line.
func findingLine(f rule.Finding) string {
	mark, values := "✗", strings.Join(f.Values, ", ")
	if f.Satisfied {
		mark = "✓"
	}
	switch {
	case f.Ignored:
		values = "not looked at: the record's data has another form"
	case len(f.Values) == 0:
		values = "no value"
	case f.More > 0:
		values += fmt.Sprintf(" and %d more", f.More)
	}
	line := fmt.Sprintf("  %s %s %s: %s", mark, f.Path, f.Clause, values)
	if f.Branch != "" {
		line += " (in " + f.Branch + ")"
	}
	return line
}

// printable keeps a text on one line and off the terminal's controls.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, text)
}
