package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/app"
	"github.com/klamm-gateway/klamm/kafka"
)

func doctorCommand() *cobra.Command {
	var file, brokers string
	var f clientFlags
	cmd := local(&cobra.Command{
		Use:   "doctor",
		Short: "Find out what is wrong between klamm and what it talks to",
		Long: "Goes every way out that a configuration names, step by step: names, connections, TLS, logins, the addresses\n" +
			"that brokers advertise, what klamm may do there, targets, issuers of tokens, and clocks. Each finding says\n" +
			"what to try. It needs no running klamm, delivers nothing and changes nothing.\n" +
			"The exit status is 0 where all is well, and 1 where a problem was found.",
		Example: "  klamm doctor --config klamm.yaml\n  klamm doctor --brokers kafka-1:9092 -o json",
		Args:    cobra.NoArgs,
	}, &f, func(c *client, _ []string) error {
		cmd := c.cmd
		if brokers != "" && !cmd.Flags().Changed("config") {
			file = ""
		}
		cfg, err := loadConfig(file)
		if err != nil {
			return err
		}
		if brokers != "" {
			cfg.Kafka.Brokers = strings.Split(brokers, ",")
		}
		problems := 0
		var unprinted error
		app.Doctor(cmd.Context(), cfg, func(f kafka.Finding) {
			if f.Level == kafka.FoundProblem {
				problems++
			}
			unprinted = errors.Join(unprinted, c.finding(f))
		})
		if unprinted != nil {
			return unprinted
		}
		if problems > 0 {
			return &exitError{1, fmt.Errorf("problems: %d; what to try stands below each", problems)}
		}
		return nil
	})
	cmd.Flags().StringVar(&file, "config", "klamm.yaml", "configuration file (KLAMM_CONFIG)")
	cmd.Flags().StringVar(&brokers, "brokers", "", "HOST:PORT,... instead of kafka.brokers (KLAMM_BROKERS)")
	fromEnvironment(cmd)
	return cmd
}

// finding prints one, and what to try below it.
func (c *client) finding(f kafka.Finding) error {
	if c.output == "json" {
		return c.json(f)
	}
	mark := map[string]string{kafka.FoundWell: "ok", kafka.FoundWarning: "warning", kafka.FoundProblem: "PROBLEM"}[f.Level]
	text := fmt.Sprintf("%-8s %-10s %s: %s\n", mark, f.Check, printable(f.At), printable(f.Found))
	if f.Try != "" {
		text += fmt.Sprintf("%-19s try: %s\n", "", printable(f.Try))
	}
	_, err := io.WriteString(c.out, text)
	return err
}
