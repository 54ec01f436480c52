package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func archiveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "archive",
		Short: "List and show archives of event buses, and replay them",
		Long:  "Archives are made with the AWS CLI or an AWS SDK (docs/archives-and-replays.md); these commands are for looking, and for replaying.",
		RunE:  needSubcommand,
	}
	cmd.AddCommand(archiveListCommand(), archiveShowCommand(), archiveReplayCommand())
	return cmd
}

// An archiveDoc is an archive as the API shows it.
type archiveDoc struct {
	ArchiveName    string
	EventSourceArn string
	State          string
	EventPattern   string `json:",omitempty"`
	Description    string `json:",omitempty"`
	RetentionDays  int64
	SizeBytes      int64
	EventCount     int64
	CreationTime   float64 // seconds since 1970
}

// bus is the name of the bus whose events it keeps.
func (a *archiveDoc) bus() string { return nameInARN(a.EventSourceArn, "event-bus/") }

// nameInARN is what follows a kind of resource in an ARN.
func nameInARN(arn, kind string) string {
	_, name, _ := strings.Cut(arn, ":"+kind)
	return name
}

// A replayDoc is a replay as the API shows it.
type replayDoc struct {
	ReplayName            string
	EventSourceArn        string
	State                 string
	StateReason           string  `json:",omitempty"`
	EventStartTime        float64 // seconds since 1970, as those that follow
	EventEndTime          float64
	EventLastReplayedTime float64 `json:",omitempty"`
	ReplayStartTime       float64
	ReplayEndTime         float64 `json:",omitempty"`
}

// over says whether a replay has come to its end.
func (r *replayDoc) over() bool {
	return r.State == "COMPLETED" || r.State == "CANCELLED" || r.State == "FAILED"
}

// epoch shows seconds since 1970; 0 is no time.
func epoch(seconds float64) string {
	if seconds == 0 {
		return ""
	}
	return time.UnixMilli(int64(1000 * seconds)).UTC().Format(time.RFC3339)
}

// archives returns all archives.
func (c *client) archives(ctx context.Context) (all []archiveDoc, err error) {
	in := map[string]any{}
	for {
		var page struct {
			Archives  []archiveDoc
			NextToken string
		}
		if err := c.events(ctx, "ListArchives", in, &page); err != nil {
			return nil, err
		}
		if all = append(all, page.Archives...); page.NextToken == "" {
			return all, nil
		}
		in["NextToken"] = page.NextToken
	}
}

// archiveNames are the archives that there are, for shells.
func archiveNames(ctx context.Context, c *client, begin string) (found []string, err error) {
	all, err := c.archives(ctx)
	for i := range all {
		if strings.HasPrefix(all[i].ArchiveName, begin) {
			found = append(found, all[i].ArchiveName)
		}
	}
	return found, err
}

func archiveListCommand() *cobra.Command {
	return asking(&cobra.Command{Use: "list", Short: "List the archives", Example: "  klamm archive list", Args: cobra.NoArgs}, func(ctx context.Context, c *client, _ []string) error {
		all, err := c.archives(ctx)
		if err != nil {
			return err
		}
		return rows(c, all, newTable("ARCHIVE", "BUS", "EVENTS", "BYTES", "DAYS", "CREATED"), func(a archiveDoc) []any {
			return []any{a.ArchiveName, a.bus(), a.EventCount, a.SizeBytes, daysOf(a.RetentionDays), epoch(a.CreationTime)}
		})
	})
}

// daysOf is how long an archive keeps events.
func daysOf(days int64) string {
	if days == 0 {
		return "for ever"
	}
	return fmt.Sprint(days)
}

func archiveShowCommand() *cobra.Command {
	return completed(asking(&cobra.Command{Use: "show ARCHIVE", Short: "Show an archive and its replays", Example: "  klamm archive show orders", Args: cobra.ExactArgs(1)}, func(ctx context.Context, c *client, args []string) error {
		var a struct {
			archiveDoc
			ArchiveArn string
		}
		if err := c.events(ctx, "DescribeArchive", map[string]any{"ArchiveName": args[0]}, &a); err != nil {
			return err
		}
		replays := []replayDoc{}
		for in := map[string]any{"EventSourceArn": a.ArchiveArn}; ; {
			var page struct {
				Replays   []replayDoc
				NextToken string
			}
			if err := c.events(ctx, "ListReplays", in, &page); err != nil {
				return err
			}
			if replays = append(replays, page.Replays...); page.NextToken == "" {
				break
			}
			in["NextToken"] = page.NextToken
		}
		if c.output == "json" {
			return c.json(struct {
				archiveDoc
				ArchiveArn string
				Replays    []replayDoc
			}{a.archiveDoc, a.ArchiveArn, replays})
		}
		t := newTable("archive", a.ArchiveName)
		t.headless = true
		for _, line := range [][2]string{{"bus", a.bus()}, {"pattern", a.EventPattern}, {"description", a.Description}, {"days", daysOf(a.RetentionDays)}, {"events", fmt.Sprint(a.EventCount)}, {"bytes", fmt.Sprint(a.SizeBytes)}, {"created", epoch(a.CreationTime)}} {
			t.add(line[0], line[1])
		}
		if err := t.write(c.out); err != nil || len(replays) == 0 {
			return err
		}
		fmt.Fprintln(c.out)
		t = newTable("REPLAY", "STATE", "FROM", "TO", "LAST EVENT", "BEGAN", "ENDED")
		for _, r := range replays {
			t.add(r.ReplayName, r.State, epoch(r.EventStartTime), epoch(r.EventEndTime), epoch(r.EventLastReplayedTime), epoch(r.ReplayStartTime), epoch(r.ReplayEndTime))
		}
		return t.write(c.out)
	}), archiveNames)
}

