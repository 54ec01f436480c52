package function

import (
	"math"
	"time"
)

// Settings is the function_runtime section of the configuration file.
type Settings struct {
	// Directory is where the code of functions and their temporary files lie while
	// klamm runs; programs must be allowed to be executed there. The default is the
	// system's directory for temporary files.
	Directory string `yaml:"directory"`
	// Clients are directories in which the runtime clients of Python (awslambdaric)
	// and Node (node_modules/aws-lambda-ric) are looked for when a function does not
	// bring them.
	Clients []string `yaml:"clients"`
	// User is the number of the user that functions run under; klamm must be root
	// then. The default is klamm's own.
	User int `yaml:"user"`
	// Group is the number of their group; it goes with user.
	Group int `yaml:"group"`
	// InitTimeout is how long a program may take until it asks for its first event,
	// 100ms to 15m; the default is 10s.
	InitTimeout time.Duration `yaml:"init_timeout"`
	// IdleTimeout is how long an instance without work is kept, 1s to 24h; the default
	// is 5m.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
}

// Validate reports each problem with the field it lies in.
func (s Settings) Validate(report func(path, problem string)) {
	if s.InitTimeout != 0 && (s.InitTimeout < 100*time.Millisecond || s.InitTimeout > 15*time.Minute) {
		report("init_timeout", "want a time from 100ms to 15m")
	}
	if s.IdleTimeout != 0 && (s.IdleTimeout < time.Second || s.IdleTimeout > 24*time.Hour) {
		report("idle_timeout", "want a time from 1s to 24h")
	}
	for name, id := range map[string]int{"user": s.User, "group": s.Group} {
		if id < 0 || int64(id) > math.MaxUint32 {
			report(name, "want a number, as id -u prints it")
		}
	}
	if s.User == 0 && s.Group != 0 {
		report("group", "goes with user")
	}
}
