package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/gate"
)

func policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "policy",
		Example: "  klamm policy list\n  klamm policy put ingest --who group:ingest --can produce --topic 'iot.*'",
		Args:    cobra.NoArgs,
		Short:   "Change who may do what, while klamm runs",
		Long: "Lists, makes, replaces and removes policies and rules, which are kept in Kafka and count in every klamm process within a second.\n" +
			"Those of the configuration file are listed, and changed there; of two with the same name, the file's counts.",
		RunE: needSubcommand,
	}
	cmd.AddCommand(policyListCommand(), completed(policyShowCommand(), policyNames), completed(policyPutCommand(), policyNames), completed(policyDeleteCommand(), policyNames))
	return cmd
}

// policies asks for all policies and rules.
func (c *client) policies(ctx context.Context) ([]gate.KeptPolicy, error) {
	return list[gate.KeptPolicy](ctx, c, "policies")
}

func policyListCommand() *cobra.Command {
	return searching("policies", "List policies and rules", "Lists policies and rules, all or those that have a text in their name or in whom they are for.",
		"  klamm policy list\n  klamm policy list group:ingest -o json", policyTable, policyRow)
}

func policyTable() *table {
	return newTable("NAME", "KIND", "ATTACHED TO", "VERSION", "CHANGED", "BY")
}

func policyRow(p gate.KeptPolicy) []any {
	to, version, changed := p.Attach, strconv.FormatInt(p.Version, 10), p.Changed.UTC().Format(time.RFC3339)
	if p.Rule != nil {
		to = p.Rule.Who
	}
	switch {
	case p.InFile:
		version, changed = "", "in the file"
	case p.Shadowed:
		changed += " (the file's counts)"
	}
	return []any{p.Name, p.Kind, strings.Join(to, ","), version, changed, p.ChangedBy}
}

func policyShowCommand() *cobra.Command {
	return asking(&cobra.Command{
		Use:     "show NAME",
		Short:   "Show a policy as JSON, as klamm policy put takes it",
		Example: "  klamm policy show readers",
		Args:    oneArgument("the name of the policy"),
	}, func(ctx context.Context, c *client, args []string) error {
		var one gate.KeptPolicy
		if err := c.call(ctx, request{method: http.MethodGet, path: []string{"policies", args[0]}, within: readTime}, "kind", &one); err != nil {
			return err
		}
		if c.output == "json" {
			return c.json(one)
		}
		return c.document(one)
	})
}

// changeFlags are the flags of a change.
type changeFlags struct {
	version int64
	force   bool
}

func (f *changeFlags) add(cmd *cobra.Command) {
	cmd.Flags().Int64Var(&f.version, "version", -1, "the version that is to be changed; 0: there is none yet (default: any)")
	cmd.Flags().BoolVar(&f.force, "force", false, "also if you could not change policies afterwards")
}

func (f *changeFlags) query() url.Values {
	q := url.Values{}
	if f.version >= 0 {
		q.Set("version", strconv.FormatInt(f.version, 10))
	}
	if f.force {
		q.Set("force", "true")
	}
	return q
}

func policyPutCommand() *cobra.Command {
	var change changeFlags
	var file, kind string
	var attach []string
	var rule gate.Rule
	cmd := asking(&cobra.Command{
		Use:   "put NAME",
		Short: "Make or replace a policy or a rule",
		Long: "Makes or replaces a policy. The file holds what klamm policy show prints, or, with --attach, the policy document alone; - is\n" +
			"standard input. A rule in plain words needs no file: --who with --can or --deny.",
		Example: "  klamm policy put ingest --who group:ingest --can produce --topic 'iot.*'\n" +
			"  klamm policy put readers --attach group:readers --file document.json\n" +
			"  klamm policy show readers | klamm policy put readers --file -",
		Args: oneArgument("the name of the policy"),
	}, func(ctx context.Context, c *client, args []string) error {
		body, err := policyOf(c.cmd, file, kind, attach, rule)
		if err != nil {
			return err
		}
		var one gate.KeptPolicy
		r := request{method: http.MethodPut, path: []string{"policies", args[0]}, query: change.query(), body: body, within: changeTime}
		if err := c.call(ctx, r, "version", &one); err != nil {
			return err
		}
		if c.output == "json" {
			return c.json(one)
		}
		fmt.Fprintf(c.out, "%s is at version %d\n", printable(one.Name), one.Version)
		return nil
	})
	change.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&file, "file", "", "the file with the policy or, with --attach, with its document")
	flags.StringVar(&kind, "kind", "identity", "with --attach: identity, resource or boundary")
	flags.StringArrayVar(&attach, "attach", nil, "what the document is attached to, such as group:ingest or topic:iot.*; may be given again")
	flags.StringArrayVar(&rule.Who, "who", nil, "whom a rule is about, such as User:alice or group:ingest; may be given again")
	flags.StringArrayVar(&rule.Can, "can", nil, "produce, consume, describe, admin or all; may be given again")
	flags.StringArrayVar(&rule.Deny, "deny", nil, "what a rule denies, as for --can; may be given again")
	flags.StringArrayVar(&rule.Topics, "topic", nil, "a topic, or a pattern; may be given again")
	flags.StringArrayVar(&rule.Groups, "consumer-group", nil, "a consumer group, or a pattern; may be given again")
	flags.StringArrayVar(&rule.ExceptTopics, "except-topic", nil, "a topic or pattern that the rule's callers are denied; may be given again")
	flags.BoolVar(&rule.Internal, "internal", false, "with --can admin: also topics whose names begin with __")
	return cmd
}

// largestPolicy bounds a file with a policy, in bytes.
const largestPolicy = 1 << 20

// policyOf is the body of a call that makes a policy.
func policyOf(cmd *cobra.Command, file, kind string, attach []string, rule gate.Rule) (any, error) {
	if len(rule.Who)+len(rule.Can)+len(rule.Deny) > 0 {
		if file != "" || attach != nil {
			return nil, usage("give either a rule or a file")
		}
		return gate.KeptPolicy{Kind: gate.KindRule, Rule: &rule}, nil
	}
	if file == "" {
		return nil, usage("give --file, or a rule with --who")
	}
	in := cmd.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, &exitError{2, err}
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, largestPolicy+1))
	if err == nil && len(text) > largestPolicy {
		err = fmt.Errorf("more than %d bytes", largestPolicy)
	}
	if err == nil && !json.Valid(text) {
		err = errors.New("no JSON")
	}
	if err != nil {
		return nil, usage("%s: %v", file, err)
	}
	if attach == nil {
		return json.RawMessage(text), nil
	}
	return gate.KeptPolicy{Kind: kind, Attach: attach, Document: text}, nil
}

func policyDeleteCommand() *cobra.Command {
	var change changeFlags
	cmd := asking(&cobra.Command{
		Use:     "delete NAME",
		Short:   "Remove a policy or a rule",
		Example: "  klamm policy delete readers",
		Args:    oneArgument("the name of the policy"),
	}, func(ctx context.Context, c *client, args []string) error {
		var answer struct {
			Deleted string `json:"deleted"`
		}
		r := request{method: http.MethodDelete, path: []string{"policies", args[0]}, query: change.query(), within: changeTime}
		if err := c.call(ctx, r, "deleted", &answer); err != nil {
			return err
		}
		if c.output == "json" {
			return c.json(answer)
		}
		fmt.Fprintf(c.out, "deleted %s\n", printable(answer.Deleted))
		return nil
	})
	change.add(cmd)
	return cmd
}
