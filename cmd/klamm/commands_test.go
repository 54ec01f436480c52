package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "rewrite docs/command-line.md")

// leaves visits the commands that do something, by their paths without klamm.
func leaves(cmd *cobra.Command, visit func(path string, cmd *cobra.Command)) {
	for _, sub := range cmd.Commands() {
		if sub.Hidden {
			continue
		}
		if sub.HasSubCommands() {
			leaves(sub, visit)
			continue
		}
		visit(strings.TrimPrefix(sub.CommandPath(), "klamm "), sub)
	}
}

// callsOf are the arguments that each command needs which asks a klamm.
func callsOf(t *testing.T) map[string][]string {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const one = `{"name":"p","topics":["a"],"target":{"log":{"name":"l"}}}`
	pipes := write("pipes/p.json", `{"pipes":[`+one+`,{"name":"q","topics":["a"],"target":{"log":{"name":"l"}}}]}`)
	return map[string][]string{
		"status":            {},
		"topic list":        {},
		"topic show":        {"t"},
		"topic create":      {"t"},
		"topic delete":      {"t"},
		"topic tail":        {"t"},
		"topic produce":     {"t", "--value", "x"},
		"consume":           {"t", "-e"},
		"produce":           {"t"},
		"tail":              {"t"},
		"group list":        {},
		"group show":        {"g"},
		"group lag":         {"g"},
		"group reset":       {"g", "--to", "end", "--execute"},
		"group delete":      {"g"},
		"target list":       {},
		"audit list":        {},
		"audit tail":        {},
		"connector list":    {},
		"connector show":    {"c"},
		"connector apply":   {write("c.properties", "name=c\n")},
		"connector pause":   {"c"},
		"connector resume":  {"c"},
		"connector restart": {"c"},
		"connector delete":  {"c"},
		"mapping list":      {},
		"mapping show":      {"m"},
		"mapping delete":    {"m"},
		"schema list":       {},
		"schema show":       {"s"},
		"schema register":   {"s", "--schema", "{}"},
		"schema check":      {"s", "--schema", "{}"},
		"schema diff":       {"s", "1"},
		"schema delete":     {"s"},
		"listen":            {"--topic", "t"},
		"pipe list":         {},
		"pipe show":         {"p"},
		"pipe lag":          {"p"},
		"pipe tail":         {"p"},
		"pipe create":       {"--definition", one},
		"pipe edit":         {"p"},
		"pipe delete":       {"p"},
		"pipe pause":        {"p"},
		"pipe resume":       {"p"},
		"pipe seek":         {"p", "--to", "latest", "--execute"},
		"apply":             {"-f", pipes},
		"diff":              {"-f", pipes},
		"export":            {},
		"bus list":          {},
		"rule list":         {},
		"archive list":      {},
		"archive show":      {"a"},
		"archive replay":    {"a", "--from", "2h", "--to", "1h"},
		"event show":        {"e"},
		"bus show":          {},
		"bus put":           {"--source", "s", "--detail-type", "d"},
		"bus tail":          {},
		"bus explain":       {"--event", "{}"},
		"delivery list":     {"--pipe", "p"},
		"delivery show":     {"p:t:0:1:x"},
		"delivery retry":    {"p:t:0:1:x"},
		"delivery tail":     {},
		"dlq list":          {"--pipe", "p"},
		"dlq pipes":         {},
		"dlq redrive":       {"--pipe", "p"},
		"dlq discard":       {"--pipe", "p", "--all"},
		"replay":            {"--pipe", "p", "--from", "2h", "--to", "1h", "--execute"},
		"key list":          {},
		"key create":        {"k"},
		"key rotate":        {"k"},
		"key revoke":        {"k"},
		"key import":        {write("keys.csv", "Name,Key\na,b\n")},
		"usage":             {},
		"policy list":       {},
		"policy show":       {"p"},
		"policy put":        {"p", "--who", "User:a", "--can", "produce"},
		"policy delete":     {"p"},
		"access explain":    {"--action", "kafka-cluster:Connect", "--resource", "cluster:*"},
		"logs":              {"l"},
		"function list":     {},
		"function deploy":   {"f", "--directory", filepath.Dir(write("code/bootstrap", "#!/bin/sh\n")), "--runtime", "provided.al2023", "--handler", "h"},
		"function invoke":   {"f", "--data", "{}"},
		"function logs":     {"f"},
		"function delete":   {"f"},
		"config list":       {},
		"config diff":       {"--config", write("klamm.yaml", "kafka: {brokers: [\"127.0.0.1:1\"]}\n")},
		"config rollback":   {},
	}
}

