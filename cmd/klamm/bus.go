package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/rule"
)

// defaultBus is the bus that always exists.
const defaultBus = "default"

func busCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bus",
		Short: "List and show event buses, put events on them and follow them",
		Long:  "Event buses, their rules and targets are made with the AWS CLI or an AWS SDK (docs/event-bus.md); these commands are for looking and trying.",
		RunE:  needSubcommand,
	}
	cmd.AddCommand(busListCommand(), busShowCommand(), busPutCommand(), busTailCommand(), busExplainCommand())
	return cmd
}

// events calls an operation of EventBridge.
func (c *client) events(ctx context.Context, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	a, err := c.awsRaw(ctx, http.MethodPost, "/", body, map[string]string{"X-Amz-Target": "AWSEvents." + operation, "Content-Type": "application/x-amz-json-1.1"})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(a.body, out); err != nil {
		return fmt.Errorf("the answer to %s cannot be read: %w", operation, err)
	}
	return nil
}

// A busDoc is a bus as the API shows it.
type busDoc struct {
	Name, Arn                      string
	Description                    string  `json:",omitempty"`
	Policy                         string  `json:",omitempty"`
	CreationTime, LastModifiedTime float64 // seconds since 1970
}

// A busRule is a rule as the API shows it.
type busRule struct {
	Name, Arn, State   string
	EventPattern       string `json:",omitempty"`
	ScheduleExpression string `json:",omitempty"`
	Description        string `json:",omitempty"`
}

// when is what a rule waits for.
func (r busRule) when() string {
	var all []string
	for _, text := range []string{r.EventPattern, r.ScheduleExpression} {
		if text != "" {
			all = append(all, text)
		}
	}
	return strings.Join(all, " and ")
}

// busOf is the only argument, or the bus that always exists.
func busOf(args []string) string {
	if len(args) == 0 {
		return defaultBus
	}
	return args[0]
}

// busNames are the buses that there are, for shells.
func busNames(ctx context.Context, c *client, begin string) (found []string, err error) {
	buses, err := c.buses(ctx)
	for _, b := range buses {
		if strings.HasPrefix(b.Name, begin) {
			found = append(found, b.Name)
		}
	}
	return found, err
}

// buses returns all buses.
func (c *client) buses(ctx context.Context) (all []busDoc, err error) {
	in := map[string]any{}
	for {
		var page struct {
			EventBuses []busDoc
			NextToken  string
		}
		if err := c.events(ctx, "ListEventBuses", in, &page); err != nil {
			return nil, err
		}
		if all = append(all, page.EventBuses...); page.NextToken == "" {
			return all, nil
		}
		in["NextToken"] = page.NextToken
	}
}

// busRules returns the rules of a bus.
func (c *client) busRules(ctx context.Context, bus string) (all []busRule, err error) {
	in := map[string]any{"EventBusName": bus}
	for {
		var page struct {
			Rules     []busRule
			NextToken string
		}
		if err := c.events(ctx, "ListRules", in, &page); err != nil {
			return nil, err
		}
		if all = append(all, page.Rules...); page.NextToken == "" {
			return all, nil
		}
		in["NextToken"] = page.NextToken
	}
}

func busListCommand() *cobra.Command {
	return asking(&cobra.Command{Use: "list", Short: "List the event buses", Example: "  klamm bus list", Args: cobra.NoArgs}, func(ctx context.Context, c *client, _ []string) error {
		buses, err := c.buses(ctx)
		if err != nil {
			return err
		}
		return rows(c, buses, newTable("BUS", "CREATED", "DESCRIPTION"), func(b busDoc) []any {
			return []any{b.Name, time.UnixMilli(int64(1000 * b.CreationTime)).UTC().Format(time.RFC3339), b.Description}
		})
	})
}

// A busTarget is a target of a rule.
type busTarget struct {
	ID  string `json:"Id"`
	Arn string
}

