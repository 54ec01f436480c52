package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/app"
	"github.com/klamm-gateway/klamm/gate"
)

func accessCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "access",
		Short:   "Say who may do what",
		Example: "  klamm access explain --as User:alice --action kafka-cluster:WriteData --resource topic:orders",
		Args:    cobra.NoArgs,
		RunE:    needSubcommand,
	}
	cmd.AddCommand(accessExplainCommand())
	return cmd
}

func accessExplainCommand() *cobra.Command {
	var ask gate.Question
	var values []string
	var file string
	cmd := asking(&cobra.Command{
		Annotations: map[string]string{ownContext: "the context of a request"},
		Use:         "explain --as CALLER --action ACTION --resource RESOURCE",
		Short:       "Say whether a caller may do something, and by which statement",
		Long: "Says what the policies decide, with the policy's name and the statement's Sid. The exit status is 0 if it is allowed and 1 if it is denied.\n\n" +
			"A running klamm is asked, unless --config names a file: then the file alone decides.\n" +
			"CALLER is User:NAME, or the ARN of a user, role or session; without --as it is somebody without credentials.\n" +
			"RESOURCE is topic:NAME, group:NAME, cluster:*, pipe:NAME, execute-api:/STAGE/METHOD/PATH, or an ARN.",
		Example: "  klamm access explain --as User:alice --action kafka-cluster:WriteData --resource topic:orders\n" +
			"  klamm access explain --as User:app --group ingest --action kafka-cluster:ReadData --resource topic:orders --context aws:SourceIp=192.0.2.7\n" +
			"  klamm access explain --config klamm.yaml --as User:alice --action execute-api:Invoke --resource 'execute-api:/$default/POST/topics/orders'",
		Args: cobra.NoArgs,
	}, func(ctx context.Context, c *client, _ []string) error {
		if ask.Action == "" || ask.Resource == "" {
			return usage("give --action and --resource")
		}
		var e gate.Explanation
		var err error
		if file != "" {
			e, err = explainFile(ctx, file, ask, values)
		} else {
			e, err = c.explain(ctx, ask, values)
		}
		if err != nil {
			return err
		}
		if err := c.showExplanation(e); err != nil {
			return err
		}
		if !e.Allowed() {
			return &exitError{code: 1}
		}
		return nil
	})
	flags := cmd.Flags()
	flags.StringVar(&ask.As, "as", "", "the caller")
	flags.StringArrayVar(&ask.Groups, "group", nil, "a group of the caller, beside those that klamm knows; may be repeated")
	flags.StringVar(&ask.Action, "action", "", "such as kafka-cluster:WriteData")
	flags.StringVar(&ask.Resource, "resource", "", "such as topic:orders")
	flags.StringArrayVar(&values, "context", nil, "value of a condition key, KEY=VALUE; may be repeated")
	flags.StringVar(&file, "config", "", "configuration file to decide by, instead of a running klamm")
	return cmd
}

// explainFile decides by a configuration file.
func explainFile(ctx context.Context, file string, ask gate.Question, pairs []string) (gate.Explanation, error) {
	ask.Context = map[string][]string{}
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return gate.Explanation{}, usage("--context %q: want KEY=VALUE, such as aws:SourceIp=192.0.2.7", printable(pair))
		}
		ask.Context[key] = append(ask.Context[key], value)
	}
	cfg, err := loadConfig(file)
	if err != nil {
		return gate.Explanation{}, err
	}
	e, err := app.ExplainAccess(ctx, cfg, ask)
	if wrong := (*gate.Error)(nil); errors.As(err, &wrong) && wrong.Kind == gate.Invalid {
		return e, usage("%s", printable(wrong.Message))
	}
	return e, err
}

// explain asks a running klamm.
func (c *client) explain(ctx context.Context, ask gate.Question, pairs []string) (e gate.Explanation, err error) {
	q := url.Values{"as": {ask.As}, "action": {ask.Action}, "resource": {ask.Resource}, "group": ask.Groups, "context": pairs}
	return e, c.call(ctx, request{method: http.MethodGet, path: []string{"access", "explain"}, query: q, within: readTime}, "decision", &e)
}

func (c *client) showExplanation(e gate.Explanation) error {
	if c.output == "json" {
		return c.json(e)
	}
	t := &table{}
	t.add("decision", e.Decision)
	t.add("caller", printable(e.As))
	if len(e.Groups) > 0 {
		t.add("groups", printable(strings.Join(e.Groups, ", ")))
	}
	t.add("action", e.Action)
	t.add("resource", printable(e.Resource))
	t.add("because", because(e))
	if err := t.write(c.out); err != nil {
		return err
	}
	return showNeeds(c.out, e)
}

// because says which statement has decided, or why none has.
func because(e gate.Explanation) string {
	if e.Policy == "" {
		return e.Reason
	}
	text := "policy " + strconv.Quote(e.Policy)
	if e.Statement > 0 {
		text += ", statement " + strconv.Itoa(e.Statement)
	}
	if e.Sid != "" {
		text += " (" + printable(e.Sid) + ")"
	}
	return text
}

// showNeeds shows what an operation needs beside the action, as far as that is
// denied.
func showNeeds(w io.Writer, e gate.Explanation) error {
	for _, need := range e.Needs {
		if need.Allowed() {
			continue
		}
		_, err := fmt.Fprintf(w, "\nAn operation also needs %s on %s: %s, %s.\n", need.Action, printable(need.Resource), need.Decision, because(need))
		if err != nil {
			return err
		}
	}
	return nil
}