// An archiveReplay is one call of klamm archive replay.
type archiveReplay struct {
	name, from, to string
	rules          []string
	detached       bool
}

func archiveReplayCommand() *cobra.Command {
	var r archiveReplay
	cmd := asking(&cobra.Command{
		Use:   "replay ARCHIVE",
		Short: "Put the events of an archive on their bus once more",
		Long: "Puts the events whose time lies in a span on the bus once more, for all its rules or some of them, and waits for the end. The exit\n" +
			"status is 1 if the replay fails or is cancelled. Ctrl-C leaves it running; aws events cancel-replay ends it.",
		Example: "  klamm archive replay orders --from 3h --to 1h\n  klamm archive replay orders --from 2026-01-31T12:00:00Z --to 2026-01-31T13:00:00Z --rule large --rule small --detach",
		Args:    cobra.ExactArgs(1),
	}, func(ctx context.Context, c *client, args []string) error { return r.run(ctx, c, args[0]) })
	flags := cmd.Flags()
	flags.StringVar(&r.name, "name", "", "of the replay; the default is made of the archive and the time")
	flags.StringVar(&r.from, "from", "", "from which time of events on: RFC 3339, or how long ago (15m, 1h, 7d)")
	flags.StringVar(&r.to, "to", "0s", "before which time, as --from")
	flags.StringArrayVar(&r.rules, "rule", nil, "a rule that gets the events; may be given again, and without any all do")
	flags.BoolVar(&r.detached, "detach", false, "do not wait for the end")
	return completed(cmd, archiveNames)
}

func (r *archiveReplay) run(ctx context.Context, c *client, archive string) error {
	if r.from == "" {
		return usage("give the span of time with --from and --to")
	}
	now := time.Now()
	from, err := parseTime("--from", r.from, now)
	if err != nil {
		return &exitError{2, err}
	}
	to, err := parseTime("--to", r.to, now)
	if err != nil {
		return &exitError{2, err}
	}
	var a struct{ ArchiveArn, EventSourceArn string }
	if err := c.events(ctx, "DescribeArchive", map[string]any{"ArchiveName": archive}, &a); err != nil {
		return err
	}
	destination := map[string]any{"Arn": a.EventSourceArn}
	if len(r.rules) > 0 {
		var arns []string
		for _, rule := range r.rules {
			var one struct{ Arn string }
			if err := c.events(ctx, "DescribeRule", map[string]any{"Name": rule, "EventBusName": a.EventSourceArn}, &one); err != nil {
				return err
			}
			arns = append(arns, one.Arn)
		}
		destination["FilterArns"] = arns
	}
	name := r.name
	if name == "" {
		name = archive + "-" + now.UTC().Format("20060102T150405.000Z")
	}
	in := map[string]any{"ReplayName": name, "EventSourceArn": a.ArchiveArn, "EventStartTime": from.UTC().Format(time.RFC3339Nano), "EventEndTime": to.UTC().Format(time.RFC3339Nano), "Destination": destination}
	if err := c.events(ctx, "StartReplay", in, &struct{}{}); err != nil {
		return err
	}
	var at replayDoc
	for {
		if err := c.events(ctx, "DescribeReplay", map[string]any{"ReplayName": name}, &at); err != nil {
			return err
		}
		if r.detached || at.over() {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("replay %s goes on without being waited for: %w", name, context.Cause(ctx))
		case <-time.After(500 * time.Millisecond):
		}
	}
	if err := c.show(at, "replay %s: %s", name, at.State); err != nil {
		return err
	}
	if at.over() && at.State != "COMPLETED" {
		return fmt.Errorf("the replay has ended as %s: %s", at.State, printable(at.StateReason))
	}
	return nil
}
