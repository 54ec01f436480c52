package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/kafka"
)

// A topicDoc is a topic in a list.
type topicDoc struct {
	Topic       string `json:"topic"`
	Partitions  int    `json:"partitions"`
	Replication int    `json:"replication"`
	Troubled    int    `json:"troubled"`
}

// A topicShown is a topic with its partitions and settings.
type topicShown struct {
	Topic       string              `json:"topic"`
	Replication int                 `json:"replication"`
	Records     int64               `json:"records"`
	Troubled    int                 `json:"troubled"`
	Partitions  []topicPartitionDoc `json:"partitions"`
	Settings    []topicSettingDoc   `json:"settings"`
}

type topicPartitionDoc struct {
	Partition int32   `json:"partition"`
	Leader    int32   `json:"leader"`
	Replicas  []int32 `json:"replicas"`
	InSync    []int32 `json:"in_sync"`
	Start     int64   `json:"start"`
	End       int64   `json:"end"`
}

type topicSettingDoc struct {
	Name    string  `json:"name"`
	Value   *string `json:"value"`
	Default bool    `json:"default"`
	Source  string  `json:"source"`
}

func topicCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "topic",
		Short:   "List, show, make and delete topics, read and produce records",
		Example: "  klamm topic list\n  klamm topic tail orders --follow",
		Args:    cobra.NoArgs,
		RunE:    needSubcommand,
	}
	cmd.AddCommand(topicListCommand(), topicShowCommand(), topicCreateCommand(), topicDeleteCommand(), topicTailCommand(), topicProduceCommand())
	return cmd
}

// oneTopic is the rule of a command whose only argument is a topic.
func oneTopic(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("give the topic; klamm topic list shows the topics there are")
	}
	return checkTopic(args[0])
}

func checkTopic(name string) error {
	if !kafka.ValidTopic(name) {
		return usage("%q is no topic's name: want up to 249 letters, digits, dots, - and _", short(printable(name), 100))
	}
	return nil
}

