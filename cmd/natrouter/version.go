package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// gvisorModule is the module whose version version names: the behaviour of routing and of local sockets is its.
const gvisorModule = "gvisor.dev/gvisor"

// unknown stands for what the build did not record.
const unknown = "unknown"

// versionInfo is what version says.
type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Modified bool   `json:"modified"` // built from files that differ from the commit
	Go       string `json:"go"`
	Gvisor   string `json:"gvisor"`
	Platform string `json:"platform"`
}

// readVersion reads what the Go toolchain recorded in the binary.
func readVersion() versionInfo {
	v := versionInfo{
		Version: unknown, Commit: unknown, Go: runtime.Version(), Gvisor: unknown,
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	for _, module := range info.Deps {
		if module.Path == gvisorModule {
			v.Gvisor = module.Version
		}
	}
	return v
}

func newVersionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Say which natrouter this is",
		Long:  "version says which natrouter this is: its version and commit, and the versions of Go and gVisor it was built with.",
		Example: `  natrouter version
  natrouter version -o json`,
		Args: noArgs,
	}
	output := addOutputFlag(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		format, err := output()
		if err != nil {
			return err
		}
		v := readVersion()
		if format == "json" {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
		}
		commit := v.Commit
		if v.Modified {
			commit += " (modified)"
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "natrouter %s\ncommit    %s\ngo        %s %s\ngvisor    %s\n",
			v.Version, commit, v.Go, v.Platform, v.Gvisor)
		return err
	}
	return cmd
}
