package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/function"
)

// functionsPath is where the Lambda API has its functions.
const functionsPath = "/2015-03-31/functions"

// A functionDoc is a function as the Lambda API shows it.
type functionDoc struct {
	FunctionName string `json:"FunctionName"`
	FunctionArn  string `json:"FunctionArn"`
	Runtime      string `json:"Runtime,omitempty"`
	Handler      string `json:"Handler,omitempty"`
	CodeSize     int64  `json:"CodeSize"`
	CodeSha256   string `json:"CodeSha256,omitempty"`
	Timeout      int    `json:"Timeout"`
	MemorySize   int    `json:"MemorySize"`
	LastModified string `json:"LastModified"`
	State        string `json:"State"`
}

func functionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "function",
		Short: "Deploy, list, invoke and delete functions, and show their logs",
		Long:  "Functions are programs for the Lambda Runtime API, unmodified, that klamm runs beside itself; they serve as targets and enrichments of pipes.",
		RunE:  needSubcommand,
	}
	cmd.AddCommand(functionDeployCommand(), functionListCommand(), functionInvokeCommand(), functionLogsCommand(), functionDeleteCommand())
	return cmd
}

func functionDeployCommand() *cobra.Command {
	var f clientFlags
	var directory, runtime, handler string
	var environment []string
	var timeout time.Duration
	var memory int
	cmd := &cobra.Command{
		Use:     "deploy NAME",
		Short:   "Make a function of a directory, or replace its code and configuration",
		Example: "  GOOS=linux CGO_ENABLED=0 go build -o build/bootstrap .\n  klamm function deploy orders --directory build --runtime provided.al2023 --handler bootstrap --environment STAGE=test",
		Args:    oneArgument("the name of the function"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if directory == "" || runtime == "" || handler == "" {
				return usage("give --directory, --runtime and --handler")
			}
			variables := map[string]string{}
			for _, text := range environment {
				name, value, ok := strings.Cut(text, "=")
				if !ok || name == "" {
					return usage("--environment %q: want NAME=VALUE", text)
				}
				variables[name] = value
			}
			archive, err := pack(directory)
			if err != nil {
				return failed(err)
			}
			c, ctx, err := f.open(cmd)
			if err != nil {
				return err
			}
			body := map[string]any{"Runtime": runtime, "Handler": handler, "Role": "arn:aws:iam::000000000000:role/klamm", "Environment": map[string]any{"Variables": variables}}
			if timeout > 0 {
				body["Timeout"] = int((timeout + time.Second - 1) / time.Second)
			}
			if memory > 0 {
				body["MemorySize"] = memory
			}
			var made functionDoc
			at := functionsPath + "/" + url.PathEscape(args[0])
			answer, err := c.aws(ctx, http.MethodPut, at+"/configuration", body)
			if err == nil {
				answer, err = c.aws(ctx, http.MethodPut, at+"/code", map[string]any{"ZipFile": archive})
			} else if isMissing(err) {
				body["FunctionName"], body["Code"] = args[0], map[string]any{"ZipFile": archive}
				answer, err = c.aws(ctx, http.MethodPost, functionsPath, body)
			}
			if err != nil {
				return failed(err)
			}
			if err := json.Unmarshal(answer.body, &made); err != nil {
				return failed(err)
			}
			return c.showFunctions(made)
		},
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&directory, "directory", "", "the directory of the code; with a program named bootstrap for provided runtimes")
	flags.StringVar(&runtime, "runtime", "", "provided.al2023, provided.al2, nodejs22.x or the like, python3.13 or the like")
	flags.StringVar(&handler, "handler", "", "what the runtime calls, such as index.handler; any word for provided runtimes")
	flags.StringArrayVar(&environment, "environment", nil, "a variable of the program, NAME=VALUE; may be given again")
	flags.DurationVar(&timeout, "timeout", 0, "how long one invocation may take, 1s to 15m (default 3s)")
	flags.IntVar(&memory, "memory", 0, "how much memory one instance may take, in MiB (default 128)")
	return cmd
}

// pack makes a zip of a directory. Links are followed within it and refused else.
func pack(directory string) ([]byte, error) {
	root, err := os.OpenRoot(directory)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := root.Stat(path)
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Join(directory, path), err)
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a file", filepath.Join(directory, path))
		}
		h := &zip.FileHeader{Name: path, Method: zip.Deflate}
		h.SetMode(info.Mode().Perm())
		w, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		file, err := root.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(w, file)
		return err
	})
	if err := errors.Join(err, z.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), function.Check(out.Bytes())
}

