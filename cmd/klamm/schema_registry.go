package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// registryType is what the API of Confluent's schema registry speaks.
const registryType = "application/vnd.schemaregistry.v1+json"

// registry asks the schema registry for a document.
func (c *client) registry(ctx context.Context, method string, query url.Values, body, into any, path ...string) error {
	header := map[string]string{"Accept": registryType}
	if body != nil {
		header["Content-Type"] = registryType
	}
	within := readTime
	if method != http.MethodGet {
		within = changeTime
	}
	a, err := c.ask(ctx, request{method: method, other: true, path: path, query: query, header: header, body: body, within: within})
	if err != nil {
		return err
	}
	if json.Unmarshal(a.text, into) != nil {
		return c.wrongServer(a.Response)
	}
	return nil
}

// A registeredSchema is a version of a subject.
type registeredSchema struct {
	Subject string `json:"subject"`
	Version int    `json:"version"`
	ID      int    `json:"id"`
	Type    string `json:"schemaType,omitempty"`
	Schema  string `json:"schema"`
}

// kind is the schema's type.
func (s registeredSchema) kind() string {
	if s.Type == "" {
		return "AVRO"
	}
	return s.Type
}

// pretty is the schema's text, JSON with its lines.
func (s registeredSchema) pretty() []string {
	if json.Valid([]byte(s.Schema)) {
		return indented(json.RawMessage(s.Schema))
	}
	return strings.Split(strings.TrimRight(s.Schema, "\n"), "\n")
}

// version asks for a version of a subject: a number or latest.
func (c *client) version(ctx context.Context, subject, version string) (s registeredSchema, err error) {
	if n, bad := strconv.Atoi(version); version != "latest" && (bad != nil || n < 1) {
		return s, usage("version %q: want a number from 1, or latest", printable(version))
	}
	return s, c.registry(ctx, http.MethodGet, nil, nil, &s, "subjects", subject, "versions", version)
}

func subjectNames(ctx context.Context, c *client, begin string) (found []string, err error) {
	return found, c.registry(ctx, http.MethodGet, url.Values{"subjectPrefix": {begin}}, nil, &found, "subjects")
}

// registryCommands are the commands on the schema registry.
func registryCommands() []*cobra.Command {
	return []*cobra.Command{schemaListCommand(), schemaShowCommand(), schemaRegisterCommand(), schemaCheckCommand(), schemaDiffCommand(), schemaDeleteCommand()}
}

var oneSubject = oneArgument("the subject; klamm schema list shows those there are")

func schemaListCommand() *cobra.Command {
	return asking(&cobra.Command{
		Use: "list [PREFIX]", Short: "List the subjects of the schema registry", Args: cobra.MaximumNArgs(1),
		Example: "  klamm schema list\n  klamm schema list orders -o json",
	}, func(ctx context.Context, c *client, args []string) error {
		names, err := subjectNames(ctx, c, strings.Join(args, ""))
		if err != nil {
			return err
		}
		type subject struct {
			Subject string `json:"subject"`
		}
		all := make([]subject, len(names))
		for i, name := range names {
			all[i].Subject = name
		}
		return rows(c, all, newTable("SUBJECT"), func(s subject) []any { return []any{s.Subject} })
	})
}

func schemaShowCommand() *cobra.Command {
	var version string
	cmd := asking(&cobra.Command{
		Use: "show SUBJECT", Short: "Show a version of a subject", Args: oneSubject,
		Example: "  klamm schema show orders-value\n  klamm schema show orders-value --version 2 --query schema -o name > orders.avsc",
	}, func(ctx context.Context, c *client, args []string) error {
		s, err := c.version(ctx, args[0], version)
		if err != nil {
			return err
		}
		if c.output == "json" {
			return c.json(s)
		}
		t := &table{}
		t.add("subject", s.Subject)
		t.add("version", s.Version)
		t.add("id", s.ID)
		t.add("type", s.kind())
		if err := t.write(c.out); err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.out, "\n%s\n", harmless([]byte(strings.Join(s.pretty(), "\n"))))
		return err
	})
	cmd.Flags().StringVar(&version, "version", "latest", "a number, or latest")
	return completed(cmd, subjectNames)
}

// A newSchema is what flags say of a schema that is to be registered or checked.
type newSchema struct{ text, kind string }

