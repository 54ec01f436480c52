package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/config"
)

// largestDefinitions bounds one file of definitions, in bytes.
const largestDefinitions = 4 << 20

// definitionsOf reads the pipes of the files below a directory, or of one file: each
// is {pipes: [...]} as in a configuration file, YAML or JSON.
func definitionsOf(path string) (map[string]json.RawMessage, error) {
	all := map[string]json.RawMessage{}
	err := filepath.WalkDir(path, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && file != path && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if d.IsDir() || file != path && !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(file)) {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Size() > largestDefinitions {
			return fmt.Errorf("%s is larger than %d bytes", file, largestDefinitions)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		raw, err := config.Raw(text)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		var doc struct{ Pipes []json.RawMessage }
		d2 := json.NewDecoder(bytes.NewReader(raw))
		d2.DisallowUnknownFields()
		if err := d2.Decode(&doc); err != nil || doc.Pipes == nil {
			return fmt.Errorf("%s: want {pipes: [...]} and nothing else, as in a configuration file", file)
		}
		for _, p := range doc.Pipes {
			name, definition, err := pipeOf(p)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			if all[name] != nil {
				return fmt.Errorf("%s: pipe %q is defined twice", file, name)
			}
			all[name] = definition
		}
		return nil
	})
	return all, err
}