// TestServersThatAreNone calls every command that asks a klamm where there is none, or
// none that answers as it should: each says so in one line, and what helps.
func TestServersThatAreNone(t *testing.T) {
	html := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "<!doctype html>\n<html>\n<title>Another product</title>\n")
		}
	}
	serve := func(h http.HandlerFunc) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	secure := httptest.NewUnstartedServer(html(http.StatusOK))
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	plain := serve(html(http.StatusOK))
	for _, c := range []struct {
		name, server, want string
		exit               int
	}{
		{"nobody", "http://127.0.0.1:1", "no klamm answers at http://127.0.0.1:1: ", 1},
		{"no such host", "http://no-such-host.invalid", "no klamm answers at http://no-such-host.invalid: ", 1},
		{"a web site", plain, "answers, but not as klamm does (HTTP status 200); check --server", 1},
		{"a web site without such a page", serve(html(http.StatusNotFound)), "answers, but not as klamm does (HTTP status 404); check --server", 1},
		{"a web site that is broken", serve(html(http.StatusBadGateway)), "answers, but not as klamm does (HTTP status 502); check --server", 1},
		{"another API", serve(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `"{}"`) }), "answers, but not as klamm does", 1},
		{"another API with objects", serve(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"hello":1}`) }), "answers, but not as klamm does", 1},
		{"HTTP where TLS is spoken", strings.Replace(secure.URL, "https", "http", 1), "speaks TLS; " + secure.URL + " may be meant", 1},
		{"TLS where HTTP is spoken", strings.Replace(plain, "http", "https", 1), "does not speak TLS; " + plain + " may be meant", 1},
		{"a certificate of somebody", secure.URL, "is not trusted: ", 1},
		{"another protocol", speaking(t, "SSH-2.0-OpenSSH_9.9\r\n"), "does not speak HTTP; check --server", 1},
		{"one that hangs up", speaking(t, ""), "no klamm answers at ", 1},
		{"one that is silent", serve(silent), "has not answered within 150ms", 1},
		{"no credentials", serve(refuse(http.StatusUnauthorized)), "does not let you do that: not you; KLAMM_KEY can hold an API key that may", 1},
		{"no permission", serve(refuse(http.StatusForbidden)), "does not let you do that: not you; KLAMM_KEY can hold an API key that may", 1},
		{"no brokers", serve(refuse(http.StatusServiceUnavailable)), ": not you", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			calls := callsOf(t)
			leaves(rootCommand(), func(path string, cmd *cobra.Command) {
				if cmd.Flags().Lookup("request-timeout") == nil {
					return
				}
				args, ok := calls[path]
				if !ok {
					t.Errorf("klamm %s is not in the table of calls", path)
					return
				}
				args = append(append(strings.Fields(path), args...), "--server", c.server)
				if c.name == "one that is silent" {
					args = append(args, "--request-timeout", "150ms")
				}
				out, errs, exit := typed(t, "x\n", args...)
				if exit != c.exit || out != "" || !strings.HasPrefix(errs, "klamm: ") || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
					t.Errorf("klamm %s: exit %d, output %q, %q; want %d, %q", path, exit, out, errs, c.exit, c.want)
				}
			})
		})
	}
}

// silent never answers.
func silent(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // else the server does not see that the client goes
	<-r.Context().Done()
}

// refuse answers as klamm's APIs do when they refuse something.
func refuse(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case strings.HasPrefix(path, "/klamm/"):
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"type":"about:blank","title":"x","status":%d,"detail":"not you"}`, status)
		case strings.HasPrefix(path, "/2015"):
			w.Header().Set("X-Amzn-Errortype", "AccessDeniedException")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"Message":"not you"}`)
		default:
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"error_code":%d01,"message":"not you"}`, status)
		}
	}
}