func busShowCommand() *cobra.Command {
	return completed(asking(&cobra.Command{Use: "show [BUS]", Short: "Show an event bus with its rules and their targets", Example: "  klamm bus show\n  klamm bus show orders -o json", Args: cobra.MaximumNArgs(1)}, func(ctx context.Context, c *client, args []string) error {
		var bus busDoc
		if err := c.events(ctx, "DescribeEventBus", map[string]any{"Name": busOf(args)}, &bus); err != nil {
			return err
		}
		rules, err := c.busRules(ctx, bus.Name)
		if err != nil {
			return err
		}
		type shownRule struct {
			busRule
			Targets []busTarget
		}
		shown := make([]shownRule, len(rules))
		for i, r := range rules {
			var page struct{ Targets []busTarget }
			if err := c.events(ctx, "ListTargetsByRule", map[string]any{"Rule": r.Name, "EventBusName": bus.Name}, &page); err != nil {
				return err
			}
			shown[i] = shownRule{r, page.Targets}
		}
		if c.output == "json" {
			return c.json(struct {
				busDoc
				Topic string
				Rules []shownRule
			}{bus, event.BusTopic(bus.Name), shown})
		}
		t := newTable("bus", bus.Name)
		t.headless = true
		t.add("topic", event.BusTopic(bus.Name))
		t.add("description", bus.Description)
		t.add("policy", bus.Policy)
		if err := t.write(c.out); err != nil {
			return err
		}
		fmt.Fprintln(c.out)
		t = newTable("RULE", "STATE", "PATTERN OR SCHEDULE", "TARGETS")
		for _, r := range shown {
			var targets []string
			for _, one := range r.Targets {
				targets = append(targets, one.ID+"="+one.Arn)
			}
			t.add(r.Name, r.State, r.when(), strings.Join(targets, " "))
		}
		return t.write(c.out)
	}), busNames)
}

// A busEntry is an entry of PutEvents.
type busEntry struct {
	EventBusName string
	Source       string
	DetailType   string
	Detail       string
	Resources    []string `json:",omitempty"`
	Time         string   `json:",omitempty"`
}

// A busPut is one call of klamm bus put.
type busPut struct {
	c       *client
	entry   busEntry
	detail  string
	file    string
	waiting []json.RawMessage
	size    int
	failed  int
}

// A putOutcome is what came of an entry.
type putOutcome struct {
	EventID      string `json:"EventId,omitempty"`
	ErrorCode    string `json:",omitempty"`
	ErrorMessage string `json:",omitempty"`
}

func busPutCommand() *cobra.Command {
	var p busPut
	cmd := asking(&cobra.Command{
		Use:   "put [BUS]",
		Short: "Put an event on a bus, or many",
		Long: "Puts one event, or with --events one for each line of a file, which are entries as PutEvents has them: JSON objects with Source,\n" +
			"DetailType and Detail, which may be an object here. Prints the id of each event; the exit status is 1 if one of them was refused.",
		Example: "  klamm bus put --source shop --detail-type order --detail '{\"id\":7}'\n  klamm bus put orders --events events.ndjson",
		Args:    cobra.MaximumNArgs(1),
	}, func(ctx context.Context, c *client, args []string) error {
		p.c, p.entry.EventBusName = c, busOf(args)
		return p.run(ctx)
	})
	flags := cmd.Flags()
	flags.StringVar(&p.entry.Source, "source", "", "where the event comes from, such as shop")
	flags.StringVar(&p.entry.DetailType, "detail-type", "", "what has happened, such as order")
	flags.StringVar(&p.detail, "detail", "{}", "DOC: the detail, a JSON object; inline, @FILE or -")
	flags.StringArrayVar(&p.entry.Resources, "resource", nil, "what it is about; may be given again")
	flags.StringVar(&p.entry.Time, "time", "", "when it has happened, in RFC 3339; the default is now")
	flags.StringVar(&p.file, "events", "", "FILE with one entry a line; - is standard input")
	return completed(cmd, busNames)
}

const (
	// mostEntries and mostBytes bound one call of PutEvents.
	mostEntries = 10
	mostBytes   = 240 << 10
)

