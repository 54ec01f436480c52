package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/jmespath/go-jmespath"
	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/kafka"
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
	server, context, output, query string
	curl                           bool
	timeout                        time.Duration
}

const clientHelp = "The server is --server, else KLAMM_SERVER, else that of the context in use, else " + defaultServer + "; KLAMM_KEY is the API key."

// ownContext is the annotation of a command whose --context is another than that of all.
const ownContext = "own-context"

// add adds the flags to a command.
func (f *clientFlags) add(cmd *cobra.Command) {
	f.addOutput(cmd, true)
	f.addServer(cmd)
}

// addServer adds those that say whom to ask.
func (f *clientFlags) addServer(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.server, "server", "", "URL of the klamm to ask (KLAMM_SERVER)")
	flags.BoolVar(&f.curl, "curl", false, "print the call as a line of curl instead of making it; where one needs the answer of another, the first")
	if cmd.Annotations[ownContext] == "" {
		flags.StringVar(&f.context, "context", "", "the context to use (KLAMM_CONTEXT); see klamm context")
		completeContexts(cmd)
	}
	flags.DurationVar(&f.timeout, "request-timeout", 0, "how long to wait for an answer, such as 5s; the default is a minute or more, as the call needs")
	if cmd.Long != "" {
		cmd.Long += "\n\n"
	} else {
		cmd.Long = cmd.Short + ".\n\n"
	}
	cmd.Long += clientHelp
}

// addOutput adds those that say what to print; short says whether -o is free for that.
func (f *clientFlags) addOutput(cmd *cobra.Command, short bool) {
	letter := ""
	if short {
		letter = "o"
		cmd.Flags().StringVar(&f.query, "query", "", "a JMESPath expression: print only that of the answer, as JSON unless -o says otherwise")
	}
	cmd.Flags().StringVarP(&f.output, "output", letter, "table", "table, wide, json, yaml or name")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
}

// A client asks one klamm on behalf of one command, and prints what it says.
type client struct {
	cmd     *cobra.Command // on whose behalf
	access                 // whom to ask, and what is shown there
	http    *http.Client
	output  string             // table or json
	kind    string             // of what is printed: one of outputs
	query   *jmespath.JMESPath // what to print of it; nil: all
	printed int                // how many documents were
	curl    bool               // print calls instead of making them
	called  bool               // whether one was printed
	timeout time.Duration      // for an answer; 0: as each request says
	out     io.Writer
	errs    io.Writer
}

// asking makes a command of one that asks a klamm: it has the flags for that, and run
// is called with a client.
func asking(cmd *cobra.Command, run func(ctx context.Context, c *client, args []string) error) *cobra.Command {
	return askingWith(cmd, true, run)
}

// askingPlain is asking for a command whose -o is another's.
func askingPlain(cmd *cobra.Command, run func(ctx context.Context, c *client, args []string) error) *cobra.Command {
	return askingWith(cmd, false, run)
}

func askingWith(cmd *cobra.Command, short bool, run func(ctx context.Context, c *client, args []string) error) *cobra.Command {
	var f clientFlags
	f.addOutput(cmd, short)
	f.addServer(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, ctx, err := f.open(cmd)
		if err != nil {
			return err
		}
		return failed(run(ctx, c, args))
	}
	return cmd
}

// open checks the flags. The context ends with the first Ctrl-C; the second one
// has its usual effect.
func (f *clientFlags) open(cmd *cobra.Command) (*client, context.Context, error) {
	c := &client{cmd: cmd, curl: f.curl, timeout: f.timeout, out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr()}
	if err := f.shape(c); err != nil {
		return nil, nil, err
	}
	if f.timeout < 0 {
		return nil, nil, usage("--request-timeout %s: want a time such as 5s", f.timeout)
	}
	var err error
	if c.access, err = findAccess(f.server, f.context); err != nil {
		return nil, nil, err
	}
	c.http = &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTime}).DialContext, TLSHandshakeTimeout: dialTime, TLSClientConfig: c.tls},
		// A server that redirects is not klamm, and the key is not for others.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
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
	if !kafka.ValidTopic(flag) {
		return "", usage("%q is no pipe's name: want letters, digits, dots, - and _", printable(flag))
	}
	return flag, nil
}

// pipeFlag adds --pipe to a command; shells complete it by asking the server.
func pipeFlag(cmd *cobra.Command, name *string, help string) {
	cmd.Flags().StringVar(name, "pipe", "", help)
	completedFlag(cmd, "pipe", pipeNames)
}

// endedStream is the error of a stream that goes on until the user ends it.
func (c *client) endedStream() error { return fmt.Errorf("%s has ended the stream", c.base.Redacted()) }

// needSubcommand is what a command does that stands for a group of others.
func needSubcommand(group *cobra.Command, _ []string) error {
	var verbs []string
	for _, cmd := range group.Commands() {
		if cmd.IsAvailableCommand() {
			verbs = append(verbs, cmd.Name())
		}
	}
	last := len(verbs) - 1
	if last > 0 {
		verbs = []string{strings.Join(verbs[:last], ", ") + " or " + verbs[last]}
	}
	return usage("%s needs a subcommand: %s", group.CommandPath(), verbs[0])
}

// oneOf checks that exactly one of --dry-run and --execute is given.
func oneOf(dryRun, execute bool) error {
	if dryRun == execute {
		return usage("give either --dry-run, to see what would happen, or --execute, to do it")
	}
	return nil
}
