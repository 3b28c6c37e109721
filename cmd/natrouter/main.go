// Command natrouter is a NAT router that runs as an ordinary process. This is its command line: flags, signals, exit codes
// and output. Nothing here looks at a packet.
//
// The exit codes are 0 for success, 1 for a failure, 2 for wrong usage or configuration, 3 when no router answers on
// the control socket, and 4 when nothing matches.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/natrouter/natrouter/router/control"
	"github.com/natrouter/natrouter/router/ruleset"
	"github.com/spf13/cobra"
)

// The exit codes. Scripts rely on them.
const (
	exitOK           = 0
	exitFailure      = 1
	exitUsage        = 2 // wrong usage or configuration
	exitNotReachable = 3
	exitNoMatch      = 4
)

func main() {
	os.Exit(execute(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs one command line and returns its exit code. What went wrong is one line on errOut for each thing
// that is wrong.
func execute(ctx context.Context, args []string, out, errOut io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	refused := explainKnown(root)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = *refused
	}
	if err == nil {
		return exitOK
	}
	var coded *exitError
	if !errors.As(err, &coded) {
		coded = &exitError{code: exitFailure, err: err}
	}
	prefix := "natrouter: "
	if coded.bare {
		prefix = ""
	}
	if coded.err != nil {
		for line := range strings.Lines(strings.TrimSpace(coded.err.Error())) {
			fmt.Fprintln(errOut, prefix+strings.TrimSpace(line))
		}
	}
	return coded.code
}

// exitError is an error that chooses its exit code.
type exitError struct {
	code int
	err  error // nil: everything has been said
	bare bool  // the lines say FILE:LINE themselves, so that an editor finds the place
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usageErrorf says how cmd was called wrongly.
func usageErrorf(cmd *cobra.Command, format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format+"; see "+cmd.CommandPath()+" --help", args...)}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "natrouter",
		Short: "A NAT router that runs as an ordinary process",
		Long: `natrouter takes packets from TUN devices, tracks and translates their connections, and sends
them on. It needs no kernel module, and no root where the devices were made for its user.

The commands exit with 0 on success, 1 on a failure, 2 on wrong usage or configuration, 3 when
no router answers on the control socket, and 4 when nothing matches.`,
		Example: `  natrouter demo                               # see it work
  natrouter check /etc/natrouter.toml          # is the configuration right, and what will it do?
  natrouter run --config /etc/natrouter.toml   # route
  natrouter status                             # how is the running router?
  natrouter flow list --protocol tcp           # which connections does it carry?`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              subcommandOnly,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if unknown := checkWords(cmd); unknown != nil && cmd.HasSubCommands() { // the flag is that of a command that there is not
			return unknown
		}
		return usageErrorf(cmd, "%v", err)
	})
	root.AddCommand(
		newRunCommand(),
		newCheckCommand(),
		newStatusCommand(),
		newFlowCommand(),
		newDemoCommand(),
		newVersionCommand(),
		newCompletionCommand(),
		newManCommand(),
	)
	root.SetHelpCommand(newHelpCommand())
	return root
}

// explainKnown has --help explain a command only where all words of the command line are known: cobra looks at the others
// only if there is no --help. What was refused is in the error that it returns, once the command line has been run.
func explainKnown(root *cobra.Command) *error {
	var refused error
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if refused = checkWords(cmd); refused == nil {
			help(cmd, args)
		}
	})
	return &refused
}

// checkWords refuses the words of the command line that cmd does not know. That there are none is not its business.
func checkWords(cmd *cobra.Command) error {
	words := cmd.Flags().Args()
	if len(words) == 0 {
		return nil
	}
	return cmd.ValidateArgs(words)
}

// subcommandOnly refuses words that are no subcommand, and names the one that was probably meant, or all.
func subcommandOnly(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageErrorf(cmd, "%q is no command of %s%s", args[0], cmd.CommandPath(), meant(args[0], subcommands(cmd)))
}

// subcommands are the names of the commands below cmd.
func subcommands(cmd *cobra.Command) (names []string) {
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	return names
}

// meant ends a message about a word that is none of known: with the one that it begins or is near to, else with all.
func meant(word string, known []string) string {
	near, ok := ruleset.Nearest(word, known)
	for _, name := range known {
		if !ok && word != "" && strings.HasPrefix(name, word) {
			near, ok = name, true
		}
	}
	if ok {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	if len(known) == 1 {
		return ": there is " + known[0]
	}
	return ": there are " + strings.Join(known, ", ")
}

// words is a command as it is typed after the program's name.
func words(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}

// noArgs refuses every argument.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageErrorf(cmd, "%s takes no argument, but got %q", words(cmd), args[0])
	}
	return nil
}

// oneArg wants exactly one argument, and calls it name when it is missing.
func oneArg(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return usageErrorf(cmd, "%s needs a %s", words(cmd), name)
		case len(args) > 1:
			return usageErrorf(cmd, "%s takes one %s, but got %d arguments", words(cmd), name, len(args))
		}
		return nil
	}
}

// addOutputFlag adds -o with the given formats; the first is the default. The returned function tells what was chosen.
func addOutputFlag(cmd *cobra.Command, formats ...string) func() (string, error) {
	all := strings.Join(formats, ", ")
	format := cmd.Flags().StringP("output", "o", formats[0], "format of the output: "+all)
	complete := cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc("output", complete); err != nil {
		panic(err) // the flag was added two lines above
	}
	return func() (string, error) {
		for _, known := range formats {
			if *format == known {
				return known, nil
			}
		}
		return "", usageErrorf(cmd, "--output %q: choose one of %s", *format, all)
	}
}

// addSocketFlag adds --socket. The returned function makes the client of the router that answers there.
func addSocketFlag(cmd *cobra.Command) func() (*control.Client, error) {
	socket := cmd.PersistentFlags().String("socket", "",
		"control socket of the router (default $RUNTIME_DIRECTORY/control.sock, else $XDG_RUNTIME_DIR/natrouter.sock)")
	return func() (*control.Client, error) {
		path := *socket
		if path == "" {
			path = control.DefaultSocket()
		}
		if path == "" {
			return nil, &exitError{code: exitNotReachable, err: errors.New(
				"no control socket to ask: neither RUNTIME_DIRECTORY nor XDG_RUNTIME_DIR is set, so name the router's with --socket PATH")}
		}
		return control.NewClient(path), nil
	}
}
