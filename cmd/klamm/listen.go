package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

const (
	// largestDelivery bounds a body that klamm listen takes.
	largestDelivery = 64 << 20
	// shownBody is how much of a body is shown.
	shownBody = 16 << 10
	// forwardTime bounds what the local program may take.
	forwardTime = time.Minute
)

// A listening is one call of klamm listen.
type listening struct {
	c        *client
	address  string // where to listen
	secret   string
	topic    string
	start    string
	status   int
	count    int
	forward  *url.URL // nil: nowhere
	key      []byte   // nil: signatures are not looked at
	mu       sync.Mutex
	seen     int           // deliveries shown, guarded by mu
	done     chan struct{} // closed when count is reached
	finished sync.Once
	program  *http.Client
}

// A heardDoc is a delivery that klamm listen has taken.
type heardDoc struct {
	At        time.Time         `json:"at"`
	Method    string            `json:"method"`
	Path      string            `json:"path"`
	Headers   map[string]string `json:"headers"`
	Bytes     int               `json:"bytes"`
	Body      any               `json:"body"` // JSON, a text, or {"base64": ...}
	Signature string            `json:"signature,omitempty"`
	Status    int               `json:"status"` // that was answered
	Error     string            `json:"error,omitempty"`
}

func listenCommand() *cobra.Command {
	var l listening
	cmd := asking(&cobra.Command{
		Use:   "listen [URL|PORT]",
		Short: "Show the deliveries that come in, and pass them to a local program",
		Long: "Listens on a port of the loopback interface, prints what is delivered there, and answers with --status. With a URL it passes each\n" +
			"delivery to the program there, and its answer back. --secret verifies signatures of Standard Webhooks, and refuses what has none.\n\n" +
			"With --topic a klamm on the same machine is asked for a pipe from that topic to here, for as long as it listens: what is produced is\n" +
			"delivered at once. That klamm must allow loopback targets, as klamm dev does. Without --topic no klamm is asked.",
		Example: "  klamm listen 9000\n" +
			"  klamm listen --topic orders\n" +
			"  klamm listen --topic orders http://127.0.0.1:3000/hook\n" +
			"  klamm listen 9000 --secret env:HOOK_SECRET -o json",
		Args: cobra.MaximumNArgs(1),
	}, func(ctx context.Context, c *client, args []string) error {
		l.c = c
		if err := l.check(args); err != nil {
			return err
		}
		return l.run(ctx)
	})
	flags := cmd.Flags()
	flags.StringVar(&l.address, "listen", "127.0.0.1:0", "where to listen, HOST:PORT; port 0 takes a free one")
	flags.StringVar(&l.secret, "secret", "", secretHelp)
	flags.StringVar(&l.topic, "topic", "", "have a pipe made from this topic to here")
	flags.StringVar(&l.start, "start", "latest", "where that pipe begins: latest, earliest, or an RFC 3339 time")
	flags.IntVar(&l.status, "status", http.StatusNoContent, "the status to answer with")
	flags.IntVarP(&l.count, "count", "c", 0, "end after so many deliveries")
	completedFlag(cmd, "topic", topicNames)
	return cmd
}

// check reads the flags.
func (l *listening) check(args []string) error {
	for _, text := range args {
		if _, err := strconv.ParseUint(text, 10, 16); err == nil {
			l.address = net.JoinHostPort("127.0.0.1", text)
			continue
		}
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return usage("%q: want the URL of a program, or the port to listen on", printable(text))
		}
		l.forward = u
	}
	host, _, err := net.SplitHostPort(l.address)
	at, notAddress := netip.ParseAddr(host)
	switch {
	case err != nil || host != "localhost" && (notAddress != nil || !at.IsLoopback()):
		return usage("--listen %q: want HOST:PORT on loopback, such as 127.0.0.1:9000", printable(l.address))
	case l.status < 200 || l.status > 599:
		return usage("--status %d: want a number from 200 to 599", l.status)
	case l.count < 0:
		return usage("--count %d: want a number from 1", l.count)
	}
	if l.topic != "" {
		if err := checkTopic(l.topic); err != nil {
			return err
		}
	}
	if l.secret == "" {
		return nil
	}
	where, err := l.c.referenceOf("--secret", l.secret)
	if err != nil {
		return err
	}
	secret, err := where.resolve()
	if err != nil {
		return &exitError{2, fmt.Errorf("--secret: %w", err)}
	}
	l.key, err = webhookKey(secret)
	return err
}

// run listens until Ctrl-C.
func (l *listening) run(ctx context.Context) error {
	listener, err := net.Listen("tcp", l.address)
	if err != nil {
		return err
	}
	l.done = make(chan struct{})
	l.program = &http.Client{Timeout: forwardTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	server := &http.Server{Handler: l, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }() // until it is shut down below
	here := "http://" + listener.Addr().String() + "/"
	if l.topic != "" {
		remove, err := l.pipe(ctx, here)
		if err != nil {
			_ = server.Close()
			<-failed
			return err
		}
		defer remove()
	}
	fmt.Fprintf(l.c.errs, "Listening at %s; Ctrl-C ends.\n", here)
	select {
	case <-ctx.Done():
	case <-l.done:
	case err = <-failed:
		return err
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialTime)
	defer cancel()
	if server.Shutdown(stopping) != nil {
		_ = server.Close()
	}
	return nil
}

// pipe makes a pipe to here, and returns what removes it.
func (l *listening) pipe(ctx context.Context, here string) (remove func(), err error) {
	random := make([]byte, 4)
	_, _ = rand.Read(random) // never fails
	name := "listen-" + hex.EncodeToString(random)
	webhook := map[string]any{"url": here}
	definition := map[string]any{"name": name, "topics": []string{l.topic}, "start": l.start, "target": map[string]any{"webhook": webhook}}
	var made definitionDoc
	if err := l.c.call(ctx, request{method: http.MethodPost, path: []string{"pipes"}, body: definition, within: changeTime}, "version", &made); err != nil {
		return nil, err
	}
	return func() {
		leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTime)
		defer cancel()
		if err := l.c.remove(leaving, name, 0); err != nil {
			fmt.Fprintf(l.c.errs, "klamm: pipe %s is still there: %v; klamm pipe delete %s removes it\n", name, err, name)
		}
	}, nil
}

