package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

const (
	// dialTime, readTime and changeTime bound what a server may take to be
	// reached, to answer a question, and to make a change.
	dialTime   = 10 * time.Second
	readTime   = time.Minute
	changeTime = 90 * time.Second
	// longestLine bounds a line of a stream, and largestAnswer any other answer.
	longestLine   = 4 << 20
	largestAnswer = 256 << 20
)

// clientFlags are the flags of every command that asks a klamm.
type clientFlags struct {
	server, output string
}

const clientHelp = "The server is --server, else KLAMM_SERVER, else " + defaultServer + "; KLAMM_KEY is the API key."

func (f *clientFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.server, "server", "", "URL of the klamm to ask (KLAMM_SERVER)")
	flags.StringVarP(&f.output, "output", "o", "table", "table or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	if cmd.Long != "" {
		cmd.Long += "\n\n"
	} else {
		cmd.Long = cmd.Short + ".\n\n"
	}
	cmd.Long += clientHelp
}

// A client asks one klamm on behalf of one command, and prints what it says.
type client struct {
	base   *url.URL
	key    string // API key; empty: none
	http   *http.Client
	output string
	out    io.Writer
	errs   io.Writer
}

// open checks the flags. The context ends with the first Ctrl-C; the second one
// has its usual effect.
func (f *clientFlags) open(cmd *cobra.Command) (*client, context.Context, error) {
	if f.output != "table" && f.output != "json" {
		return nil, nil, usage("--output %q: want table or json", f.output)
	}
	base, err := findServer(f.server)
	if err != nil {
		return nil, nil, &exitError{2, err}
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	c := &client{base: base, key: os.Getenv("KLAMM_KEY"), output: f.output, out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), http: &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTime}).DialContext, TLSHandshakeTimeout: dialTime},
		// A server that redirects is not klamm, and the key is not for others.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	return c, ctx, nil
}

// usage is the error of a call that is wrong in itself.
func usage(format string, args ...any) error { return &exitError{2, fmt.Errorf(format, args...)} }

// findServer returns the URL that a flag names, or the environment, or the
// default.
func findServer(flag string) (*url.URL, error) {
	text, from := flag, "--server"
	if text == "" {
		text, from = os.Getenv("KLAMM_SERVER"), "KLAMM_SERVER"
	}
	if text == "" {
		text = defaultServer
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%s %q is no URL such as %s", from, text, defaultServer)
	}
	return u, nil
}

var errInterrupted = errors.New("interrupted")

// A request is what a command asks klamm for. The path begins below /klamm/v1;
// its parts need no escapes.
type request struct {
	method string
	path   []string
	query  url.Values
	body   any           // made JSON; nil: none
	match  int64         // the version that is expected; 0: any
	within time.Duration // for the whole answer; 0: without end
}

// call asks for a document and decodes it. The member must be there: klamm never
// leaves it out.
func (c *client) call(ctx context.Context, r request, member string, into any) error {
	bounded := ctx
	if r.within > 0 {
		var cancel context.CancelFunc
		bounded, cancel = context.WithTimeout(ctx, r.within)
		defer cancel()
	}
	resp, err := c.send(bounded, r)
	var text []byte
	if err == nil {
		defer resp.Body.Close()
		text, err = io.ReadAll(io.LimitReader(resp.Body, largestAnswer+1))
		if err != nil {
			err = c.broken(err)
		}
	}
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case err != nil && bounded.Err() != nil:
		return fmt.Errorf("%s has not answered within %s; klamm status says whether it reaches its brokers", c.base.Redacted(), r.within)
	case err != nil:
		return err
	case len(text) > largestAnswer:
		return fmt.Errorf("the answer of %s has more than %d MiB; ask for less", c.base.Redacted(), largestAnswer>>20)
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil || members[member] == nil || json.Unmarshal(text, into) != nil {
		return c.wrongServer(resp)
	}
	return nil
}

// stream asks for lines of JSON and visits each until visit returns an error,
// which it returns, or the answer ends.
func (c *client) stream(ctx context.Context, r request, visit func(line []byte) error) error {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	slow := time.AfterFunc(readTime, cancel) // until the answer begins
	resp, err := c.send(reading, r)
	begun := slow.Stop()
	if err == nil {
		defer resp.Body.Close()
	}
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case !begun:
		return fmt.Errorf("%s has not answered within %s; klamm status says whether it reaches its brokers", c.base.Redacted(), readTime)
	case err != nil:
		return err
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		if line[0] != '{' || !json.Valid(line) {
			return c.wrongServer(resp)
		}
		if err := visit(line); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return errInterrupted
	}
	if err := lines.Err(); err != nil {
		return c.broken(err)
	}
	return nil
}