func (n *newSchema) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&n.text, "schema", "", "DOC: the schema")
	cmd.Flags().StringVar(&n.kind, "type", "AVRO", "AVRO, JSON or PROTOBUF")
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions([]string{"AVRO", "JSON", "PROTOBUF"}, cobra.ShellCompDirectiveNoFileComp))
}

// body is the schema as the API wants it.
func (n *newSchema) body(c *client) (map[string]any, error) {
	switch {
	case !c.cmd.Flags().Changed("schema"):
		return nil, usage("give the schema with --schema: DOC, @FILE, or - for standard input")
	case !slices.Contains([]string{"AVRO", "JSON", "PROTOBUF"}, n.kind):
		return nil, usage("--type %q: want AVRO, JSON or PROTOBUF", printable(n.kind))
	}
	text, err := documentFlag(c.cmd, "--schema", n.text)
	if err != nil {
		return nil, &exitError{2, err}
	}
	return map[string]any{"schema": string(text), "schemaType": n.kind}, nil
}

func schemaRegisterCommand() *cobra.Command {
	var n newSchema
	cmd := asking(&cobra.Command{
		Use: "register SUBJECT --schema DOC", Short: "Register a schema as the newest version of a subject", Args: oneSubject,
		Long:    "Registers a schema as the newest version of a subject; one that is there already keeps its id. A document (DOC) is given inline, as @FILE, or as -.",
		Example: "  klamm schema register orders-value --schema @orders.avsc\n  klamm schema register orders-value --type JSON --schema @orders.json",
	}, func(ctx context.Context, c *client, args []string) error {
		body, err := n.body(c)
		if err != nil {
			return err
		}
		var made struct {
			ID int `json:"id"`
		}
		if err := c.registry(ctx, http.MethodPost, nil, body, &made, "subjects", args[0], "versions"); err != nil {
			return err
		}
		return c.show(map[string]any{"id": made.ID, "subject": args[0]}, "schema %d is registered for %s", made.ID, printable(args[0]))
	})
	n.add(cmd)
	return completed(cmd, subjectNames)
}

func schemaCheckCommand() *cobra.Command {
	var n newSchema
	var version string
	cmd := asking(&cobra.Command{
		Use: "check SUBJECT --schema DOC", Short: "Say whether a schema could be a subject's newest version", Args: oneSubject,
		Long: "Prints compatible and exits 0, or prints incompatible with the reasons and exits 1. The schema is checked as the subject's level of\n" +
			"compatibility says. A document (DOC) is given inline, as @FILE, or as -.",
		Example: "  klamm schema check orders-value --schema @orders.avsc\n  klamm schema check orders-value --version 3 --schema @orders.avsc -o json",
	}, func(ctx context.Context, c *client, args []string) error {
		body, err := n.body(c)
		if err != nil {
			return err
		}
		path := []string{"compatibility", "subjects", args[0], "versions"}
		if version != "all" {
			path = append(path, version)
		}
		var answer struct {
			Compatible *bool    `json:"is_compatible"`
			Messages   []string `json:"messages"`
		}
		if err := c.registry(ctx, http.MethodPost, url.Values{"verbose": {"true"}}, body, &answer, path...); err != nil {
			return err
		}
		if answer.Compatible == nil {
			return fmt.Errorf("%s answers, but not as klamm does; check --server and KLAMM_SERVER", c.base.Redacted())
		}
		if c.output == "json" {
			err = c.json(map[string]any{"compatible": *answer.Compatible, "messages": append([]string{}, answer.Messages...)})
		} else {
			text := "compatible\n"
			if !*answer.Compatible {
				text = "incompatible\n"
				for _, m := range answer.Messages {
					text += printable(m) + "\n"
				}
			}
			_, err = fmt.Fprint(c.out, text)
		}
		if err == nil && !*answer.Compatible {
			err = &exitError{code: 1}
		}
		return err
	})
	n.add(cmd)
	cmd.Flags().StringVar(&version, "version", "all", "the version to check against: a number, latest, or all")
	return completed(cmd, subjectNames)
}

