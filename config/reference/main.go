// Command reference writes the configuration reference, docs/configuration.md:
// the annotated example beside this file, and for each section a table made from
// the section's struct and its comments.
//
//	go run ./config/reference [FILE]
//
// It writes to standard output, or to FILE.
package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"reflect"

	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/target/all"
)

//go:embed example.yaml
var example string

func main() {
	text, err := reference()
	if err == nil && len(os.Args) > 1 {
		err = os.WriteFile(os.Args[1], text, 0o644)
	} else if err == nil {
		_, err = os.Stdout.Write(text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

// reference renders the whole page.
func reference() ([]byte, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	p := &page{comments: comments{root: root, packages: map[string]map[string]documented{}}}
	fmt.Fprintf(&p.out, intro, example)
	if err := p.section("", reflect.TypeFor[config.Config]()); err != nil {
		return nil, err
	}
	return append(bytes.TrimRight(p.out.Bytes(), "\n"), '\n'), nil
}

const intro = `# Configuration

<!-- Written by config/reference from the configuration structs: change their comments and run "make docs". -->

klamm reads one file, YAML or JSON. ` + "`klamm serve` and `klamm dev` take it with `--config FILE`, and `klamm check --config FILE`" + ` prints every
problem in it with line and column.

- **Strict.** A key that klamm does not know is a problem, and so is one that stands twice. A key without a value counts as absent.
- **Precedence.** A flag wins over the environment, the environment over the file, the file over the default. The variable of a flag
  is its name in capitals: ` + "`--kafka-listen` is `KLAMM_KAFKA_LISTEN`" + `, an empty one counts as absent.
- **Times** have a unit, as in 500ms, 10s or 1h30m. **Sizes** are bytes or have one of the units KB, MB, GB, KiB, MiB and GiB.
- **Secrets** are named, not written: ` + "`{env: NAME}`, `{file: PATH}`" + `, or for trials ` + "`{value: TEXT}`" + `.
- **Sharing.** Anchors, aliases and merge keys work (` + "`&name`, `*name`, `<<`" + `); tags do not.
- **Bounds.** A file has at most 4 MiB, 64 levels and 1000 keys side by side.

## Example

` + "```yaml\n%s```\n"

// kinds are the target kinds with their configurations.
func kinds() map[string]reflect.Type {
	types := map[string]reflect.Type{}
	for _, k := range all.Kinds() {
		types[k.Name] = reflect.TypeOf(k.Config()).Elem()
	}
	return types
}

// moduleRoot finds the directory of go.mod at or above the working directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			err = fmt.Errorf("no go.mod at or above the working directory")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}
