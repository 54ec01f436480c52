package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/openapi"
	"github.com/klamm-gateway/klamm/target/all"
)

func openapiCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "openapi",
		Short: "Move API Gateway definitions to klamm",
		Args:  cobra.NoArgs,
		RunE:  needSubcommand,
	}
	cmd.AddCommand(openapiImportCommand())
	return cmd
}

// An openapiImport is one call of klamm openapi import.
type openapiImport struct {
	options openapi.Options
	strict  bool
}

func openapiImportCommand() *cobra.Command {
	var call openapiImport
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Make a configuration of an OpenAPI document of Amazon API Gateway",
		Long: "Reads OpenAPI 2.0, 3.0 or 3.1, YAML or JSON, with the extensions x-amazon-apigateway-*, as an export\n" +
			"of API Gateway has them, and prints a configuration file. What klamm does not do, what has to be\n" +
			"replaced and what differs is said on standard error, each with its place in the document.\n" +
			"FILE may be - for standard input. The exit status is 1 if the result would not be taken by klamm\n" +
			"check, or with --strict if something is not supported, and 2 if the document cannot be read.",
		Example: "  klamm openapi import api.yaml > klamm.yaml\n" +
			"  klamm openapi import api.json --stage prod --rest-proxy http://kafka-rest.internal:8082 > klamm.yaml",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return call.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&call.options.Stage, "stage", "", "the stage that the document is about; by default as the document says, otherwise prod")
	flags.StringArrayVar(&call.options.RestProxies, "rest-proxy", nil, "URL of a back end that is a Kafka REST proxy, whose place klamm takes; may be repeated")
	flags.BoolVar(&call.options.CheckParameters, "check-parameters", false, "check types, patterns and bounds of parameters too; API Gateway does not")
	flags.BoolVar(&call.strict, "strict", false, "fail if something of the document is not supported")
	return cmd
}

func (c *openapiImport) run(cmd *cobra.Command, file string) error {
	document, err := readOpenAPI(cmd, file)
	if err != nil {
		return &exitError{2, fmt.Errorf("%s: %w", file, err)}
	}
	result, err := openapi.Import(document, c.options)
	if err != nil {
		return &exitError{2, fmt.Errorf("%s: %s", file, printable(err.Error()))}
	}
	if _, err := cmd.OutOrStdout().Write(result.Config); err != nil {
		return failed(err)
	}
	unsupported := false
	for _, n := range result.Notes {
		unsupported = unsupported || n.Level == openapi.Unsupported
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s: %s\n", n.Level, printable(n.At), printable(n.Text))
	}
	if _, problems := config.Load(result.Config, all.Kinds()); len(problems) > 0 {
		printProblems(cmd.ErrOrStderr(), "the configuration", problems)
		return &exitError{1, errors.New("the configuration has to be corrected by hand")}
	}
	if unsupported && c.strict {
		return &exitError{1, errors.New("something of the document is not supported")}
	}
	return nil
}

// readOpenAPI reads a document, YAML or JSON, as JSON.
func readOpenAPI(cmd *cobra.Command, file string) (json.RawMessage, error) {
	from := cmd.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, openapi.MaxDocument+1))
	if err != nil {
		return nil, err
	}
	if trimmed := bytes.TrimLeft(text, "\ufeff \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' && json.Valid(trimmed) {
		return trimmed, nil
	}
	document, problems := config.JSON(text)
	if len(problems) > 0 {
		return nil, errors.New(problems[0].String())
	}
	return document, nil
}
