package function

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A command is a program to start.
type command struct {
	path        string
	args        []string // without the path
	directory   string
	environment []string
}

// KnownRuntime says whether a runtime's programs can be started: provided ones, and
// those of Python 3 and Node.
func KnownRuntime(runtime string) bool {
	switch runtime {
	case "provided", "provided.al2", "provided.al2023":
		return true
	}
	version, ok := strings.CutPrefix(runtime, "python3.")
	if !ok {
		if version, ok = strings.CutPrefix(runtime, "nodejs"); ok {
			version = strings.TrimSuffix(version, ".x")
		}
	}
	n, err := strconv.Atoi(version)
	return ok && err == nil && n > 0 && n < 100
}

// commandOf finds the program of a function; what is missing is a *StartError that
// names it.
func commandOf(d Definition, cfg Config) (command, error) {
	missing := func(format string, args ...any) (command, error) {
		return command{}, &StartError{Type: InvalidEntrypoint, Reason: fmt.Sprintf(format, args...)}
	}
	// The program is started in its directory, where a relative one would mean another.
	directory, err := filepath.Abs(d.Directory)
	if err != nil {
		return missing("the code directory %s: %v", d.Directory, err)
	}
	d.Directory = directory
	c := command{directory: d.Directory}
	if info, err := os.Stat(d.Directory); err != nil || !info.IsDir() {
		return missing("the code directory %s is not there", d.Directory)
	}
	places := append([]string{d.Directory}, cfg.Runtimes...)
	switch {
	case strings.HasPrefix(d.Runtime, "python3"):
		c.args = []string{"-m", "awslambdaric", d.Handler}
		for _, name := range []string{d.Runtime, "python3"} {
			if path, err := exec.LookPath(name); err == nil {
				c.path = path
				break
			}
		}
		if c.path == "" {
			return missing("neither %s nor python3 is in the PATH", d.Runtime)
		}
		if !slices.ContainsFunc(places, func(p string) bool { return exists(filepath.Join(p, "awslambdaric")) }) &&
			exec.Command(c.path, "-c", "import awslambdaric").Run() != nil {
			return missing("the runtime client awslambdaric is not beside the code, not in the configured directories and not installed for %s; add it with: pip install --target DIRECTORY awslambdaric", c.path)
		}
	case strings.HasPrefix(d.Runtime, "nodejs"):
		var err error
		if c.path, err = exec.LookPath("node"); err != nil {
			return missing("node is not in the PATH")
		}
		for _, place := range places {
			for _, main := range []string{"bin/index.mjs", "bin/index.js"} {
				if path := filepath.Join(place, "node_modules/aws-lambda-ric", main); len(c.args) == 0 && exists(path) {
					c.args = []string{path, d.Handler}
				}
			}
		}
		if len(c.args) == 0 {
			return missing("the runtime client aws-lambda-ric is not in node_modules beside the code or in the configured directories; add it with: npm install aws-lambda-ric")
		}
	default:
		c.path = filepath.Join(d.Directory, "bootstrap")
		info, err := os.Stat(c.path)
		switch {
		case err != nil:
			return missing("there is no bootstrap in the code of the function")
		case !info.Mode().IsRegular():
			return missing("bootstrap is not a file")
		case info.Mode()&0o111 == 0:
			return missing("bootstrap is not executable")
		}
	}
	return c, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// environmentOf returns the variables of a program (function-targets.md 2.5):
// nothing of klamm's own but the PATH.
func environmentOf(d Definition, cfg Config, api, temp string) []string {
	vars := maps.Clone(d.Environment)
	if vars == nil {
		vars = map[string]string{}
	}
	maps.Copy(vars, cfg.Environment)
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/bin:/usr/bin:/bin"
	}
	setDefault := func(name, value string) {
		if _, ok := vars[name]; !ok {
			vars[name] = value
		}
	}
	setDefault("AWS_ACCESS_KEY_ID", "klamm")
	setDefault("AWS_SECRET_ACCESS_KEY", "klamm")
	setDefault("LANG", "en_US.UTF-8")
	python := append([]string{d.Directory, filepath.Join(d.Directory, "python")}, cfg.Runtimes...)
	if own := vars["PYTHONPATH"]; own != "" {
		python = append(python, own)
	}
	maps.Copy(vars, map[string]string{
		"AWS_LAMBDA_RUNTIME_API":          api,
		"_HANDLER":                        d.Handler,
		"LAMBDA_TASK_ROOT":                d.Directory,
		"LAMBDA_RUNTIME_DIR":              d.Directory,
		"AWS_LAMBDA_FUNCTION_NAME":        d.Name,
		"AWS_LAMBDA_FUNCTION_VERSION":     "$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": strconv.Itoa(d.Memory),
		"AWS_LAMBDA_LOG_GROUP_NAME":       "/aws/lambda/" + d.Name,
		"AWS_LAMBDA_LOG_STREAM_NAME":      "[$LATEST]" + filepath.Base(temp),
		"AWS_LAMBDA_INITIALIZATION_TYPE":  "on-demand",
		"AWS_REGION":                      cfg.Region,
		"AWS_DEFAULT_REGION":              cfg.Region,
		"TZ":                              ":UTC",
		"PATH":                            path + ":" + filepath.Join(d.Directory, "bin"),
		"LD_LIBRARY_PATH":                 d.Directory + ":" + filepath.Join(d.Directory, "lib"),
		"TMPDIR":                          temp,
		"PYTHONPATH":                      strings.Join(python, ":"),
		"PYTHONDONTWRITEBYTECODE":         "1",
	})
	delete(vars, "AWS_LAMBDA_MAX_CONCURRENCY") // clients would ask for several events at once
	if strings.HasPrefix(d.Runtime, "provided") {
		delete(vars, "AWS_EXECUTION_ENV")
	} else {
		vars["AWS_EXECUTION_ENV"] = "AWS_Lambda_" + d.Runtime
	}
	out := make([]string, 0, len(vars))
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		out = append(out, name+"="+vars[name])
	}
	return out
}