// ServeHTTP takes one delivery.
func (l *listening) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, largestDelivery))
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	heard := heardDoc{At: time.Now(), Method: r.Method, Path: r.URL.RequestURI(), Headers: map[string]string{}, Bytes: len(body), Body: shownData(body), Status: l.status}
	for name, values := range r.Header {
		heard.Headers[name] = strings.Join(values, ", ")
	}
	var wrong error
	if l.key != nil {
		heard.Signature = "valid"
		if wrong = webhookVerify(l.key, r.Header, body, heard.At, 5*time.Minute); wrong != nil {
			heard.Signature = "invalid: " + wrong.Error()
			heard.Status = http.StatusUnauthorized
		}
	}
	if l.forward != nil && wrong == nil {
		heard.Status, err = l.pass(w, r, body)
		if err != nil {
			heard.Error = err.Error()
		}
	} else {
		w.WriteHeader(heard.Status)
	}
	if err := l.tell(heard); err != nil {
		l.finished.Do(func() { close(l.done) })
	}
}

// shownData is a body as JSON shows it.
func shownData(body []byte) any {
	switch {
	case json.Valid(body):
		return json.RawMessage(body)
	case utf8.Valid(body):
		return string(body)
	}
	return map[string][]byte{"base64": body}
}

// pass passes a delivery to the local program and its answer back.
func (l *listening) pass(w http.ResponseWriter, r *http.Request, body []byte) (int, error) {
	to := *l.forward
	if r.URL.RawQuery != "" {
		to.RawQuery = strings.Trim(to.RawQuery+"&"+r.URL.RawQuery, "&")
	}
	if rest := strings.TrimPrefix(r.URL.Path, "/"); rest != "" {
		to = *to.JoinPath(rest)
	}
	ask, err := http.NewRequestWithContext(r.Context(), r.Method, to.String(), bytes.NewReader(body))
	if err != nil {
		http.Error(w, "klamm listen cannot pass this on", http.StatusBadGateway)
		return http.StatusBadGateway, err
	}
	ask.Header = r.Header.Clone()
	for _, name := range []string{"Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Te", "Trailer"} {
		ask.Header.Del(name)
	}
	answer, err := l.program.Do(ask)
	if err != nil {
		http.Error(w, "the program behind klamm listen does not answer", http.StatusBadGateway)
		var outer *url.Error
		if errors.As(err, &outer) {
			err = outer.Err
		}
		return http.StatusBadGateway, fmt.Errorf("%s: %w", to.Redacted(), err)
	}
	defer answer.Body.Close()
	for _, name := range []string{"Content-Type", "Retry-After"} {
		if value := answer.Header.Get(name); value != "" {
			w.Header().Set(name, value)
		}
	}
	w.WriteHeader(answer.StatusCode)
	_, err = io.Copy(w, io.LimitReader(answer.Body, largestDelivery))
	return answer.StatusCode, err
}

// tell prints a delivery.
func (l *listening) tell(d heardDoc) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count > 0 && l.seen >= l.count {
		return nil
	}
	l.seen++
	if l.count > 0 && l.seen == l.count {
		defer l.finished.Do(func() { close(l.done) })
	}
	if l.c.output == "json" {
		return l.c.json(d)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s %s -> %d", clock(d.At), d.Method, printable(d.Path), d.Status)
	if topic := d.Headers["Klamm-Topic"]; topic != "" {
		offset := d.Headers["Klamm-Offset"]
		if offset == "" {
			offset = d.Headers["Klamm-First-Offset"] + ".." + d.Headers["Klamm-Last-Offset"]
		}
		fmt.Fprintf(&b, "  %s/%s@%s", printable(topic), printable(d.Headers["Klamm-Partition"]), printable(offset))
	}
	if attempt := d.Headers["Klamm-Attempt"]; attempt != "" && attempt != "1" {
		fmt.Fprintf(&b, "  attempt %s", printable(attempt))
	}
	if d.Signature != "" {
		fmt.Fprintf(&b, "  signature %s", printable(d.Signature))
	}
	if d.Error != "" {
		fmt.Fprintf(&b, "  %s", printable(d.Error))
	}
	b.WriteByte('\n')
	switch body := d.Body.(type) {
	case json.RawMessage:
		b.WriteString(shortened(string(body)))
	case string:
		b.WriteString(shortened(body))
	default:
		fmt.Fprintf(&b, "(%d bytes that are no text)\n", d.Bytes)
	}
	_, err := io.WriteString(l.c.out, b.String())
	return err
}

// shortened is a body for people: its beginning, harmless to a terminal.
func shortened(text string) string {
	if text == "" {
		return ""
	}
	more := ""
	if len(text) > shownBody {
		more = fmt.Sprintf("... and %d bytes more", len(text)-shownBody)
		text = strings.ToValidUTF8(text[:shownBody], "")
	}
	return strings.TrimRight(string(harmless([]byte(text))), "\n") + more + "\n"
}