func (p *busPut) run(ctx context.Context) error {
	if p.file != "" {
		if p.entry.Source != "" || p.entry.DetailType != "" {
			return usage("give either --events, or --source and --detail-type")
		}
		return p.putLines(ctx)
	}
	if p.entry.Source == "" || p.entry.DetailType == "" {
		return usage("give --source and --detail-type, or --events")
	}
	detail, err := documentFlag(p.c.cmd, "--detail", p.detail)
	if err != nil {
		return &exitError{2, err}
	}
	p.entry.Detail = string(detail)
	raw, err := json.Marshal(p.entry)
	if err != nil {
		return err
	}
	p.waiting = append(p.waiting, raw)
	if err := p.flush(ctx); err != nil {
		return err
	}
	return p.outcome()
}

// putLines puts the entries of a file, as many at once as may be.
func (p *busPut) putLines(ctx context.Context) error {
	lines, err := openLines(p.c.cmd, p.file)
	if err != nil {
		return &exitError{2, err}
	}
	defer lines.Close()
	scanner := bufio.NewScanner(lines)
	scanner.Buffer(nil, largestDocument)
	for n := 1; scanner.Scan(); n++ {
		line := bytes.TrimSpace(scanner.Bytes())
		if len(line) == 0 {
			continue
		}
		raw, err := p.entryOf(line)
		if err != nil {
			return &exitError{2, fmt.Errorf("--events line %d: %w", n, err)}
		}
		if len(p.waiting) == mostEntries || p.size+len(raw) > mostBytes && len(p.waiting) > 0 {
			if err := p.flush(ctx); err != nil {
				return err
			}
		}
		p.waiting, p.size = append(p.waiting, raw), p.size+len(raw)
	}
	if err := scanner.Err(); err != nil {
		return &exitError{2, fmt.Errorf("--events: %w", err)}
	}
	if err := p.flush(ctx); err != nil {
		return err
	}
	return p.outcome()
}

// entryOf makes an entry of a line.
func (p *busPut) entryOf(line []byte) (json.RawMessage, error) {
	var entry map[string]json.RawMessage
	if json.Unmarshal(line, &entry) != nil || entry == nil {
		return nil, errors.New("the entry is not a JSON object")
	}
	if d := entry["Detail"]; len(d) > 0 && d[0] == '{' {
		text, err := json.Marshal(string(d))
		if err != nil {
			return nil, err
		}
		entry["Detail"] = text
	}
	if entry["EventBusName"] == nil {
		name, err := json.Marshal(p.entry.EventBusName)
		if err != nil {
			return nil, err
		}
		entry["EventBusName"] = name
	}
	return json.Marshal(entry)
}

// flush puts what waits.
func (p *busPut) flush(ctx context.Context) error {
	if len(p.waiting) == 0 {
		return nil
	}
	var answer struct{ Entries []putOutcome }
	if err := p.c.events(ctx, "PutEvents", map[string]any{"Entries": p.waiting}, &answer); err != nil {
		return err
	}
	p.waiting, p.size = nil, 0
	for _, e := range answer.Entries {
		line := e.EventID
		if e.EventID == "" {
			p.failed++
			line = printable(e.ErrorCode + ": " + e.ErrorMessage)
		}
		if p.c.output == "json" {
			if err := p.c.json(e); err != nil {
				return err
			}
		} else if _, err := fmt.Fprintln(p.c.out, line); err != nil {
			return err
		}
	}
	return nil
}

func (p *busPut) outcome() error {
	if p.failed > 0 {
		return fmt.Errorf("%d of the events were refused", p.failed)
	}
	return nil
}