// speaking accepts connections, says something and hangs up.
func speaking(t *testing.T, text string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 64<<10))
			_, _ = io.WriteString(conn, text)
			_ = conn.Close()
		}
	}()
	return "http://" + l.Addr().String()
}

// TestEveryCommandHelps looks for what every command has to say of itself.
func TestEveryCommandHelps(t *testing.T) {
	root := rootCommand()
	var look func(*cobra.Command)
	look = func(cmd *cobra.Command) {
		if cmd.Hidden {
			return
		}
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: Short is %q", cmd.CommandPath(), cmd.Short)
		}
		if cmd.Name() != "version" && !cmd.HasSubCommands() && !strings.Contains(cmd.Example, "klamm ") {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			checkExample(t, line)
		}
		for _, sub := range cmd.Commands() {
			look(sub)
		}
	}
	look(root)
	for _, args := range [][]string{{"help"}, {"--help"}, {"help", "topic", "tail"}, {"topic", "tail", "-h"}, {"topic", "-h"}} {
		out, errs, status := typed(t, "", args...)
		if status != 0 || errs != "" || !strings.Contains(out, "Examples:") {
			t.Errorf("klamm %v: exit %d, %q, %s", args, status, errs, out)
		}
	}
	for _, args := range [][]string{{"nonsense"}, {"topic", "nonsense"}, {"topic", "list", "--nonsense"}} {
		out, errs, status := typed(t, "", args...)
		if status != 2 || out != "" || strings.Count(errs, "\n") != 1 {
			t.Errorf("klamm %v: exit %d, %q, %q", args, status, out, errs)
		}
	}
}

