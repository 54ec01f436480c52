package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"time"

	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/config"
)

// A definitionDoc is the definition of a pipe, and what klamm knows of it.
type definitionDoc struct {
	Pipe       string          `json:"pipe"`
	Origin     string          `json:"origin"`
	Version    int64           `json:"version"`
	Changed    time.Time       `json:"changed,omitzero"`
	By         string          `json:"by,omitempty"`
	Stopped    bool            `json:"stopped,omitempty"`
	Shadowed   bool            `json:"shadowed,omitempty"`
	Problem    string          `json:"problem,omitempty"`
	Definition json.RawMessage `json:"definition,omitempty"`
}

// A planDoc is what storing a definition would do.
type planDoc struct {
	Pipe       string          `json:"pipe"`
	Change     string          `json:"change"` // create, replace, delete or none
	Version    int64           `json:"version,omitempty"`
	Definition json.RawMessage `json:"definition,omitempty"`
	Before     json.RawMessage `json:"before,omitempty"`
}

// plan asks what storing a definition would do.
func (c *client) plan(ctx context.Context, name string, definition json.RawMessage) (p planDoc, err error) {
	err = c.call(ctx, request{method: http.MethodPut, path: []string{"pipes", name}, query: url.Values{"dry_run": {"true"}}, body: definition, within: changeTime}, "change", &p)
	return p, err
}

// store stores a definition; the version is the one that it replaces, 0 any.
func (c *client) store(ctx context.Context, name string, definition json.RawMessage, version int64) (d definitionDoc, err error) {
	err = c.call(ctx, request{method: http.MethodPut, path: []string{"pipes", name}, body: definition, match: version, within: changeTime}, "version", &d)
	return d, err
}

// remove deletes a pipe.
func (c *client) remove(ctx context.Context, name string, version int64) error {
	var answer struct{ Pipe string }
	return c.call(ctx, request{method: http.MethodDelete, path: []string{"pipes", name}, match: version, within: changeTime}, "deleted", &answer)
}

// definition asks for the definition of a pipe.
func (c *client) definition(ctx context.Context, name string) (d definitionDoc, err error) {
	err = c.call(ctx, request{method: http.MethodGet, path: []string{"pipes", name, "definition"}, within: readTime}, "origin", &d)
	return d, err
}

// pipeOf reads a pipe out of a document, YAML or JSON.
func pipeOf(text []byte) (name string, definition json.RawMessage, err error) {
	raw, err := config.Raw(text)
	if err != nil {
		return "", nil, err
	}
	var doc struct{ Name string }
	if err := json.Unmarshal(raw, &doc); err != nil || doc.Name == "" {
		return "", nil, fmt.Errorf("a pipe is a mapping with a name, as in the pipes of a configuration file")
	}
	return doc.Name, raw, nil
}

func pipeCreateCommand() *cobra.Command {
	var file string
	var dryRun bool
	cmd := asking(&cobra.Command{
		Use:   "create",
		Short: "Make a pipe while klamm runs",
		Long: "Makes a pipe of a document (DOC), YAML or JSON, as it stands in the pipes of a configuration file: inline, as @FILE, or as - for\n" +
			"standard input. All processes take it up within a second.",
		Example: "  klamm pipe create --definition @orders.yaml\n  klamm pipe create --definition @orders.yaml --dry-run",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, c *client, _ []string) error {
		text, err := documentFlag(c.cmd, "definition", file)
		if err != nil {
			return &exitError{2, err}
		}
		_, definition, err := pipeOf(text)
		if err != nil {
			return &exitError{2, err}
		}
		ask := request{method: http.MethodPost, path: []string{"pipes"}, body: definition, within: changeTime}
		if dryRun {
			ask.query = url.Values{"dry_run": {"true"}}
			var p planDoc
			if err := c.call(ctx, ask, "change", &p); err != nil {
				return err
			}
			return c.show(p, "pipe %s can be made; nothing was done", p.Pipe)
		}
		var d definitionDoc
		if err := c.call(ctx, ask, "version", &d); err != nil {
			return err
		}
		return c.show(d, "pipe %s is made, version %d", d.Pipe, d.Version)
	})
	cmd.Flags().StringVar(&file, "definition", "", "DOC: the pipe")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only check it")
	_ = cmd.MarkFlagRequired("definition")
	return cmd
}

func pipeDeleteCommand() *cobra.Command {
	return onePipe(&cobra.Command{
		Use:   "delete",
		Short: "Delete a pipe that was made while klamm runs",
		Long: "Deletes a pipe that was made while klamm runs. Deliveries under way end. Its committed offsets and dead letters stay: a pipe of the\n" +
			"same name goes on where this one was.",
		Example: "  klamm pipe delete orders-to-hook",
	}, func(ctx context.Context, c *client, pipe string) error {
		if err := c.remove(ctx, pipe, 0); err != nil {
			return err
		}
		return c.show(map[string]any{"pipe": pipe, "deleted": true}, "pipe %s is deleted", pipe)
	})
}

func pipeEditCommand() *cobra.Command {
	return onePipe(&cobra.Command{
		Use:     "edit",
		Short:   "Change the definition of a pipe in an editor",
		Long:    "Opens the definition of a pipe in the editor that VISUAL or EDITOR names, and stores it if it was changed.",
		Example: "  klamm pipe edit orders-to-hook",
	}, func(ctx context.Context, c *client, pipe string) error {
		d, err := c.definition(ctx, pipe)
		if err != nil {
			return err
		}
		if d.Origin != "catalog" {
			return fmt.Errorf("pipe %s cannot be edited here: its origin is %s", pipe, d.Origin)
		}
		return c.edit(ctx, d)
	})
}

// edit lets the user change a definition until it can be stored, or is left as it is.
func (c *client) edit(ctx context.Context, d definitionDoc) error {
	text, err := readable(d.Definition)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp("", "klamm-*.json")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	before := append(text, '\n')
	_, err = file.Write(before)
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	if err := openEditor(ctx, file.Name()); err != nil {
		return err
	}
	after, err := os.ReadFile(file.Name())
	if err != nil {
		return err
	}
	if bytes.Equal(before, after) {
		return c.show(d, "pipe %s stays as it is", d.Pipe)
	}
	_, definition, err := pipeOf(after)
	if err != nil {
		return fmt.Errorf("pipe %s stays as it is: %w", d.Pipe, err)
	}
	kept, err := c.store(ctx, d.Pipe, definition, d.Version)
	if err != nil {
		return fmt.Errorf("pipe %s stays as it is: %w", d.Pipe, err)
	}
	return c.show(kept, "pipe %s is changed, version %d", kept.Pipe, kept.Version)
}

// openEditor waits for the user's editor.
func openEditor(ctx context.Context, file string) error {
	editor := os.Getenv("VISUAL")
	if editor == "" {
		editor = os.Getenv("EDITOR")
	}
	if editor == "" {
		editor = "vi"
	}
	// The variable may hold a command with arguments, as for other programs.
	cmd := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", file)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the editor %q: %w", editor, err)
	}
	return nil
}
