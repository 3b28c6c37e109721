//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"time"

	"golang.org/x/sys/unix"

	"github.com/natrouter/natrouter/internal/netlab"
)

// options are the flags.
type options struct {
	rounds  int
	window  time.Duration // what one measurement takes, after its warm-up
	quick   bool
	micro   bool
	json    string
	program string // natrouter; empty: build one
	run     *regexp.Regexp
	systems *regexp.Regexp
	crowd   int    // flows in the table for the latency of a crowded router
	tcp     string // congestion control of the load
}

func main() {
	if child := os.Getenv(childEnv); child != "" {
		os.Exit(runChild(child))
	}
	o, err := parseOptions(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2)
	}
	os.Exit(enterAndRun(o))
}

func parseOptions(args []string, errOut io.Writer) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.IntVar(&o.rounds, "rounds", 5, "how often each system is measured in each workload")
	flags.DurationVar(&o.window, "window", time.Second, "how long one measurement takes")
	flags.BoolVar(&o.quick, "quick", false, "three short rounds of the most important workloads, under three minutes")
	flags.BoolVar(&o.micro, "micro", false, "run the micro-benchmarks of router/... first and sum them up, too")
	flags.StringVar(&o.json, "json", "", "write all figures to this `file`")
	flags.StringVar(&o.program, "natrouter", "", "measure this `program` instead of building one")
	run := flags.String("run", "", "only workloads that match this `regexp`")
	systems := flags.String("systems", "", "only systems that match this `regexp`")
	flags.IntVar(&o.crowd, "crowd", 1_000_000, "flows in the table of a crowded router")
	flags.StringVar(&o.tcp, "tcp", "reno", "`congestion control` of the load: one of net.ipv4.tcp_available_congestion_control")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	fail := func(err error) (*options, error) {
		fmt.Fprintln(errOut, "bench:", err)
		return nil, err
	}
	if flags.NArg() > 0 {
		return fail(fmt.Errorf("what is %q? there are only flags", flags.Arg(0)))
	}
	if o.quick {
		o.rounds, o.window, o.crowd = min(o.rounds, 3), min(o.window, 300*time.Millisecond), min(o.crowd, 100_000)
	}
	if o.rounds < 1 || o.window < 10*time.Millisecond {
		return fail(errors.New("at least one round, and 10ms"))
	}
	var err error
	if o.run, err = regexp.Compile(*run); err != nil {
		return fail(err)
	}
	if o.systems, err = regexp.Compile(*systems); err != nil {
		return fail(err)
	}
	return o, nil
}

// enterAndRun runs the benchmark in namespaces of its own, which take all that it makes with them when they end.
func enterAndRun(o *options) int {
	if !netlab.Inside() {
		if why := netlab.TUNRefusal(); why != "" {
			fmt.Fprintln(os.Stderr, "bench: it needs TUNs:", why)
			return 1
		}
		code, err := netlab.Enter()
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench: it needs root, or a user namespace:", netlab.Refusal(err))
			return 1
		}
		return code
	}
	if err := netlab.Prepare(true); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// run measures and reports.
func run(ctx context.Context, o *options, out io.Writer) error {
	report := newReport(o)
	if o.micro {
		fmt.Fprintln(os.Stderr, "micro-benchmarks of router/...")
		micro, err := runMicro(ctx, o.quick, os.Stderr)
		if err != nil {
			return fmt.Errorf("micro-benchmarks: %w", err)
		}
		report.Micro = micro
	}
	dir, err := os.MkdirTemp("", "natrouter-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	all, err := startSystems(ctx, o, dir)
	if err != nil {
		return err
	}
	defer stopSystems(all)
	report.addSystems(all)
	measure(ctx, o, all, report)
	report.addMemory(all)
	report.ratios()
	report.print(out)
	if o.json != "" {
		if err := report.writeJSON(o.json); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return errors.New("interrupted: the figures above are not complete")
	}
	return nil
}
