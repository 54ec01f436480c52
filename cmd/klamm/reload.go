package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/klamm-gateway/klamm/app"
	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/target/all"
)

// mostReported bounds the problems of a changed file that are told at once.
const mostReported = 5

// source is where a running klamm reads its configuration again: when the file
// changes, and on SIGHUP. Adjust adds what the command line says. It is nil without a
// file, and SIGHUP has its usual effect then.
func source(file string, adjust func(*config.Config)) *app.Source {
	if file == "" {
		return nil
	}
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	parse := func(cfg *config.Config, problems []config.Problem, err error) (*config.Config, error) {
		if err != nil {
			return nil, err
		}
		if len(problems) > 0 {
			return nil, reported(file, problems)
		}
		adjust(cfg)
		return cfg, nil
	}
	return &app.Source{
		Path: file, Again: again,
		Load: func() (*config.Config, error) { return parse(readConfig(file)) },
		Parse: func(text []byte) (*config.Config, error) {
			cfg, problems := config.Load(text, all.Kinds())
			return parse(cfg, problems, nil)
		},
	}
}

// reported is the error of a file with problems.
func reported(file string, problems []config.Problem) error {
	var all []error
	for i, p := range problems {
		if i == mostReported {
			all = append(all, fmt.Errorf("and %d more", len(problems)-i))
			break
		}
		all = append(all, fmt.Errorf("%s:%s", file, p))
	}
	return errors.Join(all...)
}
