package secret

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"
)

// A Config is the secrets section of the configuration file: where secrets with a
// name or an ARN are looked up (kafka-auth.md A5).
type Config struct {
	// Directory holds a file NAME.json for each secret, in the formats of AWS. A
	// file that is replaced counts from the next login on.
	Directory string `yaml:"directory"`
	// Vault is a HashiCorp Vault with a key-value engine of version 2.
	Vault *Vault `yaml:"vault"`
	// AWS is AWS Secrets Manager, or what answers as it does.
	AWS *Manager `yaml:"aws"`
}

// Validate reports each problem with the field it lies in.
func (c Config) Validate(report func(path, problem string)) {
	if strings.ContainsRune(c.Directory, 0) {
		report("directory", "not the path of a directory")
	}
}

// ErrUnknown says that no place holds a secret with a name.
var ErrUnknown = errors.New("there is no such secret")

const (
	// kept is how long a secret that came over the network counts as current.
	kept = 5 * time.Minute
	// keptAtLeast bounds how often one is asked for again because a login failed.
	keptAtLeast = 5 * time.Second
	// mostKept bounds the secrets that are remembered.
	mostKept = 1000
	// longestName bounds the name of a secret, in bytes.
	longestName = 2048
)

// A Store finds secrets that have a name: first in its directory, then in the
// environment, then in Vault, then in AWS Secrets Manager. What came over the
// network is asked for again after five minutes. A nil Store holds nothing. It is
// safe for concurrent use.
type Store struct {
	cfg    Config
	region string
	aws    chain

	mu   sync.Mutex // guards what follows
	kept map[string]remembered
}

type remembered struct {
	text string
	at   time.Time
}

// NewStore returns a store. The region is that of AWS where nothing else says it.
func NewStore(cfg Config, region string) *Store {
	return &Store{cfg: cfg, region: region, aws: chain{region: region}, kept: map[string]remembered{}}
}

// Get returns a secret by its name or its ARN, of which the six random characters
// at the end may be missing. Errors never hold a secret; ErrUnknown says that it is
// nowhere, and any other one that a place could not be asked.
func (s *Store) Get(ctx context.Context, name string) (string, error) {
	if s == nil {
		return "", fmt.Errorf("secret %s: %w: nothing is configured in secrets", name, ErrUnknown)
	}
	short, err := shortName(name)
	if err != nil {
		return "", err
	}
	text, err := s.near(short)
	if err == nil || !errors.Is(err, ErrUnknown) {
		return text, err
	}
	if s.cfg.Vault == nil && s.cfg.AWS == nil {
		return "", err
	}
	s.mu.Lock()
	have, ok := s.kept[name]
	s.mu.Unlock()
	if ok && time.Since(have.at) < kept {
		return have.text, nil
	}
	if text, err = s.far(ctx, name, short); err != nil {
		if ok && !errors.Is(err, ErrUnknown) { // an old one is better than none
			return have.text, nil
		}
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept) >= mostKept {
		clear(s.kept)
	}
	s.kept[name] = remembered{text, time.Now()}
	return text, nil
}

// Doubt says that a login by a secret failed: the next Get asks for it again,
// unless that was done a moment ago.
func (s *Store) Doubt(name string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if have, ok := s.kept[name]; ok && time.Since(have.at) > keptAtLeast {
		have.at = time.Time{}
		s.kept[name] = have
	}
}

var (
	arnForm  = regexp.MustCompile(`^arn:[a-z0-9-]+:secretsmanager:[a-z0-9-]*:[0-9]*:secret:(.+)$`)
	nameForm = regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]+$`)
	ending   = regexp.MustCompile(`-[A-Za-z0-9]{6}$`)
)

// shortName is the name of a secret without what an ARN has before it.
func shortName(name string) (string, error) {
	short := name
	if m := arnForm.FindStringSubmatch(name); m != nil {
		short = m[1]
	}
	if len(name) > longestName || !nameForm.MatchString(short) || path.Clean("/"+short) != "/"+short {
		return "", fmt.Errorf("%.100q is not the name or the ARN of a secret", name)
	}
	return short, nil
}

// near looks in the directory and in the environment.
func (s *Store) near(short string) (string, error) {
	names := []string{short}
	if cut := ending.ReplaceAllString(short, ""); cut != short && cut != "" {
		names = append(names, cut)
	}
	if s.cfg.Directory != "" {
		text, err := readNamed(s.cfg.Directory, names)
		if !errors.Is(err, fs.ErrNotExist) {
			return text, err
		}
	}
	for _, n := range names {
		if text := os.Getenv(variable(n)); text != "" {
			return text, nil
		}
	}
	where := ""
	if s.cfg.Directory != "" {
		where = " in " + s.cfg.Directory
	}
	return "", fmt.Errorf("secret %s: %w%s", short, ErrUnknown, where)
}

// variable returns the name of the environment variable that may hold a secret:
// KLAMM_SECRET_ and its name in capitals, with _ for everything that is neither a
// letter nor a digit.
func variable(name string) string {
	return "KLAMM_SECRET_" + strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' {
			return c
		}
		return '_'
	}, strings.ToUpper(name))
}

// readNamed reads the file of a secret, and nothing outside of the directory. A
// name without the random characters finds a file that has them.
func readNamed(directory string, names []string) (string, error) {
	root, err := os.OpenRoot(directory)
	if err != nil {
		return "", fmt.Errorf("secrets.directory: %w", hide(err))
	}
	defer func() { _ = root.Close() }()
	for _, n := range names {
		if text, err := readIn(root, n+".json"); !errors.Is(err, fs.ErrNotExist) {
			return text, err
		}
	}
	found, _ := fs.Glob(root.FS(), escape.Replace(names[0])+"-??????.json")
	for _, name := range found {
		if ending.MatchString(strings.TrimSuffix(name, ".json")) {
			return readIn(root, name)
		}
	}
	return "", fs.ErrNotExist
}

// escape takes the meaning of signs in patterns away.
var escape = strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, `\`, `\\`)

// hide keeps an error of the system from looking as if a secret were missing.
func hide(err error) error { return errors.New(err.Error()) }

func readIn(root *os.Root, name string) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("secret: %w", err)
	case len(text) > MaxFile:
		return "", fmt.Errorf("secret: file %s is larger than %d bytes", name, MaxFile)
	case len(text) == 0:
		return "", fmt.Errorf("secret: file %s: %w", name, ErrEmpty)
	}
	return string(text), nil
}
