package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// errPrinted ends a command whose call was printed instead of made.
var errPrinted = errors.New("the call is printed")

// largestPrinted bounds a body that stands on a line of curl.
const largestPrinted = 32 << 10

// printCall prints a call as a line of curl, with the names of secrets in their place.
// A command's first call is printed; what it would do next depends on the answer.
func (c *client) printCall(req *http.Request, r request) error {
	if c.called {
		return errPrinted
	}
	c.called = true
	var b strings.Builder
	b.WriteString("curl -sS")
	if r.method != http.MethodGet || r.body != nil {
		b.WriteString(" -X " + r.method)
	}
	for _, name := range slices.Sorted(maps.Keys(req.Header)) {
		switch name {
		case "X-Api-Key":
			b.WriteString(` -H "X-Api-Key: $KLAMM_KEY"`)
		case "Authorization":
			b.WriteString(` -u "$KLAMM_USER:$KLAMM_PASSWORD"`)
		default:
			b.WriteString(" -H " + quoted(name+": "+req.Header.Get(name)))
		}
	}
	for flag, path := range map[string]string{"--cacert": c.from.CA, "--cert": c.from.Certificate, "--key": c.from.PrivateKey} {
		if path != "" && c.tls != nil {
			b.WriteString(" " + flag + " " + quoted(path))
		}
	}
	if req.Body != nil {
		text, err := io.ReadAll(io.LimitReader(req.Body, largestPrinted+1))
		if err != nil {
			return err
		}
		switch {
		case r.secret || len(text) > largestPrinted || !utf8.Valid(text) || strings.ContainsRune(string(text), 0):
			b.WriteString(" --data-binary @BODY")
			fmt.Fprintln(c.errs, "klamm: BODY stands for a file with the body, which is too large, is no text, or has secrets")
		case len(text) > 0 && text[0] == '@': // else curl reads a file of that name
			b.WriteString(" --data-raw " + quoted(string(text)))
		default:
			b.WriteString(" --data-binary " + quoted(string(text)))
		}
	}
	b.WriteString(" " + quoted(req.URL.Redacted()) + "\n")
	if _, err := io.WriteString(c.out, b.String()); err != nil {
		return err
	}
	return errPrinted
}

// quoted quotes a word for a shell.
func quoted(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