func schemaDiffCommand() *cobra.Command {
	cmd := asking(&cobra.Command{
		Use: "diff SUBJECT FROM [TO]", Short: "Show what has changed between two versions of a subject", Args: cobra.RangeArgs(2, 3),
		Long:    "Prints the lines that are in one version only, - those of FROM and + those of TO, which is the latest if it is not given.",
		Example: "  klamm schema diff orders-value 1\n  klamm schema diff orders-value 1 3",
	}, func(ctx context.Context, c *client, args []string) error {
		to := "latest"
		if len(args) == 3 {
			to = args[2]
		}
		before, err := c.version(ctx, args[0], args[1])
		if err != nil {
			return err
		}
		after, err := c.version(ctx, args[0], to)
		if err != nil {
			return err
		}
		changes := diffLines(before.pretty(), after.pretty())
		if c.output == "json" {
			return c.json(map[string]any{"subject": before.Subject, "from": before.Version, "to": after.Version, "lines": changes})
		}
		var b strings.Builder
		for _, line := range changes {
			text := string(harmless([]byte(line)))
			if code := map[byte]string{'-': "31", '+': "32"}[line[0]]; code != "" && coloured(c.out) {
				text = "\x1b[" + code + "m" + text + "\x1b[0m"
			}
			b.WriteString(text + "\n")
		}
		_, err = fmt.Fprint(c.out, b.String())
		return err
	})
	return completed(cmd, subjectNames)
}

// mostDiffed bounds the pairs of lines that are compared.
const mostDiffed = 4 << 20

// diffLines are the lines of both texts, each with - if it is only in the first, + if it
// is only in the second, and a space if it is in both. Of texts that differ in too many
// lines the whole middles are shown as different.
func diffLines(before, after []string) []string {
	lines := []string{}
	for len(before) > 0 && len(after) > 0 && before[0] == after[0] {
		lines = append(lines, "  "+before[0])
		before, after = before[1:], after[1:]
	}
	var end []string
	for len(before) > 0 && len(after) > 0 && before[len(before)-1] == after[len(after)-1] {
		end = append(end, "  "+before[len(before)-1])
		before, after = before[:len(before)-1], after[:len(after)-1]
	}
	slices.Reverse(end)
	// common[i][j] is how many lines before[i:] and after[j:] have in common, in their order.
	common := make([][]int32, len(before)+1)
	few := len(before)*len(after) <= mostDiffed
	for i := len(before); i >= 0 && few; i-- {
		common[i] = make([]int32, len(after)+1)
		for j := len(after) - 1; j >= 0 && i < len(before); j-- {
			if before[i] == after[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(before) || j < len(after) {
		switch {
		case few && i < len(before) && j < len(after) && before[i] == after[j]:
			lines = append(lines, "  "+before[i])
			i++
			j++
		case j == len(after) || i < len(before) && (!few || common[i+1][j] >= common[i][j+1]):
			lines = append(lines, "- "+before[i])
			i++
		default:
			lines = append(lines, "+ "+after[j])
			j++
		}
	}
	return append(lines, end...)
}

func schemaDeleteCommand() *cobra.Command {
	var version string
	var permanent bool
	cmd := asking(&cobra.Command{
		Use: "delete SUBJECT", Short: "Delete a subject, or one of its versions", Args: oneSubject,
		Long:    "Deletes a subject or one of its versions. Ids stay readable, and --permanent, which is for what is deleted already, removes them too.",
		Example: "  klamm schema delete orders-value --version 2\n  klamm schema delete orders-value\n  klamm schema delete orders-value --permanent",
	}, func(ctx context.Context, c *client, args []string) error {
		path := []string{"subjects", args[0]}
		if version != "" {
			path = append(path, "versions", version)
		}
		var query url.Values
		if permanent {
			query = url.Values{"permanent": {"true"}}
		}
		var one int
		versions := []int{}
		var into any = &versions
		if version != "" {
			into = &one
		}
		if err := c.registry(ctx, http.MethodDelete, query, nil, into, path...); err != nil {
			return err
		}
		if version != "" {
			versions = []int{one}
		}
		return c.show(map[string]any{"subject": args[0], "deleted": versions}, "%s is deleted, versions %v", printable(args[0]), versions)
	})
	cmd.Flags().StringVar(&version, "version", "", "only this version: a number, or latest")
	cmd.Flags().BoolVar(&permanent, "permanent", false, "remove what is deleted for good")
	return completed(cmd, subjectNames)
}
