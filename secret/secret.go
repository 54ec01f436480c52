// Package secret names secrets without holding them. A Ref stands in
// configuration and definitions, is stored and shown; only a Lookup, made by who
// may read files and the environment, turns it into the secret itself.
package secret

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
)

// MaxFile is how much of a secret's file is read, in bytes: a larger one is an
// error.
const MaxFile = 64 << 10

// A Ref says where a secret is. Exactly one field is set; the zero value is no
// secret at all.
type Ref struct {
	// Env is the name of an environment variable.
	Env string `yaml:"env" json:"env,omitempty"`
	// File is the path of a file; one newline at its end does not count.
	File string `yaml:"file" json:"file,omitempty"`
	// Value is the secret itself. Whoever reads the configuration reads it.
	Value string `yaml:"value" json:"value,omitempty"`
}

// IsZero says whether no secret is named.
func (r Ref) IsZero() bool { return r == Ref{} }

// String says where the secret is, never the secret.
func (r Ref) String() string {
	switch {
	case r.Env != "":
		return "environment variable " + r.Env
	case r.File != "":
		return "file " + r.File
	case r.Value != "":
		return "inline value"
	default:
		return "no secret"
	}
}

// GoString keeps the secret out of %#v.
func (r Ref) GoString() string { return "secret.Ref(" + r.String() + ")" }

// LogValue keeps the secret out of logs.
func (r Ref) LogValue() slog.Value { return slog.StringValue(r.String()) }

// Validate reports a Ref that names none or several places; a zero Ref is
// reported too, so whoever has an optional secret asks IsZero first.
func (r Ref) Validate(report func(path, problem string)) {
	n := 0
	for _, s := range []string{r.Env, r.File, r.Value} {
		if s != "" {
			n++
		}
	}
	if n != 1 {
		report("", "want exactly one of {env: NAME}, {file: PATH} and {value: TEXT}")
	}
	if strings.ContainsAny(r.Env, "=\x00") {
		report("env", "not the name of an environment variable")
	}
}

// A Lookup returns the secret that a Ref names. Its errors say which one is
// missing and never contain a secret. It is safe for concurrent use, and asks
// again each time, so that a file which was replaced is seen.
type Lookup func(ctx context.Context, ref Ref) (string, error)

// Local looks secrets up on this machine: environment variables, files, inline
// values. An empty secret is an error.
func Local(_ context.Context, ref Ref) (string, error) {
	var value string
	switch {
	case ref.Env != "":
		value = os.Getenv(ref.Env)
	case ref.File != "":
		text, err := readFile(ref.File)
		if err != nil {
			return "", err
		}
		value = text
	default:
		value = ref.Value
	}
	if value == "" {
		return "", fmt.Errorf("%s: %w", ref, ErrEmpty)
	}
	return value, nil
}

// ErrEmpty says that a secret is not there, or empty.
var ErrEmpty = errors.New("the secret is missing or empty")

func readFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	if info.Size() > MaxFile {
		return "", fmt.Errorf("secret: file %s is larger than %d bytes", path, MaxFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
}
