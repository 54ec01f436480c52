package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/transform"
)

// largestDocument bounds what a command reads as one document or line.
const largestDocument = 64 << 20

func transformCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "transform",
		Short: "Try transforms without a server",
		Args:  cobra.NoArgs,
		RunE:  needSubcommand,
	}
	cmd.AddCommand(transformTestCommand())
	return cmd
}

// A transformTest is one call of klamm transform test.
type transformTest struct {
	template, spec string
	event, events  string
	golden         string
	pipe, now      string
	kafka, lenient bool
}

func transformTestCommand() *cobra.Command {
	var call transformTest
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Print what a transform makes of an event",
		Long: "Prints what a transform makes of one event, or of each line of a file. A document (DOC) is given inline, as @FILE, or as - for\n" +
			"standard input. The exit status is 1 if a transform fails or the result differs from --golden, 2 if the call itself is wrong.",
		Example: `  klamm transform test --template '{"id": <$.value.id>}' --event '{"value":{"id":7}}'` + "\n" +
			`  klamm transform test --spec '{"input_paths":{"id":"$.detail.id"},"template":"\"order <id>\""}' --event @event.json` + "\n" +
			`  klamm transform test --spec @transform.yaml --events records.ndjson --golden want.txt`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return call.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&call.template, "template", "", "DOC: a template with paths, as in a pipe's transform.template")
	flags.StringVar(&call.spec, "spec", "", "DOC: a whole transform section, in YAML or JSON")
	flags.StringVar(&call.event, "event", "", "DOC: the event, or the document of a record")
	flags.StringVar(&call.events, "events", "", "FILE with one event a line; - is standard input")
	flags.StringVar(&call.golden, "golden", "", "FILE that holds the output as it should be; a difference is printed")
	flags.StringVar(&call.pipe, "pipe", "", "the pipe's name, for <aws.pipes.pipe-name>")
	flags.StringVar(&call.now, "now", "", "the time of the event in RFC 3339, for the variables that tell it")
	flags.BoolVar(&call.kafka, "kafka", false, "events are records of EventBridge Pipes, key and value in base64")
	flags.BoolVar(&call.lenient, "lenient-templates", false, "a template that is one path delivers objects and arrays as they are")
	return cmd
}

func (c *transformTest) run(cmd *cobra.Command) error {
	t, err := c.compile(cmd)
	if err != nil {
		return &exitError{2, err}
	}
	now := time.Now()
	if c.now != "" {
		if now, err = time.Parse(time.RFC3339, c.now); err != nil {
			return &exitError{2, fmt.Errorf("--now %q: want a time such as 2026-01-31T12:00:00Z", c.now)}
		}
	}
	var out bytes.Buffer
	failures, err := c.apply(cmd, t, now, &out)
	if err != nil {
		return &exitError{2, err}
	}
	differs := false
	if c.golden == "" {
		_, err = cmd.OutOrStdout().Write(out.Bytes())
	} else {
		differs, err = compare(cmd.OutOrStdout(), c.golden, out.Bytes())
	}
	if err != nil {
		return failed(err)
	}
	for _, f := range failures {
		fmt.Fprintln(cmd.ErrOrStderr(), "klamm:", f)
	}
	if differs || len(failures) > 0 {
		return &exitError{code: 1}
	}
	return nil
}

// compile reads the transform that the flags name.
func (c *transformTest) compile(cmd *cobra.Command) (*transform.Transform, error) {
	if (c.template == "") == (c.spec == "") {
		return nil, errors.New("give either --template or --spec")
	}
	if (c.event == "") == (c.events == "") {
		return nil, errors.New("give either --event or --events")
	}
	stdin := 0
	for _, doc := range []string{c.template, c.spec, c.event, c.events} {
		if doc == "-" {
			stdin++
		}
	}
	if stdin > 1 {
		return nil, errors.New("only one of the flags can read standard input (-)")
	}
	var spec transform.Spec
	if c.template != "" {
		text, err := documentFlag(cmd, "--template", c.template)
		if err != nil {
			return nil, err
		}
		spec.Template = string(text)
	} else {
		text, err := documentFlag(cmd, "--spec", c.spec)
		if err == nil {
			spec, err = decodeSpec(text)
		}
		if err != nil {
			return nil, err
		}
	}
	spec.Encoded = c.kafka
	spec.Lenient = spec.Lenient || c.lenient
	return transform.Compile(spec, transform.Vars{PipeName: c.pipe})
}