// TestAddressesOfFlags wants 2 for an address that is none: the call is wrong.
func TestAddressesOfFlags(t *testing.T) {
	for args, want := range map[string]string{
		"dev --listen foo":                 `--listen "foo" is not HOST:PORT`,
		"dev --listen 127.0.0.1:65536":     `--listen "127.0.0.1:65536" is not HOST:PORT`,
		"dev --kafka-listen :x":            `--kafka-listen ":x" is not HOST:PORT`,
		"serve --brokers h:1 --listen ::1": `--listen "::1" is not HOST:PORT`,
		"serve --brokers h:1,,":            `--brokers "" is not HOST:PORT`,
		"serve --brokers h":                `--brokers "h" is not HOST:PORT`,
		"rule backtest --topic t --pattern {\"value\":{\"a\":[1]}} --brokers h": `--brokers "h" is not HOST:PORT`,
	} {
		out, errs, status := typed(t, "", strings.Fields(args)...)
		if status != 2 || out != "" || !strings.Contains(errs, want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("klamm %s: exit %d, %q %q", args, status, out, errs)
		}
	}
	at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	for text, want := range map[string]string{
		"beginning": "earliest", "end": "latest", "latest": "latest", "1d": "2026-02-02T04:05:06Z",
		"2026-01-01T00:00:00+01:00": "2026-01-01T00:00:00+01:00", "orders/0=17": "orders/0=17", "foo": "foo",
	} {
		if got := pipeTarget(text, at); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// checkExample finds the commands of a line, and that their flags are there.
func checkExample(t *testing.T, line string) {
	for _, call := range regexp.MustCompile(`(?:^|[|(] *|\s)klamm ([^|)]*)`).FindAllStringSubmatch(line, -1) {
		words := strings.Fields(strings.ReplaceAll(call[1], "[", ""))
		cmd, rest, err := rootCommand().Find(words)
		if err != nil || cmd.Name() == "klamm" {
			t.Errorf("there is no such command: %s", line)
			continue
		}
		quoted := false
		for _, w := range rest {
			if !quoted && strings.HasPrefix(w, "-") && len(w) > 1 {
				name, _, _ := strings.Cut(strings.TrimLeft(w, "-"), "=")
				flags := cmd.Flags()
				if strings.HasPrefix(w, "--") && flags.Lookup(name) == nil || !strings.HasPrefix(w, "--") && w[1] >= 'A' && flags.ShorthandLookup(w[1:2]) == nil {
					t.Errorf("%s has no flag %s: %s", cmd.CommandPath(), w, line)
				}
			}
			if strings.Count(w, "'")%2 == 1 {
				quoted = !quoted
			}
		}
	}
}

func TestCompletionScripts(t *testing.T) {
	for shell, want := range map[string]string{"bash": "complete -o default -F __start_klamm klamm", "zsh": "#compdef klamm", "fish": "complete -c klamm"} {
		out, errs, status := typed(t, "", "completion", shell)
		if status != 0 || errs != "" || !strings.Contains(out, want) {
			t.Errorf("%s: exit %d, %s", shell, status, errs)
		}
	}
}

// TestNamesAreCompleted completes nouns, verbs, flags and names, and is silent where
// there is nobody to ask.
func TestNamesAreCompleted(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "1")
		w.Header().Set("X-Amzn-Requestid", "1")
		_, _ = io.WriteString(w, map[string]string{
			"/klamm/v1/topics":               `{"topics":[{"topic":"orders","partitions":1,"replication":1,"troubled":0},{"topic":"odd\u001b[0m","partitions":1,"replication":1,"troubled":0}]}`,
			"/klamm/v1/definitions":          `{"definitions":[{"pipe":"orders-to-hook","origin":"file","version":0},{"pipe":"x","origin":"file","version":0}]}`,
			"/klamm/v1/keys":                 `{"keys":[{"id":"k-1","name":"sensors"}]}`,
			"/klamm/v1/policies":             `{"policies":[{"name":"ingest"}]}`,
			"/klamm/v1/groups":               `{"groups":[{"group":"billing"}]}`,
			"/subjects":                      `["orders-value"]`,
			mappingsPath:                     `{"EventSourceMappings":[{"UUID":"14e0"}]}`,
			functionsPath:                    `{"Functions":[{"FunctionName":"orders"},{"FunctionName":"x"}]}`,
			"/klamm/v1/pipes/p/dead-letters": `{"dead_letters":[{"id":"0-17"}]}`,
			"/":                              `{"Rules":[{"Name":"large"}]}`,
		}[r.URL.Path])
	}))
	t.Cleanup(s.Close)
	for _, c := range []struct{ args, want string }{
		{"top", "topic"},
		{"topic ta", "tail"},
		{"topic tail --fol", "--follow"},
		{"topic tail o", "orders"},
		{"topic tail orders ", ""},
		{"topic produce --server URL o", "orders"},
		{"pipe show o", "orders-to-hook"},
		{"dlq list --pipe o", "orders-to-hook"},
		{"key rotate s", "sensors"},
		{"key revoke k", "k-1"},
		{"policy show i", "ingest"},
		{"policy list -o ", "table wide json yaml name"},
		{"group show b", "billing"},
		{"consume -t o", "orders"},
		{"schema show or", "orders-value"},
		{"mapping show 1", "14e0"},
		{"function invoke o", "orders"},
		{"function logs o", "orders"},
		{"function delete o", "orders"},
		{"dlq redrive --pipe p --letter 0", "0-17"},
		{"bus explain --rule l", "large"},
		{"produce o", "orders"},
		{"rule backtest --topic o", "orders"},
		{"doctor -o ", "table wide json yaml name"},
		{"cons", "consume"},
		{"completion f", "fish"},
	} {
		for _, server := range []string{s.URL, "http://127.0.0.1:1"} {
			t.Setenv("KLAMM_SERVER", server)
			words := strings.Split(strings.ReplaceAll(c.args, "URL", s.URL), " ")
			out, errs, status := typed(t, "", append([]string{"__complete"}, words...)...)
			var got []string
			for line := range strings.Lines(out) {
				if !strings.HasPrefix(line, ":") {
					word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
					got = append(got, word)
				}
			}
			want := c.want
			asks := regexp.MustCompile(`^(topic (tail|produce) o$|pipe show|dlq|key|policy show|group show|consume -t|schema show|mapping show|function|bus|produce o|rule)`).MatchString(c.args)
			if server != s.URL && asks {
				want = ""
			}
			if strings.Join(got, " ") != want || status != 0 || strings.Contains(errs, "klamm:") {
				t.Errorf("%q at %s: %q, want %q; %s", c.args, server, got, want, errs)
			}
		}
	}
}

