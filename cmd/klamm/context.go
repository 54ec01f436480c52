package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
)

// A contextBook is the file of contexts.
type contextBook struct {
	Current  string         `yaml:"current,omitempty"`
	Contexts []savedContext `yaml:"contexts"`
}

// A savedContext is a klamm and how to log in there.
type savedContext struct {
	Name        string    `yaml:"name"`
	Server      string    `yaml:"server"`
	Key         reference `yaml:"key,omitempty"`
	User        string    `yaml:"user,omitempty"`
	Password    reference `yaml:"password,omitempty"`
	CA          string    `yaml:"ca,omitempty"`
	Certificate string    `yaml:"certificate,omitempty"`
	PrivateKey  string    `yaml:"private_key,omitempty"`
}

// A reference says where a secret is; the zero one is none.
type reference struct {
	Env   string `yaml:"env,omitempty"`
	File  string `yaml:"file,omitempty"`
	Value string `yaml:"value,omitempty"`
}

// IsZero says whether there is no secret.
func (r reference) IsZero() bool { return r == reference{} }

// String says where the secret is, and never what it is.
func (r reference) String() string {
	switch {
	case r.Env != "":
		return "env:" + r.Env
	case r.File != "":
		return "file:" + r.File
	case r.Value != "":
		return "stored"
	}
	return ""
}

// resolve returns the secret.
func (r reference) resolve() (string, error) {
	switch {
	case r.Env != "":
		text := os.Getenv(r.Env)
		if text == "" {
			return "", fmt.Errorf("the environment has no %s", printable(r.Env))
		}
		return text, nil
	case r.File != "":
		text, err := os.ReadFile(r.File)
		if err != nil {
			return "", err
		}
		return strings.TrimRight(string(text), "\r\n"), nil
	}
	return r.Value, nil
}

// contextsPath is where the contexts are; empty: nowhere.
func contextsPath() string {
	directory := os.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(directory) { // as the specification of that variable has it
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		directory = filepath.Join(home, ".config")
	}
	return filepath.Join(directory, "klamm", "contexts.yaml")
}

// readContexts reads the file; where there is none there are no contexts.
func readContexts() (contextBook, error) {
	var book contextBook
	path := contextsPath()
	if path == "" {
		return book, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return book, nil
	}
	if err == nil && len(text) > 0 {
		err = yaml.UnmarshalWithOptions(text, &book, yaml.Strict())
	}
	if err != nil {
		// An excerpt of the file may hold a secret.
		first, _, _ := strings.Cut(err.Error(), "\n")
		return book, fmt.Errorf("the contexts in %s cannot be read: %s", path, printable(first))
	}
	return book, nil
}

// write replaces the file, which nobody else may read.
func (b contextBook) write() error {
	path := contextsPath()
	if path == "" {
		return errors.New("there is no place for contexts; set XDG_CONFIG_HOME")
	}
	text, err := yaml.Marshal(b)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".contexts-*") // with mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// find returns a context.
func (b contextBook) find(name string) (savedContext, error) {
	i := slices.IndexFunc(b.Contexts, func(s savedContext) bool { return s.Name == name })
	if i < 0 {
		return savedContext{}, usage("there is no context %q; klamm context list shows those there are", printable(name))
	}
	return b.Contexts[i], nil
}

// An access is a klamm and what is shown to it.
type access struct {
	base                *url.URL
	key, user, password string
	tls                 *tls.Config
	from                savedContext // where it is of a context
}

// login shows a request's server who is asking.
func (a *access) login(r *http.Request) {
	switch {
	case a.key != "":
		r.Header.Set("X-Api-Key", a.key)
	case a.user != "":
		r.SetBasicAuth(a.user, a.password)
	}
}

