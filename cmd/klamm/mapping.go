package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// mappingsPath is where the Lambda API has its event source mappings.
const mappingsPath = "/2015-03-31/event-source-mappings"

// A mappingDoc is an event source mapping as the Lambda API shows it.
type mappingDoc struct {
	UUID                   string   `json:"UUID"`
	FunctionArn            string   `json:"FunctionArn"`
	Topics                 []string `json:"Topics"`
	State                  string   `json:"State"`
	StateTransitionReason  string   `json:"StateTransitionReason,omitempty"`
	LastProcessingResult   string   `json:"LastProcessingResult,omitempty"`
	BatchSize              int      `json:"BatchSize"`
	EventSourceArn         string   `json:"EventSourceArn,omitempty"`
	SelfManagedEventSource *struct {
		Endpoints map[string][]string `json:"Endpoints"`
	} `json:"SelfManagedEventSource,omitempty"`
}

// source is where a mapping reads.
func (d mappingDoc) source() string {
	if d.SelfManagedEventSource == nil {
		return d.EventSourceArn
	}
	return strings.Join(d.SelfManagedEventSource.Endpoints["KAFKA_BOOTSTRAP_SERVERS"], ",")
}

func mappingCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mapping",
		Short: "List, show and delete event source mappings, which feed functions with records",
		Long:  "Event source mappings are made with the AWS CLI or an AWS SDK (docs/event-source-mappings.md); these commands are for looking and tidying.",
		RunE:  needSubcommand,
	}
	cmd.AddCommand(mappingListCommand(), mappingShowCommand(), mappingDeleteCommand())
	return cmd
}

// mappings asks for all mappings or for those of a function.
func (c *client) mappings(ctx context.Context, function string) (all []mappingDoc, err error) {
	query := url.Values{}
	if function != "" {
		query.Set("FunctionName", function)
	}
	for {
		a, err := c.aws(ctx, http.MethodGet, mappingsPath+"?"+query.Encode(), nil)
		if err != nil {
			return nil, err
		}
		var page struct {
			EventSourceMappings []mappingDoc
			NextMarker          string
		}
		if err := json.Unmarshal(a.body, &page); err != nil {
			return nil, c.broken(err)
		}
		all = append(all, page.EventSourceMappings...)
		if page.NextMarker == "" {
			return all, nil
		}
		query.Set("Marker", page.NextMarker)
	}
}

func mappingNames(ctx context.Context, c *client, _ string) (found []string, err error) {
	all, err := c.mappings(ctx, "")
	for _, m := range all {
		found = append(found, m.UUID)
	}
	return found, err
}

func mappingListCommand() *cobra.Command {
	var function string
	cmd := asking(&cobra.Command{
		Use: "list", Short: "List the event source mappings", Args: cobra.NoArgs,
		Example: "  klamm mapping list\n  klamm mapping list --function orders -o json",
	}, func(ctx context.Context, c *client, _ []string) error {
		all, err := c.mappings(ctx, function)
		if err != nil {
			return err
		}
		t := newTable("MAPPING", "FUNCTION", "TOPICS", "STATE", "LAST RESULT")
		return rows(c, all, t, func(d mappingDoc) []any {
			return []any{d.UUID, d.FunctionArn[strings.LastIndexByte(d.FunctionArn, ':')+1:], strings.Join(d.Topics, ","), d.State, short(d.LastProcessingResult, 60)}
		})
	})
	cmd.Flags().StringVar(&function, "function", "", "only those of this function")
	return cmd
}

var oneMapping = oneArgument("the id of the mapping; klamm mapping list shows those there are")

func mappingShowCommand() *cobra.Command {
	return completed(asking(&cobra.Command{
		Use: "show UUID", Short: "Show an event source mapping", Args: oneMapping,
		Example: "  klamm mapping show 14e0db71-5d35-4eb5-b481-8945cf9d10c2\n  klamm mapping show 14e0db71-5d35-4eb5-b481-8945cf9d10c2 -o yaml",
	}, func(ctx context.Context, c *client, args []string) error {
		a, err := c.aws(ctx, http.MethodGet, mappingsPath+"/"+url.PathEscape(args[0]), nil)
		if err != nil {
			return err
		}
		if c.output == "json" {
			return c.json(json.RawMessage(a.body))
		}
		var d mappingDoc
		if err := json.Unmarshal(a.body, &d); err != nil {
			return c.broken(err)
		}
		t := &table{}
		t.add("mapping", d.UUID)
		t.add("function", d.FunctionArn)
		t.add("source", d.source())
		t.add("topics", strings.Join(d.Topics, ", "))
		t.add("state", d.State)
		t.add("reason", d.StateTransitionReason)
		t.add("last result", d.LastProcessingResult)
		t.add("batch size", d.BatchSize)
		return t.write(c.out)
	}), mappingNames)
}

func mappingDeleteCommand() *cobra.Command {
	return completed(asking(&cobra.Command{
		Use: "delete UUID", Short: "Delete an event source mapping", Args: oneMapping,
		Example: "  klamm mapping delete 14e0db71-5d35-4eb5-b481-8945cf9d10c2",
	}, func(ctx context.Context, c *client, args []string) error {
		a, err := c.aws(ctx, http.MethodDelete, mappingsPath+"/"+url.PathEscape(args[0]), nil)
		if err != nil {
			return err
		}
		return c.show(json.RawMessage(a.body), "mapping %s is being deleted", printable(args[0]))
	}), mappingNames)
}
