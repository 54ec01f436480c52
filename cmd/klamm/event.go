package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// An eventStory is an event's way through the rules of a bus.
type eventStory struct {
	ID       string      `json:"id"`
	Bus      string      `json:"bus"`
	Copies   []eventCopy `json:"copies"`
	Withheld bool        `json:"withheld,omitempty"`
}

// An eventCopy is one record of the bus's topic that holds the event.
type eventCopy struct {
	Bus       string          `json:"bus"`
	Topic     string          `json:"topic"`
	Partition int32           `json:"partition"`
	Offset    int64           `json:"offset"`
	Intake    time.Time       `json:"intake"`
	Replay    string          `json:"replay,omitempty"`
	Schedule  string          `json:"schedule,omitempty"`
	Rules     []string        `json:"rules,omitempty"`
	Hops      int             `json:"hops,omitempty"`
	Event     json.RawMessage `json:"event,omitempty"`
	Targets   []eventTarget   `json:"targets"`
}

// An eventTarget is what has become of it for one target.
type eventTarget struct {
	Pipe       string       `json:"pipe"`
	Rule       string       `json:"rule,omitempty"`
	Target     string       `json:"target,omitempty"`
	TargetARN  string       `json:"target_arn,omitempty"`
	Archive    string       `json:"archive,omitempty"`
	State      string       `json:"state"`
	Delivery   string       `json:"delivery_id"`
	Attempts   []attemptDoc `json:"attempts"`
	Next       time.Time    `json:"next,omitzero"`
	DeadLetter *struct {
		Topic     string `json:"topic"`
		Partition int32  `json:"partition"`
		Offset    int64  `json:"offset"`
		Code      string `json:"error_code,omitempty"`
		Message   string `json:"error_message,omitempty"`
		Condition string `json:"exhausted_retry_condition,omitempty"`
		Attempts  string `json:"retry_attempts,omitempty"`
	} `json:"dead_letter,omitempty"`
}

func eventCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "event",
		Short: "Tell the way of an event through the rules of a bus",
		Args:  cobra.NoArgs,
		RunE:  needSubcommand,
	}
	cmd.AddCommand(eventShowCommand())
	return cmd
}

func eventShowCommand() *cobra.Command {
	var bus, since string
	cmd := asking(&cobra.Command{
		Use:   "show ID",
		Short: "Show what has become of an event for each of its targets",
		Long: "Shows where in the bus's topic an event is, and what has become of it for each target of the rules that match it now. The id is the\n" +
			"EventId of PutEvents. settled says that the target is past the event and the delivery log knows of no failure.",
		Example: "  klamm event show 6a7e8feb-b491-4cf7-a9f1-bf3703467718\n  klamm event show 6a7e8feb-b491-4cf7-a9f1-bf3703467718 --bus orders --since 7d -o json",
		Args:    cobra.ExactArgs(1),
	}, func(ctx context.Context, c *client, args []string) error {
		id := args[0]
		if id == "" || len(id) > 256 || id == "." || id == ".." {
			return usage("%q is no event id", short(printable(id), 100))
		}
		from, err := parseTime("--since", since, time.Now())
		if err != nil {
			return &exitError{2, err}
		}
		var story eventStory
		ask := request{method: http.MethodGet, path: []string{"buses", bus, "events", id}, query: url.Values{"since": {from.UTC().Format(time.RFC3339)}}, within: changeTime}
		if err := c.call(ctx, ask, "copies", &story); err != nil {
			return err
		}
		return c.showStory(&story)
	})
	cmd.Flags().StringVar(&bus, "bus", defaultBus, "the event bus")
	cmd.Flags().StringVar(&since, "since", "1d", "from which time on it is looked for: how long ago (15m, 1h, 7d) or an RFC 3339 time")
	return cmd
}

func (c *client) showStory(story *eventStory) error {
	if c.output == "json" {
		return c.json(story)
	}
	for i := range story.Copies {
		one := &story.Copies[i]
		if i > 0 {
			fmt.Fprintln(c.out)
		}
		t := &table{}
		t.add("event", story.ID)
		t.add("bus", one.Bus)
		t.add("record", fmt.Sprintf("%s/%d at offset %d", one.Topic, one.Partition, one.Offset))
		t.add("intake", clock(one.Intake))
		for _, line := range [][2]string{{"replay", one.Replay}, {"schedule", one.Schedule}, {"only for", strings.Join(one.Rules, ", ")}} {
			if line[1] != "" {
				t.add(line[0], line[1])
			}
		}
		if one.Hops > 0 {
			t.add("buses before", one.Hops)
		}
		t.headless = true
		if err := t.write(c.out); err != nil {
			return err
		}
		fmt.Fprintln(c.out)
		t = newTable("RULE", "TARGET", "STATE", "ATTEMPT", "AT", "STATUS", "WHAT")
		for _, to := range one.Targets {
			to.rows(t)
		}
		if err := t.write(c.out); err != nil {
			return err
		}
	}
	return nil
}

// rows adds what has become of the event: a line, and one for each attempt that is known.
func (e *eventTarget) rows(t *table) {
	rule, target := e.Rule, e.Target
	if e.Archive != "" {
		rule, target = "(archive)", e.Archive
	}
	what := e.TargetARN
	if e.DeadLetter != nil {
		what = fmt.Sprintf("%s; dead letter in %s/%d at offset %d", e.DeadLetter.Code, e.DeadLetter.Topic, e.DeadLetter.Partition, e.DeadLetter.Offset)
	}
	t.add(rule, target, e.State, "", clock(e.Next), "", printable(what))
	for _, a := range e.Attempts {
		said := a.Error
		if said == "" {
			said = "accepted"
		}
		t.add("", "", "", a.Number, clock(a.At), statusOf(a.Status), printable(short(said, 120)))
	}
}
