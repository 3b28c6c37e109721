package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func newManCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages",
		Long: `man writes a manual page for each command into DIR, which it makes if it is not there. The date
of the pages is SOURCE_DATE_EPOCH where that is set, so that a build can be repeated.`,
		Example: `  natrouter man /usr/local/share/man/man1
  natrouter man ./man && man ./man/natrouter.1`,
		Args: oneArg("directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("man: %w", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			header := &doc.GenManHeader{Section: "1", Source: "natrouter", Manual: "natrouter manual"}
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return fmt.Errorf("man: %w", err)
			}
			return nil
		},
	}
}

func newCompletionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Write a completion script for a shell",
		Long:  "completion writes the script that makes a shell complete natrouter's commands and flags: " + strings.Join(shells, ", ") + ".",
		Example: `  source <(natrouter completion bash)                                  # for this shell
  natrouter completion bash > /etc/bash_completion.d/natrouter          # for every new one
  natrouter completion fish > ~/.config/fish/completions/natrouter.fish`,
		ValidArgs: shells,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := oneArg("shell: "+strings.Join(shells, ", "))(cmd, args); err != nil {
				return err
			}
			if !slices.Contains(shells, args[0]) {
				return usageErrorf(cmd, "no completion for %q%s", args[0], meant(args[0], shells))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			}
			return root.GenPowerShellCompletionWithDesc(out)
		},
	}
}

func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Explain a command",
		Long:  "help explains a command, as the flag --help of that command does.",
		Example: `  natrouter help run
  natrouter help flow list`,
		Args: func(cmd *cobra.Command, args []string) error {
			_, err := findTopic(cmd.Root(), args)
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			topic, err := findTopic(cmd.Root(), args)
			if err != nil {
				return err
			}
			topic.InitDefaultHelpFlag() // so that the page shows it
			topic.SetOut(cmd.OutOrStdout())
			return topic.Help()
		},
	}
}

// findTopic returns the command that the words name, all of which must be known.
func findTopic(topic *cobra.Command, words []string) (*cobra.Command, error) {
	for _, word := range words {
		at := slices.IndexFunc(topic.Commands(), func(c *cobra.Command) bool { return c.Name() == word })
		switch {
		case at >= 0:
			topic = topic.Commands()[at]
		case topic.HasSubCommands():
			return nil, subcommandOnly(topic, []string{word})
		default:
			return nil, noArgs(topic, []string{word})
		}
	}
	return topic, nil
}
