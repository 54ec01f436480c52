package main

import (
	"encoding/json"

	"github.com/spf13/cobra"
)

// A valueSchema is what klamm topic produce says of the schema of values: JSON is then
// written as the schema makes of it.
type valueSchema struct {
	text, kind, subject string
	id                  int
	latest              bool

	given string // the text of the schema
}

// flags adds the flags of a schema.
func (s *valueSchema) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.text, "schema", "", "DOC: values are JSON that is written with this schema, registered if need be")
	f.StringVar(&s.kind, "schema-type", "AVRO", "of --schema: AVRO, JSONSCHEMA or PROTOBUF")
	f.IntVar(&s.id, "schema-id", 0, "values are JSON that is written with the schema of this id")
	f.BoolVar(&s.latest, "schema-latest", false, "values are JSON that is written with the newest schema of the subject")
	f.StringVar(&s.subject, "schema-subject", "", "the subject of the schema; the default is TOPIC-value")
	_ = cmd.RegisterFlagCompletionFunc("schema-type", cobra.FixedCompletions([]string{"AVRO", "JSONSCHEMA", "PROTOBUF"}, cobra.ShellCompDirectiveNoFileComp))
}

// wanted says whether values have a schema.
func (s *valueSchema) wanted() bool { return s.given != "" || s.id != 0 || s.latest }

// check reads the flags.
func (s *valueSchema) check(cmd *cobra.Command) error {
	ways := 0
	for _, name := range []string{"schema", "schema-id", "schema-latest"} {
		if cmd.Flags().Changed(name) {
			ways++
		}
	}
	switch {
	case ways > 1:
		return usage("give one of --schema, --schema-id and --schema-latest")
	case ways == 0 && (cmd.Flags().Changed("schema-type") || s.subject != ""):
		return usage("--schema-type and --schema-subject belong to --schema, --schema-id or --schema-latest")
	case s.kind != "AVRO" && s.kind != "JSONSCHEMA" && s.kind != "PROTOBUF":
		return usage("--schema-type %q: want AVRO, JSONSCHEMA or PROTOBUF", printable(s.kind))
	case cmd.Flags().Changed("schema-id") && s.id <= 0:
		return usage("--schema-id %d: want a number from 1", s.id)
	}
	if cmd.Flags().Changed("schema") {
		text, err := documentFlag(cmd, "--schema", s.text)
		if err != nil {
			return &exitError{2, err}
		}
		if len(text) == 0 {
			return usage("--schema: the schema is empty")
		}
		s.given = string(text)
	}
	return nil
}

// data is a value that is to be written with the schema; nil is null.
func (s *valueSchema) data(value []byte) (*v3Data, error) {
	if value == nil {
		value = []byte("null")
	}
	if !json.Valid(value) {
		return nil, usage("with a schema, values are JSON: %q is not", printable(string(value[:min(len(value), 100)])))
	}
	d := &v3Data{Data: json.RawMessage(value), SchemaID: s.id, Subject: s.subject}
	if s.given != "" {
		d.Type, d.Schema = s.kind, s.given
	}
	return d, nil
}