// topics visits the topics whose names begin so, page by page.
func (c *client) topics(ctx context.Context, prefix string, visit func(topicDoc) error) error {
	query := url.Values{"limit": {"1000"}}
	if prefix != "" {
		query.Set("prefix", prefix)
	}
	for {
		var page struct {
			Topics []topicDoc `json:"topics"`
			Next   string     `json:"next"`
		}
		if err := c.call(ctx, request{method: http.MethodGet, path: []string{"topics"}, query: query, within: readTime}, "topics", &page); err != nil {
			return err
		}
		for _, t := range page.Topics {
			if err := visit(t); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		query.Set("after", page.Next)
	}
}

func topicListCommand() *cobra.Command {
	return asking(&cobra.Command{
		Use:     "list [PREFIX]",
		Short:   "List the topics, all or those whose names begin so",
		Long:    "Lists the topics that you may see, by name. TROUBLED is how many of a topic's partitions lack a leader or a replica.",
		Example: "  klamm topic list\n  klamm topic list iot. -o json",
		Args:    cobra.MaximumNArgs(1),
	}, func(ctx context.Context, c *client, args []string) error {
		prefix := strings.Join(args, "")
		var all []topicDoc
		if err := c.topics(ctx, prefix, func(t topicDoc) error { all = append(all, t); return nil }); err != nil {
			return err
		}
		t := newTable("TOPIC", "PARTITIONS", "REPLICAS", "TROUBLED")
		t.paint = func(column int, text string) string {
			if column == 3 && text != "0" {
				return "31"
			}
			return ""
		}
		return rows(c, all, t, func(t topicDoc) []any { return []any{t.Topic, t.Partitions, t.Replication, t.Troubled} })
	})
}

// topic asks for all that is known of a topic.
func (c *client) topic(ctx context.Context, name string) (t topicShown, err error) {
	return t, c.call(ctx, request{method: http.MethodGet, path: []string{"topics", name}, within: readTime}, "partitions", &t)
}

func topicShowCommand() *cobra.Command {
	var all bool
	cmd := asking(&cobra.Command{
		Use:     "show TOPIC",
		Short:   "Show a topic's partitions and settings",
		Long:    "Shows where a topic's partitions are, from where to where their logs go, and the settings that somebody has made.",
		Example: "  klamm topic show orders\n  klamm topic show orders --all\n  klamm topic show orders -o json",
		Args:    oneTopic,
	}, func(ctx context.Context, c *client, args []string) error {
		t, err := c.topic(ctx, args[0])
		if err != nil {
			return err
		}
		return c.showTopic(t, all)
	})
	cmd.Flags().BoolVar(&all, "all", false, "also settings that nobody has made")
	return completed(cmd, topicNames)
}

// showTopic prints a topic; all says whether with its defaults.
func (c *client) showTopic(shown topicShown, all bool) error {
	if c.output == "json" {
		return c.json(shown)
	}
	t := &table{}
	t.add("topic", shown.Topic)
	t.add("partitions", len(shown.Partitions))
	t.add("replicas", shown.Replication)
	t.add("records", fmt.Sprintf("about %d", shown.Records))
	if shown.Troubled > 0 {
		t.add("troubled", fmt.Sprintf("%d partitions lack a leader or a replica", shown.Troubled))
	}
	if err := t.write(c.out); err != nil {
		return err
	}
	fmt.Fprintln(c.out)
	t = newTable("PARTITION", "LEADER", "REPLICAS", "IN SYNC", "START", "END")
	for _, p := range shown.Partitions {
		leader := fmt.Sprint(p.Leader)
		if p.Leader < 0 {
			leader = ""
		}
		t.add(p.Partition, leader, joined(p.Replicas), joined(p.InSync), p.Start, p.End)
	}
	if err := t.write(c.out); err != nil {
		return err
	}
	made := slices.DeleteFunc(shown.Settings, func(s topicSettingDoc) bool { return s.Default && !all })
	if len(made) == 0 {
		return nil
	}
	fmt.Fprintln(c.out)
	t = newTable("SETTING", "VALUE", "SOURCE")
	for _, s := range made {
		value := "<secret>"
		if s.Value != nil {
			value = *s.Value
		}
		t.add(s.Name, value, s.Source)
	}
	return t.write(c.out)
}

func joined(numbers []int32) string {
	text := make([]string, len(numbers))
	for i, n := range numbers {
		text[i] = fmt.Sprint(n)
	}
	return strings.Join(text, ",")
}

func topicCreateCommand() *cobra.Command {
	var partitions, replication int
	var settings []string
	var dryRun bool
	cmd := asking(&cobra.Command{
		Use:     "create TOPIC",
		Short:   "Make a topic",
		Long:    "Makes a topic. What is not given is as the brokers take it by default.",
		Example: "  klamm topic create orders --partitions 12\n  klamm topic create orders -p 12 -r 3 -c retention.ms=604800000 -c cleanup.policy=delete --dry-run",
		Args:    oneTopic,
	}, func(ctx context.Context, c *client, args []string) error {
		given := c.cmd.Flags().Changed
		if partitions < 1 && given("partitions") || replication < 1 && given("replicas") {
			return usage("--partitions and --replicas: want numbers from 1")
		}
		body := map[string]any{"topic": args[0], "partitions": partitions, "replication": replication}
		made := map[string]string{}
		for _, pair := range settings {
			name, value, ok := strings.Cut(pair, "=")
			if !ok || name == "" {
				return usage("--config %q: want NAME=VALUE, such as retention.ms=604800000", printable(pair))
			}
			made[name] = value
		}
		body["settings"] = made
		r := request{method: http.MethodPost, path: []string{"topics"}, body: body, within: changeTime}
		if dryRun {
			r.query = url.Values{"dry_run": {"true"}}
		}
		var a struct {
			Topic       string `json:"topic"`
			Created     bool   `json:"created"`
			Partitions  int    `json:"partitions,omitempty"`
			Replication int    `json:"replication,omitempty"`
		}
		if err := c.call(ctx, r, "created", &a); err != nil {
			return err
		}
		if dryRun {
			return c.show(a, "topic %s can be made; nothing was done", printable(a.Topic))
		}
		return c.show(a, "topic %s is made", printable(a.Topic))
	})
	flags := cmd.Flags()
	flags.IntVarP(&partitions, "partitions", "p", 0, "number of partitions")
	flags.IntVarP(&replication, "replicas", "r", 0, "number of replicas")
	flags.StringArrayVarP(&settings, "config", "c", nil, "a setting, NAME=VALUE; may be given again")
	flags.BoolVar(&dryRun, "dry-run", false, "only have a broker check it")
	return cmd
}

func topicDeleteCommand() *cobra.Command {
	var dryRun bool
	cmd := asking(&cobra.Command{
		Use:     "delete TOPIC",
		Short:   "Delete a topic with all its records",
		Long:    "Deletes a topic with all its records, for good. A dry run says how many would be lost. Pipes that read it wait for a topic of that name.",
		Example: "  klamm topic delete orders --dry-run\n  klamm topic delete orders",
		Args:    oneTopic,
	}, func(ctx context.Context, c *client, args []string) error {
		if dryRun {
			t, err := c.topic(ctx, args[0])
			if err != nil {
				return err
			}
			return c.show(map[string]any{"topic": t.Topic, "deleted": false, "records": t.Records}, "topic %s would be deleted with about %d records; nothing was done", printable(t.Topic), t.Records)
		}
		var a struct {
			Topic   string `json:"topic"`
			Deleted bool   `json:"deleted"`
		}
		if err := c.call(ctx, request{method: http.MethodDelete, path: []string{"topics", args[0]}, within: changeTime}, "deleted", &a); err != nil {
			return err
		}
		return c.show(a, "topic %s is deleted", printable(a.Topic))
	})
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be lost")
	return completed(cmd, topicNames)
}