// TestManual compares the reference in docs/command-line.md with the commands; -update
// rewrites it.
func TestManual(t *testing.T) {
	const path, marker = "../../docs/command-line.md", "<!-- What follows is made of the commands: go test ./cmd/klamm -run TestManual -update -->\n"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, have, ok := strings.Cut(string(text), marker)
	if !ok {
		t.Fatalf("%s has no line %q", path, marker)
	}
	for line := range strings.Lines(before) {
		if strings.HasPrefix(line, "    ") || strings.HasPrefix(line, "klamm ") {
			checkExample(t, line)
		}
	}
	want := manual(rootCommand())
	if *update {
		if err := os.WriteFile(path, []byte(before+marker+want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("%s is not as the commands are; run the test with -update (-commands +page):\n%s", path, diff)
	}
}

// manual describes all commands.
func manual(root *cobra.Command) string {
	var b strings.Builder
	shared := map[string]bool{"server": true, "output": true, "request-timeout": true, "curl": true, "query": true}
	var write func(*cobra.Command)
	write = func(cmd *cobra.Command) {
		if cmd.Hidden || cmd.Name() == "help" {
			return
		}
		if cmd != root && !cmd.HasSubCommands() {
			cmd.InitDefaultHelpFlag()
			fmt.Fprintf(&b, "\n## %s\n\n", cmd.CommandPath())
			long := cmd.Long
			if long == "" {
				long = cmd.Short + "."
			}
			long = strings.TrimSpace(strings.ReplaceAll(long, clientHelp, ""))
			fmt.Fprintf(&b, "%s\n\n    %s\n", markdown(long), strings.TrimSuffix(cmd.UseLine(), " [flags]"))
			var flags bytes.Buffer
			set := cmd.Flags()
			for name := range shared {
				if f := set.Lookup(name); f != nil && set.Lookup("request-timeout") != nil {
					f.Hidden = true
				}
			}
			if set.Lookup("request-timeout") != nil && cmd.Annotations[ownContext] == "" {
				set.Lookup("context").Hidden = true
			}
			set.Lookup("help").Hidden = true
			flags.WriteString(set.FlagUsagesWrapped(0))
			if flags.Len() > 0 {
				fmt.Fprintf(&b, "\n```text\n%s```\n", flags.String())
			}
			if cmd.Example != "" {
				fmt.Fprintf(&b, "\n```sh\n%s\n```\n", regexp.MustCompile(`(?m)^  `).ReplaceAllString(strings.TrimRight(cmd.Example, "\n"), ""))
			}
		}
		for _, sub := range cmd.Commands() {
			write(sub)
		}
	}
	write(root)
	return b.String()
}

// markdown keeps what a help says from being taken for markup.
func markdown(text string) string {
	return strings.NewReplacer("*", `\*`, "<", "&lt;", "_", `\_`, "{", `\{`).Replace(text)
}
