package main

import (
	"context"
	"net/url"

	"github.com/spf13/cobra"
)

func pipeTailCommand() *cobra.Command {
	return onePipe(&cobra.Command{
		Use:     "tail",
		Short:   "Follow the deliveries of a pipe",
		Long:    "Prints the attempts of a pipe as they are logged, until Ctrl-C, as klamm delivery tail does. " + logHelp,
		Example: "  klamm pipe tail orders-to-hook\n  klamm pipe tail orders-to-hook -o json",
	}, func(ctx context.Context, c *client, pipe string) error {
		return c.tail(ctx, url.Values{"pipe": {pipe}})
	})
}
