package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/klamm-gateway/klamm/app"
	"github.com/klamm-gateway/klamm/config"
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
	return &app.Source{Path: file, Again: again, Load: func() (*config.Config, error) {
		cfg, problems, err := readConfig(file)
		if err != nil {
			return nil, err
		}
		if len(problems) > 0 {
			return nil, reported(file, problems)
		}
		adjust(cfg)
		return cfg, nil
	}}
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
