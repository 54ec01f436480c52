package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func connectorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "connector",
		Short: "Sink connectors as Kafka Connect has them: list, show, apply, pause, resume, restart, delete",
		Long:  "Sink connectors with the configuration of Kafka Connect (docs/sink-connector.md). The commands call Kafka Connect's REST API, which klamm serves.",
		RunE:  needSubcommand,
	}
	cmd.AddCommand(connectorListCommand(), connectorShowCommand(), connectorApplyCommand(),
		connectorDoCommand("pause", http.MethodPut, "Pause a connector; its tasks keep their offsets", "pause"),
		connectorDoCommand("resume", http.MethodPut, "Let a connector go on that is paused, stopped or failed", "resume"),
		connectorDoCommand("restart", http.MethodPost, "Restart the failed tasks of a connector", "restart"),
		connectorDoCommand("delete", http.MethodDelete, "Delete a connector; its group keeps its offsets"))
	return cmd
}

// A connectorDoc is the status of a connector.
type connectorDoc struct {
	Name      string             `json:"name"`
	Connector connectorTaskDoc   `json:"connector"`
	Tasks     []connectorTaskDoc `json:"tasks"`
	Type      string             `json:"type"`
	Config    map[string]string  `json:"config,omitempty"`
}

type connectorTaskDoc struct {
	ID     *int   `json:"id,omitempty"`
	State  string `json:"state"`
	Worker string `json:"worker_id"`
	Trace  string `json:"trace,omitempty"`
}

// state is that of the connector, or of the first task that has failed.
func (d connectorDoc) state() (state, trace string) {
	for _, t := range d.Tasks {
		if t.State == "FAILED" {
			return t.State, t.Trace
		}
	}
	return d.Connector.State, d.Connector.Trace
}

// connectors asks for all connectors, by name.
func (c *client) connectors(ctx context.Context) ([]connectorDoc, error) {
	a, err := c.ask(ctx, request{method: http.MethodGet, other: true, path: []string{"connectors"}, query: url.Values{"expand": {"info", "status"}}, within: readTime})
	if err != nil {
		return nil, err
	}
	var all map[string]struct {
		Info   connectorDoc
		Status connectorDoc
	}
	if json.Unmarshal(a.text, &all) != nil {
		return nil, c.wrongServer(a.Response)
	}
	var found []connectorDoc
	for _, name := range slices.Sorted(maps.Keys(all)) {
		d := all[name].Status
		d.Config = all[name].Info.Config
		found = append(found, d)
	}
	return found, nil
}

func connectorNames(ctx context.Context, c *client, _ string) (found []string, err error) {
	all, err := c.connectors(ctx)
	for _, d := range all {
		found = append(found, d.Name)
	}
	return found, err
}

func connectorListCommand() *cobra.Command {
	return asking(&cobra.Command{Use: "list", Short: "List the connectors", Args: cobra.NoArgs, Example: "  klamm connector list"}, func(ctx context.Context, c *client, _ []string) error {
		all, err := c.connectors(ctx)
		if err != nil {
			return err
		}
		return rows(c, all, newTable("CONNECTOR", "STATE", "TASKS", "TOPICS", "TRACE"), func(d connectorDoc) []any {
			state, trace := d.state()
			return []any{d.Name, state, len(d.Tasks), d.Config["topics"] + d.Config["topics.regex"], short(trace, 60)}
		})
	})
}

var oneConnector = oneArgument("the name of the connector; klamm connector list shows those there are")

func connectorShowCommand() *cobra.Command {
	return completed(asking(&cobra.Command{Use: "show NAME", Short: "Show a connector, its tasks and its configuration", Args: oneConnector, Example: "  klamm connector show orders-to-bus"},
		func(ctx context.Context, c *client, args []string) error {
			var d, info connectorDoc
			at := []string{"connectors", args[0]}
			if err := c.call(ctx, request{method: http.MethodGet, other: true, path: append(at, "status"), within: readTime}, "connector", &d); err != nil {
				return err
			}
			if err := c.call(ctx, request{method: http.MethodGet, other: true, path: at, within: readTime}, "config", &info); err != nil {
				return err
			}
			d.Config = info.Config
			if c.output == "json" {
				return c.json(d)
			}
			t := &table{}
			state, trace := d.state()
			t.add("connector", d.Name)
			t.add("state", state)
			t.add("tasks", len(d.Tasks))
			t.add("trace", trace)
			for _, name := range slices.Sorted(maps.Keys(d.Config)) {
				t.add(name, d.Config[name])
			}
			return t.write(c.out)
		}), connectorNames)
}