// findAccess says which klamm is meant and how to log in there: what the flags say, else
// the environment, else the context, else the default. A context's secrets are for its own
// server only.
func findAccess(server, contextName string) (access, error) {
	a := access{key: os.Getenv("KLAMM_KEY"), user: os.Getenv("KLAMM_USER"), password: os.Getenv("KLAMM_PASSWORD")}
	named := contextName != ""
	if named || server == "" && os.Getenv("KLAMM_SERVER") == "" {
		book, err := readContexts()
		if err != nil {
			return a, &exitError{2, err}
		}
		name := contextName
		if name == "" {
			name = os.Getenv("KLAMM_CONTEXT")
		}
		if name == "" {
			name = book.Current
		}
		if name != "" {
			saved, err := book.find(name)
			if err != nil {
				return a, err
			}
			if server == "" {
				server = saved.Server
			}
			if err := a.take(saved, named); err != nil {
				return a, &exitError{2, fmt.Errorf("context %s: %w", printable(name), err)}
			}
		}
	}
	var err error
	if a.base, err = findServer(server); err != nil {
		return a, &exitError{2, err}
	}
	return a, nil
}

// take takes what a context has. Its login counts where the environment has none or,
// if the context was named by a flag, in any case.
func (a *access) take(saved savedContext, named bool) (err error) {
	a.from = saved
	if hasOwn := !saved.Key.IsZero() || saved.User != ""; hasOwn && (named || a.key == "" && a.user == "") {
		if a.key, err = saved.Key.resolve(); err != nil {
			return err
		}
		a.user = saved.User
		if a.password, err = saved.Password.resolve(); err != nil {
			return err
		}
	}
	if saved.CA == "" && saved.Certificate == "" {
		return nil
	}
	a.tls = &tls.Config{}
	if saved.CA != "" {
		text, err := os.ReadFile(saved.CA)
		if err != nil {
			return err
		}
		a.tls.RootCAs = x509.NewCertPool()
		if !a.tls.RootCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("%s has no certificate in PEM", saved.CA)
		}
	}
	if saved.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(saved.Certificate, saved.PrivateKey)
		if err != nil {
			return err
		}
		a.tls.Certificates = []tls.Certificate{pair}
	}
	return nil
}

// A contextDoc is a context as it is shown: without secrets.
type contextDoc struct {
	Context     string `json:"context"`
	Server      string `json:"server"`
	Current     bool   `json:"current"`
	Key         string `json:"key,omitempty"`
	User        string `json:"user,omitempty"`
	Password    string `json:"password,omitempty"`
	CA          string `json:"ca,omitempty"`
	Certificate string `json:"certificate,omitempty"`
	PrivateKey  string `json:"private_key,omitempty"`
}

func (b contextBook) doc(s savedContext) contextDoc {
	return contextDoc{s.Name, s.Server, s.Name == b.Current, s.Key.String(), s.User, s.Password.String(), s.CA, s.Certificate, s.PrivateKey}
}

func contextCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "context",
		Short: "Remember klamms and how to log in there",
		Long: "A context is a server with what is needed to log in there. Contexts are kept in $XDG_CONFIG_HOME/klamm/contexts.yaml (~/.config if\n" +
			"there is no such variable), a file that only you can read. Secrets stay where they are, in the environment or in a file, or are stored\n" +
			"there too. What a flag says counts before the environment, the environment before the context, and the context before the default:\n" +
			"--server or --context, KLAMM_SERVER, KLAMM_CONTEXT, the context in use, " + defaultServer + ". A context's secrets are sent to its own server only.",
		RunE: needSubcommand,
	}
	cmd.AddCommand(contextListCommand(), contextShowCommand(), contextUseCommand(), contextAddCommand(), contextRemoveCommand())
	return cmd
}

// aContext makes a command of one that works on the file of contexts.
func aContext(cmd *cobra.Command, run func(c *client, book contextBook, args []string) error) *cobra.Command {
	var f clientFlags
	f.addOutput(cmd, true)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c := &client{cmd: cmd, out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr()}
		if err := f.shape(c); err != nil {
			return err
		}
		book, err := readContexts()
		if err != nil {
			return failed(err)
		}
		return failed(run(c, book, args))
	}
	return cmd
}

