package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// A keyDoc is an API key.
type keyDoc struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Principal string     `json:"principal"`
	Groups    []string   `json:"groups"`
	Enabled   bool       `json:"enabled"`
	NotBefore *time.Time `json:"not_before,omitempty"`
	NotAfter  *time.Time `json:"not_after,omitempty"`
	Created   time.Time  `json:"created,omitzero"`
	CreatedBy string     `json:"created_by,omitempty"`
	LastUsed  *time.Time `json:"last_used,omitempty"`
	InFile    bool       `json:"in_file,omitempty"`
	Key       string     `json:"key,omitempty"` // of a key that was just made
}

func keyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "key",
		Example: "  klamm key create sensors-17 --group sensors\n  klamm key list",
		Args:    cobra.NoArgs,
		Short:   "Make, rotate, revoke and list API keys",
		Long: "Makes the API keys by which callers show who they are, in the header X-Api-Key. klamm keeps hashes: a key is shown once, when it\n" +
			"is made. Keys of the configuration file are listed, and changed there.",
		RunE: needSubcommand,
	}
	cmd.AddCommand(keyCreateCommand(), keyRotateCommand(), keyRevokeCommand(), keyImportCommand(), keyListCommand())
	return cmd
}

func keyCreateCommand() *cobra.Command {
	var principal, description, notBefore, notAfter string
	var groups, sources []string
	cmd := asking(&cobra.Command{
		Use:     "create NAME",
		Short:   "Make a key under a new name",
		Example: "  klamm key create sensors-17 --principal User:sensors-17 --group sensors\n  klamm key create partner --source 192.0.2.0/24 --not-after 2027-01-01T00:00:00Z -o json",
		Args:    oneArgument("the name of the new key"),
	}, func(ctx context.Context, c *client, args []string) error {
		body := map[string]any{"name": args[0], "principal": principal, "description": description, "groups": groups, "sources": sources}
		for member, text := range map[string]string{"not_before": notBefore, "not_after": notAfter} {
			if text == "" {
				continue
			}
			at, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return usage("--%s %q: want a time such as 2027-01-01T00:00:00Z", strings.ReplaceAll(member, "_", "-"), text)
			}
			body[member] = at
		}
		return c.makeKey(ctx, request{method: http.MethodPost, path: []string{"keys"}, body: body, within: changeTime})
	})
	flags := cmd.Flags()
	flags.StringVar(&principal, "principal", "", "who comes with the key, User:NAME; the default is User: and the key's name")
	flags.StringVar(&description, "description", "", "what it is for")
	flags.StringArrayVar(&groups, "group", nil, "a group that the caller is in; may be given again")
	flags.StringArrayVar(&sources, "source", nil, "an address or prefix that the key may come from; may be given again")
	flags.StringVar(&notBefore, "not-before", "", "the time from which the key is taken")
	flags.StringVar(&notAfter, "not-after", "", "the time from which it is not taken any more")
	return cmd
}

func keyRotateCommand() *cobra.Command {
	return completed(asking(&cobra.Command{
		Use:     "rotate NAME",
		Short:   "Make a second key under a name",
		Long:    "Makes a second key under a name. Both are taken until one of them is revoked: klamm key list shows their ids.",
		Example: "  klamm key rotate sensors-17",
		Args:    oneArgument("the name of the key"),
	}, func(ctx context.Context, c *client, args []string) error {
		return c.makeKey(ctx, request{method: http.MethodPost, path: []string{"keys", args[0], "rotate"}, within: changeTime})
	}), keyNames)
}

// makeKey asks for a new key and shows it, this once.
func (c *client) makeKey(ctx context.Context, r request) error {
	var made keyDoc
	if err := c.call(ctx, r, "key", &made); err != nil {
		return err
	}
	if c.output == "json" {
		return c.json(made)
	}
	t := &table{}
	t.add("name", made.Name)
	t.add("id", made.ID)
	t.add("principal", made.Principal)
	t.add("groups", strings.Join(made.Groups, ","))
	t.add("key", made.Key)
	if err := t.write(c.out); err != nil {
		return err
	}
	fmt.Fprintln(c.errs, "The key is not shown again.")
	return nil
}

func keyRevokeCommand() *cobra.Command {
	return completed(asking(&cobra.Command{
		Use:     "revoke ID",
		Short:   "Take a key from circulation, at once and for good",
		Example: "  klamm key revoke 0f3k2b7q",
		Args:    oneArgument("the id of the key; klamm key list shows the ids"),
	}, func(ctx context.Context, c *client, args []string) error {
		var answer struct {
			Revoked keyDoc `json:"revoked"`
		}
		if err := c.call(ctx, request{method: http.MethodDelete, path: []string{"keys", args[0]}, within: changeTime}, "revoked", &answer); err != nil {
			return err
		}
		return c.show(answer.Revoked, "revoked key %s of %s", printable(answer.Revoked.ID), printable(answer.Revoked.Name))
	}), keyIDs)
}