func connectorDoCommand(verb, method, about string, path ...string) *cobra.Command {
	return completed(asking(&cobra.Command{Use: verb + " NAME", Short: about, Args: oneConnector, Example: "  klamm connector " + verb + " orders-to-bus"},
		func(ctx context.Context, c *client, args []string) error {
			a, err := c.ask(ctx, request{method: method, other: true, path: append([]string{"connectors", args[0]}, path...), within: changeTime})
			if err != nil {
				return err
			}
			if a.StatusCode != http.StatusNoContent && a.StatusCode != http.StatusAccepted {
				return c.wrongServer(a.Response)
			}
			done := map[string]string{"pause": "paused", "resume": "resumed", "restart": "restarted", "delete": "deleted"}[verb]
			return c.show(map[string]string{"name": args[0], "done": done}, "connector %s is %s", printable(args[0]), done)
		}), connectorNames)
}

func connectorApplyCommand() *cobra.Command {
	return asking(&cobra.Command{
		Use:   "apply FILE...",
		Short: "Make connectors, or change them, from files of Kafka Connect",
		Long: "Makes the connectors of files as Kafka Connect takes them, or gives those that are there the files' configuration: properties\n" +
			"(the file of a standalone worker, with name=) or JSON ({\"name\", \"config\"}, or the configuration alone with its name). - is\n" +
			"standard input.",
		Example: "  klamm connector apply sink.properties\n  klamm connector apply connector.json",
		Args:    cobra.MinimumNArgs(1),
	}, func(ctx context.Context, c *client, args []string) error {
		var all []map[string]string
		for _, file := range args {
			config, err := connectorOf(c.cmd.InOrStdin(), file)
			if err != nil {
				return &exitError{2, fmt.Errorf("%s: %w", file, err)}
			}
			all = append(all, config)
		}
		for _, config := range all {
			name := config["name"]
			var d connectorDoc
			if err := c.call(ctx, request{method: http.MethodPut, other: true, path: []string{"connectors", name, "config"}, body: config, within: changeTime}, "config", &d); err != nil {
				return fmt.Errorf("connector %s: %w", name, err)
			}
			if err := c.show(d, "connector %s is applied", printable(name)); err != nil {
				return err
			}
		}
		return nil
	})
}

// connectorOf reads a connector's file. The configuration has its name.
func connectorOf(in io.Reader, file string) (map[string]string, error) {
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, largestDefinitions+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > largestDefinitions:
		return nil, fmt.Errorf("it is larger than %d bytes", largestDefinitions)
	}
	var config map[string]string
	if text = bytes.TrimSpace(text); bytes.HasPrefix(text, []byte("{")) {
		config, err = connectorJSON(text)
	} else {
		config, err = properties(string(text))
	}
	if err == nil && config["name"] == "" {
		err = errors.New("it does not name the connector: name is missing")
	}
	return config, err
}

// connectorJSON reads a connector as Kafka Connect's API takes it. Numbers and booleans
// are taken as they are written.
func connectorJSON(text []byte) (map[string]string, error) {
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(text, &whole); err != nil {
		return nil, err
	}
	members := whole
	if inner, ok := whole["config"]; ok && bytes.HasPrefix(bytes.TrimSpace(inner), []byte("{")) {
		members = nil
		if err := json.Unmarshal(inner, &members); err != nil {
			return nil, err
		}
		if given, ok := whole["name"]; ok {
			members["name"] = given
		}
	}
	config := map[string]string{}
	for name, raw := range members {
		var value string
		switch {
		case json.Unmarshal(raw, &value) == nil && string(raw) != "null":
			config[name] = value
		case raw[0] == '{', raw[0] == '[', raw[0] == 'n':
			return nil, fmt.Errorf("%s: want a text, a number or a boolean", name)
		default:
			config[name] = strings.TrimSpace(string(raw))
		}
	}
	return config, nil
}