func functionListCommand() *cobra.Command {
	var f clientFlags
	cmd := &cobra.Command{
		Use:     "list [TEXT]",
		Short:   "List the functions, all or those that have a text in their names",
		Example: "  klamm function list -o json\n  klamm function list orders",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, ctx, err := f.open(cmd)
			if err != nil {
				return err
			}
			all, err := c.functions(ctx, strings.Join(args, ""))
			if err != nil {
				return failed(err)
			}
			return c.showFunctions(all...)
		},
	}
	f.add(cmd)
	return cmd
}

// functions returns the functions that have a text in their names.
func (c *client) functions(ctx context.Context, text string) (all []functionDoc, err error) {
	query := url.Values{}
	if text != "" {
		query.Set("Search", text)
	}
	for {
		answer, err := c.aws(ctx, http.MethodGet, functionsPath+"?"+query.Encode(), nil)
		if err != nil {
			return nil, err
		}
		var page struct {
			Functions  []functionDoc
			NextMarker string
		}
		if err := json.Unmarshal(answer.body, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Functions...)
		if page.NextMarker == "" {
			return all, nil
		}
		query.Set("Marker", page.NextMarker)
	}
}

// functionNames are the functions that there are, for shells.
func functionNames(ctx context.Context, c *client, _ string) (found []string, err error) {
	all, err := c.functions(ctx, "")
	for i := range all {
		found = append(found, all[i].FunctionName)
	}
	return found, err
}

func (c *client) showFunctions(all ...functionDoc) error {
	t := newTable("NAME", "RUNTIME", "HANDLER", "TIMEOUT", "MEMORY", "SIZE", "CHANGED")
	return failed(rows(c, all, t, func(f functionDoc) []any {
		return []any{f.FunctionName, f.Runtime, f.Handler, fmt.Sprintf("%ds", f.Timeout), fmt.Sprintf("%dMiB", f.MemorySize), f.CodeSize, f.LastModified}
	}))
}

func functionInvokeCommand() *cobra.Command {
	var f clientFlags
	var data string
	var tail bool
	cmd := &cobra.Command{
		Use:     "invoke NAME",
		Short:   "Run a function once and print its answer; exit 1 if it fails",
		Example: `  klamm function invoke orders --data '{"n":1}'` + "\n  klamm function invoke orders --data @event.json --tail",
		Args:    oneArgument("the name of the function"),
		RunE: func(cmd *cobra.Command, args []string) error {
			event, err := documentFlag(cmd, "--data", data)
			if err != nil {
				return usage("%v", err)
			}
			c, ctx, err := f.open(cmd)
			if err != nil {
				return err
			}
			headers := map[string]string{}
			if tail {
				headers["X-Amz-Log-Type"] = "Tail"
			}
			answer, err := c.awsRaw(ctx, http.MethodPost, functionsPath+"/"+url.PathEscape(args[0])+"/invocations", event, headers)
			if err != nil {
				return failed(err)
			}
			if log, err := base64.StdEncoding.DecodeString(answer.header.Get("X-Amz-Log-Result")); err == nil && len(log) > 0 {
				_, _ = c.errs.Write(log)
			}
			if kind := answer.header.Get("X-Amz-Function-Error"); kind != "" {
				return failed(fmt.Errorf("function %s failed: %s", args[0], answer.body))
			}
			if c.output == "json" && json.Valid(answer.body) {
				return failed(c.json(json.RawMessage(answer.body)))
			}
			_, err = fmt.Fprintln(c.out, string(answer.body))
			return failed(err)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&data, "data", "", "the event: JSON, @FILE, or - for standard input")
	cmd.Flags().BoolVar(&tail, "tail", false, "print the end of the function's log on standard error")
	return completed(cmd, functionNames)
}

func functionDeleteCommand() *cobra.Command {
	var f clientFlags
	cmd := &cobra.Command{
		Use:     "delete NAME",
		Short:   "Delete a function and its code",
		Example: "  klamm function delete orders",
		Args:    oneArgument("the name of the function"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, ctx, err := f.open(cmd)
			if err != nil {
				return err
			}
			if _, err = c.aws(ctx, http.MethodDelete, functionsPath+"/"+url.PathEscape(args[0]), nil); err != nil {
				return failed(err)
			}
			return failed(c.show(map[string]string{"deleted": args[0]}, "function %s is deleted", printable(args[0])))
		},
	}
	f.add(cmd)
	return completed(cmd, functionNames)
}

// functionGuardCommand is the process that ends what functions have left behind when
// klamm was killed. klamm starts it itself.
func functionGuardCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "function-guard",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			function.Guard(cmd.InOrStdin())
			return nil
		},
	}
}