// decodeSpec reads a transform section. JSON is not taken as YAML, so that the
// numbers of a constant keep their text.
func decodeSpec(text []byte) (spec transform.Spec, err error) {
	if !json.Valid(text) {
		if text, err = yaml.YAMLToJSON(text); err != nil {
			return spec, fmt.Errorf("--spec: %s", strings.TrimSpace(err.Error()))
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, text); err != nil {
			return spec, fmt.Errorf("--spec: %w", err)
		}
		text = compact.Bytes()
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&spec); err != nil {
		return spec, fmt.Errorf("--spec: %s; want template, input_paths, input_path, constant, jq or lenient", strings.TrimPrefix(err.Error(), "json: "))
	}
	return spec, nil
}

// apply transforms the events and writes a result a line. What could not be
// transformed is in failures; err means that events could not be read at all.
func (c *transformTest) apply(cmd *cobra.Command, t *transform.Transform, now time.Time, out *bytes.Buffer) (failures []error, err error) {
	one := func(name string, event []byte) error {
		if !json.Valid(event) {
			return fmt.Errorf("%s: the event is not JSON", name)
		}
		result, err := t.Apply(nil, event, now)
		if err != nil {
			if program := (*transform.ProgramError)(nil); errors.As(err, &program) && program.Detail != "" {
				err = fmt.Errorf("jq: %s", program.Detail)
			}
			failures = append(failures, fmt.Errorf("%s: %w", name, err))
			return nil
		}
		out.Write(result)
		out.WriteByte('\n')
		return nil
	}
	if c.event != "" {
		event, err := documentFlag(cmd, "--event", c.event)
		if err == nil {
			err = one("--event", event)
		}
		return failures, err
	}
	lines, err := openLines(cmd, c.events)
	if err != nil {
		return nil, err
	}
	defer lines.Close()
	scanner := bufio.NewScanner(lines)
	scanner.Buffer(nil, largestDocument)
	for n := 1; scanner.Scan(); n++ {
		if len(bytes.TrimSpace(scanner.Bytes())) == 0 {
			continue
		}
		if err := one(fmt.Sprintf("--events line %d", n), scanner.Bytes()); err != nil {
			failures = append(failures, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return failures, fmt.Errorf("--events %s: %w", c.events, err)
	}
	return failures, nil
}

func openLines(cmd *cobra.Command, file string) (io.ReadCloser, error) {
	if file == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	f, err := os.Open(strings.TrimPrefix(file, "@"))
	if err != nil {
		return nil, fmt.Errorf("--events: %w", err)
	}
	return f, nil
}

// compare prints how the output differs from a golden file.
func compare(w io.Writer, golden string, got []byte) (differs bool, err error) {
	want, err := os.ReadFile(golden)
	if err != nil {
		return false, &exitError{2, fmt.Errorf("--golden: %w; make it from the output of the same command without --golden", err)}
	}
	if bytes.Equal(want, got) {
		return false, nil
	}
	_, err = w.Write(diff.Diff(golden, want, "result", got))
	return true, err
}

// documentFlag reads the document of a flag: the text itself, @FILE, or - for
// standard input.
func documentFlag(cmd *cobra.Command, flag, text string) ([]byte, error) {
	var r io.Reader
	switch {
	case text == "-":
		r = cmd.InOrStdin()
	case strings.HasPrefix(text, "@"):
		f, err := os.Open(text[1:])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		defer f.Close()
		r = f
	default:
		return []byte(text), nil
	}
	doc, err := io.ReadAll(io.LimitReader(r, largestDocument+1))
	if err == nil && len(doc) > largestDocument {
		err = fmt.Errorf("the document has more than %d MiB", largestDocument>>20)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return doc, nil
}