// savedNames completes the names of contexts.
func savedNames(_ *cobra.Command, args []string, begin string) (found []string, _ cobra.ShellCompDirective) {
	book, err := readContexts()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, s := range book.Contexts {
		if strings.HasPrefix(s.Name, begin) {
			found = append(found, s.Name)
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

func contextListCommand() *cobra.Command {
	return aContext(&cobra.Command{
		Use: "list", Short: "List the contexts", Args: cobra.NoArgs,
		Example: "  klamm context list",
	}, func(c *client, book contextBook, _ []string) error {
		var all []contextDoc
		for _, s := range book.Contexts {
			all = append(all, book.doc(s))
		}
		return rows(c, all, newTable("CONTEXT", "SERVER", "LOGIN", "IN USE"), func(d contextDoc) []any {
			login, used := d.User, ""
			if d.Key != "" {
				login = "key, " + d.Key
			} else if login == "" && d.Certificate != "" {
				login = d.Certificate
			}
			if d.Current {
				used = "yes"
			}
			return []any{d.Context, d.Server, login, used}
		})
	})
}

func contextShowCommand() *cobra.Command {
	cmd := aContext(&cobra.Command{
		Use: "show [NAME]", Short: "Show a context, or that in use; never its secrets", Args: cobra.MaximumNArgs(1),
		Example: "  klamm context show\n  klamm context show prod -o json",
	}, func(c *client, book contextBook, args []string) error {
		name := book.Current
		if len(args) > 0 {
			name = args[0]
		}
		if name == "" {
			return errors.New("no context is in use; klamm context use NAME chooses one")
		}
		s, err := book.find(name)
		if err != nil {
			return err
		}
		return c.pairs(book.doc(s))
	})
	cmd.ValidArgsFunction = savedNames
	return cmd
}

func contextUseCommand() *cobra.Command {
	cmd := aContext(&cobra.Command{
		Use: "use NAME", Short: "Make a context the one that counts where nothing else is said", Args: oneArgument("the name of the context"),
		Example: "  klamm context use prod\n  KLAMM_CONTEXT=test klamm status",
	}, func(c *client, book contextBook, args []string) error {
		s, err := book.find(args[0])
		if err != nil {
			return err
		}
		book.Current = s.Name
		if err := book.write(); err != nil {
			return err
		}
		return c.show(book.doc(s), "context %s is in use: %s", s.Name, s.Server)
	})
	cmd.ValidArgsFunction = savedNames
	return cmd
}

func contextRemoveCommand() *cobra.Command {
	cmd := aContext(&cobra.Command{
		Use: "remove NAME", Short: "Forget a context", Args: oneArgument("the name of the context"),
		Example: "  klamm context remove prod",
	}, func(c *client, book contextBook, args []string) error {
		s, err := book.find(args[0])
		if err != nil {
			return err
		}
		book.Contexts = slices.DeleteFunc(book.Contexts, func(o savedContext) bool { return o.Name == s.Name })
		if book.Current == s.Name {
			book.Current = ""
		}
		if err := book.write(); err != nil {
			return err
		}
		return c.show(map[string]string{"context": s.Name}, "context %s is forgotten", s.Name)
	})
	cmd.ValidArgsFunction = savedNames
	return cmd
}

var contextName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func contextAddCommand() *cobra.Command {
	var s savedContext
	var server, key, password string
	var use bool
	cmd := aContext(&cobra.Command{
		Use:   "add NAME",
		Short: "Remember a klamm, or change what is remembered of it",
		Long: "Remembers a server with how to log in there; a context of that name is replaced. A secret is env:NAME or file:PATH, which are read at\n" +
			"each call, or -, which stores what standard input has.",
		Example: "  klamm context add prod --server https://klamm.example.com --key file:$HOME/.klamm-key --use\n" +
			"  klamm context add test --server http://test:8082 --user alice --password env:TEST_PASSWORD\n" +
			"  klamm context add lab --server https://lab:8443 --ca lab-ca.pem --certificate me.pem --private-key me.key",
		Args: oneArgument("the name of the context"),
	}, func(c *client, book contextBook, args []string) (err error) {
		if s.Name = args[0]; !contextName.MatchString(s.Name) {
			return usage("%q is no context's name: want up to 64 letters, digits, dots, - and _", printable(s.Name))
		}
		base, err := findServer(server)
		switch {
		case server == "":
			return usage("give the server with --server")
		case err != nil:
			return &exitError{2, err}
		case base.User != nil:
			return usage("--server: give the user with --user and the password with --password")
		case key == "-" && password == "-":
			return usage("only one of the flags can read standard input (-)")
		case key != "" && s.User != "":
			return usage("give either --key or --user")
		case (password != "") != (s.User != ""):
			return usage("give --user and --password together")
		case (s.Certificate != "") != (s.PrivateKey != ""):
			return usage("give --certificate and --private-key together")
		}
		s.Server = base.String()
		if s.Key, err = c.referenceOf("--key", key); err != nil {
			return err
		}
		if s.Password, err = c.referenceOf("--password", password); err != nil {
			return err
		}
		for _, path := range []*string{&s.CA, &s.Certificate, &s.PrivateKey, &s.Key.File, &s.Password.File} {
			if *path == "" {
				continue
			}
			if *path, err = filepath.Abs(*path); err != nil {
				return err
			}
		}
		if err := new(access).take(s, false); err != nil && s.CA+s.Certificate != "" {
			return &exitError{2, err}
		}
		book.Contexts = append(slices.DeleteFunc(book.Contexts, func(o savedContext) bool { return o.Name == s.Name }), s)
		if use || len(book.Contexts) == 1 {
			book.Current = s.Name
		}
		if err := book.write(); err != nil {
			return err
		}
		return c.show(book.doc(s), "context %s is remembered: %s", s.Name, s.Server)
	})
	flags := cmd.Flags()
	flags.StringVar(&server, "server", "", "URL of the klamm")
	flags.StringVar(&key, "key", "", "an API key: env:NAME, file:PATH, or - for standard input")
	flags.StringVar(&s.User, "user", "", "a user's name")
	flags.StringVar(&password, "password", "", "the user's password, as --key")
	flags.StringVar(&s.CA, "ca", "", "file with the CA of the server's certificate")
	flags.StringVar(&s.Certificate, "certificate", "", "file with a client certificate")
	flags.StringVar(&s.PrivateKey, "private-key", "", "file with the key of --certificate")
	flags.BoolVar(&use, "use", false, "use it from now on, as klamm context use does")
	return cmd
}

// referenceOf reads where a secret is.
func (c *client) referenceOf(flag, text string) (reference, error) {
	switch {
	case text == "":
		return reference{}, nil
	case text == "-":
		secret, err := io.ReadAll(io.LimitReader(c.cmd.InOrStdin(), 64<<10))
		if err != nil {
			return reference{}, err
		}
		value := strings.TrimRight(string(secret), "\r\n")
		if value == "" || strings.ContainsAny(value, "\r\n\x00") {
			return reference{}, usage("%s: standard input has no secret of one line", flag)
		}
		return reference{Value: value}, nil
	}
	if name, ok := strings.CutPrefix(text, "env:"); ok && name != "" {
		return reference{Env: name}, nil
	}
	if path, ok := strings.CutPrefix(text, "file:"); ok && path != "" {
		return reference{File: path}, nil
	}
	return reference{}, usage("%s: want env:NAME, file:PATH, or - for standard input; a secret on a command line is there for all to see", flag)
}

// completeContexts adds the names of contexts to --context.
func completeContexts(cmd *cobra.Command) {
	_ = cmd.RegisterFlagCompletionFunc("context", func(cmd *cobra.Command, _ []string, begin string) ([]string, cobra.ShellCompDirective) {
		return savedNames(cmd, nil, begin)
	})
}
