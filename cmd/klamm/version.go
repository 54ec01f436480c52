package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker for releases.
var version = ""

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version in one line",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintf(cmd.OutOrStdout(), "klamm %s %s/%s %s\n", versionText(), runtime.GOOS, runtime.GOARCH, runtime.Version())
		},
	}
}

// versionText is the released version, else what the Go tool knows of the
// source.
func versionText() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	text := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 && (text == "" || text == "(devel)") {
			text = "devel-" + s.Value[:12]
		}
	}
	if text == "" || text == "(devel)" {
		return "devel"
	}
	return text
}
