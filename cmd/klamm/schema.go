package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/schema"
)

func schemaCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Look into the schema registry, and try JSON Schemas on values",
		Args:  cobra.NoArgs,
		RunE:  needSubcommand,
	}
	cmd.AddCommand(registryCommands()...)
	cmd.AddCommand(schemaTestCommand())
	return cmd
}

// A schemaTest is one call of klamm schema test.
type schemaTest struct {
	schema, value string
	options       schema.JSONOptions
	flags         clientFlags
}

func schemaTestCommand() *cobra.Command {
	var call schemaTest
	cmd := local(&cobra.Command{
		Use:   "test",
		Short: "Say whether a value fits a JSON Schema, and where it does not",
		Long: "Prints valid, or each place where the value breaks the schema with the keyword that it breaks.\n" +
			"A document (DOC) is given inline, as @FILE, or as - for standard input. The exit status is 0 for\n" +
			"a value that fits, 1 for one that does not, and 2 if the schema or the value cannot be read.",
		Example: `  klamm schema test --schema '{"type":"object","required":["id"]}' --value '{"id":1}'` + "\n" +
			`  klamm schema test --schema @heartbeat.json --value @beat.json -o json`,
		Args: cobra.NoArgs,
	}, &call.flags, func(c *client, _ []string) error { return call.run(c) })
	flags := cmd.Flags()
	flags.StringVar(&call.schema, "schema", "", "DOC: the JSON Schema")
	flags.StringVar(&call.value, "value", "", "DOC: the value")
	flags.StringVar(&call.options.Draft, "draft", "", "draft of a schema without $schema: 4, 6, 7, 2019-09 or 2020-12 (the default)")
	flags.BoolVar(&call.options.AssertFormat, "assert-format", false, "let format refuse values; by itself it only describes them")
	return cmd
}

func (c *schemaTest) run(out *client) error {
	cmd := out.cmd
	flags := cmd.Flags()
	switch {
	case !flags.Changed("schema") || !flags.Changed("value"):
		return &exitError{2, errors.New("give the schema with --schema and the value with --value")}
	case c.schema == "-" && c.value == "-":
		return &exitError{2, errors.New("only one of the flags can read standard input (-)")}
	}
	text, err := documentFlag(cmd, "--schema", c.schema)
	if err != nil {
		return &exitError{2, err}
	}
	c.options.IgnoreFormat = !c.options.AssertFormat
	compiled, err := schema.CompileJSON(text, c.options)
	if err != nil {
		return &exitError{2, fmt.Errorf("--schema: %s", printable(err.Error()))}
	}
	value, err := documentFlag(cmd, "--value", c.value)
	if err != nil {
		return &exitError{2, err}
	}
	violations, more := compiled.Check(value)
	if len(violations) > 0 && !json.Valid(value) {
		return &exitError{2, fmt.Errorf("--value: %s", violations[0].Detail)}
	}
	if err := out.violations(violations, more); err != nil {
		return err
	}
	if len(violations) > 0 {
		return &exitError{code: 1}
	}
	return nil
}

// violations prints where a value breaks its schema, or that it does not.
func (c *client) violations(violations []schema.Violation, more bool) error {
	if c.output == "json" {
		if violations == nil {
			violations = []schema.Violation{}
		}
		return c.json(struct {
			Valid     bool               `json:"valid"`
			Errors    []schema.Violation `json:"errors"`
			Truncated bool               `json:"truncated,omitempty"`
		}{len(violations) == 0, violations, more})
	}
	if len(violations) == 0 {
		_, err := fmt.Fprintln(c.out, "valid")
		return err
	}
	for _, v := range violations {
		if _, err := fmt.Fprintf(c.out, "%s  %s: %s (%s)\n", v.Pointer, v.Keyword, printable(v.Detail), v.Schema); err != nil {
			return err
		}
	}
	if more {
		_, err := fmt.Fprintln(c.out, "and more")
		return err
	}
	return nil
}
