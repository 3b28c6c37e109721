package main

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/router"
	"github.com/natrouter/natrouter/router/control"
	"github.com/spf13/cobra"
)

// result is what a command line did.
type result struct {
	code     int
	out, err string
}

// command runs a command line in this process, with no router to be found by default.
func command(t *testing.T, args ...string) result {
	t.Helper()
	t.Setenv("RUNTIME_DIRECTORY", "")
	t.Setenv("XDG_RUNTIME_DIR", "")
	var out, errOut bytes.Buffer
	code := execute(context.Background(), args, &out, &errOut)
	return result{code, out.String(), errOut.String()}
}

// fake is a router with fixed answers.
type fake struct {
	status router.Status
	flows  []router.Flow
	err    error
	asked  router.FlowFilter
}

func (f *fake) Status() router.Status { return f.status }

func (f *fake) Flows(q router.FlowFilter) ([]router.Flow, error) {
	f.asked = q
	return f.flows, f.err
}

// answer makes source answer on a socket until the test ends, and returns the socket's path.
func answer(t *testing.T, source control.Source) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- control.NewServer(source, slog.New(slog.DiscardHandler)).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

// everyCommand is root and all below it, with the ones that cobra adds.
func everyCommand() []*cobra.Command {
	root := newRootCommand()
	root.InitDefaultHelpCmd()
	all := []*cobra.Command{root}
	for i := 0; i < len(all); i++ {
		all = append(all, all[i].Commands()...)
	}
	return all
}

func TestEveryCommandIsExplained(t *testing.T) {
	for _, cmd := range everyCommand() {
		path := cmd.CommandPath()
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") || len(cmd.Short) > 76 {
			t.Errorf("%s: the short text is %q: want one, of at most 76 characters and without full stop", path, cmd.Short)
		}
		if len(cmd.Long) < len(cmd.Short) {
			t.Errorf("%s has no long text", path)
		}
		if !strings.Contains(cmd.Example, "natrouter ") {
			t.Errorf("%s has no example", path)
		}
		if !cmd.Runnable() {
			t.Errorf("%s does nothing, not even say what is missing", path)
		}
	}
}

// An example that can't be typed is worse than none: each names a command and flags that there are.
func TestExamplesParse(t *testing.T) {
	for _, cmd := range everyCommand() {
		for line := range strings.Lines(cmd.Example) {
			line, _, _ = strings.Cut(line, "#")
			for _, part := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune("&|<>()", r) }) {
				args := strings.Fields(part)
				if len(args) == 0 || args[0] != "natrouter" {
					continue
				}
				found, rest, err := newRootCommand().Find(args[1:])
				if err != nil {
					t.Errorf("%s: example %q: %v", cmd.CommandPath(), part, err)
				} else if err := found.ParseFlags(rest); err != nil {
					t.Errorf("%s: example %q: %v", cmd.CommandPath(), part, err)
				}
			}
		}
	}
}

