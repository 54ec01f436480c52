package main

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
)

func openCommand() *cobra.Command {
	var server, contextName string
	var printOnly bool
	cmd := &cobra.Command{
		Use:   "open [SCREEN]",
		Short: "Open the web console in a browser",
		Long: "Prints the address of the web console and opens it in the desktop's browser. SCREEN is what stands behind # in the address of a screen,\n" +
			"such as topics/orders. " + strings.ReplaceAll(clientHelp, "; KLAMM_KEY is the API key", ""),
		Example: "  klamm open\n  klamm open topics/orders\n  klamm open pipes --context prod --print",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := findAccess(server, contextName)
			if err != nil {
				return err
			}
			u := *at.base
			u.User = nil
			u.Path = strings.TrimSuffix(u.Path, "/") + "/"
			if len(args) > 0 {
				u.Fragment = "/" + strings.TrimPrefix(strings.TrimPrefix(args[0], "#"), "/")
			}
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), u.String()); err != nil || printOnly {
				return failed(err)
			}
			if err := browse(u.String()); err != nil {
				return failed(fmt.Errorf("no browser was opened: %w; open the address above yourself, or use --print", err))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&server, "server", "", "URL of the klamm (KLAMM_SERVER)")
	cmd.Flags().StringVar(&contextName, "context", "", "the context to use (KLAMM_CONTEXT)")
	cmd.Flags().BoolVar(&printOnly, "print", false, "only print the address")
	completeContexts(cmd)
	return cmd
}

// browse opens an address in the desktop's browser.
func browse(address string) error {
	switch runtime.GOOS {
	case "darwin":
		return exec.Command("open", address).Run()
	case "windows":
		return exec.Command("rundll32", "url.dll,FileProtocolHandler", address).Run()
	}
	return exec.Command("xdg-open", address).Run()
}