func busTailCommand() *cobra.Command {
	t := topicTail{partition: -1, delimiter: `\n`}
	cmd := asking(&cobra.Command{
		Use:   "tail [BUS]",
		Short: "Show the events on a bus, and those that come",
		Long: "Prints events, a line each: the last ten or, with --from, all from there on to the present end, and with --follow also those\n" +
			"that come, until Ctrl-C. With -o json it prints the whole records of the bus's topic. The caller must be allowed to read that topic.",
		Example: "  klamm bus tail --follow\n  klamm bus tail orders --from 15m",
		Args:    cobra.MaximumNArgs(1),
	}, func(ctx context.Context, c *client, args []string) error {
		t.c, t.topic = c, event.BusTopic(busOf(args))
		return t.run(ctx)
	})
	flags := cmd.Flags()
	flags.StringVar(&t.from, "from", "", "where to begin, as with klamm topic tail; the default is -10, the last ten events")
	flags.BoolVar(&t.follow, "follow", false, "go on with the events that come, until Ctrl-C")
	flags.IntVarP(&t.count, "count", "c", 0, "stop after so many events")
	return completed(cmd, busNames)
}

func busExplainCommand() *cobra.Command {
	var text, only string
	cmd := asking(&cobra.Command{
		Use:   "explain [BUS]",
		Short: "Say which rules of a bus match an event, and why",
		Long: "Matches an event, as it lies on the bus, against the patterns of all rules. Prints match or no match for each rule; with --rule,\n" +
			"for that one whether each clause of its pattern is satisfied and by which values. The exit status is 0 if a rule matches and 1 if none does.",
		Example: "  klamm bus explain orders --event @event.json\n  klamm bus explain orders --event @event.json --rule large",
		Args:    cobra.MaximumNArgs(1),
	}, func(ctx context.Context, c *client, args []string) error {
		document, err := documentFlag(c.cmd, "--event", text)
		if err != nil {
			return &exitError{2, err}
		}
		return c.explainBus(ctx, busOf(args), only, document)
	})
	flags := cmd.Flags()
	flags.StringVar(&text, "event", "", "DOC: the event; inline, @FILE or -")
	flags.StringVar(&only, "rule", "", "only this rule, clause by clause")
	_ = cmd.MarkFlagRequired("event")
	_ = cmd.RegisterFlagCompletionFunc("rule", func(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
		return complete(cmd, begin, func(ctx context.Context, c *client, _ string) (found []string, err error) {
			all, err := c.busRules(ctx, busOf(args))
			for _, r := range all {
				found = append(found, r.Name)
			}
			return found, err
		})
	})
	return completed(cmd, busNames)
}

// A busVerdict says whether a rule matches an event.
type busVerdict struct {
	Rule    string            `json:"rule"`
	State   string            `json:"state"`
	Matched bool              `json:"matched"`
	Why     *rule.Explanation `json:"why,omitempty"`
}

func (c *client) explainBus(ctx context.Context, bus, only string, document []byte) error {
	rules, err := c.busRules(ctx, bus)
	if err != nil {
		return err
	}
	var verdicts []busVerdict
	for _, r := range rules {
		if only != "" && r.Name != only || r.EventPattern == "" {
			continue
		}
		pattern, err := rule.Compile([]byte(r.EventPattern))
		if err != nil {
			return fmt.Errorf("rule %s: %w", r.Name, err)
		}
		why, err := pattern.Explain(document)
		if err != nil {
			return &exitError{2, fmt.Errorf("--event: %w", err)}
		}
		v := busVerdict{Rule: r.Name, State: r.State, Matched: why.Matched}
		if only != "" {
			v.Why = why
		}
		verdicts = append(verdicts, v)
	}
	if only != "" && len(verdicts) == 0 {
		return fmt.Errorf("bus %s has no rule %s with a pattern", bus, only)
	}
	return c.showVerdicts(verdicts, only != "")
}

// showVerdicts prints which rules match; it fails if none does.
func (c *client) showVerdicts(verdicts []busVerdict, whole bool) error {
	matched := false
	for _, v := range verdicts {
		matched = matched || v.Matched
	}
	if whole && c.output != "json" {
		if err := writeExplanation(c.out, verdicts[0].Why); err != nil {
			return err
		}
	} else {
		err := rows(c, verdicts, newTable("RULE", "STATE", "VERDICT"), func(v busVerdict) []any { return []any{v.Rule, v.State, verdict(v.Matched)} })
		if err != nil {
			return err
		}
	}
	if !matched {
		return &exitError{code: 1}
	}
	return nil
}