// keys asks for all keys.
func (c *client) keys(ctx context.Context) ([]keyDoc, error) {
	return list[keyDoc](ctx, c, "keys")
}

func keyListCommand() *cobra.Command {
	return searching("keys", "List the keys, without their secrets", "Lists the keys without their secrets, all or those that have a text in their name, id or principal.",
		"  klamm key list\n  klamm key list sensors -o json", keyTable, keyRow)
}

func keyTable() *table {
	return newTable("NAME", "ID", "PRINCIPAL", "GROUPS", "ENABLED", "NOT AFTER", "CREATED", "LAST USED")
}

func keyRow(k keyDoc) []any {
	show := func(t *time.Time) string {
		if t == nil || t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	created := show(&k.Created)
	if k.InFile {
		created = "in the file"
	}
	return []any{k.Name, k.ID, k.Principal, strings.Join(k.Groups, ","), k.Enabled, show(k.NotAfter), created, show(k.LastUsed)}
}

// largestImport bounds a file of keys, in bytes.
const largestImport = 1 << 20

func keyImportCommand() *cobra.Command {
	var groups []string
	cmd := asking(&cobra.Command{
		Use:   "import CSV",
		Short: "Take over keys that were made elsewhere",
		Long: "Takes over the keys of a CSV file, as API Gateway exports them, all of them or none. The columns Name and Key are required;\n" +
			"Description, Enabled and UsagePlanIds count too, in any order, and others are left aside. - reads standard input.",
		Example: "  klamm key import keys.csv --group partners",
		Args:    oneArgument("the file with the keys"),
	}, func(ctx context.Context, c *client, args []string) error {
		list, err := readKeys(c.cmd, args[0], groups)
		if err != nil {
			return err
		}
		var answer struct {
			Keys []keyDoc `json:"keys"`
		}
		r := request{method: http.MethodPost, path: []string{"keys", "import"}, body: map[string]any{"keys": list}, secret: true, within: changeTime}
		if err := c.call(ctx, r, "keys", &answer); err != nil {
			return err
		}
		return rows(c, answer.Keys, keyTable(), keyRow)
	})
	cmd.Flags().StringArrayVar(&groups, "group", nil, "a group that all of these callers are in; may be given again")
	return cmd
}

func readKeys(cmd *cobra.Command, name string, groups []string) ([]map[string]any, error) {
	in := cmd.InOrStdin()
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, &exitError{2, err}
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	list, err := parseKeys(io.LimitReader(in, largestImport+1), groups)
	if err != nil {
		return nil, usage("%s: %v", name, err)
	}
	return list, nil
}

// parseKeys reads the columns by their titles, whose case does not matter. Errors
// name the line and never show a key.
func parseKeys(in io.Reader, groups []string) ([]map[string]any, error) {
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	if len(text) > largestImport {
		return nil, fmt.Errorf("more than %d bytes", largestImport)
	}
	r := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(text), "\ufeff")))
	r.FieldsPerRecord = -1
	titles, err := r.Read()
	if err != nil {
		return nil, errors.New("there is no line of titles")
	}
	column := func(title string) int {
		return slices.IndexFunc(titles, func(t string) bool { return strings.EqualFold(strings.TrimSpace(t), title) })
	}
	if column("Name") < 0 || column("Key") < 0 {
		return nil, errors.New("the first line has to name the columns Name and Key")
	}
	var list []map[string]any
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		line, _ := r.FieldPos(0)
		if err != nil {
			return nil, fmt.Errorf("line %d is no CSV", line)
		}
		cell := func(title string) string {
			if i := column(title); i >= 0 && i < len(row) {
				return strings.TrimSpace(row[i])
			}
			return ""
		}
		if cell("Name") == "" || cell("Key") == "" {
			return nil, fmt.Errorf("line %d: a key has a name and a key", line)
		}
		enabled := true
		if text := cell("Enabled"); text != "" {
			if enabled, err = strconv.ParseBool(strings.ToLower(text)); err != nil {
				return nil, fmt.Errorf("line %d: Enabled is neither true nor false", line)
			}
		}
		plans := strings.FieldsFunc(cell("UsagePlanIds"), func(c rune) bool { return c == ',' || c == ';' || c == ' ' })
		list = append(list, map[string]any{"name": cell("Name"), "key": cell("Key"), "description": cell("Description"), "disabled": !enabled, "plans": plans, "groups": groups})
	}
	if len(list) == 0 {
		return nil, errors.New("there are no keys in it")
	}
	return list, nil
}

// oneArgument is the rule of a command with one argument.
func oneArgument(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return usage("give %s", what)
		}
		return nil
	}
}