// send sends a request; any answer but 200 is an error.
func (c *client) send(ctx context.Context, r request) (*http.Response, error) {
	escaped := []string{"klamm", "v1"}
	for _, part := range r.path {
		escaped = append(escaped, url.PathEscape(part))
	}
	u := c.base.JoinPath(escaped...)
	u.RawQuery = r.query.Encode()
	var text io.Reader
	if r.body != nil {
		b, err := json.Marshal(r.body)
		if err != nil {
			return nil, err
		}
		text = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), text)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json, application/x-ndjson, application/problem+json")
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.match != 0 {
		req.Header.Set("If-Match", fmt.Sprintf("%q", fmt.Sprint(r.match)))
	}
	resp, err := c.do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusCreated {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, c.refusal(resp)
}

// do sends a request with the API key, if there is one. The error says that nobody
// answers, and what helps.
func (c *client) do(req *http.Request) (*http.Response, error) {
	if c.key != "" {
		req.Header.Set("X-Api-Key", c.key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var outer *url.Error
		if errors.As(err, &outer) {
			err = outer.Err
		}
		return nil, fmt.Errorf("no klamm answers at %s: %w; start one with klamm dev, or name another with --server or KLAMM_SERVER", c.base.Redacted(), err)
	}
	return resp, nil
}

// refusal reads an answer that is no success.
func (c *client) refusal(resp *http.Response) error {
	var said struct {
		Detail string `json:"detail"`
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if media != "application/problem+json" || json.Unmarshal(text, &said) != nil || said.Detail == "" {
		return c.wrongServer(resp)
	}
	detail := printable(said.Detail)
	switch {
	case resp.StatusCode == http.StatusBadRequest:
		return usage("%s", detail)
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%s does not let you do that: %s; KLAMM_KEY can hold an API key that may", c.base.Redacted(), detail)
	case strings.HasPrefix(detail, "no such pipe"):
		return fmt.Errorf("%s at %s; klamm pipe list shows the pipes there are", detail, c.base.Redacted())
	case strings.HasPrefix(detail, "no such delivery"):
		return fmt.Errorf("%s at %s; klamm delivery list shows those of the last days", detail, c.base.Redacted())
	}
	return fmt.Errorf("%s: %s", c.base.Redacted(), detail)
}

// wrongServer is the error for an answer that klamm never gives.
func (c *client) wrongServer(resp *http.Response) error {
	return fmt.Errorf("%s answers, but not as klamm does (HTTP status %d); check --server and KLAMM_SERVER", c.base.Redacted(), resp.StatusCode)
}

func (c *client) broken(err error) error {
	return fmt.Errorf("the answer of %s breaks off: %w", c.base.Redacted(), err)
}

// needPipe returns the pipe that a command is to work on, named by --pipe or,
// where that is possible, by its only argument.
func needPipe(flag string, args []string) (string, error) {
	switch {
	case flag == "" && len(args) == 0:
		return "", usage("give the pipe with --pipe; klamm pipe list shows the pipes there are")
	case flag != "" && len(args) > 0:
		return "", usage("give the pipe either with --pipe or as an argument")
	case flag == "":
		flag = args[0]
	}
	if !topicName.MatchString(flag) || flag == "." || flag == ".." {
		return "", usage("%q is no pipe's name: want letters, digits, dots, - and _", printable(flag))
	}
	return flag, nil
}

// pipeFlag adds --pipe to a command; shells complete it by asking the server.
func pipeFlag(cmd *cobra.Command, f *clientFlags, name *string, help string) {
	cmd.Flags().StringVar(name, "pipe", "", help)
	_ = cmd.RegisterFlagCompletionFunc("pipe", f.completePipes)
}

func (f *clientFlags) completePipes(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if c, ctx, err := f.open(cmd); err == nil && len(args) == 0 {
		if all, err := c.pipes(ctx, 2*time.Second); err == nil {
			for _, p := range all {
				names = append(names, p.Pipe)
			}
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// needSubcommand is what a command does that stands for a group of others.
func needSubcommand(group, verbs string) func(*cobra.Command, []string) error {
	return func(*cobra.Command, []string) error {
		return usage("%s needs a subcommand: %s", group, verbs)
	}
}

// oneOf checks that exactly one of --dry-run and --execute is given.
func oneOf(dryRun, execute bool) error {
	if dryRun == execute {
		return usage("give either --dry-run, to see what would happen, or --execute, to do it")
	}
	return nil
}