func TestUsageErrors(t *testing.T) {
	for line, want := range map[string]string{
		"nothing":                   "natrouter: \"nothing\" is no command of natrouter: there are check, completion, demo, flow, help, man, run, status, version; see natrouter --help\n",
		"config --help":             "natrouter: \"config\" is no command of natrouter: there are check, completion, demo, flow, help, man, run, status, version; see natrouter --help\n",
		"--help config":             "natrouter: \"config\" is no command of natrouter: there are check, completion, demo, flow, help, man, run, status, version; see natrouter --help\n",
		"config -h":                 "natrouter: \"config\" is no command of natrouter: there are check, completion, demo, flow, help, man, run, status, version; see natrouter --help\n",
		"config set --help":         "natrouter: \"config\" is no command of natrouter: there are check, completion, demo, flow, help, man, run, status, version; see natrouter --help\n",
		"chekc --help":              "natrouter: \"chekc\" is no command of natrouter: did you mean \"check\"?; see natrouter --help\n",
		"staus -o json":             "natrouter: \"staus\" is no command of natrouter: did you mean \"status\"?; see natrouter --help\n",
		"flow lst --help":           "natrouter: \"lst\" is no command of natrouter flow: did you mean \"list\"?; see natrouter flow --help\n",
		"flow delete --help":        "natrouter: \"delete\" is no command of natrouter flow: there is list; see natrouter flow --help\n",
		"flow lst --port 80":        "natrouter: \"lst\" is no command of natrouter flow: did you mean \"list\"?; see natrouter flow --help\n",
		"flow list tcp --help":      "natrouter: flow list takes no argument, but got \"tcp\"; see natrouter flow list --help\n",
		"run a.toml --help":         "natrouter: run takes no argument, but got \"a.toml\"; see natrouter run --help\n",
		"check a b --help":          "natrouter: check takes one configuration file, but got 2 arguments; see natrouter check --help\n",
		"completion tcsh --help":    "natrouter: no completion for \"tcsh\": there are bash, zsh, fish, powershell; see natrouter completion --help\n",
		"completion zhs":            "natrouter: no completion for \"zhs\": did you mean \"zsh\"?; see natrouter completion --help\n",
		"help config --help":        "natrouter: \"config\" is no command of natrouter: there are check, completion, demo, flow, help, man, run, status, version; see natrouter --help\n",
		"stat":                      "natrouter: \"stat\" is no command of natrouter: did you mean \"status\"?; see natrouter --help\n",
		"--nothing":                 "natrouter: unknown flag: --nothing; see natrouter --help\n",
		"run":                       "natrouter: run needs --config FILE; see natrouter run --help\n",
		"run --config":              "natrouter: flag needs an argument: --config; see natrouter run --help\n",
		"run a.toml":                "natrouter: run takes no argument, but got \"a.toml\"; see natrouter run --help\n",
		"check":                     "natrouter: check needs a configuration file; see natrouter check --help\n",
		"check a b":                 "natrouter: check takes one configuration file, but got 2 arguments; see natrouter check --help\n",
		"version 1":                 "natrouter: version takes no argument, but got \"1\"; see natrouter version --help\n",
		"version -o xml":            "natrouter: --output \"xml\": choose one of text, json; see natrouter version --help\n",
		"status -o jsonl":           "natrouter: --output \"jsonl\": choose one of table, json; see natrouter status --help\n",
		"flow":                      "natrouter: flow needs a command: list; see natrouter flow --help\n",
		"flow lst":                  "natrouter: \"lst\" is no command of natrouter flow: did you mean \"list\"?; see natrouter flow --help\n",
		"flow list -o yaml":         "natrouter: --output \"yaml\": choose one of table, json, jsonl, conntrack; see natrouter flow list --help\n",
		"flow list --port http":     "natrouter: --port \"http\": a number from 1 to 65535; see natrouter flow list --help\n",
		"flow list --port 0":        "natrouter: --port \"0\": a number from 1 to 65535; see natrouter flow list --help\n",
		"flow list --limit -1":      "natrouter: --limit \"-1\": a number of flows, from 1; see natrouter flow list --help\n",
		"flow list --source 10.0.0": "natrouter: --source \"10.0.0\": an address or a prefix, such as 10.77.1.2 or fd77::/64; see natrouter flow list --help\n",
		"completion":                "natrouter: completion needs a shell: bash, zsh, fish, powershell; see natrouter completion --help\n",
		"completion tcsh":           "natrouter: no completion for \"tcsh\": there are bash, zsh, fish, powershell; see natrouter completion --help\n",
		"man":                       "natrouter: man needs a directory; see natrouter man --help\n",
		"help nothing":              "natrouter: \"nothing\" is no command of natrouter: there are check, completion, demo, flow, help, man, run, status, version; see natrouter --help\n",
		"help flow nothing":         "natrouter: \"nothing\" is no command of natrouter flow: there is list; see natrouter flow --help\n",
		"help flow list nothing":    "natrouter: flow list takes no argument, but got \"nothing\"; see natrouter flow list --help\n",
		"flow list --protocol foo":  "natrouter: --protocol \"foo\": no such protocol; there are ah, dccp, esp, gre, icmp, icmpv6, igmp, ipip, ipv6, ospf, pim, sctp, tcp, udp, udplite, vrrp, and numbers from 0 to 255; see natrouter flow list --help\n",
		"flow list --protocol udp --state ESTABLISHED": "natrouter: --state \"ESTABLISHED\": udp has no states; see natrouter flow list --help\n",
	} {
		got := command(t, strings.Fields(line)...)
		if got.code != exitUsage || got.out != "" || got.err != want {
			t.Errorf("natrouter %s: %+v\nwant 2 and %q", line, got, want)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, line := range []string{"", "--help", "help"} {
		got := command(t, strings.Fields(line)...)
		if got.code != exitOK || got.err != "" || !strings.Contains(got.out, "natrouter takes packets from TUN devices") ||
			!strings.Contains(got.out, "flow list --protocol tcp") {
			t.Errorf("natrouter %s: %+v", line, got)
		}
	}
	for _, line := range []string{"check --help", "check a.toml --help", "completion --help", "completion zsh --help", "help --help", "help flow --help"} {
		if got := command(t, strings.Fields(line)...); got.code != exitOK || got.err != "" || !strings.Contains(got.out, "Usage:") {
			t.Errorf("natrouter %s: %+v", line, got)
		}
	}
	for _, line := range []string{"flow list --help", "help flow list"} {
		got := command(t, strings.Fields(line)...)
		if got.code != exitOK || !strings.Contains(got.out, "TRANSLATED says") || !strings.Contains(got.out, "--socket") {
			t.Errorf("natrouter %s: %+v", line, got)
		}
	}
}

func TestNotReachable(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent.sock")
	for _, line := range []string{"status", "flow list"} {
		got := command(t, append(strings.Fields(line), "--socket", absent)...)
		if got.code != exitNotReachable || strings.Count(got.err, "\n") != 1 || !strings.Contains(got.err, absent) || !strings.Contains(got.err, "--socket") {
			t.Errorf("natrouter %s: %+v", line, got)
		}
		got = command(t, strings.Fields(line)...)
		want := "natrouter: no control socket to ask: neither RUNTIME_DIRECTORY nor XDG_RUNTIME_DIR is set, so name the router's with --socket PATH\n"
		if got.code != exitNotReachable || got.err != want {
			t.Errorf("natrouter %s without a default socket: %+v", line, got)
		}
	}
}

func TestTableWidthsStayInLaterBlocks(t *testing.T) {
	var b strings.Builder
	table := newTable(column{title: "NAME"}, column{title: "N", right: true}, column{title: "END"})
	for _, rows := range [][][]string{nil, {{"größer", "10", "x"}}, {{"b", "7", ""}}} {
		if err := table.print(&b, rows); err != nil {
			t.Fatal(err)
		}
	}
	want := "NAME     N  END\ngrößer  10  x\nb        7\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 1 << 20: "1.0 MiB",
		100 << 20: "100.0 MiB", 1<<64 - 1: "16.0 EiB",
	} {
		if got := formatBytes(n); got != want {
			t.Errorf("formatBytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestFormatSeconds(t *testing.T) {
	for s, want := range map[float64]string{
		0: "0s", 0.9: "0s", 59.99: "59s", 61: "1m1s", 3600: "1h0m", 7199: "1h59m", 86400: "1d0h", 432000: "5d0h", 90061: "1d1h", -1: "-1s",
	} {
		if got := formatSeconds(s); got != want {
			t.Errorf("formatSeconds(%v) = %q, want %q", s, got, want)
		}
	}
}
