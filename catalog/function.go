package catalog

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/function"
)

// KindFunction is the kind of documents that are functions.
const KindFunction = "function"

// A Function is a program that klamm runs, or one that it calls elsewhere.
type Function struct {
	// Name is unique: letters, digits, "-" and "_", at most 64.
	Name string `yaml:"name" json:"-"`
	// Directory holds the code of a function in the configuration file.
	Directory string `yaml:"directory" json:"-"`
	// Runtime chooses how the program is started: provided.al2023, provided.al2,
	// nodejs*, python3*.
	Runtime string `yaml:"runtime" json:"runtime,omitempty"`
	// Handler is what the runtime client loads, such as index.handler.
	Handler string `yaml:"handler" json:"handler,omitempty"`
	// Environment is given to the program.
	Environment map[string]string `yaml:"environment" json:"environment,omitempty"`
	// Timeout bounds one invocation, 1s to 15m; the default is 3s.
	Timeout time.Duration `yaml:"timeout" json:"timeout,omitempty"`
	// Memory bounds one instance, in MiB, 32 to 10240; the default is 128.
	Memory int `yaml:"memory" json:"memory,omitempty"`
	// Concurrency is how many instances one klamm process runs at most, up to 1000;
	// the default is ten for each processor.
	Concurrency int `yaml:"concurrency" json:"concurrency,omitempty"`
	// Wasm is the file of a WebAssembly module (WASI preview 1) instead of a program.
	Wasm string `yaml:"wasm" json:"-"`

	// Code is the package of a function that was made at run time.
	Code *Code `yaml:"-" json:"code,omitempty"`
	// Description, Role, Tags and the others are kept for the Lambda API.
	Description  string            `yaml:"-" json:"description,omitempty"`
	Role         string            `yaml:"-" json:"role,omitempty"`
	Tags         map[string]string `yaml:"-" json:"tags,omitempty"`
	Architecture string            `yaml:"-" json:"architecture,omitempty"`
	// Revision is a UUID that changes with every update, and Changed its time.
	Revision string    `yaml:"-" json:"revision,omitempty"`
	Changed  time.Time `yaml:"-" json:"changed,omitzero"`
}

var functionName = regexp.MustCompile(`^[a-zA-Z0-9-_]{1,64}$`)

// Validate reports each problem with the field it lies in.
func (f Function) Validate(report func(path, problem string)) {
	if !functionName.MatchString(f.Name) {
		report("name", `want letters, digits, "-" and "_", at most 64`)
	}
	switch {
	case f.Wasm != "" && (f.Directory != "" || f.Runtime != "" || f.Handler != ""):
		report("wasm", "goes without directory, runtime and handler")
	case f.Wasm == "" && f.Directory == "":
		report("directory", "give the directory of the code, or wasm")
	case f.Wasm == "" && !function.KnownRuntime(f.Runtime):
		report("runtime", "want provided.al2023, provided.al2, nodejs22.x or the like, python3.13 or the like")
	}
	if f.Timeout != 0 && (f.Timeout < time.Second || f.Timeout > 15*time.Minute) {
		report("timeout", "want a time from 1s to 15m")
	}
	if f.Memory != 0 && (f.Memory < 32 || f.Memory > 10240) {
		report("memory", "want MiB, 32 to 10240")
	}
	if f.Concurrency < 0 || f.Concurrency > 1000 {
		report("concurrency", "want 1 to 1000")
	}
	for _, name := range slices.Sorted(maps.Keys(f.Environment)) {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(f.Environment[name], 0) {
			report("environment", fmt.Sprintf("%q cannot be a variable", name))
		}
	}
}