// planned asks what applying definitions would do, by name; with prune, pipes that
// are not among them go.
func (c *client) planned(ctx context.Context, all map[string]json.RawMessage, prune bool) ([]planDoc, error) {
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	var plans []planDoc
	var wrong []string
	for _, name := range names {
		p, err := c.plan(ctx, name, all[name])
		if isRefused(err) { // of the others more is to be told
			wrong = append(wrong, fmt.Sprintf("pipe %s: %v", name, err))
			continue
		}
		if err != nil {
			return nil, err
		}
		plans = append(plans, p)
	}
	if len(wrong) > 0 {
		return nil, errors.New(strings.Join(wrong, "; "))
	}
	if !prune {
		return plans, nil
	}
	have, err := c.definitions(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range have {
		if d.Origin == "catalog" && all[d.Pipe] == nil && d.Definition != nil {
			plans = append(plans, planDoc{Pipe: d.Pipe, Change: "delete", Version: d.Version, Before: d.Definition})
		}
	}
	return plans, nil
}

// definitions asks for all definitions.
func (c *client) definitions(ctx context.Context) ([]definitionDoc, error) {
	return list[definitionDoc](ctx, c, "definitions")
}

// showPlans prints what is or would be done.
func (c *client) showPlans(plans []planDoc) error {
	return rows(c, plans, newTable("PIPE", "CHANGE", "VERSION"), func(p planDoc) []any {
		version := ""
		if p.Version != 0 {
			version = fmt.Sprint(p.Version)
		}
		return []any{p.Pipe, p.Change, version}
	})
}

// withDefinitions makes a command that works on the definitions of files.
func withDefinitions(cmd *cobra.Command, run func(ctx context.Context, c *client, all map[string]json.RawMessage) error) *cobra.Command {
	var from string
	cmd.Args = cobra.NoArgs
	asking(cmd, func(ctx context.Context, c *client, _ []string) error {
		if from == "" {
			return usage("give the directory or the file with --file")
		}
		all, err := definitionsOf(from)
		if err != nil {
			return &exitError{2, err}
		}
		return run(ctx, c, all)
	})
	cmd.Flags().StringVarP(&from, "file", "f", "", "directory with .yaml, .yml and .json files, or one file")
	return cmd
}

func applyCommand() *cobra.Command {
	var dryRun, prune bool
	cmd := withDefinitions(&cobra.Command{
		Use:   "apply",
		Short: "Make pipes as the files of a directory define them",
		Long: "Makes, replaces and, with --prune, deletes pipes so that klamm has those that the files define: each file is {pipes: [...]} as in a\n" +
			"configuration file. All are checked before the first is stored. What is the same already is left alone.",
		Example: "  klamm apply -f pipes/ --dry-run\n  klamm apply -f pipes/ --prune",
	}, func(ctx context.Context, c *client, all map[string]json.RawMessage) error {
		plans, err := c.planned(ctx, all, prune)
		if err != nil {
			return err
		}
		if !dryRun {
			if err := c.apply(ctx, plans); err != nil {
				return err
			}
		}
		return c.showPlans(plans)
	})
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	cmd.Flags().BoolVar(&prune, "prune", false, "delete pipes that were made at run time and that no file defines")
	return cmd
}

// apply carries plans out, each on the version that it was made for.
func (c *client) apply(ctx context.Context, plans []planDoc) error {
	for i, p := range plans {
		switch p.Change {
		case "create", "replace":
			d, err := c.store(ctx, p.Pipe, p.Definition, p.Version)
			if err != nil {
				return fmt.Errorf("pipe %s: %w", p.Pipe, err)
			}
			plans[i].Version = d.Version
		case "delete":
			if err := c.remove(ctx, p.Pipe, p.Version); err != nil {
				return fmt.Errorf("pipe %s: %w", p.Pipe, err)
			}
		}
	}
	return nil
}

func diffCommand() *cobra.Command {
	return withDefinitions(&cobra.Command{
		Use:   "diff",
		Short: "Say how pipes differ from what the files of a directory define",
		Long: "Prints the pipes that klamm apply would make, replace or, with --prune, delete, and for each that differs both definitions. The exit\n" +
			"status is 0 if nothing differs, and 1 if something does.",
		Example: "  klamm diff -f pipes/",
	}, func(ctx context.Context, c *client, all map[string]json.RawMessage) error {
		plans, err := c.planned(ctx, all, true)
		if err != nil {
			return err
		}
		plans = slices.DeleteFunc(plans, func(p planDoc) bool { return p.Change == "none" })
		if err := c.showDiff(plans); err != nil {
			return err
		}
		if len(plans) > 0 {
			return &exitError{code: 1}
		}
		return nil
	})
}

// showDiff prints both definitions of what differs, line by line.
func (c *client) showDiff(plans []planDoc) error {
	for _, p := range plans {
		if c.output == "json" {
			if err := c.json(p); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(c.out, "%s %s\n", p.Change, p.Pipe)
		before, after := indented(p.Before), indented(p.Definition)
		for _, line := range before {
			if !slices.Contains(after, line) {
				fmt.Fprintf(c.out, "  - %s\n", printable(line))
			}
		}
		for _, line := range after {
			if !slices.Contains(before, line) {
				fmt.Fprintf(c.out, "  + %s\n", printable(line))
			}
		}
	}
	return nil
}

// indented are the lines of a document, its members in order.
func indented(raw json.RawMessage) []string {
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return nil
	}
	text, err := readable(v)
	if err != nil {
		return nil
	}
	return strings.Split(string(text), "\n")
}

func exportCommand() *cobra.Command {
	var to string
	cmd := asking(&cobra.Command{
		Use:   "export",
		Short: "Write the pipes that were made while klamm runs as klamm apply reads them",
		Long: "Writes the definitions of pipes that were made while klamm runs: to standard output as one document, or into a directory as one file\n" +
			"for each pipe. Pipes of the EventBridge Pipes API are left to the tools of that API.",
		Example: "  klamm export > pipes.json\n  klamm export --to pipes/",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, c *client, _ []string) error {
		all, err := c.definitions(ctx)
		if err != nil {
			return err
		}
		return c.export(all, to)
	})
	cmd.Flags().StringVar(&to, "to", "", "directory to write into; it is made if it does not exist")
	return cmd
}

// export writes definitions as documents of their own, or as one.
func (c *client) export(all []definitionDoc, to string) error {
	if to != "" {
		if err := os.MkdirAll(to, 0o700); err != nil {
			return err
		}
	}
	type document struct {
		Pipes []json.RawMessage `json:"pipes"`
	}
	one, names := document{Pipes: []json.RawMessage{}}, []string{}
	for _, d := range all {
		if d.Origin != "catalog" || d.Definition == nil {
			continue
		}
		if to == "" {
			one.Pipes, names = append(one.Pipes, d.Definition), append(names, d.Pipe)
			continue
		}
		if _, err := needPipe(d.Pipe, nil); err != nil {
			return err
		}
		text, err := readable(document{[]json.RawMessage{d.Definition}})
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, d.Pipe+".json"), append(text, '\n'), 0o600); err != nil {
			return err
		}
	}
	switch {
	case to != "":
		return nil
	case c.kind == "name" && c.query == nil:
		return c.json(names)
	case c.kind == "yaml" || c.query != nil:
		return c.json(one)
	}
	return c.document(one)
}
