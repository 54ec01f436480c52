package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// completionTime bounds what a shell waits for names from a server.
const completionTime = time.Second

func completionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "completion",
		Short: "Print what makes a shell complete klamm's commands, flags and names",
		Long: "Prints what makes a shell complete klamm's commands and flags, and the names of pipes, topics, keys, policies and functions. Names\n" +
			"come from the server that the command would ask; where it does not answer within a second, there are none.",
		Example: "  . <(klamm completion bash)\n  klamm completion zsh > \"${fpath[1]}/_klamm\"\n  klamm completion fish > ~/.config/fish/completions/klamm.fish",
		Args:    cobra.NoArgs,
		RunE:    needSubcommand,
	}
	for shell, how := range map[string]struct {
		example string
		print   func(*cobra.Command) error
	}{
		"bash": {"  . <(klamm completion bash)\n  klamm completion bash > /etc/bash_completion.d/klamm", func(c *cobra.Command) error { return c.Root().GenBashCompletionV2(c.OutOrStdout(), true) }},
		"zsh":  {"  klamm completion zsh > \"${fpath[1]}/_klamm\"", func(c *cobra.Command) error { return c.Root().GenZshCompletion(c.OutOrStdout()) }},
		"fish": {"  klamm completion fish | source\n  klamm completion fish > ~/.config/fish/completions/klamm.fish", func(c *cobra.Command) error { return c.Root().GenFishCompletion(c.OutOrStdout(), true) }},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: shell, Short: "For " + shell, Example: how.example, Args: cobra.NoArgs, DisableFlagsInUseLine: true,
			RunE: func(cmd *cobra.Command, _ []string) error { return failed(how.print(cmd)) },
		})
	}
	return cmd
}

// names asks a server for the names of something.
type names func(ctx context.Context, c *client, begin string) ([]string, error)

// completed lets shells complete the first argument of a command that asks a klamm.
func completed(cmd *cobra.Command, find names) *cobra.Command {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, begin, find)
	}
	return cmd
}

// completedFlag lets shells complete a flag of a command that asks a klamm.
func completedFlag(cmd *cobra.Command, flag string, find names) {
	_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, begin string) ([]string, cobra.ShellCompDirective) {
		return complete(cmd, begin, find)
	})
}

// complete asks for names, and is silent where there is no answer. The flags of the
// command say whom.
func complete(cmd *cobra.Command, begin string, find names) ([]string, cobra.ShellCompDirective) {
	f := clientFlags{output: "json", timeout: completionTime}
	if server := cmd.Flags().Lookup("server"); server != nil {
		f.server = server.Value.String()
	}
	if named := cmd.Flags().Lookup("context"); named != nil && named.Value.Type() == "string" {
		f.context = named.Value.String()
	}
	c, ctx, err := f.open(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	found, err := find(ctx, c, begin)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var fit []string
	for _, name := range found {
		if strings.HasPrefix(name, begin) && name == printable(name) {
			fit = append(fit, name)
		}
	}
	return fit, cobra.ShellCompDirectiveNoFileComp
}

func pipeNames(ctx context.Context, c *client, _ string) (found []string, err error) {
	all, err := c.definitions(ctx)
	if err != nil { // a klamm without a catalog
		var list []pipeDoc
		if list, err = c.pipes(ctx); err != nil {
			return nil, err
		}
		for _, p := range list {
			found = append(found, p.Pipe)
		}
		return found, nil
	}
	for _, d := range all {
		found = append(found, d.Pipe)
	}
	return found, nil
}

func topicNames(ctx context.Context, c *client, begin string) (found []string, err error) {
	err = c.topics(ctx, begin, func(t topicDoc) error {
		found = append(found, t.Topic)
		return nil
	})
	return found, err
}

func keyNames(ctx context.Context, c *client, _ string) (found []string, err error) {
	list, err := c.keys(ctx)
	for _, k := range list {
		found = append(found, k.Name)
	}
	return found, err
}

func keyIDs(ctx context.Context, c *client, _ string) (found []string, err error) {
	list, err := c.keys(ctx)
	for _, k := range list {
		found = append(found, k.ID)
	}
	return found, err
}

func policyNames(ctx context.Context, c *client, _ string) (found []string, err error) {
	list, err := c.policies(ctx)
	for _, p := range list {
		found = append(found, p.Name)
	}
	return found, err
}
